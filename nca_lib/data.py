"""The digits: all of MNIST where it is at hand, else a sample of it inside the package.

Everything is held in memory as tensors: 60,000 pictures of 28 x 28 need no data loader.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import struct
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from nca_lib.errors import InputError
from nca_lib.inputs import DIGITS, as_labels
from nca_lib.stopping import die_with_parent

import numpy as np
import platformdirs
import torch
from torch import Tensor

VALIDATION_SHARE = 1 / 12  # of each label's training digits: about 5,000 of MNIST's 60,000
SPLIT_SEED = 1998  # the year of LeCun et al., "Gradient-based learning"; fixed for good
DOWNLOAD_SECONDS = 120
HOW_TO_GET = "pass --data-root FOLDER with MNIST/raw in it, or --data-root embedded"
LABELS_SHA256 = ["65a50cbbf4e906d7", "ff7bcfd416de3373"]  # of MNIST's own, training and test
SAMPLE = "embedded sample (6,000 training, 1,000 test digits of MNIST)"
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


@dataclass(frozen=True)
class Digits:
    """Pictures with their labels."""

    images: Tensor  # float32 [N, 1, 28, 28] in [0, 1]
    labels: Tensor  # int64 [N]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, index: Tensor | slice) -> Digits:
        return Digits(self.images[index], self.labels[index])

    def only(self, digit: int) -> Digits:
        return self.select(self.labels == digit)

    def limit(self, count: int) -> Digits:
        return self.select(slice(count))


@dataclass(frozen=True)
class Dataset:
    """Validation digits come out of the training set; test digits are for the final figures."""

    train: Digits
    validation: Digits
    test: Digits
    source: str  # for people: where they lie
    name: str = ""  # for records: which they are


def load_digits(data_root: str | Path | None = None, preset: str = "quick") -> Dataset:
    """Find the digits: `data_root`, else $NCA_DATA, else what the preset says.

    Args:
        data_root: a folder with MNIST/raw in it, or "embedded".
        preset: without a root, "quick" takes the embedded sample (no network) and "full"
            torchvision's MNIST, downloaded once into a cache folder.

    Raises:
        InputError: no MNIST there, or files that can't be right.
    """
    root = str(data_root or os.environ.get("NCA_DATA") or "")
    if root == "embedded" or (not root and preset == "quick"):
        return embedded_sample()
    if root:
        return read_mnist(Path(root))
    folder = Path(platformdirs.user_cache_dir("nca_lib", False))
    if not (folder / "MNIST" / "raw" / FILES["train"][0]).exists():
        download(folder)
    return read_mnist(folder)


def embedded_sample() -> Dataset:
    """6,000 training and 1,000 test digits from inside the package, the same number of each."""
    with (files("nca_lib") / "sample" / "mnist.npz").open("rb") as file:
        arrays = np.load(file, allow_pickle=False)
        train, test = (
            to_digits(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in FILES
        )
    return split(train, test, SAMPLE, SAMPLE)


def read_mnist(root: Path) -> Dataset:
    """MNIST in torchvision's layout, checked before it is read."""
    from torchvision.datasets import MNIST  # takes a second to import

    for names in FILES.values():
        check_files(root, *names)
    parts = {}
    for part in FILES:
        mnist = MNIST(root, train=part == "train")
        parts[part] = to_digits(mnist.data.numpy(), mnist.targets.numpy())
    name = "MNIST" if is_mnist(root) else "other pictures than MNIST's, in its format"
    return split(parts["train"], parts["test"], f"{name} in {root}", name)


def is_mnist(root: Path) -> bool:
    """Whether the labels are MNIST's: Fashion-MNIST, say, comes in files of the same names."""
    read = [(root / "MNIST" / "raw" / FILES[part][1]).read_bytes() for part in FILES]
    return [hashlib.sha256(content).hexdigest()[:16] for content in read] == LABELS_SHA256


