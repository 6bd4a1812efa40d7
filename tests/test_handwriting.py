"""A learner's own digit: any picture of it comes out as MNIST would have it, and is redrawn."""

import json
from types import SimpleNamespace

from nca_lib.checkpoint import load
from nca_lib.classifier import load_classifier
from nca_lib.data import mnist, read_digit
from nca_lib.data.handwriting import BOX, label_warning, prepare
from nca_lib.evaluation.metrics import classify, ink_iou, pixel_accuracy
from nca_lib.inputs import InputError

import drawings
import numpy as np
import pytest
import torch
from drawings import WAYS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import center_of_mass, gaussian_filter

NOTES = {  # what is noted about which ways of drawing
    "light ink on dark ground": {"inverted", "blackboard", "white_on_glass"},
    "evened out the paper's brightness": {"photo"},
    "removed ruled lines": {"squared_paper"},
    "cut out the sheet": {"on_a_desk"},
    "thickened thin strokes": {"thin_pen", "pencil", "photo", "blackboard", "far_away"},
}
UNCERTAIN = {"blackboard", "cropped"}  # dark all over; no paper at the border
SHOWN = [(way, 7 * place % 10) for place, way in enumerate(WAYS)]


@pytest.fixture(scope="module")
def model():
    return load("unified")


@pytest.fixture(scope="module")
def digits():
    return mnist("embedded")


@torch.inference_mode()
def redrawn(model, images, labels):
    """Styles `[N, S]` of the pictures, and what the model grows from them, `[N, 1, 28, 28]`."""
    styles = model.infer_style(images, labels)
    state = model(model.seed(len(images)), model.condition(labels, styles))
    return styles, state[:, :1].clamp(0, 1)


def picture_of(image):
    return prepare(image)[0]


@pytest.fixture(scope="module")
def shown(model):
    """A digit drawn in each way: as prepared, redrawn, and classified before and after."""
    found = [prepare(WAYS[way](digit)) for way, digit in SHOWN]
    images, labels = torch.stack([f[0] for f in found]), torch.tensor([d for _, d in SHOWN])
    styles, grown = redrawn(model, images, labels)
    classes = [classify(load_classifier(), pictures)[0] for pictures in (images, grown)]
    return SimpleNamespace(
        images=images, notes=[f[1] for f in found], labels=labels, styles=styles, grown=grown,
        classes=classes,
    )  # fmt: skip


def likeness(a, b):
    """Ink in both over ink in either, one shifted onto the other as well as whole pixels allow."""
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return max(ink_iou(torch.roll(a, shift, (1, 2))[None], b[None]) for shift in shifts)


def sides(picture):
    rows, columns = ((picture[0] > 0).any(side).nonzero() for side in (1, 0))
    return [int(part.max() - part.min()) + 1 for part in (rows, columns)]


@pytest.mark.parametrize(("index", "way"), list(enumerate(WAYS)))
def test_each_way_of_drawing(model, shown, index, way):
    picture, label = shown.images[index], shown.labels[index]
    assert (picture.dtype, picture.shape) == (torch.float32, (1, 28, 28))
    assert (picture.min(), picture.max(), max(sides(picture))) == (0, 1, BOX)
    assert (picture > 0).sum() - (picture[:, 1:-1, 1:-1] > 0).sum() <= 4
    centre = torch.tensor(center_of_mass(picture[0].numpy()))
    assert (centre - 14).abs().max() <= 0.5 + 1e-6
    for note, ways in NOTES.items():
        uncertain = note.startswith("evened") and way in UNCERTAIN
        assert uncertain or (note in shown.notes[index]) == (way in ways)
    assert likeness(picture, picture_of(drawings.clean(int(label)))) >= 0.6
    assert shown.classes[0][index] == shown.classes[1][index] == label
    assert label_warning(load_classifier(), picture, int(label)) is None
    assert ink_iou(shown.grown[index][None], picture[None]) >= 0.7


