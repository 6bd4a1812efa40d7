"""The digits are found, split and checked."""

import multiprocessing
import os
import struct
import time
from pathlib import Path

from nca_lib import data
from nca_lib.data import load_digits
from nca_lib.errors import InputError
from nca_lib.inputs import as_labels, check_images

import pytest
import torch


def write_idx(path, magic, sizes, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + content)


@pytest.fixture
def root(tmp_path):
    """A tiny MNIST: 40 training and 20 test pictures."""
    for part, count in (("train", 40), ("test", 20)):
        images, labels = data.FILES[part]
        raw = tmp_path / "MNIST" / "raw"
        write_idx(raw / images, 2051, (count, 28, 28), bytes(count * 784))
        write_idx(raw / labels, 2049, (count,), bytes(i % 10 for i in range(count)))
    return tmp_path


def test_the_embedded_sample():
    digits = load_digits(None, "quick")
    assert digits.train.labels.bincount().tolist() == [550] * 10
    assert digits.validation.labels.bincount().tolist() == [50] * 10
    assert digits.test.labels.bincount().tolist() == [100] * 10
    check_images(digits.train.images)
    assert 0.1 < digits.test.images.mean() < 0.16
    again = load_digits("embedded", "full")
    assert torch.equal(again.validation.images, digits.validation.images)


def test_no_training_digit_is_held_out_too():
    digits = load_digits()
    seen = {image.numpy().tobytes() for image in digits.train.images}
    for held in (digits.validation, digits.test):
        assert not any(image.numpy().tobytes() in seen for image in held.images)


def test_where_the_digits_come_from(root, monkeypatch):
    monkeypatch.setenv("NCA_DATA", str(root))
    assert len(load_digits(None, "quick").test) == 20
    assert len(load_digits("embedded", "full").test) == 1000
    monkeypatch.delenv("NCA_DATA")
    assert len(load_digits(root, "quick").test) == 20


@pytest.mark.skipif("NCA_TEST_MNIST" not in os.environ, reason="no full MNIST at hand")
def test_full_mnist():
    digits = load_digits(os.environ["NCA_TEST_MNIST"])
    assert len(digits.train) + len(digits.validation) == 60_000
    assert abs(len(digits.validation) - 5000) < 10
    assert len(digits.test) == 10_000
    assert digits.name == "MNIST"


def edit(path, change):
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-1], "truncated or damaged"),
        (lambda b: b + b"x", "truncated or damaged"),
        (lambda b: b[:9], "ends inside its header"),
        (lambda b: b"\0\0\0\1" + b[4:], "magic number 1, not 2051"),
        (lambda b: b[:8] + struct.pack(">2I", 14, 56) + b[16:], "items of size"),
        (lambda b: b[:4] + struct.pack(">I", 39) + b[8:-784], "39 images but 40 labels"),
    ],
)
def test_broken_files(root, change, message):
    edit(root / "MNIST/raw/train-images-idx3-ubyte", change)
    with pytest.raises(InputError, match=message):
        load_digits(root)


def test_missing_files(root, tmp_path):
    with pytest.raises(InputError, match=r"no MNIST in .*--data-root embedded"):
        load_digits(tmp_path / "nowhere")
    (root / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="t10k-labels-idx1-ubyte is missing"):
        load_digits(root)


def test_labels_in_files_are_checked(root):
    edit(root / "MNIST/raw/train-labels-idx1-ubyte", lambda b: b[:-1] + b"\x0a")
    with pytest.raises(InputError, match="label 10 is not a digit"):
        load_digits(root)


def sleep(folder):
    time.sleep(60)


def test_a_download_is_bounded_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "fetch", sleep)
    with pytest.raises(InputError, match="could not be downloaded; pass --data-root"):
        data.download(tmp_path / "nca_lib", seconds=1)
    assert not multiprocessing.active_children()  # it was ended
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 28, 28), "shape"),
        (torch.zeros(2, 1, 28, 27), "shape"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.uint8), "uint8"),
        (torch.full((1, 1, 28, 28), 2.0), r"outside \[0, 1\]"),
        (torch.full((1, 1, 28, 28), float("nan")), "NaN"),
    ],
)
def test_images_of_another_kind(images, message):
    with pytest.raises(InputError, match=message):
        check_images(images)


def test_labels_of_another_kind():
    with pytest.raises(InputError, match="label -1 is not a digit"):
        as_labels(torch.tensor([1, -1]))
    with pytest.raises(InputError, match="integers"):
        as_labels(torch.tensor([1.0]))


def break_off(folder):
    """A download that ends in an error, as torchvision's does without a network."""
    print("a long story")
    raise SystemExit(1)


def put_there(folder):
    (Path(folder) / "MNIST" / "raw").mkdir(parents=True)
    (Path(folder) / "MNIST" / "raw" / "new").write_text("new")


def test_a_download_replaces_what_is_incomplete(tmp_path, monkeypatch):
    """Found offline: after a failed move the files lay in MNIST/MNIST."""
    (tmp_path / "nca_lib" / "MNIST" / "old").mkdir(parents=True)
    monkeypatch.setattr(data, "fetch", break_off)
    with pytest.raises(InputError, match="could not be downloaded"):
        data.download(tmp_path / "nca_lib", seconds=60)
    monkeypatch.setattr(data, "fetch", put_there)
    data.download(tmp_path / "nca_lib", seconds=60)
    found = [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()]
    assert found == ["nca_lib/MNIST/raw/new"]


def test_packed_files_are_named(root):
    path = root / "MNIST/raw/train-labels-idx1-ubyte"
    path.rename(path.with_name(path.name + ".gz"))
    with pytest.raises(InputError, match=r"is missing; unpack the \.gz beside it"):
        load_digits(root)


def test_other_pictures_in_the_folder_are_not_called_mnist(root):
    """Fashion-MNIST comes in files of the same names, and was recorded as MNIST."""
    digits = load_digits(root)
    assert digits.name == "other pictures than MNIST's, in its format"
    assert str(root) in digits.source
    assert str(root) not in digits.name  # where the data lie is not what they are


@pytest.mark.parametrize("part", ["train", "test"])
def test_files_without_pictures(root, part):
    for name, magic, sizes in zip(data.FILES[part], (2051, 2049), ((0, 28, 28), (0,)), strict=True):
        write_idx(root / "MNIST/raw" / name, magic, sizes, b"")
    with pytest.raises(InputError, match="holds no pictures"):
        load_digits(root)
