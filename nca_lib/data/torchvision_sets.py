"""Data sets of torchvision: four of 28 x 28 grey pictures by name, and any other as an object."""

from __future__ import annotations

import operator
import os.path
import re
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_lowercase
from tempfile import TemporaryDirectory

from nca_lib.data.dataset import Dataset, Pictures, split
from nca_lib.data.folder import as_bytes, as_ink
from nca_lib.inputs import InputError, check_images
from nca_lib.spec import MNIST, ImageSpec

import numpy as np
import platformdirs
import torch
from torch import Tensor

FASHION = replace(MNIST, classes=(
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
))  # fmt: skip
KANA = replace(MNIST, classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"))
LETTERS = replace(MNIST, classes=tuple(ascii_lowercase))


@dataclass(frozen=True)
class NamedSet:
    """What we know of a data set before we read its files."""

    title: str
    torchvision: str  # name of torchvision's class, and of the folder
    spec: ImageSpec
    split: str = ""  # of EMNIST, whose files hold columns for rows, and labels from 1

    def open(self, root: Path, **options):
        """torchvision's data set: `data` are bytes `[N, H, W]`, `targets` labels `[N]`."""
        from torchvision import datasets  # takes a second

        options |= {"split": self.split} if self.split else {}
        return getattr(datasets, self.torchvision)(root, **options)


SETS = {
    "mnist": NamedSet("MNIST", "MNIST", MNIST),
    "fashion": NamedSet("Fashion-MNIST", "FashionMNIST", FASHION),
    "kmnist": NamedSet("KMNIST", "KMNIST", KANA),
    "letters": NamedSet("EMNIST letters", "EMNIST", LETTERS, "letters"),
}


def load_set(known: NamedSet, root: str | Path) -> Dataset:
    """The set in torchvision's layout under `root`; "": in a cache folder, downloaded once.

    Raises:
        InputError: files are missing or damaged, or do not fit the set.
    """
    folder = Path(os.path.expanduser(root or platformdirs.user_cache_dir("nca_lib", False)))
    try:
        if not root and not (folder / known.torchvision).exists():
            download(known, folder)
        train, test = (read_part(known, folder, train) for train in (True, False))
        return split(train, test, f"{known.title} in {folder}", known.title, known.spec)
    except Exception as error:  # torchvision raises many
        raise InputError(
            f"{known.title} can't be read from {folder} ({error!r}): pass --data-root FOLDER with "
            f"{known.torchvision}/raw in it; for pictures of your own add --data pictures"
        ) from error


def read_part(known: NamedSet, root: Path, train: bool) -> Pictures:
    """The training or the test pictures, with labels from 0."""
    data = known.open(root, train=train)
    if data.data.shape != (len(data.targets), *known.spec.size):
        raise ValueError(f"images {list(data.data.shape)}, labels [{len(data.targets)}]")
    if known.split:
        return from_bytes(data.data.mT, data.targets - 1)
    return from_bytes(data.data, data.targets)


def download(known: NamedSet, folder: Path) -> None:
    """Download a set into `folder`; a failure leaves nothing half done there."""
    print(f"downloading {known.title} into {folder} ...")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as part:  # on the same disk, to be renamed
        known.open(Path(part), download=True)
        for path in Path(part, known.torchvision, "raw").iterdir():
            if path.suffix in (".gz", ".zip") or known.split not in path.name:
                path.unlink()  # EMNIST comes with gigabytes of other splits
        Path(part, known.torchvision).rename(folder / known.torchvision)


def from_bytes(images: Tensor, labels: Tensor) -> Pictures:
    """Bytes `[N, H, W]` and labels `[N]` as `Pictures` with one channel of ink."""
    return Pictures(images[:, None].float().contiguous() / 255, labels.to(torch.int64))


def as_pictures(data) -> Pictures:
    """Pictures to train on: `Pictures`, those of a `Dataset`, or all of a torchvision data set."""
    if isinstance(data, Dataset):
        return data.train
    if isinstance(data, Pictures):
        return data
    try:
        images, labels = zip(*(data[i] for i in range(len(data))), strict=True)
        if isinstance(images[0], Tensor):
            ink = torch.stack(images).float()
        else:
            ink, _ = as_ink(np.stack([as_bytes(image) for image in images]))
        labels = torch.tensor([operator.index(label) for label in labels])
        spec = ImageSpec((), ink.shape[1], (ink.shape[2], ink.shape[3]))
        return Pictures(check_images(ink, spec), labels)
    except Exception as error:  # a data set may raise anything
        raise InputError(
            f"{type(data).__name__} can't be used as data ({error!r}): give pairs of a "
            "picture (PIL image or float tensor [I, H, W], all of one size) and a label"
        ) from error


def from_torchvision(dataset) -> Dataset:
    """Any torchvision data set, or sequence of (picture, label) pairs, divided by `split`.

    Pictures are PIL images, which become ink as in `read_images`, or float tensors `[I, H, W]` in
    [0, 1]. Transforms apply.

    Raises:
        InputError: pictures of different sizes or out of range, or labels without a class.
    """
    pictures, name = as_pictures(dataset), type(dataset).__name__
    classes = getattr(dataset, "classes", None) or range(int(pictures.labels.max()) + 1)
    classes = tuple(re.sub(r"^(\d) - \w+$", r"\1", str(each)) for each in classes)  # "7 - seven"
    spec = ImageSpec(classes, pictures.images.shape[1], tuple(pictures.images.shape[2:]))
    return split(pictures, None, f"{len(pictures):,} pictures of {name}", name, spec)
