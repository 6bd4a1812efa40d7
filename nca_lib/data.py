"""The data: digits or another set by name, or anybody's own pictures in a folder."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from nca_lib.dataset import Dataset, split
from nca_lib.errors import InputError
from nca_lib.folder import holds_pictures, read_folder
from nca_lib.kinds import MNIST
from nca_lib.torchvision_sets import FILES, SETS, NamedSet, cached, read_set, to_pictures

import numpy as np
import torch

__all__ = ["FILES", "DataName", "load_data", "load_digits"]

DataName = Literal["mnist", "fashion", "kmnist", "letters", "pictures"]
SAMPLE = "embedded sample (6,000 training, 1,000 test digits of MNIST)"


def load_data(
    name: str = "mnist", data_root: str | Path | None = None, preset: str = "quick"
) -> Dataset:
    """Find the data: `data_root`, else $NCA_DATA, else what the preset says.

    Args:
        name: "mnist", "fashion", "kmnist" and "letters" are sets in torchvision's layout;
            "pictures" are your own, a file or a folder for each class (see `read_folder`).
        data_root: a folder with the data in it, or "embedded": a sample of MNIST and three
            pictures lie inside the package. $NCA_DATA stands in for it, but not for "pictures".
        preset: without a root, "quick" takes the embedded sample of MNIST (no network) and "full"
            torchvision's MNIST. The other sets have no sample. Sets are downloaded once, into a
            cache folder.

    Raises:
        InputError: no such name, no data there, or files that can't be right.
    """
    if name not in get_args(DataName):
        raise InputError(f"--data {name}: choose one of {', '.join(get_args(DataName))}")
    if name == "pictures":
        root = str(data_root or "embedded")
        return embedded_pictures() if root == "embedded" else read_pictures(Path(root))
    root, wanted = str(data_root or os.environ.get("NCA_DATA") or ""), SETS[name]
    if name == "mnist" and (root == "embedded" or (not root and preset == "quick")):
        return embedded_sample()
    if root == "embedded":
        raise InputError(
            f"{wanted.title} is not embedded in the package, only mnist and pictures are: "
            f"{wanted.how_to_get}, or none at all to download it"
        )
    if not root:
        return read_set(wanted, cached(wanted))
    return read_named(wanted, Path(root), by_hand=bool(data_root))


def load_digits(data_root: str | Path | None = None, preset: str = "quick") -> Dataset:
    """MNIST, the short form of `load_data("mnist", data_root, preset)`."""
    return load_data("mnist", data_root, preset)


def embedded_sample() -> Dataset:
    """6,000 training and 1,000 test digits from inside the package, the same number of each."""
    with (files("nca_lib") / "sample" / "mnist.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        train, test = (
            to_pictures(
                torch.from_numpy(arrays[f"{part}_images"]),
                torch.from_numpy(arrays[f"{part}_labels"]),
            )
            for part in FILES
        )
    return split(train, test, SAMPLE, SAMPLE, MNIST)


def embedded_pictures() -> Dataset:
    """Three pictures from inside the package, in colour, 40 x 40."""
    data = read_folder(Path(str(files("nca_lib") / "pictures")))
    return replace(data, source=f"embedded pictures ({', '.join(data.kind.classes)})")


def read_named(wanted: NamedSet, root: Path, by_hand: bool) -> Dataset:
    """A named set under `root`, which is given by hand or by $NCA_DATA; hints if it isn't there."""
    if not os.path.isdir(wanted.raw(root)):
        if not by_hand:
            raise InputError(
                f"no {wanted.title} in {root}, the folder that $NCA_DATA names: unset that, or "
                f"{wanted.how_to_get}"
            )
        if holds_pictures(root):
            raise InputError(
                f"no {wanted.title} in {root}, but pictures: to read these, add --data pictures"
            )
    return read_set(wanted, root)


def read_pictures(root: Path) -> Dataset:
    """A folder of pictures; who has a named set there is told how it is read."""
    for name, known in SETS.items():
        if os.path.isdir(known.raw(root)):
            raise InputError(
                f"{root} holds {known.title}, no folder of pictures: pass --data {name}"
            )
    return read_folder(root)
