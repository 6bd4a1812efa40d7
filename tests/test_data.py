"""The data are found by name, split and checked: MNIST, and what is said where it is not."""

import hashlib
import multiprocessing
import os
import struct
import time
from pathlib import Path

from nca_lib import torchvision_sets
from nca_lib.data import load_data, load_digits
from nca_lib.dataset import Pictures, deal
from nca_lib.errors import InputError
from nca_lib.inputs import as_labels, check_images
from nca_lib.kinds import MNIST
from nca_lib.torchvision_sets import FILES, SETS, download

import pytest
import torch
from PIL import Image


def write_idx(path, magic, sizes, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + content)


def write_set(root, wanted, train=4, test=2, picture=lambda label: bytes(784)):
    """A set with this many pictures of each class, in its own files."""
    count = len(wanted.kind.classes)
    for part, each in (("train", train), ("test", test)):
        labels = list(range(count)) * each
        image_path, label_path = (wanted.raw(root) / name for name in wanted.files[part])
        pictures = b"".join(picture(label) for label in labels)
        write_idx(image_path, 2051, (len(labels), 28, 28), pictures)
        write_idx(label_path, 2049, (len(labels),), bytes(wanted.first + x for x in labels))


@pytest.fixture
def root(tmp_path):
    """A tiny MNIST: 40 training and 20 test pictures."""
    write_set(tmp_path, SETS["mnist"])
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


def test_the_embedded_sample_is_split_as_ever():
    """Rules were trained on this split: its bytes stay as they are."""
    digits, digest = load_digits(), hashlib.sha256()
    for part in (digits.train, digits.validation):
        digest.update((part.images * 255).round().to(torch.uint8).numpy().tobytes())
        digest.update(part.labels.to(torch.uint8).numpy().tobytes())
    assert digest.hexdigest()[:16] == "aa2735208134ca0d"
    assert (digits.kind, digits.held_out) == (MNIST, True)


def test_pictures_are_selected():
    pictures = Pictures(torch.rand(6, 1, 28, 28), torch.tensor([3, 1, 3, 2, 1, 3]))
    assert pictures.only(3).labels.tolist() == [3, 3, 3]
    assert torch.equal(pictures.only(2).images, pictures.images[3:4])
    assert pictures.limit(2).labels.tolist() == [3, 1]
    assert len(pictures.limit(7)) == 6


def test_pictures_are_dealt_out_by_class():
    labels = torch.arange(36) % 3
    pictures = Pictures(torch.arange(36.0)[:, None, None, None], labels)
    first = deal(pictures, 3, [1 / 12, 1 / 6])
    assert [part.labels.bincount().tolist() for part in first] == [[9] * 3, [1] * 3, [2] * 3]
    numbers = [part.images.flatten().tolist() for part in first]
    assert sorted(number for part in numbers for number in part) == list(range(36))
    assert all(part == sorted(part) for part in numbers)
    again = deal(pictures, 3, [1 / 12, 1 / 6])
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, again, strict=True))


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
    with pytest.raises(InputError, match="label 10: those of MNIST go from 0 to 9"):
        load_digits(root)


def sleep(folder, name, options):
    time.sleep(60)


def test_a_download_is_bounded_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_sets, "fetch", sleep)
    with pytest.raises(InputError, match="could not be downloaded; pass --data-root"):
        download(SETS["mnist"], tmp_path / "nca_lib", seconds=1)
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
    with pytest.raises(InputError, match="label -1: labels go from 0 to 9"):
        as_labels(torch.tensor([1, -1]))
    with pytest.raises(InputError, match="integers"):
        as_labels(torch.tensor([1.0]))


def break_off(folder, name, options):
    """A download that ends in an error, as torchvision's does without a network."""
    print("a long story")
    raise SystemExit(1)


def put_there(folder, name, options):
    (Path(folder) / name / "raw").mkdir(parents=True)
    (Path(folder) / name / "raw" / "new").write_text("new")


