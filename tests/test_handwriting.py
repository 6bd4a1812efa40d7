"""A learner's own digit: any picture of it comes out as MNIST would have it, and is regrown."""

import inspect
import io
from types import SimpleNamespace

from nca_lib import handwriting
from nca_lib.cells import INK, seed_state
from nca_lib.checkpoints import load
from nca_lib.data import load_digits
from nca_lib.errors import InputError
from nca_lib.evaluation import ink_iou, pixel_accuracy, read_by_judge
from nca_lib.handwriting import BOX, prepare, read_picture, style_warning
from nca_lib.judge import load_judge

import drawings
import numpy as np
import pytest
import torch
from drawings import WAYS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import center_of_mass, gaussian_filter

LIGHT_INK = {"inverted", "blackboard", "white_on_glass"}
UNEVEN = {"photo", "dark_border"}  # a blackboard is so dark that it hardly counts,
UNKNOWN = {"blackboard", "cropped"}  # and there is no paper without a margin
THIN = {"thin_pen", "pencil", "photo", "blackboard", "far_away"}
SHOWN = [(way, 7 * place % 10) for place, way in enumerate(WAYS)]


@pytest.fixture(scope="module")
def rule():
    return load("unified")


@pytest.fixture(scope="module")
def judge():
    return load_judge()


@pytest.fixture(scope="module")
def test_digits():
    return load_digits("embedded").test


def grown(rule, images, labels):
    """Styles `[N, S]` of the pictures, and what the rule grows from them, `[N, 1, 28, 28]`."""
    with torch.inference_mode():
        styles = rule.infer_style(images, labels)
        state = seed_state(len(images), rule.config.channels)
        genome, seeds = rule.genome(labels, styles), torch.arange(len(images))
        state = rule.rollout(state, genome, rule.trained_steps, seeds)[-1]
    return styles, state[:, INK : INK + 1].clamp(0, 1)


def prepared(image):
    return prepare(image).picture


def as_image(picture):
    """A tensor `[1, 28, 28]` as a picture of bytes."""
    return drawings.grey(picture[0].numpy())


@pytest.fixture(scope="module")
def shown(rule, judge):
    """Each way of drawing with two digits: as found, redrawn, read by the judge."""
    found = [prepare(WAYS[way](digit)) for way, digit in SHOWN]
    images, labels = torch.stack([f.picture for f in found]), torch.tensor([d for _, d in SHOWN])
    styles, redrawn = grown(rule, images, labels)
    return SimpleNamespace(
        found=found,
        images=images,
        labels=labels,
        styles=styles,
        redrawn=redrawn,
        read=read_by_judge(judge, images)[0],
        read_again=read_by_judge(judge, redrawn)[0],
    )


def places_of(way):
    return [place for place, (name, _) in enumerate(SHOWN) if name == way]


def likeness(a, b):
    """Ink in both over ink in either, one laid on the other as well as whole pixels allow."""
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return max(ink_iou(torch.roll(a, shift, (1, 2))[None], b[None]) for shift in shifts)


def box_of(picture):
    rows, columns = ((picture[0] > 0).any(side).nonzero() for side in (1, 0))
    return [int(part.max() - part.min()) + 1 for part in (rows, columns)]


@pytest.mark.parametrize("way", WAYS)
def test_the_form_is_that_of_mnist(shown, way):
    for place in places_of(way):
        picture = shown.found[place].picture
        assert (picture.dtype, picture.shape) == (torch.float32, (1, 28, 28))
        assert picture.min() == 0
        assert picture.max() == 1
        assert max(box_of(picture)) == BOX
        inner = (picture[:, 1:-1, 1:-1] > 0).sum()
        assert (picture > 0).sum() - inner <= 3  # a 7 of MNIST too may stand on the border
        centre = torch.tensor(center_of_mass(picture[0].numpy()))
        assert (centre - 14).abs().max() <= 0.5 + 1e-6  # MNIST's middle too is pixel 14


@pytest.mark.parametrize("way", WAYS)
def test_what_is_found_is_said(shown, way):
    for place in places_of(way):
        found = shown.found[place]
        assert found.dark_ink == (way not in LIGHT_INK)
        assert ("light ink on dark ground" in found.said) == (way in LIGHT_INK)
        assert ("evened out" in found.said) == (way in UNEVEN) or way in UNKNOWN
        assert ("rules of the paper" in found.said) == (way == "squared_paper")
        assert ("sheet" in found.said) == (way == "on_a_desk")
        assert ("thickened" in found.said) == (way in THIN)


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_to_draw_a_digit_agree(shown, way):
    for place in places_of(way):
        clean = prepared(drawings.clean(SHOWN[place][1]))
        assert likeness(shown.images[place], clean) >= 0.6


@pytest.mark.parametrize("way", WAYS)
def test_the_digit_is_regrown_in_its_hand(rule, shown, way):
    for place in places_of(way):
        label = shown.labels[place]
        assert shown.read[place] == label
        assert shown.read_again[place] == label
        assert shown.styles[place].norm() < 8  # half of all real digits are below 7.2
        assert style_warning(rule, shown.styles[place]) is None
        assert ink_iou(shown.redrawn[place][None], shown.images[place][None]) >= 0.7


