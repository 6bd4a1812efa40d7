"""`nca redraw`: a digit of your own, grown in its own style. And the Python of README and docs."""

import re
from pathlib import Path

from nca_lib import load, mnist, read_digit
from nca_lib.classifier import load_classifier
from nca_lib.cli import run_command
from nca_lib.inputs import InputError

import drawings
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unified():
    return load("unified")


@pytest.fixture
def seven(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawings.photo(7).convert("RGB").save("seven.jpg")
    return "seven.jpg"


def test_a_picture_is_grown_in_the_style_that_was_inferred(unified):
    digits = mnist("embedded").test
    picture, label = digits.images[1], int(digits.labels[1])
    growth = unified.redraw(picture, label, [label, 8], steps=6, rng_seeds=3)
    assert growth.shape == (7, 2, unified.config.channels, 28, 28)
    style = unified.infer_style(picture[None], label)
    assert torch.equal(growth, unified.grow([label, 8], style.expand(2, -1), 6, 3))
    alone = unified.redraw(picture[0], label, steps=6, rng_seeds=3)
    torch.testing.assert_close(alone[:, 0], growth[:, 0], atol=1e-5, rtol=1e-5)
    assert not torch.equal(unified.grow(8, steps=6, rng_seeds=3)[:, 0], growth[:, 1])  # mean style
    for model, given, message in [
        (load("restore"), picture, "no styles"),
        (unified, torch.zeros(1, 20, 20), "want"),
    ]:
        with pytest.raises(InputError, match=message):
            model.redraw(given, 3)


def test_a_photo_becomes_a_growth_in_the_same_handwriting(seven, unified, capsys):
    assert run_command(f"redraw {seven} --label 7 --out mine.gif".split()) == 0
    out = capsys.readouterr().out
    assert "dark ink" in out  # the polarity was found, and is said
    assert "careful" not in out
    assert "7 in the handwriting of seven.jpg -> mine.gif" in out
    with Image.open("mine.gif") as gif:
        film = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(gif)]
    before = Path(seven).read_bytes()
    assert run_command(f"redraw {seven} --label 7 --out ./{seven}".split()) == 2
    assert "is the picture itself" in capsys.readouterr().err
    assert Path(seven).read_bytes() == before
    left, right = np.split(film[-1], 2, 1)  # the prepared picture, and what has grown
    prepared = read_digit(seven, log=lambda line: None)
    grown = unified.redraw(prepared, 7)[-1, 0, 0].clamp(0, 1)
    for shown, ink in (left, prepared[0]), (right, grown):
        assert np.abs(shown[4::8, 4::8] / 255 - (1 - ink.numpy())).max() < 0.1
    assert load_classifier()(grown[None, None]).argmax() == 7


def test_all_ten_digits_in_one_handwriting(seven, unified, capsys):
    assert run_command(f"redraw {seven} --label 7 --labels 0-9 --out ten.gif".split()) == 0
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 in the handwriting of" in capsys.readouterr().out
    with Image.open("ten.gif") as gif:
        assert gif.width == 10 * 28 * 8
    ten = unified.redraw(read_digit(seven, log=lambda line: None), 7, range(10))
    classified = load_classifier()(ten[-1, :, :1].clamp(0, 1)).argmax(1)
    assert (classified == torch.arange(10)).sum() >= 9
    assert run_command(f"redraw {seven} --label 7 --labels 3,8 --out x.png --steps 4".split()) == 0
    assert "3, 8 in the handwriting" in capsys.readouterr().out


def test_what_is_no_digit_gets_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    square = Image.new("L", (200, 200), 255)
    square.paste(0, (20, 20, 180, 180))
    square.save("square.png")
    assert run_command(["redraw", "square.png", "--label", "1", "--out", "x.gif"]) == 0
    assert "careful: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("none.png --label 7 --out x.gif", "none.png"),
        ("seven.jpg --label 12 --out x.gif", "choose one of 0, 1, 2"),
        ("seven.jpg --label 7 --labels 0-12 --out x.gif", "choose one of 0, 1, 2"),
        ("seven.jpg --label 7 --labels 5-3 --out x.gif", "labels"),
        ("seven.jpg --label 7 --labels 3,x --out x.gif", "choose one of 0, 1, 2"),
        ("seven.jpg --label 7 --out x.gif --weights digit-3", "digit-3 has never seen a 7"),
        ("seven.jpg --label 7 --out x.gif --seed -1", "seed is -1"),
    ],
)
def test_bad_input(seven, capsys, arguments, message):
    assert run_command(["redraw", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/usage.md"])
def test_the_python_of_the_pages_runs(seven, page):
    """All examples of a page, in order, with a photo and pictures at hand."""
    Path(seven).rename("photo.jpg")
    for name, colour in (("fish", "red"), ("snail", "blue")):
        Path("my-pictures").mkdir(exist_ok=True)
        picture = Image.new("RGBA", (16, 16))
        picture.paste(colour, (5, 5, 11, 11))
        picture.save(f"my-pictures/{name}.png")
    names = {}
    text = (ROOT / page).read_text(encoding="utf-8")
    for example in re.findall(r"```python\n(.+?)```", text, re.S):
        exec(re.sub(r"(iterations|epochs|limit)=\d+", r"\1=1", example), names)
    assert "model" in names
