"""Data sets by name, as torchvision gets them: four in the format of MNIST, all of 28 x 28 cells.

The files are checked before they are read, and what is read is checked against what is known of
the set: a folder may hold the files of another.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import struct
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import ascii_lowercase

from nca_lib.dataset import Dataset, Pictures, split
from nca_lib.errors import InputError
from nca_lib.kinds import MNIST, Kind
from nca_lib.stopping import die_with_parent

import numpy as np
import platformdirs
import torch
from torch import Tensor

MNIST_LABELS = ["65a50cbbf4e906d7", "ff7bcfd416de3373"]  # SHA-256 of MNIST's own, training and test
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
LETTERS = {
    part: (f"emnist-letters-{part}-images-idx3-ubyte", f"emnist-letters-{part}-labels-idx1-ubyte")
    for part in FILES
}
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
           "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")  # fmt: skip
KANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


@dataclass(frozen=True)
class NamedSet:
    """What is known of a data set before its files are seen."""

    title: str
    torchvision: str  # name of torchvision's class; its folder has the same
    kind: Kind
    each: tuple[int, int] = (0, 0)  # published pictures of each class, training and test
    files: dict[str, tuple[str, str]] = field(default_factory=FILES.copy)  # pictures, labels
    first: int = 0  # label of the first class in the files
    upright: bool = True  # False: the files hold rows for columns
    options: dict[str, str] = field(default_factory=dict)  # for torchvision's class
    seconds: float = 120  # a download may take

    @property
    def how_to_get(self) -> str:
        embedded = ", or --data-root embedded" if self.title == "MNIST" else ""
        return f"pass --data-root FOLDER with {self.torchvision}/raw in it{embedded}"

    def raw(self, root: Path) -> Path:
        return root / self.torchvision / "raw"


SETS = {
    "mnist": NamedSet("MNIST", "MNIST", MNIST),
    "fashion": NamedSet(
        "Fashion-MNIST", "FashionMNIST", replace(MNIST, classes=CLOTHES), each=(6000, 1000)
    ),
    "kmnist": NamedSet("KMNIST", "KMNIST", replace(MNIST, classes=KANA), each=(6000, 1000)),
    "letters": NamedSet(
        "EMNIST letters", "EMNIST", replace(MNIST, classes=tuple(ascii_lowercase)),
        each=(4800, 800), files=LETTERS, first=1, upright=False, options={"split": "letters"},
        seconds=1200,  # all of EMNIST comes in one archive of half a gigabyte
    ),
}  # fmt: skip


def cached(wanted: NamedSet) -> Path:
    """A root with the set in it: the cache folder. It is downloaded if it is not there yet."""
    folder = Path(platformdirs.user_cache_dir("nca_lib", False))
    if not (wanted.raw(folder) / wanted.files["train"][0]).exists():
        download(wanted, folder)
    return folder


def read_set(wanted: NamedSet, root: Path) -> Dataset:
    """The set in torchvision's layout under `root`, checked before it is read.

    Raises:
        InputError: it is not there, its files can't be right, or they are MNIST's.
    """
    for names in wanted.files.values():
        check_files(wanted, root, *names)
    of_mnist = are_of_mnist(wanted, root)
    if any(of_mnist) and wanted.title != "MNIST":
        raise InputError(
            f"{wanted.raw(root)} holds MNIST's labels, not those of {wanted.title}: move the files "
            f"to {SETS['mnist'].raw(root)} and pass --data mnist, or get {wanted.title} anew"
        )
    parts = {part: read_part(wanted, root, part) for part in wanted.files}
    if all(of_mnist) or is_as_published(wanted, parts):
        name = wanted.title
    else:
        owner = wanted.title + ("'" if wanted.title.endswith("s") else "'s")
        name = f"other pictures than {owner}, in its format"
    return split(parts["train"], parts["test"], f"{name} in {root}", name, wanted.kind)


def read_part(wanted: NamedSet, root: Path, part: str) -> Pictures:
    """The training or the test pictures, with labels from 0."""
    from torchvision.datasets.mnist import read_image_file, read_label_file  # takes a second

    image_path, label_path = (wanted.raw(root) / name for name in wanted.files[part])
    labels = read_label_file(str(label_path)) - wanted.first
    check_labels(wanted, label_path, labels)
    images = read_image_file(str(image_path))  # bytes [N, H, W]
    return to_pictures(images if wanted.upright else images.mT, labels)


def to_pictures(images: Tensor, labels: Tensor) -> Pictures:
    """Bytes `[N, H, W]` and labels `[N]` as `Pictures` with one channel of ink."""
    return Pictures(images[:, None].float().contiguous() / 255, labels.to(torch.int64))


def are_of_mnist(wanted: NamedSet, root: Path) -> list[bool]:
    """Whether training and test labels are MNIST's: others come in files of the same names."""
    read = [(wanted.raw(root) / labels).read_bytes() for _, labels in wanted.files.values()]
    digests = [hashlib.sha256(content).hexdigest()[:16] for content in read]
    return [digest == known for digest, known in zip(digests, MNIST_LABELS, strict=True)]


