"""Sets by name: torchvision reads and downloads them, and what is wrong is told in one line."""

import os
import struct
from pathlib import Path

from nca_lib.data import load_data, torchvision_sets
from nca_lib.data.torchvision_sets import SETS, download, load_set
from nca_lib.inputs import InputError, check_images
from nca_lib.spec import MNIST

import numpy as np
import pytest
import torch
import torchvision

FILES = {
    name: tuple(f"{p}-{kind}-ubyte" for p in prefixes for kind in ("images-idx3", "labels-idx1"))
    for name, prefixes in {
        "mnist": ("train", "t10k"), "fashion": ("train", "t10k"), "kmnist": ("train", "t10k"),
        "letters": ("emnist-letters-train", "emnist-letters-test"),
    }.items()
}  # fmt: skip


def write_idx(path, magic, sizes, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">{1 + len(sizes)}I", magic, *sizes) + content)


def pattern(label):
    """A bar at the upper right, longer for higher labels: no symmetry hides a transposition."""
    picture = np.zeros((28, 28), np.uint8)
    picture[2:5, 27 - label : 28] = 100 + label
    return picture


def raw(root, name):
    return root / SETS[name].torchvision / "raw"


def write_set(root, name, train=4, test=2):
    """A set with this many pictures of each class; returns its four files."""
    sideways, classes = name == "letters", len(SETS[name].spec.classes)
    paths = [raw(root, name) / file for file in FILES[name]]
    for image_path, label_path, each in ((*paths[:2], train), (*paths[2:], test)):
        labels = list(range(classes)) * each
        pictures = [pattern(label).T if sideways else pattern(label) for label in labels]
        content = b"".join(picture.tobytes() for picture in pictures)
        write_idx(image_path, 2051, (len(labels), 28, 28), content)
        write_idx(label_path, 2049, (len(labels),), bytes(label + sideways for label in labels))
    return paths


def test_specs():
    datasets = torchvision.datasets
    assert SETS["mnist"].spec == MNIST
    assert SETS["fashion"].spec.classes == tuple(datasets.FashionMNIST.classes)
    assert SETS["kmnist"].spec.classes == tuple(datasets.KMNIST.classes)
    letters = datasets.EMNIST.classes_split_dict["letters"]  # label 0 is no letter
    assert SETS["letters"].spec.classes == tuple(letters[1:])


@pytest.mark.parametrize("name", SETS)
def test_what_is_read(tmp_path, monkeypatch, name):
    write_set(tmp_path, name, train=20, test=3)
    monkeypatch.setenv("HOME", str(tmp_path))
    data, classes = load_data(name, "~"), len(SETS[name].spec.classes)
    assert (data.spec, data.held_out) == (SETS[name].spec, True)
    assert data.train.labels.bincount().tolist() == [18] * classes  # 20 less a twelfth
    assert data.validation.labels.bincount().tolist() == [2] * classes
    assert data.test.labels.tolist() == [*range(classes)] * 3
    for part in (data.train, data.validation, data.test):
        check_images(part.images, data.spec)
        upright = np.stack([pattern(label) for label in part.labels.tolist()])
        assert torch.equal(part.images[:, 0], torch.from_numpy(upright).float() / 255)
    assert (
        data.name == f"pictures in the format of {SETS[name].title}"
    )  # these aren't the real ones
    assert data.source == f"{data.name} in {tmp_path}"


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_known_by_the_counts_of_its_test_pictures(tmp_path, name):
    paths, labels = write_set(tmp_path, name), []
    for label, count in enumerate(SETS[name].counts):
        labels += [label + (name == "letters")] * count
    write_idx(paths[2], 2051, (len(labels), 28, 28), bytes(784 * len(labels)))
    write_idx(paths[3], 2049, (len(labels),), bytes(labels))
    assert load_data(name, tmp_path).name == SETS[name].title


def refused(name, root):
    """The message, which is one line and names the set and a way out."""
    with pytest.raises(InputError) as caught:
        load_data(name, root)
    message = str(caught.value)
    assert "\n" not in message
    assert SETS[name].title in message
    assert f"pass --data-root FOLDER with {SETS[name].torchvision}/raw in it" in message
    return message