def test_a_download_replaces_what_is_incomplete(tmp_path, monkeypatch):
    """Found offline: after a failed move the files lay in MNIST/MNIST."""
    (tmp_path / "nca_lib" / "MNIST" / "old").mkdir(parents=True)
    monkeypatch.setattr(torchvision_sets, "fetch", break_off)
    with pytest.raises(InputError, match="could not be downloaded"):
        download(SETS["mnist"], tmp_path / "nca_lib", seconds=60)
    monkeypatch.setattr(torchvision_sets, "fetch", put_there)
    download(SETS["mnist"], tmp_path / "nca_lib", seconds=60)
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
    for name, magic, sizes in zip(FILES[part], (2051, 2049), ((0, 28, 28), (0,)), strict=True):
        write_idx(root / "MNIST/raw" / name, magic, sizes, b"")
    with pytest.raises(InputError, match="holds no pictures"):
        load_digits(root)


def test_names_of_data(root, monkeypatch):
    with pytest.raises(InputError, match="--data cifar: choose one of mnist, fashion, kmnist, "):
        load_data("cifar")
    assert len(load_data("mnist", root).test) == 20
    assert len(load_data().test) == len(load_data("mnist", "embedded", "full").test) == 1000


@pytest.mark.parametrize("name", ["fashion", "kmnist", "letters"])
def test_only_mnist_and_pictures_are_embedded(name, monkeypatch):
    with pytest.raises(InputError, match="not embedded in the package, only mnist and pictures"):
        load_data(name, "embedded")
    monkeypatch.setenv("NCA_DATA", "embedded")
    with pytest.raises(InputError, match="not embedded in the package, only mnist and pictures"):
        load_data(name)


def test_the_embedded_pictures(root, monkeypatch):
    monkeypatch.setenv("NCA_DATA", str(root))  # of named sets
    for data_root in (None, "embedded"):
        data = load_data("pictures", data_root)
        assert data.kind.classes == ("fish", "snail", "toadstool")
        assert (data.kind.ink, data.kind.size, data.held_out) == (4, (40, 40), False)
        assert data.source == "embedded pictures (fish, snail, toadstool)"
        assert data.name == "pictures: fish, snail, toadstool"
        check_images(data.train.images, data.kind)


@pytest.mark.parametrize("place", ["cat.png", "cat/1.png", "train/cat/1.png"])
def test_a_hint_at_pictures(tmp_path, place):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (10, 10), 3).save(tmp_path / place)
    with pytest.raises(InputError, match=r"no MNIST in .*, but pictures: .* add --data pictures"):
        load_data("mnist", tmp_path)


def test_a_hint_at_a_named_set(root):
    with pytest.raises(InputError, match="holds MNIST, no folder of pictures: pass --data mnist"):
        load_data("pictures", root)


def test_a_hint_at_the_environment(root, monkeypatch):
    """Who has MNIST there can't have the others downloaded, and may not know why."""
    monkeypatch.setenv("NCA_DATA", str(root))
    with pytest.raises(InputError, match=r"no KMNIST in .*, the folder that \$NCA_DATA names"):
        load_data("kmnist")
    with pytest.raises(InputError, match=r"no KMNIST in .*: there is no folder .*KMNIST.raw"):
        load_data("kmnist", root)


def test_sets_without_a_root_are_downloaded_once(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_sets.platformdirs, "user_cache_dir", lambda *_: tmp_path / "c")
    asked = []

    def get(wanted, folder):
        asked.append(wanted.title)
        write_set(folder, wanted)

    monkeypatch.setattr(torchvision_sets, "download", get)
    assert load_data("fashion").kind == SETS["fashion"].kind
    assert load_data("fashion", preset="full").kind == SETS["fashion"].kind
    load_data("mnist", preset="quick")
    load_data("mnist", preset="full")
    assert asked == ["Fashion-MNIST", "MNIST"]
