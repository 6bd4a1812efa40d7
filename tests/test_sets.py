"""Sets by name: torchvision reads and downloads them, and what is wrong is told in one line."""

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


def write_idx(path, magic, sizes, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + content)


def pattern(label):
    """A bar at the upper right, longer for higher labels: no symmetry hides a transposition."""
    picture = np.zeros((28, 28), np.uint8)
    picture[2:5, 27 - label : 28] = 100 + label
    return picture


def write_set(root, name, train=4, test=2):
    """A set with this many pictures of each class; returns its four files."""
    letters, classes, paths = name == "letters", len(SETS[name].spec.classes), []
    prefixes = ("emnist-letters-train", "emnist-letters-test") if letters else ("train", "t10k")
    for prefix, each in zip(prefixes, (train, test), strict=True):
        labels = list(range(classes)) * each
        pictures = [pattern(label).T if letters else pattern(label) for label in labels]
        content = b"".join(picture.tobytes() for picture in pictures)
        raw = root / SETS[name].torchvision / "raw"
        paths += [raw / f"{prefix}-images-idx3-ubyte", raw / f"{prefix}-labels-idx1-ubyte"]
        write_idx(paths[-2], 2051, (len(labels), 28, 28), content)
        write_idx(paths[-1], 2049, (len(labels),), bytes(label + letters for label in labels))
    return paths


def test_specs():
    datasets = torchvision.datasets
    assert SETS["mnist"].spec == MNIST
    assert SETS["fashion"].spec.classes == tuple(datasets.FashionMNIST.classes)
    assert SETS["kmnist"].spec.classes == tuple(datasets.KMNIST.classes)
    assert SETS["letters"].spec.classes == tuple(datasets.EMNIST.classes_split_dict["letters"][1:])


@pytest.mark.parametrize("name", SETS)
def test_what_is_read(tmp_path, monkeypatch, name):
    paths, count = write_set(tmp_path, name, train=20, test=3), len(SETS[name].spec.classes)
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
    assert data.name == f"pictures in the format of {SETS[name].title}"
    assert data.source == f"{data.name} in {tmp_path}"
    labels = np.repeat(range(count), SETS[name].counts) + (name == "letters")  # as published
    write_idx(paths[2], 2051, (len(labels), 28, 28), bytes(784 * len(labels)))
    write_idx(paths[3], 2049, (len(labels),), labels.astype(np.uint8).tobytes())
    assert load_data(name, tmp_path).name == SETS[name].title


def refused(name, root):
    """The message, which is one line and names the set and a way out."""
    with pytest.raises(InputError) as caught:
        load_data(name, root)
    message, known = str(caught.value), SETS[name]
    assert "\n" not in message
    assert known.title in message
    assert f"pass --data-root FOLDER with {known.torchvision}/raw in it" in message
    return message


@pytest.mark.parametrize("name", SETS)
def test_folders_without_the_set(tmp_path, name):
    for root in (tmp_path, tmp_path / "nowhere", "a\0b"):
        message = refused(name, root)
        assert message.startswith(f"no {SETS[name].title} in {root} (--data-root or $NCA_DATA): ")
        assert ("--data-root embedded" in message) == (name == "mnist")


def labels_idx(*labels):
    return struct.pack(">2I", 2049, len(labels)) + bytes(labels)


@pytest.mark.parametrize("name", ["mnist", "letters"])
@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (2, None, "Dataset not found"),
        (0, lambda b: b[:-1], "invalid for input of size"),
        (1, lambda b: b + b"x", "invalid for input of size"),
        (3, lambda b: b[:5], "Error"),
        (2, lambda b: b"\0\0\0\1" + b[4:], "AssertionError"),
        (2, lambda b: b"\0\0\x0d" + b[3:], "Error"),  # floats
        (2, lambda b: b[:8] + struct.pack(">2I", 14, 56) + b[16:], "14, 56"),
        (3, lambda b: labels_idx(1), r"28, 28\], labels \[1\]"),
        (3, lambda b: labels_idx(), "Error"),
        (3, lambda b: b[:-1] + b"\x1b", r"label 2[67]: labels go from 0 to"),
    ],
)
def test_damaged_files_and_those_of_a_different_set(tmp_path, name, file, change, message):
    path = write_set(tmp_path, name)[file]
    path.write_bytes(change(path.read_bytes())) if change else path.unlink()
    assert "are missing, packed, damaged or those of a different set" in refused(name, tmp_path)
    with pytest.raises(InputError, match=message):
        load_data(name, tmp_path)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache" / "nca_lib"
    monkeypatch.delenv("NCA_DATA", raising=False)
    monkeypatch.setattr(torchvision_sets.platformdirs, "user_cache_dir", lambda *_: str(folder))
    return folder


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_downloaded_once(cache, monkeypatch, capsys, name):
    known, paths = SETS[name], []

    def download(self):  # writes the set, and what else comes with it
        paths.extend(write_set(Path(self.root), name))
        for extra in ("gzip.zip", "train-labels-idx1-ubyte.gz", "emnist-digits-train"):
            Path(self.raw_folder, extra).write_text("x")

    monkeypatch.setattr(getattr(torchvision.datasets, known.torchvision), "download", download)
    for _ in range(2):
        assert len(load_set(known, "").test) == 2 * len(known.spec.classes)
    assert os.listdir(cache) == [known.torchvision]
    kept = {path.name for path in (cache / known.torchvision / "raw").iterdir()}
    assert kept - {"emnist-digits-train"} == {path.name for path in paths}
    assert (len(kept), len(paths)) == (4 if name == "letters" else 5, 4)
    assert capsys.readouterr().out == f"downloading {known.title} into {cache} ...\n"


def test_a_failed_download_leaves_nothing(cache, monkeypatch):
    def fail(self):
        write_set(Path(self.root), "kmnist")
        raise RuntimeError("Error downloading:\nTried a mirror")

    monkeypatch.setattr(torchvision.datasets.KMNIST, "download", fail)
    assert "KMNIST can't be downloaded" in refused("kmnist", None)
    assert os.listdir(cache) == []
    cache.rmdir()
    cache.write_text("no folder")
    assert "KMNIST can't be downloaded" in refused("kmnist", None)