def test_unprepared_pictures_are_far_out(rule, shown):
    """The control: the same drawings, made small and nothing else."""
    raw = [np.asarray(WAYS[way](d).convert("L").resize((28, 28)), float) for way, d in SHOWN[:]]
    raw = torch.tensor(np.stack(raw), dtype=torch.float32)[:, None] / 255
    lengths = grown(rule, raw, shown.labels[:])[0].norm(dim=1)
    assert lengths.median() > 2 * shown.styles[:].norm(dim=1).max()
    warned = [style_warning(rule, s) for s in grown(rule, raw, shown.labels[:])[0]]
    assert sum(w is not None for w in warned) >= 18


def test_mnist_comes_out_as_it_went_in(rule, test_digits):
    digits = test_digits.limit(100)
    images, said = [], []
    for image in digits.images:
        file = io.BytesIO()
        as_image(image).save(file, "PNG")
        images.append(read_picture(Image.open(file), said.append))
    images = torch.stack(images)
    assert pixel_accuracy(images, digits.images) > 0.99
    before, after = (rule.infer_style(each, digits.labels) for each in (digits.images, images))
    moved = (before - after).norm(dim=1).median()
    assert moved < 0.05 * before.norm(dim=1).median()
    assert 5 <= sum("thin strokes" in line for line in said) <= 15  # a tenth


def test_real_hands_survive_a_photograph(rule, judge, test_digits):
    """Digits of MNIST, enlarged, on rough paper, in light from a side and half in a shadow."""
    digits, draw = test_digits.limit(16), np.random.default_rng(0)
    images, size = [], (300, 400)
    for image in digits.images:
        large = np.asarray(as_image(image).resize((280, 280), Image.Resampling.BICUBIC)) / 255
        large = np.pad((3 * large - 1).clip(0, 1), ((10, 10), (60, 60)))
        light, edge = (drawings.slope(size, draw.uniform(0, 360)) for _ in range(2))
        light = (0.95 - 0.5 * light) * (1 - 0.35 / (1 + np.exp((edge - 0.5) * 30)))
        paper = 0.85 + gaussian_filter(draw.normal(0, 0.2, size), 2)
        photo = light * paper * (1 - 0.7 * large) + draw.normal(0, 0.02, size)
        images.append(prepared(drawings.grey(photo)))
    images = torch.stack(images)
    assert pixel_accuracy(images, digits.images) > 0.95
    styles, redrawn = grown(rule, images, digits.labels)
    own = rule.infer_style(digits.images, digits.labels)
    assert styles.norm(dim=1).mean() < 1.15 * own.norm(dim=1).mean()
    for pictures in (images, redrawn):
        assert (read_by_judge(judge, pictures)[0] == digits.labels).double().mean() > 0.9
    assert ink_iou(redrawn, digits.images) > 0.6


def test_thin_strokes_are_redrawn_better_for_being_thickened(rule, monkeypatch):
    labels, results = torch.arange(0, 10, 2), []
    for width in (0, handwriting.STROKE):
        monkeypatch.setattr(handwriting, "STROKE", width)
        images = torch.stack([prepared(drawings.thin_pen(digit)) for digit in labels.tolist()])
        styles, redrawn = grown(rule, images, labels)
        results.append((styles.norm(dim=1).mean(), ink_iou(redrawn, images)))
    (far, bad), (near, good) = results
    assert near < far - 0.5
    assert good > bad + 0.2


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    digit=st.integers(0, 9),
    pen=st.floats(0.05, 0.2),
    height=st.integers(30, 100),
    margins=st.tuples(*[st.integers(0, 60)] * 4),
)
def test_negatives_and_margins_change_nothing(digit, pen, height, margins):
    side = int(height * (1 + pen)) + 20
    picture = drawings.grey(1 - drawings.ink(digit, height, pen, (side, side)))
    found = prepare(picture)
    negative = prepare(Image.eval(picture, lambda value: 255 - value))
    assert found.dark_ink
    assert not negative.dark_ink
    assert (found.picture - negative.picture).abs().max() < 0.02
    above, below, left, right = margins
    wider = Image.new("L", (side + left + right, side + above + below), 255)
    wider.paste(picture, (left, above))
    assert likeness(prepared(wider), found.picture) > 0.9


def test_few_real_digits_are_warned_of(rule, test_digits):
    """Wrong labels and negatives are."""

    def share(images, labels):
        styles = rule.infer_style(images, labels)
        return np.mean([style_warning(rule, style) is not None for style in styles])

    images, labels = test_digits.images, test_digits.labels
    train = load_digits("embedded").train
    with torch.inference_mode():
        assert share(images, labels) <= 0.005
        assert share(train.images, train.labels) <= 0.005
        assert share(images, (labels + 1) % 10) > 0.5
        assert share(1 - images, labels) > 0.98