def to_digits(images: np.ndarray, labels: np.ndarray) -> Digits:
    """Bytes [N, 28, 28] and labels [N] as `Digits`."""
    return Digits(
        torch.from_numpy(images.copy())[:, None].float() / 255,
        torch.from_numpy(labels.astype(np.int64)),
    )


def split(train: Digits, test: Digits, source: str, name: str) -> Dataset:
    """Take the validation digits out of the training digits: the same share of each label."""
    as_labels(train.labels), as_labels(test.labels)
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    held = []
    for digit in range(DIGITS):
        index = (train.labels == digit).nonzero()[:, 0]
        shuffled = index[torch.randperm(len(index), generator=generator)]
        held.append(shuffled[: round(len(index) * VALIDATION_SHARE)])
    validation = torch.zeros(len(train), dtype=torch.bool)
    validation[torch.cat(held)] = True
    return Dataset(train.select(~validation), train.select(validation), test, source, name)


def check_files(root: Path, image_name: str, label_name: str) -> None:
    """Raise InputError unless both idx files are there, whole, and of one length."""
    raw = root / "MNIST" / "raw"
    if not raw.is_dir():
        raise InputError(f"no MNIST in {root}: there is no folder {raw}; {HOW_TO_GET}")
    images = check_idx(raw / image_name, magic=2051, item=(28, 28))
    labels = check_idx(raw / label_name, magic=2049, item=())
    if images != labels:
        raise InputError(f"{raw}: {images} images but {labels} labels; get the files anew")
    if not images:
        raise InputError(f"{raw / image_name} holds no pictures; get the files anew")


def check_idx(path: Path, magic: int, item: tuple[int, ...]) -> int:
    """Check header and length of an idx file; return how many items it holds."""
    if not path.is_file():
        packed = path.with_name(path.name + ".gz").exists()
        hint = "unpack the .gz beside it (gunzip)" if packed else "get MNIST anew"
        raise InputError(f"{path} is missing; {hint}, or {HOW_TO_GET}")
    wanted = 4 * (2 + len(item))
    with path.open("rb") as file:
        header = file.read(wanted)
    if len(header) < wanted:
        raise InputError(f"{path} is truncated: it ends inside its header; get the file anew")
    found, count, *sizes = struct.unpack(f">{2 + len(item)}I", header)
    if found != magic:
        raise InputError(f"{path} has magic number {found}, not {magic}: no MNIST file")
    if tuple(sizes) != item:
        raise InputError(f"{path} holds items of size {tuple(sizes)}, not {item}")
    length = wanted + count * int(np.prod(item))
    if path.stat().st_size != length:
        raise InputError(
            f"{path} has {path.stat().st_size} bytes, its header says {length}: "
            "truncated or damaged; get the file anew"
        )
    return count


def fetch(folder: str) -> None:
    """torchvision's download; runs in a process of its own, so that it can be ended."""
    from torchvision.datasets import MNIST

    die_with_parent()
    with open(os.devnull, "w") as quiet, redirect_stderr(quiet), redirect_stdout(quiet):
        try:
            MNIST(folder, download=True)
        except Exception:  # whatever it is, the parent says what to do
            os._exit(1)


def download(folder: Path, seconds: float = DOWNLOAD_SECONDS) -> None:
    """Download MNIST, bounded in time; a failure leaves nothing half done in `folder`."""
    import shutil

    part = folder.with_name(folder.name + ".part")
    process = multiprocessing.get_context("spawn").Process(target=fetch, args=(str(part),))
    print(f"downloading MNIST into {folder} (at most {seconds:.0f} seconds) ...")
    process.start()
    try:
        process.join(seconds)
    finally:
        finished = process.exitcode == 0
        process.kill()
        process.join()
    try:
        if not finished:
            raise InputError(f"MNIST could not be downloaded; {HOW_TO_GET}")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / "MNIST", ignore_errors=True)  # an incomplete one
        os.replace(part / "MNIST", folder / "MNIST")
    except OSError as error:
        raise InputError(f"MNIST can't be put into {folder} ({error}); {HOW_TO_GET}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
