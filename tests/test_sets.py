"""Sets by name: read in torchvision's layout, checked, and called what they are."""

import gzip
import hashlib
import os
import struct
from dataclasses import replace
from pathlib import Path

from nca_lib import torchvision_sets
from nca_lib.data import load_data
from nca_lib.errors import InputError
from nca_lib.inputs import check_images
from nca_lib.kinds import MNIST
from nca_lib.torchvision_sets import FILES, LETTERS, SETS, download, read_set

import numpy as np
import pytest
import torch
import torchvision
from test_data import edit, write_idx, write_set

OTHERS = ["fashion", "kmnist", "letters"]
ALL = ["mnist", *OTHERS]


def pattern(label):
    """Lies at the upper right: a bar, longer for higher labels. The lower left is empty."""
    picture = np.zeros((28, 28), np.uint8)
    picture[2:5, 27 - label : 28] = 100 + label
    return picture


def written(root, name, train=20, test=3):
    wanted = SETS[name]
    turned = (lambda picture: picture) if wanted.upright else np.transpose
    write_set(root, wanted, train, test, lambda label: turned(pattern(label)).tobytes())
    return wanted


@pytest.mark.parametrize("name", ALL)
def test_what_is_read(tmp_path, name):
    wanted = written(tmp_path, name)
    data, count = load_data(name, tmp_path), len(wanted.kind.classes)
    assert data.kind == wanted.kind
    assert data.held_out
    assert data.train.labels.bincount().tolist() == [18] * count  # 20 less a twelfth
    assert data.validation.labels.bincount().tolist() == [2] * count
    assert data.test.labels.tolist() == [*range(count)] * 3
    for part in (data.train, data.validation, data.test):
        check_images(part.images, data.kind)
        wanted_images = np.stack([pattern(label) for label in part.labels.tolist()])
        assert torch.equal(part.images[:, 0], torch.from_numpy(wanted_images).float() / 255)
        assert part.images.is_contiguous()
    assert data.name.startswith("other pictures than ")
    assert data.source == f"{data.name} in {tmp_path}"


def test_kinds():
    datasets = torchvision.datasets
    assert SETS["fashion"].kind.classes == tuple(datasets.FashionMNIST.classes)
    assert SETS["kmnist"].kind.classes == tuple(datasets.KMNIST.classes)
    letters = datasets.EMNIST.classes_split_dict["letters"]
    first = SETS["letters"].first
    assert SETS["letters"].kind.classes == tuple(letters[first:])
    assert SETS["letters"].kind.classes[0] == "a"
    for wanted in SETS.values():
        assert (wanted.kind.ink, wanted.kind.size) == (1, (28, 28))
    assert SETS["mnist"].kind is MNIST


def test_letters_stand_upright(tmp_path):
    """In EMNIST's files a letter lies on its side: rows are columns."""
    upright = np.zeros((28, 28), np.uint8)  # an L
    upright[4:24, 8:10] = upright[22:24, 8:20] = 255
    write_set(tmp_path, SETS["letters"], picture=lambda label: upright.T.tobytes())
    image = load_data("letters", tmp_path).test.images[11, 0]
    assert torch.equal(image, torch.from_numpy(upright) / 255)
    assert image[10, 8:10].tolist() == [1, 1]  # its stem is at the left
    assert image[23].sum() == 12  # and its foot at the bottom


@pytest.mark.parametrize("name", ALL)
def test_torchvision_reads_the_same(tmp_path, name):
    wanted = written(tmp_path, name)
    its = getattr(torchvision.datasets, wanted.torchvision)(tmp_path, train=False, **wanted.options)
    data = load_data(name, tmp_path)
    assert (its.targets - wanted.first).tolist() == data.test.labels.tolist()
    images = its.data if wanted.upright else its.data.transpose(1, 2)
    assert torch.equal(images.float() / 255, data.test.images[:, 0])