def test_the_warning_is_a_sentence_with_both_numbers(rule):
    style = torch.zeros(32)
    style[3] = -17
    assert style_warning(rule, style).startswith(
        "this style has length 17.0, and 99 of 100 real digits stay below 10.7: the picture "
    )
    assert style_warning(rule, style / 17 * 10.7) is None
    assert style_warning(rule, None) is None


def test_files_are_read_and_named(tmp_path):
    said = []
    file = tmp_path / "seven.jpg"
    drawings.grey(1 - drawings.ink(7, 900, canvas=(1200, 1100))).save(file)
    picture = read_picture(str(file), said.append)
    assert said == [f"{file}: dark ink on light paper; the digit was 964 x 640 pixels"]
    drawings.turned(7).save(file, exif=drawings.turned(7).getexif())
    assert likeness(picture, read_picture(file, said.append)) > 0.9
    read_picture(drawings.clean(7), said.append)
    assert said[-1].startswith("the picture: dark ink")
    assert inspect.signature(read_picture).parameters["say"].default is print


def refusal(file):
    """Why it is refused: one line that names the file."""
    with pytest.raises(InputError) as raised:
        read_picture(file, lambda said: None)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith("the picture" if isinstance(file, Image.Image) else f"{file}: ")
    return message


def test_files_that_are_no_pictures(tmp_path, monkeypatch):
    assert "no such file: give a picture" in refusal(tmp_path / "none.png")
    assert "no such file" in refusal(tmp_path)
    text = tmp_path / "text.png"
    for content in (b"", b"seven"):
        text.write_bytes(content)
        assert "can't be read as a picture: save it as PNG or JPG" in refusal(text)
    file = tmp_path / "seven.png"
    drawings.clean(7).save(file)
    file.write_bytes(file.read_bytes()[:300])
    assert "can't be read" in refusal(file)
    drawings.clean(7).save(file)
    for most in (100_000, 50_000):  # Pillow warns of the first, and refuses the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        assert "million pixels: make the picture smaller" in refusal(file)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I", "F", "1"])
def test_small_or_empty_pictures(mode):
    for size in ((4, 28), (28, 1), (6000, 20)):
        assert "give a picture of at least 5 x 5" in refusal(Image.new(mode, size))
    for colour in (0, 1, "white"):
        if mode in "IF" and colour == "white":
            continue
        assert "no digit found: draw one" in refusal(Image.new(mode, (50, 40), colour))


def test_paper_without_ink():
    size, light = (100, 150), 0.9 - 0.5 * drawings.slope((100, 150), 30)
    draw = np.random.default_rng(0)
    for picture in (
        0.8 + drawings.noise(size, 0.02),
        light + drawings.noise(size, 0.02),
        light * (0.85 + gaussian_filter(drawings.noise(size, 0.2), 2)),
        draw.random(size),
        draw.random((28, 28)),
        draw.random((*size, 3)),
        draw.random(size) > 0.5,
        draw.random(size) > 0.9,
        0.5 + gaussian_filter(drawings.noise(size, 3), 10),
    ):
        assert "no digit found" in refusal(drawings.grey(picture))


def test_more_than_a_digit_is_asked_about():
    pair = [drawings.ink(d, canvas=(400, 600), place=(0.5, x)) for d, x in ((4, 0.3), (2, 0.7))]
    found = prepare(drawings.grey(1 - np.maximum(*pair)))
    assert "wider than high, is it one digit?" in found.said
    assert max(box_of(found.picture)) == BOX


def test_a_speck_is_no_digit():
    picture = np.ones((800, 800))
    picture[300:303, 500:504] = 0
    assert "no digit found" in refusal(drawings.grey(picture))


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
    whole = (size[0] * repeated, size[1] * repeated)
    bytes_each = len(Image.new(mode, (8, 1)).tobytes()) // 8 or 1
    content = np.random.default_rng(seed).bytes(size[0] * size[1] * bytes_each)
    image = Image.frombytes(mode, size, content).resize(whole, Image.Resampling.NEAREST)
    assert taken_or_refused(image)


def taken_or_refused(file):
    try:
        picture = read_picture(file, lambda said: None)
    except InputError as error:
        return "\n" not in str(error)
    return picture.shape == (1, 28, 28) and bool(0 <= picture.min() <= picture.max() <= 1)


@pytest.mark.parametrize("file_type", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "ICO"])
def test_damaged_files_are_read_or_refused(tmp_path, file_type):
    draw, good, file = np.random.default_rng(0), io.BytesIO(), tmp_path / "x"
    drawings.blue_pen(5).resize((40, 40)).save(good, file_type)
    for turn in range(20):
        content = bytearray(good.getvalue())
        for place in draw.integers(0, len(content), turn % 6):
            content[place] = draw.integers(256)
        file.write_bytes(content[: draw.integers(len(content))] if turn % 5 == 4 else content)
        assert taken_or_refused(file)
