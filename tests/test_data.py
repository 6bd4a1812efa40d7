"""Data are found by name, or given as an object, and split always in the same way."""

import hashlib
import os
from pathlib import Path

from nca_lib import data as nca_data
from nca_lib.data import as_pictures, from_torchvision, load_data, mnist
from nca_lib.data.dataset import Pictures, deal, split
from nca_lib.inputs import InputError, check_images
from nca_lib.spec import MNIST, ImageSpec

import numpy as np
import pytest
import torch
from PIL import Image


def digest_of(*parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update((part.images * 255).round().to(torch.uint8).numpy().tobytes())
        digest.update(part.labels.to(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def test_the_embedded_sample():
    digits = mnist()
    for part, each in ((digits.train, 550), (digits.validation, 50), (digits.test, 100)):
        assert part.labels.bincount().tolist() == [each] * 10
    check_images(digits.train.images, digits.spec)
    assert (digits.spec, digits.held_out) == (MNIST, True)
    assert digest_of(digits.train, digits.validation) == "aa2735208134ca0d"  # never changes
    seen = {image.numpy().tobytes() for image in digits.train.images}
    for held_out in (digits.validation, digits.test):
        assert not any(image.numpy().tobytes() in seen for image in held_out.images)


@pytest.mark.skipif("NCA_TEST_MNIST" not in os.environ, reason="needs the full MNIST")
def test_the_full_mnist_is_split_as_ever():
    digits = mnist(os.environ["NCA_TEST_MNIST"])
    assert (len(digits.train), len(digits.validation), len(digits.test)) == (54_999, 5_001, 10_000)
    assert digest_of(digits.train, digits.validation, digits.test) == "5e4338d9e6637dbe"
    assert digits.name == "MNIST"


def numbered(count, classes=3):
    """Pictures whose only pixel is their number."""
    return Pictures(torch.arange(1.0 * count).view(-1, 1, 1, 1), torch.arange(count) % classes)


def test_pictures_are_selected_and_dealt_by_class():
    pictures = numbered(36)
    assert pictures.only(2).limit(3).images.flatten().tolist() == [2, 5, 8]
    dealt = [deal(pictures, [1 / 12, 1 / 6]) for _ in range(2)]
    assert [part.labels.bincount().tolist() for part in dealt[0]] == [[9] * 3, [1] * 3, [2] * 3]
    numbers = [part.images.flatten().tolist() for part in dealt[0]]
    assert sorted(number for part in numbers for number in part) == list(range(36))
    assert all(part == sorted(part) for part in numbers)
    assert all(torch.equal(a.images, b.images) for a, b in zip(*dealt, strict=True))


@pytest.mark.parametrize(
    ("count", "test", "sizes", "held_out"),
    [
        (36, None, (27, 3, 6), True),
        (35, None, (35, 35, 35), False),  # of one class there are but 11
        (36, 5, (33, 3, 5), True),
        (35, 5, (35, 35, 5), True),
    ],
)
def test_what_is_held_out(count, test, sizes, held_out):
    spec = ImageSpec(("a", "b", "c"), 1, (1, 1))
    data = split(numbered(count), test and numbered(test), "here", "numbers", spec)
    assert (len(data.train), len(data.validation), len(data.test)) == sizes
    assert (data.held_out, data.source, data.name) == (held_out, "here", "numbers")
    with pytest.raises(InputError, match="label 3: labels go from 0 to 2"):
        split(numbered(40, 4), None, "here", "numbers", spec)


@pytest.mark.parametrize(
    ("name", "root", "variable", "preset", "wanted"),
    [
        ("mnist", None, None, "full", ("MNIST", "")),
        ("mnist", None, "here", "quick", ("MNIST", "here")),
        ("mnist", "there", "here", "quick", ("MNIST", "there")),
        ("mnist", "embedded", "here", "full", None),
        ("mnist", None, "embedded", "full", None),
        ("kmnist", "embedded", None, "quick", ("KMNIST", "embedded")),
        ("mnist", None, None, "quick", None),
        ("fashion", None, None, "quick", ("Fashion-MNIST", "")),
        ("letters", None, "here", "quick", ("EMNIST letters", "here")),
        ("pictures", "there", "here", "quick", ("own", "there")),
        ("pictures", None, "here", "quick", ("own", "pictures")),  # inside the package
        ("pictures", "embedded", None, "quick", ("own", "pictures")),
    ],
)
def test_where_data_come_from(monkeypatch, name, root, variable, preset, wanted):
    asked = []
    ask = lambda kind, root: asked.append((kind, Path(root).name))  # noqa: E731
    monkeypatch.setattr(nca_data, "load_set", lambda known, root: ask(known.title, root))
    monkeypatch.setattr(nca_data, "read_images", lambda root: ask("own", root))
    monkeypatch.setenv("NCA_DATA", variable or "")
    sample = load_data(name, root, preset)
    assert asked == ([wanted] if wanted else [])
    assert (len(sample.test) == 1000) if wanted is None else (sample is None)


def test_a_name_that_is_refused():
    with pytest.raises(InputError, match="--data cifar: choose one of mnist, fashion, kmnist, "):
        load_data("cifar")


class Pairs(list):
    """As torchvision's data sets are: an indexed sequence of pairs, with classes."""

    classes = ("0 - zero", "one", "two")


def test_pil_images_become_ink():
    grey = np.zeros((10, 12), np.uint8)
    grey[4:6, 5] = 128
    colour = np.zeros((10, 12, 4), np.uint8)
    colour[4, 5] = 200, 100, 0, 51
    data = from_torchvision(Pairs([(Image.fromarray(grey), np.int64(2))] * 3))
    assert (data.spec, data.name) == (ImageSpec(("0", "one", "two"), 1, (10, 12)), "Pairs")
    assert (data.train.labels.tolist(), data.held_out) == ([2, 2, 2], False)
    assert torch.equal(data.test.images[1, 0], torch.from_numpy(grey) / 255)
    image = from_torchvision(Pairs([(Image.fromarray(colour), 0)])).train.images[0]
    assert image[:, 4, 5].tolist() == pytest.approx([40 / 255, 20 / 255, 0, 0.2])


def test_tensors_stay_as_they_are():
    images, labels = torch.rand(40, 3, 9, 8), torch.arange(40) % 2
    data = from_torchvision(torch.utils.data.TensorDataset(images, labels))
    assert data.spec == ImageSpec(("0", "1"), 3, (9, 8))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [30, 4, 6]
    assert {x.numpy().tobytes() for x in data.train.images} < {x.numpy().tobytes() for x in images}
    pictures = as_pictures(list(zip(images, labels, strict=True)))
    assert torch.equal(pictures.images, images)
    assert as_pictures(pictures) is pictures
    assert as_pictures(data) is data.train


GOOD = torch.rand(1, 9, 8)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([], "list can't be used as data"),
        ([GOOD], "give pairs of a picture"),
        ([(GOOD, 0), (torch.rand(1, 8, 8), 0)], "all of one size"),
        ([(GOOD[0], 0)], "PIL image or float tensor"),
        ([(GOOD, 0.5)], "'float' object cannot be interpreted as an integer"),
        ([((255 * GOOD).byte(), 0)], r"outside \[0, 1\]"),
        (Pairs([(GOOD, 3)]), "label 3: labels go from 0 to 2"),
        ([(GOOD, -1)], "label -1"),
    ],
)
def test_objects_that_are_refused(dataset, message):
    with pytest.raises(InputError, match=message) as caught:
        from_torchvision(dataset)
    assert "\n" not in str(caught.value)
