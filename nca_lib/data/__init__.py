"""The data: MNIST or another set by name, your own pictures, or a data set of torchvision."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from nca_lib.data.dataset import Dataset, Pictures, split
from nca_lib.data.folder import read_images
from nca_lib.data.handwriting import read_digit
from nca_lib.data.torchvision_sets import SETS, as_pictures, from_bytes, from_torchvision, load_set
from nca_lib.inputs import InputError
from nca_lib.spec import MNIST

import numpy as np
import torch

__all__ = [
    "DataName", "Dataset", "Pictures", "as_pictures", "fashion", "from_torchvision", "load_data",
    "mnist", "read_digit", "read_images",
]  # fmt: skip

DataName = Literal["mnist", "fashion", "kmnist", "letters", "pictures"]
SAMPLE = "embedded sample (6,000 training, 1,000 test digits of MNIST)"


def load_data(
    name: str = "mnist", data_root: str | Path | None = None, preset: str = "quick"
) -> Dataset:
    """Find the data: in `data_root`, else in $NCA_DATA, else as the preset says.

    Args:
        name: a set in torchvision's layout, or "pictures", your own (`read_images`).
        data_root: a folder with the data, or "embedded": a sample of MNIST and three pictures are
            inside the package. $NCA_DATA stands in for it, but not for "pictures".
        preset: without a root, "quick" takes the embedded sample of MNIST; all other sets are
            downloaded once, into a cache folder.

    Raises:
        InputError: no such name, no data there, or damaged files.
    """
    if name not in get_args(DataName):
        raise InputError(f"--data {name}: choose one of {', '.join(get_args(DataName))}")
    root = str(data_root or (name != "pictures" and os.environ.get("NCA_DATA")) or "")
    if name == "pictures":
        own = root not in ("", "embedded")
        return read_images(root if own else str(files("nca_lib") / "pictures"))
    if name == "mnist" and (root == "embedded" or (not root and preset == "quick")):
        return embedded_sample()
    return load_set(SETS[name], root)


def mnist(root: str | Path | None = None) -> Dataset:
    """MNIST in torchvision's layout under `root`, else $NCA_DATA, else the embedded sample."""
    return load_data("mnist", root)


def fashion(root: str | Path | None = None) -> Dataset:
    """Fashion-MNIST in torchvision's layout under `root`, else $NCA_DATA, else downloaded."""
    return load_data("fashion", root)


def embedded_sample() -> Dataset:
    """6,000 training and 1,000 test digits inside the package, the same number of each."""
    with (files("nca_lib") / "sample" / "mnist.npz").open("rb") as file:
        arrays = {name: torch.from_numpy(array) for name, array in np.load(file).items()}
    train, test = (
        from_bytes(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "test")
    )
    return split(train, test, SAMPLE, SAMPLE, MNIST)