@pytest.mark.parametrize(
    ("name", "title", "other"),
    [
        ("fashion", "Fashion-MNIST", "Fashion-MNIST's"),
        ("kmnist", "KMNIST", "KMNIST's"),
        ("letters", "EMNIST letters", "EMNIST letters'"),
    ],
)
def test_a_set_is_known_by_its_counts(tmp_path, name, title, other):
    wanted = written(tmp_path, name)
    assert read_set(replace(wanted, each=(20, 3)), tmp_path).name == title
    for each in ((20, 2), (19, 3), wanted.each):
        few = read_set(replace(wanted, each=each), tmp_path)
        assert few.name == f"other pictures than {other}, in its format"


def test_published_counts():
    counts = {n: [each * len(s.kind.classes) for each in s.each] for n, s in SETS.items()}
    assert counts["fashion"] == counts["kmnist"] == [60_000, 10_000]
    assert counts["letters"] == [124_800, 20_800]


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("part", [0, 1])
def test_mnist_in_the_folder_of_another(tmp_path, monkeypatch, name, part):
    wanted = written(tmp_path, name)
    digests = [digest_of(wanted.raw(tmp_path) / labels) for _, labels in wanted.files.values()]
    digests[1 - part] = "another"
    monkeypatch.setattr(torchvision_sets, "MNIST_LABELS", digests)
    message = "holds MNIST's labels, not those of .*MNIST.raw and pass --data mnist, or get .* anew"
    with pytest.raises(InputError, match=message):
        load_data(name, tmp_path)


def test_mnist_is_known_by_its_labels(tmp_path, monkeypatch):
    wanted = written(tmp_path, "mnist")
    digests = [digest_of(wanted.raw(tmp_path) / labels) for _, labels in wanted.files.values()]
    monkeypatch.setattr(torchvision_sets, "MNIST_LABELS", digests)
    assert load_data("mnist", tmp_path).name == "MNIST"
    monkeypatch.setattr(torchvision_sets, "MNIST_LABELS", [digests[0], "another"])
    assert load_data("mnist", tmp_path).name == "other pictures than MNIST's, in its format"


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (0, lambda b: b[:-1], "truncated or damaged"),
        (0, lambda b: b[:9], "ends inside its header"),
        (1, lambda b: b[:5], "ends inside its header"),
        (0, lambda b: b"\0\0\0\1" + b[4:], "magic number 1, not 2051: no {title} file"),
        (1, lambda b: b"\0\0\x08\x03" + b[4:], "magic number 2051, not 2049: no {title} file"),
        (0, lambda b: b[:8] + struct.pack(">2I", 14, 56) + b[16:], r"items of size \(14, 56\)"),
        (1, lambda b: b[:4] + struct.pack(">I", 1) + b[8:9], "pictures|images but 1 labels"),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_broken_files(tmp_path, name, part, which, change, message):
    wanted = written(tmp_path, name, train=2, test=1)
    path = wanted.raw(tmp_path) / wanted.files[part][which]
    edit(path, change)
    with pytest.raises(InputError, match=message.format(title=wanted.title)):
        load_data(name, tmp_path)


@pytest.mark.parametrize("name", OTHERS)
def test_missing_files(tmp_path, name):
    title, folder = SETS[name].title, SETS[name].torchvision
    pass_root = f"pass --data-root FOLDER with {folder}/raw in it$"
    with pytest.raises(InputError, match=f"^no {title} in .*there is no folder .*; {pass_root}"):
        load_data(name, tmp_path / "nowhere")
    wanted = written(tmp_path, name, train=2, test=1)
    path = wanted.raw(tmp_path) / wanted.files["test"][1]
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(
        InputError, match=f"{path.name} is missing; get {title} anew, or {pass_root}"
    ):
        load_data(name, tmp_path)
    Path(f"{path}.gz").write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=r"is missing; unpack the \.gz beside it \(gunzip\), or"):
        load_data(name, tmp_path)
    path.write_bytes(content)  # unpacked: the .gz may stay
    assert len(load_data(name, tmp_path).test) == len(wanted.kind.classes)