def is_as_published(wanted: NamedSet, parts: dict[str, Pictures]) -> bool:
    """Whether each class has as many pictures as were published; MNIST is known by its labels."""
    classes = len(wanted.kind.classes)
    counts = [part.labels.bincount(minlength=classes).tolist() for part in parts.values()]
    return counts == [[each] * classes for each in wanted.each]


def check_labels(wanted: NamedSet, path: Path, labels: Tensor) -> None:
    """Raise InputError where a label has no class, or, but for MNIST, a class has no picture."""
    classes = wanted.kind.classes
    last = wanted.first + len(classes) - 1
    wrong = labels[(labels < 0) | (labels >= len(classes))]
    if len(wrong):
        raise InputError(
            f"{path} has the label {wrong[0].item() + wanted.first}: "
            f"those of {wanted.title} go from {wanted.first} to {last}"
        )
    empty = (labels.bincount(minlength=len(classes)) == 0).nonzero()[:, 0].tolist()
    if empty and wanted.title != "MNIST":  # in whose folder other pictures were always welcome
        raise InputError(
            f"{path} has no picture of {classes[empty[0]]} (label {empty[0] + wanted.first}), "
            f"{wanted.title} has: get {wanted.title} anew"
        )


def check_files(wanted: NamedSet, root: Path, image_name: str, label_name: str) -> None:
    """Raise InputError unless both idx files are there, whole, and of one length."""
    raw, title = wanted.raw(root), wanted.title
    if not os.path.isdir(raw):
        raise InputError(f"no {title} in {root}: there is no folder {raw}; {wanted.how_to_get}")
    images = check_idx(wanted, raw / image_name, magic=2051, item=wanted.kind.size)
    labels = check_idx(wanted, raw / label_name, magic=2049, item=())
    if images != labels:
        raise InputError(f"{raw}: {images} images but {labels} labels; get the files anew")
    if not images:
        raise InputError(f"{raw / image_name} holds no pictures; get the files anew")


def check_idx(wanted: NamedSet, path: Path, magic: int, item: tuple[int, ...]) -> int:
    """Check header and length of an idx file; return how many items it holds."""
    if not path.is_file():
        packed = path.with_name(path.name + ".gz").exists()
        hint = "unpack the .gz beside it (gunzip)" if packed else f"get {wanted.title} anew"
        raise InputError(f"{path} is missing; {hint}, or {wanted.how_to_get}")
    header_length = 4 * (2 + len(item))
    with path.open("rb") as file:
        header = file.read(header_length)
    if len(header) < header_length:
        raise InputError(f"{path} is truncated: it ends inside its header; get the file anew")
    found, count, *sizes = struct.unpack(f">{2 + len(item)}I", header)
    if found != magic:
        raise InputError(f"{path} has magic number {found}, not {magic}: no {wanted.title} file")
    if tuple(sizes) != item:
        raise InputError(f"{path} holds items of size {tuple(sizes)}, not {item}")
    length = header_length + count * int(np.prod(item))
    if path.stat().st_size != length:
        raise InputError(
            f"{path} has {path.stat().st_size} bytes, its header says {length}: "
            "truncated or damaged; get the file anew"
        )
    return count


def fetch(folder: str, name: str, options: dict[str, str]) -> None:
    """torchvision's download; runs in a process of its own, so that it can be ended."""
    from torchvision import datasets

    die_with_parent()
    with open(os.devnull, "w") as quiet, redirect_stderr(quiet), redirect_stdout(quiet):
        try:
            getattr(datasets, name)(folder, download=True, **options)
        except Exception:  # whatever it is, the parent says what to do
            os._exit(1)


def download(wanted: NamedSet, folder: Path, seconds: float | None = None) -> None:
    """Download a set, bounded in time; a failure leaves nothing half done in `folder`."""
    import shutil

    seconds, name = seconds or wanted.seconds, wanted.torchvision
    part = folder.with_name(f"{folder.name}.{name}.part")
    process = multiprocessing.get_context("spawn").Process(
        target=fetch, args=(str(part), name, wanted.options)
    )
    print(f"downloading {wanted.title} into {folder} (at most {seconds:.0f} seconds) ...")
    process.start()
    try:
        process.join(seconds)
    finally:
        finished = process.exitcode == 0
        process.kill()
        process.join()
    try:
        if not finished:
            raise InputError(f"{wanted.title} could not be downloaded; {wanted.how_to_get}")
        keep_only(wanted, part)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / name, ignore_errors=True)  # an incomplete one
        os.replace(part / name, folder / name)
    except OSError as error:
        raise InputError(
            f"{wanted.title} can't be put into {folder} ({error}); {wanted.how_to_get}"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def keep_only(wanted: NamedSet, root: Path) -> None:
    """Remove what else came with the letters: EMNIST's archive and other splits, gigabytes."""
    needed = {name for names in wanted.files.values() for name in names}
    raw = wanted.raw(root)
    for path in (*raw.glob("*.zip"), *raw.glob("emnist-*")):
        if path.name not in needed:
            path.unlink()