def test_mnist_comes_out_as_it_went_in(model, digits):
    some, notes = digits.test.limit(100), []
    images = torch.stack(
        [read_digit(drawings.grey(x[0].numpy()), notes.append) for x in some.images]
    )
    assert pixel_accuracy(images, some.images) > 0.99
    before, after = (model.infer_style(each, some.labels) for each in (some.images, images))
    assert (before - after).norm(dim=1).median() < 0.05 * before.norm(dim=1).median()
    assert 5 <= sum("thin strokes" in line for line in notes) <= 15  # a tenth


def test_real_handwriting_survives_a_photograph(model, digits):
    """Digits of MNIST, enlarged, on rough paper, in light from a side and half in a shadow."""
    some, draw, images, size = digits.test.limit(16), np.random.default_rng(0), [], (300, 400)
    for image in some.images:
        large = drawings.grey(image[0].numpy()).resize((280, 280), Image.Resampling.BICUBIC)
        large = np.pad((np.asarray(large) / 255 * 3 - 1).clip(0, 1), ((10, 10), (60, 60)))
        light, edge = (drawings.slope(size, draw.uniform(0, 360)) for _ in range(2))
        light = (0.95 - 0.5 * light) * (1 - 0.35 / (1 + np.exp((edge - 0.5) * 30)))
        paper = 0.85 + gaussian_filter(draw.normal(0, 0.2, size), 2)
        photo = light * paper * (1 - 0.7 * large) + draw.normal(0, 0.02, size)
        images.append(picture_of(drawings.grey(photo)))
    images = torch.stack(images)
    assert pixel_accuracy(images, some.images) > 0.95
    _, grown = redrawn(model, images, some.labels)
    for pictures in (images, grown):
        assert (classify(load_classifier(), pictures)[0] == some.labels).double().mean() > 0.9
    assert ink_iou(grown, some.images) > 0.6


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    digit=st.integers(0, 9),
    pen=st.floats(0.05, 0.2),
    height=st.integers(30, 100),
    margins=st.tuples(*[st.integers(0, 60)] * 4),
)
def test_negatives_and_margins_change_nothing(digit, pen, height, margins):
    side = int(height * (1 + pen)) + 20
    page = drawings.grey(1 - drawings.ink(digit, height, pen, (side, side)))
    picture, note = prepare(page)
    negative, other = prepare(Image.eval(page, lambda value: 255 - value))
    assert (note[:4], other[:5]) == ("dark", "light")
    assert (picture - negative).abs().max() < 0.02
    above, below, left, right = margins
    wider = Image.new("L", (side + left + right, side + above + below), 255)
    wider.paste(page, (left, above))
    assert likeness(picture_of(wider), picture) > 0.9


def test_few_real_digits_are_warned_of(digits):
    """Wrong labels are, and what hardly looks like a digit."""
    classifier, (images, labels) = load_classifier(), (digits.test.images, digits.test.labels)

    def share(images, labels):
        pairs = zip(images, labels.tolist(), strict=True)
        return np.mean([label_warning(classifier, *pair) is not None for pair in pairs])

    with torch.inference_mode():
        assert share(images, labels) <= 0.02
        assert share(images, (labels + 1) % 10) > 0.95
        nine = images[labels == 9][0]
        assert "this reads as a 9, not as a 4" in label_warning(classifier, nine, 4)
        cross = (torch.eye(28).roll(5, 1) + torch.eye(28).flip(0)).clamp(0, 1)[None]
        best = int(classifier(cross[None]).argmax())
        assert "hardly reads as a digit" in label_warning(classifier, cross, best)


