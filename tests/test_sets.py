"""Sets by name: torchvision reads and downloads them, and what is wrong is said in one line."""

import os
import struct
from pathlib import Path

from nca_lib.data import load_data, torchvision_sets
from nca_lib.data.torchvision_sets import SETS, load_set
from nca_lib.inputs import InputError, check_images
from nca_lib.spec import MNIST

import numpy as np
import pytest
import torch
import torchvision


def pattern(label):
    """A bar at the upper right, longer for higher labels: no symmetry hides a transposition."""
    picture = np.zeros((28, 28), np.uint8)
    picture[2:5, 27 - label : 28] = 100 + label
    return picture


def write_set(root, name, train=4, test=2):
    """A set with this many pictures of each class; returns its four files."""
    letters, classes, paths = name == "letters", len(SETS[name].spec.classes), []
    prefixes = ("emnist-letters-train", "emnist-letters-test") if letters else ("train", "t10k")
    raw = root / SETS[name].torchvision / "raw"
    raw.mkdir(parents=True)
    for prefix, each in zip(prefixes, (train, test), strict=True):
        labels = list(range(classes)) * each
        pictures = [pattern(label).T if letters else pattern(label) for label in labels]
        content = b"".join(picture.tobytes() for picture in pictures)
        paths += [raw / f"{prefix}-images-idx3-ubyte", raw / f"{prefix}-labels-idx1-ubyte"]
        paths[-2].write_bytes(struct.pack(">4I", 2051, len(labels), 28, 28) + content)
        paths[-1].write_bytes(
            struct.pack(">2I", 2049, len(labels)) + bytes(label + letters for label in labels)
        )
    return paths


def test_specs():
    datasets = torchvision.datasets
    assert SETS["mnist"].spec == MNIST
    assert SETS["fashion"].spec.classes == tuple(datasets.FashionMNIST.classes)
    assert SETS["kmnist"].spec.classes == tuple(datasets.KMNIST.classes)
    assert SETS["letters"].spec.classes == tuple(datasets.EMNIST.classes_split_dict["letters"][1:])


@pytest.mark.parametrize("name", SETS)
def test_what_is_read(tmp_path, monkeypatch, name):
    count = len(SETS[name].spec.classes)
    write_set(tmp_path, name, train=20, test=3)
    monkeypatch.setenv("HOME", str(tmp_path))
    data = load_data(name, "~")
    assert (data.spec, data.held_out) == (SETS[name].spec, True)
    assert data.train.labels.bincount().tolist() == [18] * count  # 20 less a twelfth
    assert data.validation.labels.bincount().tolist() == [2] * count
    assert data.test.labels.tolist() == [*range(count)] * 3
    for part in (data.train, data.validation, data.test):
        check_images(part.images, data.spec)
        upright = np.stack([pattern(label) for label in part.labels.tolist()])
        assert torch.equal(part.images[:, 0], torch.from_numpy(upright).float() / 255)
    assert (data.name, data.source) == (SETS[name].title, f"{SETS[name].title} in {tmp_path}")


def refused(name, root):
    """The message, which is one line and names the set and a way out."""
    with pytest.raises(InputError) as caught:
        load_data(name, root)
    message, known = str(caught.value), SETS[name]
    assert "\n" not in message
    assert message.startswith(f"{known.title} can't be read from ")
    assert f"pass --data-root FOLDER with {known.torchvision}/raw in it" in message
    return message


def test_folders_without_the_set(tmp_path):
    for root in (tmp_path, tmp_path / "nowhere", "a\0b"):
        assert f" from {root} (" in refused("fashion", root)


@pytest.mark.parametrize("name", ["mnist", "letters"])
@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (2, None, "Dataset not found"),
        (0, lambda b: b[:-1], "invalid for input of size"),
        (2, lambda b: b"\0\0\0\1" + b[4:], "AssertionError"),
        (2, lambda b: b[:8] + struct.pack(">2I", 14, 56) + b[16:], "14, 56"),
        (3, lambda b: struct.pack(">2I", 2049, 1) + b"\1", "28, 28], labels [1]"),
        (3, lambda b: b[:-1] + b"\x1b", "labels go from 0 to"),
    ],
)
def test_damaged_files_and_those_of_a_different_set(tmp_path, name, file, change, message):
    path = write_set(tmp_path, name)[file]
    path.write_bytes(change(path.read_bytes())) if change else path.unlink()
    assert message in refused(name, tmp_path)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache" / "nca_lib"
    monkeypatch.delenv("NCA_DATA", raising=False)
    monkeypatch.setattr(torchvision_sets.platformdirs, "user_cache_dir", lambda *_: str(folder))
    return folder


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_downloaded_once(cache, monkeypatch, capsys, name):
    known = SETS[name]
    of_torchvision = getattr(torchvision.datasets, known.torchvision)
    monkeypatch.setattr(of_torchvision, "download", lambda self: write_set(Path(self.root), name))
    for _ in range(2):
        assert len(load_set(known, "").test) == 2 * len(known.spec.classes)
    assert os.listdir(cache) == [known.torchvision]
    assert capsys.readouterr().out == f"downloading {known.title} into {cache} ...\n"


def test_a_failed_download_leaves_nothing(cache, monkeypatch):
    def fail(self):
        write_set(Path(self.root), "kmnist")
        raise RuntimeError("Error downloading:\nTried a mirror")

    monkeypatch.setattr(torchvision.datasets.KMNIST, "download", fail)
    assert "Tried a mirror" in refused("kmnist", None)
    assert os.listdir(cache) == []
    cache.rmdir()
    cache.write_text("no folder")
    assert "FileExistsError" in refused("kmnist", None)
