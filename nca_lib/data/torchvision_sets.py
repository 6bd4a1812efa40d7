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
from nca_lib.inputs import InputError, as_labels, check_images
from nca_lib.spec import MNIST, ImageSpec

import numpy as np
import platformdirs
import torch
from torch import Tensor

DIGITS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)  # test pictures of each
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
    counts: tuple[int, ...]  # published test pictures of each class
    split: str = ""  # of EMNIST, whose files hold columns for rows, and labels from 1

    def open(self, root: Path, **options):
        """torchvision's data set: `data` are bytes `[N, H, W]`, `targets` labels `[N]`."""
        from torchvision import datasets  # takes a second

        options |= {"split": self.split} if self.split else {}
        return getattr(datasets, self.torchvision)(root, **options)

    @property
    def how_to_get(self) -> str:
        embedded = ", or --data-root embedded" if self.title == "MNIST" else ""
        return f"pass --data-root FOLDER with {self.torchvision}/raw in it{embedded}"


SETS = {
    "mnist": NamedSet("MNIST", "MNIST", MNIST, DIGITS),
    "fashion": NamedSet("Fashion-MNIST", "FashionMNIST", FASHION, (1000,) * 10),
    "kmnist": NamedSet("KMNIST", "KMNIST", KANA, (1000,) * 10),
    "letters": NamedSet("EMNIST letters", "EMNIST", LETTERS, (800,) * 26, "letters"),
}


def load_set(known: NamedSet, root: str | Path) -> Dataset:
    """The set in torchvision's layout under `root`; "": in a cache folder, downloaded once.

    Raises:
        InputError: files are missing or damaged, or do not fit the set.
    """
    folder = Path(os.path.expanduser(root or platformdirs.user_cache_dir("nca_lib", False)))
    raw = folder / known.torchvision / "raw"
    if not root and not raw.is_dir():
        download(known, folder)
    if not raw.is_dir():
        raise InputError(
            f"no {known.title} in {folder} (--data-root or $NCA_DATA): no folder {raw}; "
            f"{known.how_to_get}; for pictures of your own add --data pictures"
        )
    train, test = (read_part(known, folder, part) for part in ("training", "test"))
    published = tuple(test.labels.bincount().tolist()) == known.counts
    name = known.title if published else f"pictures in the format of {known.title}"
    return split(train, test, f"{name} in {folder}", name, known.spec)


def read_part(known: NamedSet, root: Path, part: str) -> Pictures:
    """The training or the test pictures, with labels from 0."""
    try:
        data = known.open(root, train=part == "training")
        labels = as_labels(data.targets - (1 if known.split else 0), known.spec.classes)
        if tuple(data.data.shape) != (len(labels), *known.spec.size):
            raise InputError(f"images {list(data.data.shape)}, labels [{len(labels)}]")
    except Exception as error:  # torchvision raises many
        raise InputError(
            f"the {part} files of {known.title} in {root} are missing, packed, damaged or those of "
            f"a different set ({error!r}): get them anew, or {known.how_to_get}"
        ) from error
    return from_bytes(data.data.mT if known.split else data.data, labels)


def from_bytes(images: Tensor, labels: Tensor) -> Pictures:
    """Bytes `[N, H, W]` and labels `[N]` as `Pictures` with one channel of ink."""
    return Pictures(images[:, None].float().contiguous() / 255, labels.to(torch.int64))


def download(known: NamedSet, folder: Path) -> None:
    """Download a set into `folder`; a failure leaves nothing half done there."""
    print(f"downloading {known.title} into {folder} ...")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as part:  # on the same disk, to be renamed
            known.open(Path(part), download=True)
            for path in Path(part, known.torchvision, "raw").iterdir():
                if path.suffix in (".gz", ".zip") or known.split not in path.name:
                    path.unlink()  # EMNIST comes with gigabytes of other splits
            Path(part, known.torchvision).rename(folder / known.torchvision)
    except Exception as error:  # no network, a refusal, a full disk
        raise InputError(
            f"{known.title} can't be downloaded ({error!r}); {known.how_to_get}"
        ) from error


def as_pictures(data) -> Pictures:
    """Pictures to train on: `Pictures`, those of a `Dataset`, or all of a torchvision data set."""
    if isinstance(data, Dataset):
        return data.train
    return data if isinstance(data, Pictures) else read_pairs(data)


def from_torchvision(dataset) -> Dataset:
    """Any torchvision data set, or sequence of (picture, label) pairs, divided by `split`.

    Pictures are PIL images, which become ink as in `read_images`, or float tensors `[I, H, W]` in
    [0, 1]. Transforms apply.

    Raises:
        InputError: pictures of different sizes or out of range, or labels without a class.
    """
    pictures, name = read_pairs(dataset), type(dataset).__name__
    classes = getattr(dataset, "classes", None) or range(int(pictures.labels.max()) + 1)
    classes = tuple(re.sub(r"^(\d) - \w+$", r"\1", str(each)) for each in classes)  # "7 - seven"
    spec = ImageSpec(classes, pictures.images.shape[1], tuple(pictures.images.shape[2:]))
    return split(pictures, None, f"{len(pictures):,} pictures of {name}", name, spec)


def read_pairs(dataset) -> Pictures:
    """All pictures and labels of a sequence of pairs."""
    try:
        images, labels = zip(*(dataset[i] for i in range(len(dataset))), strict=True)
        if isinstance(images[0], Tensor):
            ink = torch.stack(images).float()
        else:
            ink, _ = as_ink(np.stack([as_bytes(image) for image in images]))
        labels = torch.tensor([operator.index(label) for label in labels])
        spec = ImageSpec((), ink.shape[1], (ink.shape[2], ink.shape[3]))
        return Pictures(check_images(ink, spec), labels)
    except Exception as error:  # a data set may raise anything
        raise InputError(
            f"{type(dataset).__name__} can't be used as data ({error!r}): give pairs of a "
            "picture (PIL image or float tensor [I, H, W], all of one size) and a label"
        ) from error