@pytest.mark.parametrize(
    ("name", "byte", "message"),
    [
        ("mnist", 10, "has the label 10: those of MNIST go from 0 to 9"),
        ("fashion", 255, "has the label 255: those of Fashion-MNIST go from 0 to 9"),
        ("letters", 0, "has the label 0: those of EMNIST letters go from 1 to 26"),
        ("letters", 27, "has the label 27: those of EMNIST letters go from 1 to 26"),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_label_without_a_class(tmp_path, name, part, byte, message):
    wanted = written(tmp_path, name, train=2, test=2)
    edit(wanted.raw(tmp_path) / wanted.files[part][1], lambda b: b[:-1] + bytes([byte]))
    with pytest.raises(InputError, match=message):
        load_data(name, tmp_path)


def test_a_class_without_a_picture(tmp_path):
    for name in ("letters", "fashion", "mnist"):
        wanted = written(tmp_path, name, train=2, test=1)
        last = wanted.first + len(wanted.kind.classes) - 1
        path = wanted.raw(tmp_path) / wanted.files["train"][1]
        edit(path, lambda b, last=last: b[:8] + b[8:].replace(bytes([last]), b"\1"))
    with pytest.raises(InputError, match=r"no picture of z \(label 26\), EMNIST letters has"):
        load_data("letters", tmp_path)
    with pytest.raises(InputError, match=r"no picture of Ankle boot \(label 9\), Fashion-MNIST"):
        load_data("fashion", tmp_path)
    assert len(load_data("mnist", tmp_path).test) == 10  # there it was always allowed


@pytest.mark.parametrize("name", OTHERS)
def test_files_without_pictures(tmp_path, name):
    wanted = written(tmp_path, name, train=1, test=1)
    for file, magic, sizes in zip(
        wanted.files["train"], (2051, 2049), ((0, 28, 28), (0,)), strict=True
    ):
        write_idx(wanted.raw(tmp_path) / file, magic, sizes, b"")
    with pytest.raises(InputError, match="holds no pictures"):
        load_data(name, tmp_path)


def test_what_torchvision_made_of_the_files_long_ago_is_not_read(tmp_path):
    """Old versions left processed/training.pt, which torchvision prefers to the files checked."""
    written(tmp_path, "fashion")
    old = tmp_path / "FashionMNIST" / "processed"
    old.mkdir()
    for file in ("training.pt", "test.pt"):
        torch.save((torch.zeros(7, 28, 28, dtype=torch.uint8), torch.zeros(7)), old / file)
    assert len(load_data("fashion", tmp_path).test) == 30


def test_a_set_is_downloaded_by_its_name(tmp_path, monkeypatch, capsys):
    """What comes with the letters, gigabytes, is not kept; nor is a failed download."""
    asked = []

    class Process:  # instead of another process
        exitcode = 0

        def __init__(self, target, args):
            self.args = args

        def start(self):
            folder, name, options = self.args
            asked.append((name, options))
            raw = Path(folder) / name / "raw"
            raw.mkdir(parents=True)
            files = FILES if name != "EMNIST" else LETTERS
            for file in [*sum(files.values(), ()), "gzip.zip", "emnist-digits-test-labels"]:
                (raw / file).write_text("x")

        def join(self, seconds=None):
            self.seconds = seconds

        def kill(self):
            pass

    class Context:
        pass

    Context.Process = Process
    monkeypatch.setattr(torchvision_sets.multiprocessing, "get_context", lambda _: Context)
    for name in OTHERS:
        download(SETS[name], tmp_path / "cache")
        assert f"downloading {SETS[name].title} into" in capsys.readouterr().out
        raw = SETS[name].raw(tmp_path / "cache")
        assert sorted(os.listdir(raw)) == sorted(sum(SETS[name].files.values(), ()))
    assert asked == [("FashionMNIST", {}), ("KMNIST", {}), ("EMNIST", {"split": "letters"})]
    Process.exitcode = 1
    with pytest.raises(InputError, match="KMNIST could not be downloaded; pass --data-root FOLDER"):
        download(SETS["kmnist"], tmp_path / "other")
    assert os.listdir(tmp_path) == ["cache"]


@pytest.mark.parametrize("name", ALL)
def test_torchvision_takes_what_fetch_gives_it(tmp_path, name):
    """Whole files are there: `download=True` finds them and asks nobody."""
    wanted = written(tmp_path, name, train=1, test=1)
    make = getattr(torchvision.datasets, wanted.torchvision)
    assert len(make(tmp_path, download=True, **wanted.options)) == len(wanted.kind.classes)