@pytest.mark.parametrize("name", SETS)
def test_folders_without_the_set(tmp_path, name):
    for root in (tmp_path, tmp_path / "nowhere", "a\0b"):
        message = refused(name, root)
        assert message.startswith(f"no {SETS[name].title} in {root} (--data-root or $NCA_DATA): ")
        assert "for pictures of your own add --data pictures" in message
        assert ("--data-root embedded" in message) == (name == "mnist")


DAMAGE = {  # what is done to a file: the message that follows
    "removed": (None, "not found"),
    "cut short": (lambda b: b[:-1], "invalid for input of size"),
    "made longer": (lambda b: b + b"x", "invalid for input of size"),
    "cut in its header": (lambda b: b[:5], "Error"),
    "with other magic": (lambda b: b"\0\0\0\1" + b[4:], "AssertionError"),
    "of floats": (lambda b: b"\0\0\x0d" + b[3:], "Error"),
    "of other sizes": (lambda b: b[:8] + struct.pack(">2I", 14, 56) + b[16:], "14, 56|dimension"),
}


@pytest.mark.parametrize("name", ["mnist", "letters"])
@pytest.mark.parametrize("file", range(4))
@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_files(tmp_path, name, file, how):
    path = write_set(tmp_path, name)[file]
    change, message = DAMAGE[how]
    path.write_bytes(change(path.read_bytes())) if change else path.unlink()
    part = "training" if file < 2 or (change is None and name == "mnist") else "test"
    assert f"the {part} files of" in refused(name, tmp_path)
    if how != "of other sizes" or file % 2 == 0:
        with pytest.raises(InputError, match=message):
            load_data(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "images", "labels", "message"),
    [
        ("mnist", 2, [1], "images [2, 28, 28], labels [1]"),
        ("mnist", 0, [], "missing, packed, damaged"),
        ("mnist", 1, [10], "label 10: labels go from 0 to 9"),
        ("letters", 1, [27], "label 26: labels go from 0 to 25"),
        ("letters", 1, [0], "label -1: labels go from 0 to 25"),
    ],
)
def test_files_that_do_not_fit_the_set(tmp_path, name, images, labels, message):
    paths = write_set(tmp_path, name)
    write_idx(paths[2], 2051, (images, 28, 28), bytes(784 * images))
    write_idx(paths[3], 2049, (len(labels),), bytes(labels))
    assert message in refused(name, tmp_path)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache" / "nca_lib"
    monkeypatch.setattr(torchvision_sets.platformdirs, "user_cache_dir", lambda *_: str(folder))
    return folder


def serve(monkeypatch, name):
    """Instead of downloading, torchvision's class writes the set and what else comes with it."""
    downloads = []

    def download_instead(self):
        downloads.append(self.root)
        write_set(Path(self.root), name)
        for extra in ("gzip.zip", "train-labels-idx1-ubyte.gz", "emnist-digits-train-labels"):
            Path(self.raw_folder, extra).write_text("x")

    cls = getattr(torchvision.datasets, SETS[name].torchvision)
    monkeypatch.setattr(cls, "download", download_instead)
    return downloads


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_downloaded_once(cache, monkeypatch, capsys, name):
    downloads = serve(monkeypatch, name)
    for _ in range(2):
        assert len(load_set(SETS[name], "").test) == 2 * len(SETS[name].spec.classes)
    assert len(downloads) == 1
    assert os.listdir(cache) == [SETS[name].torchvision]
    rest = {"emnist-digits-train-labels"} if name != "letters" else set()
    assert set(os.listdir(raw(cache, name))) == {*FILES[name]} | rest
    assert capsys.readouterr().out == f"downloading {SETS[name].title} into {cache} ...\n"


def test_a_failed_download_leaves_nothing(cache, monkeypatch):
    def fail(self):
        write_set(Path(self.root), "kmnist")
        raise RuntimeError("Error downloading:\nTried a mirror")

    monkeypatch.setattr(torchvision.datasets.KMNIST, "download", fail)
    with pytest.raises(InputError, match="KMNIST can't be downloaded") as caught:
        download(SETS["kmnist"], cache)
    assert "\n" not in str(caught.value)
    assert "pass --data-root" in str(caught.value)
    assert os.listdir(cache) == []
    cache.rmdir()
    cache.write_text("no folder")
    with pytest.raises(InputError, match="KMNIST can't be downloaded"):
        download(SETS["kmnist"], cache)
