"""`nca redraw` and `rule.redraw`: a digit of one's own, grown anew in its own style."""

import re
from pathlib import Path

from nca_lib.cells import seed_state
from nca_lib.checkpoints import load
from nca_lib.cli import run_command
from nca_lib.data import load_digits
from nca_lib.errors import InputError
from nca_lib.handwriting import read_picture
from nca_lib.judge import load_judge

import drawings
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence


@pytest.fixture(scope="module")
def unified():
    return load("unified")


@pytest.fixture
def seven(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawings.photo(7).convert("RGB").save("seven.jpg")
    return "seven.jpg"


def frames_of(file):
    with Image.open(file) as film:
        return [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(film)]


def test_a_redrawn_digit_is_grown_in_the_style_that_was_found(unified):
    digits = load_digits("embedded").test.limit(3)
    picture, label = digits.images[1], int(digits.labels[1])
    growth = unified.redraw(picture, label, [label, 8], steps=6, seed=3)
    assert growth.shape == (7, 2, unified.config.channels, 28, 28)
    start = seed_state(2, unified.config.channels)
    assert torch.equal(growth[0], start)
    style = unified.infer_style(picture[None], [label])
    with torch.no_grad():
        genome = unified.genome([label, 8], style.expand(2, -1))
        assert torch.equal(growth[-1], unified.rollout(start, genome, 6, 3)[0])
    alone = unified.redraw(picture[0], label, steps=6, seed=3)
    torch.testing.assert_close(alone[:, 0], growth[:, 0], atol=1e-5, rtol=1e-5)
    with torch.no_grad():  # the average hand draws another one
        average = unified.rollout(start, unified.genome([label, 8]), 6, 3)[0]
    assert not torch.equal(average, growth[-1])


def test_who_can_not_redraw():
    picture = torch.zeros(1, 28, 28)
    with pytest.raises(InputError, match="knows no styles"):
        load("restore").redraw(picture, 3)
    with pytest.raises(InputError, match="want"):
        load("unified").redraw(torch.zeros(1, 20, 20), 3)
    with pytest.raises(InputError, match="labels go from 0 to 9"):
        load("unified").redraw(picture, 12)


def test_one_digit_by_one_command(seven, unified, capsys):
    assert run_command(f"redraw {seven} --label 7 --out mine.gif".split()) == 0
    said = capsys.readouterr().out
    assert "dark ink" in said  # the polarity was found, and is said
    assert "careful" not in said
    assert "7 in the hand of seven.jpg -> mine.gif" in said
    film = frames_of("mine.gif")
    assert len(film) == 2 * unified.trained_steps + 1
    left, right = np.split(film[-1], 2, 1)  # the prepared picture, and what has grown
    prepared = read_picture(seven, say=lambda line: None)
    assert np.abs(left[4::8, 4::8] / 255 - (1 - prepared[0].numpy())).max() < 0.1
    grown = unified.redraw(prepared, 7)[-1, :, :1].clamp(0, 1)
    assert np.abs(right[4::8, 4::8] / 255 - (1 - grown[0, 0].numpy())).max() < 0.1
    assert load_judge()(grown).argmax() == 7
    both = ((grown > 0.5) & (prepared > 0.5)).sum() / ((grown > 0.5) | (prepared > 0.5)).sum()
    assert both > 0.5


def test_all_ten_digits_in_one_hand(seven, unified, capsys):
    assert run_command(f"redraw {seven} --label 7 --labels 0-9 --out ten.gif".split()) == 0
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 in the hand of seven.jpg" in capsys.readouterr().out
    assert frames_of("ten.gif")[0].shape[1] == 10 * 28 * 8
    hands = unified.redraw(read_picture(seven, say=lambda line: None), 7, range(10))
    read = load_judge()(hands[-1, :, :1].clamp(0, 1)).argmax(1)
    assert (read == torch.arange(10)).sum() >= 9
    assert run_command(f"redraw {seven} --label 7 --labels 3,8 --out x.png --steps 4".split()) == 0
    assert "3, 8 in the hand" in capsys.readouterr().out


def test_light_on_dark_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    drawings.inverted(3).save("three.png")
    assert (
        run_command(["redraw", "three.png", "--label", "3", "--out", "x.gif", "--steps", "3"]) == 0
    )
    assert "light ink" in capsys.readouterr().out


def test_what_is_no_digit_is_said_with_the_number(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scribble = Image.new("L", (200, 200), 255)
    scribble.paste(0, (20, 20, 180, 180))
    scribble.save("square.png")
    assert (
        run_command(["redraw", "square.png", "--label", "1", "--out", "x.gif", "--steps", "3"]) == 0
    )
    assert "careful: this style has length" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("none.png --label 7 --out x.gif", "none.png"),
        ("seven.jpg --label 12 --out x.gif", "labels go from 0 to 9"),
        ("seven.jpg --label seven --out x.gif", "choose one of 0, 1, 2"),
        ("seven.jpg --label 7 --labels 0-12 --out x.gif", "--labels 0-12"),
        ("seven.jpg --label 7 --labels 0-99999999999 --out x.gif", "choose one of 0, 1, 2"),
        ("seven.jpg --label 7 --labels 3,x --out x.gif", "choose one of 0, 1, 2"),
        ("seven.jpg --label 7 --out x.txt", "end it in .png"),
        ("seven.jpg --label 7 --out x.gif --weights restore", "restores blurred pictures"),
        ("seven.jpg --label 7 --out x.gif --weights digit-3", "has never seen a 7"),
        ("seven.jpg --label 7 --out x.gif --steps 0", "steps is 0"),
        ("seven.jpg --label 7 --out x.gif --seed -1", "seed is -1"),
    ],
)
def test_bad_input(seven, capsys, arguments, message):
    assert run_command(["redraw", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, unified):
    """All of its examples, in order, with a photo at hand."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.+?)```", readme, re.S)
    monkeypatch.chdir(tmp_path)
    drawings.photo(7).convert("RGB").save("photo.jpg")
    names = {"rule": unified}
    for example in examples:
        exec(example, names)
    size = (1, unified.config.channels, 28, 28)
    assert names["growth"].shape == (2 * unified.trained_steps + 1, *size)
    assert names["frames"].shape == (64, 1, 20, 28, 28)
    assert names["small"].record["hooks"] == {"loss": "sharp"}
    assert names["colour"].kind.classes == ("cat", "dog")