def test_files_are_read_and_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    drawings.grey(1 - drawings.ink(7, 900, canvas=(1200, 1100))).save(tmp_path / "seven.jpg")
    picture = read_digit("~/seven.jpg")
    wanted = "~/seven.jpg: dark ink on light paper; the digit was 964 x 640 pixels\n"
    assert capsys.readouterr().out == wanted
    drawings.turned(7).save(tmp_path / "turned.jpg", exif=drawings.turned(7).getexif())
    assert likeness(picture, read_digit(tmp_path / "turned.jpg")) > 0.9
    read_digit(drawings.clean(7))
    assert capsys.readouterr().out.splitlines()[-1].startswith("the picture: dark ink")


def refusal(file):
    """Why it is refused: one line that names the file."""
    with pytest.raises(InputError) as caught:
        read_digit(file, lambda note: None)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("the picture" if isinstance(file, Image.Image) else f"{file}: ")
    return message


def test_files_that_are_no_pictures(tmp_path):
    file = tmp_path / "seven.png"
    assert "no such file: give a picture" in refusal(file)
    assert "no such file" in refusal(tmp_path)
    file.write_bytes(b"seven")
    assert "can't be read (damaged, or no picture): save it as PNG or JPG" in refusal(file)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I", "F", "1"])
def test_small_or_empty_pictures(mode):
    for size in ((4, 28), (28, 1), (6000, 20)):
        assert "give at least 5 x 5 pixels" in refusal(Image.new(mode, size))
    for shade in (0, 1):
        assert "no digit found: draw one" in refusal(Image.new(mode, (50, 40), shade))


def test_paper_without_a_digit():
    size, draw, speck = (100, 150), np.random.default_rng(0), np.ones((800, 800))
    light, speck[300:303, 500:504] = 0.9 - 0.5 * drawings.slope(size, 30), 0
    rough = light * (0.85 + gaussian_filter(drawings.noise(size, 0.2), 2))
    clouds = 0.5 + gaussian_filter(drawings.noise(size, 3), 10)
    for page in (speck, rough, clouds, light, draw.random((*size, 3)), draw.random(size) > 0.9):
        message = refusal(drawings.grey(page))
        assert "no digit found" in message or "several things" in message


@pytest.mark.parametrize("kind", drawings.SCENES)
def test_scenes(digits, kind):
    """Photographed handwriting is read; several digits, and most else, is refused."""
    results = [
        (scene(np.random.default_rng([9, index, turn]), digits.test), scene)
        for index, scene in enumerate(drawings.SCENES[kind])
        for turn in range(2)
    ]
    read = several = refused = 0
    for (image, label), _ in results:
        try:
            read += int(load_classifier()(picture_of(image)[None]).argmax()) == label
        except InputError as error:
            refused += 1
            several += "several things" in str(error)
    counts = {"digit": read, "several": several, "none": refused}
    assert counts[kind] >= {"digit": 0.9, "several": 0.9, "none": 0.6}[kind] * len(results)


def test_vectors():
    """The page's preparation is tested with the same pictures."""
    for row in json.loads(drawings.VECTORS.read_text(encoding="utf-8")):
        image = drawings.image_of(row)
        if "refusal" in row:
            assert row["refusal"] in refusal(image)
        else:
            wanted = torch.tensor(row["result"]).view(1, 28, 28) / 1000
            torch.testing.assert_close(picture_of(image), wanted, atol=2e-3, rtol=0)


MODES = ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "PA", "I;16"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    mode=st.sampled_from(MODES),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    repeated=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_any_picture_is_taken_or_refused(mode, size, repeated, seed):
    """Random bytes, many times over so that there is something like a shape."""
    bytes_each = len(Image.new(mode, (8, 1)).tobytes()) // 8 or 1
    content = np.random.default_rng(seed).bytes(size[0] * size[1] * bytes_each)
    whole = (size[0] * repeated, size[1] * repeated)
    image = Image.frombytes(mode, size, content).resize(whole, Image.Resampling.NEAREST)
    try:
        picture = read_digit(image, lambda note: None)
    except InputError:
        assert refusal(image)  # one line
    else:
        assert picture.shape == (1, 28, 28)
        assert 0 <= picture.min() <= picture.max() <= 1
