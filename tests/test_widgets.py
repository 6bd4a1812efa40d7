"""The widgets' Python side; browsers drive them in tests/browser."""

import io
import math

from nca_lib import load, widgets
from nca_lib.checkpoints import RULE, read_tensors, resolve
from nca_lib.errors import InputError
from nca_lib.kinds import Kind
from nca_lib.rule import NCA, RuleConfig
from nca_lib.widgets import GrowthPlayer, LiveDigit, grow_frames

import numpy as np
import pytest
import torch
from PIL import Image

FALLBACK = 60_000  # bytes of a picture that stands in for a widget


@pytest.fixture(scope="module")
def rule():
    return load("unified")


def levels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def frame_of(film: bytes, step: int, steps: int, height: int = 28, width: int = 28) -> np.ndarray:
    """What the player shows at a step."""
    columns = math.ceil(math.sqrt(steps + 1))
    y, x = step // columns * height, step % columns * width
    return levels(film)[y : y + height, x : x + width]


def test_a_growth_begins_with_its_seed(rule):
    frames = grow_frames(rule, 3, steps=20, at=(10, 17))
    assert frames.shape == (21, rule.config.channels, 28, 28)
    assert frames[0, 1].nonzero().tolist() == [[10, 17]]
    fast = grow_frames(rule, 3, steps=20, fire_rate=1.0)
    assert (fast[20, 1] > 0.1).sum() > (grow_frames(rule, 3, steps=20)[10, 1] > 0.1).sum()
    assert rule.config.fire_rate == 0.5


def test_a_film_holds_every_step_of_every_view(rule):
    growths = [grow_frames(rule, digit, steps=12) for digit in (3, 8)]
    player = GrowthPlayer(growths, ["3", "8"])
    assert set(player.recorded["films"]) == set(widgets.VIEWS)
    for growth, film in zip(growths, player.recorded["films"]["ink"], strict=True):
        for step in (0, 5, 12):
            wanted = (255 * (1 - growth[step, 0].clamp(0, 1))).round().numpy()
            assert np.array_equal(frame_of(film, step, 12), wanted)
    life = player.recorded["films"]["life"][0]
    assert frame_of(life, 0, 12).min() == frame_of(life, 0, 12)[14, 14] == 0  # the seed's life is 1


def test_other_growths_may_be_shorter_longer_and_more(rule):
    player = GrowthPlayer(grow_frames(rule, 3, steps=12))
    player.step = 12
    player.show(grow_frames(rule, 8, steps=4), ["8"])
    assert (player.step, player.recorded["steps"], player.recorded["names"]) == (4, 4, ["8"])
    player.show([grow_frames(rule, d, steps=20) for d in (1, 2)], ["1", "2"])
    assert (player.step, len(player.recorded["films"]["ink"])) == (4, 2)
    with pytest.raises(InputError, match="of one shape"):
        player.show([grow_frames(rule, 1, steps=3), grow_frames(rule, 2, steps=4)], ["1", "2"])
    with pytest.raises(InputError, match="2 names"):
        player.show(grow_frames(rule, 1, steps=3), ["1", "2"])


def test_coloured_growths_are_films_in_colour():
    kind = Kind(("fish",), ink=4, size=(20, 30))
    rule = NCA(RuleConfig(channels=8, hidden=8, label_dim=2, style_dim=0), kind).eval()
    player = GrowthPlayer(grow_frames(rule, "fish", steps=3), kind=kind)
    (film,) = player.recorded["films"]["ink"]
    assert levels(film).shape == (40, 60, 3)
    assert player.recorded["size"] == [20, 30]


def test_what_is_shown_without_a_browser(rule):
    """A repository's page shows the picture: a strip of the life in it, small."""
    for widget in (GrowthPlayer(grow_frames(rule, 3), ["a 3"]), LiveDigit(rule, 3)):
        data, _ = widget._repr_mimebundle_()
        assert data["image/png"] == widget.picture()
        assert len(data["image/png"]) <= FALLBACK
        height, width = levels(data["image/png"]).shape[:2]
        assert height >= 84
        assert 600 <= width <= widgets.WIDEST
        assert "application/vnd.jupyter.widget-view+json" in data
        assert len(data["text/plain"]) < 80
    assert data["text/plain"] == "LiveDigit(3)"


def test_the_strip_of_a_life_shows_a_wound_that_heals(rule):
    """Eight pictures: three of a growth, cut, 8 and 64 steps later, two of becoming another."""
    strip = Image.open(io.BytesIO(LiveDigit(rule, 3).picture())).convert("L")
    parts = np.asarray(strip)[:84].astype(float)
    side = strip.width / 8
    dark = [(parts[1:83, int(k * side) + 2 : int(k * side) + 42] < 128).sum() for k in range(8)]
    assert dark[3] == 0 < dark[2]  # its left half is gone
    assert dark[5] > 0.8 * dark[2]


def test_the_live_digit_takes_the_file_of_its_rule(rule, tmp_path):
    assert LiveDigit("unified").file == resolve("unified").read_bytes()
    path = tmp_path / "own.safetensors"
    path.write_bytes(LiveDigit(rule).file)
    tensors, metadata = read_tensors(path, RULE)
    assert metadata["record"] == rule.record
    assert all(torch.equal(tensors[name], rule.state_dict()[name]) for name in tensors)


def test_the_live_digit_is_told_labels_and_styles(rule):
    hand = torch.arange(float(rule.config.style_dim))
    live = LiveDigit(rule, "7", hand)
    assert (live.label, live.style[3], repr(live)) == (7, 3.0, "LiveDigit(7)")
    assert [d["name"] for d in live.directions] == ["slant", "weight", "width"]
    assert torch.equal(live.style, hand)
    live.style = None
    assert live.code == [0.0] * len(hand)
    live.label = 2
    for wrong in (10, -1):
        with pytest.raises(InputError, match="label"):
            live.label = wrong
    assert live.label == 2
    assert LiveDigit("digit-4").label == 4
    with pytest.raises(InputError, match="knows"):
        LiveDigit("digit-4", 3)
    with pytest.raises(InputError, match="styles"):
        LiveDigit(rule, 3, torch.zeros(3))
    with pytest.raises(InputError, match="restores"):
        LiveDigit("restore")
    with pytest.raises(InputError, match="no checkpoint"):
        LiveDigit("nowhere")


def test_the_state_comes_and_goes(rule):
    live, channels = LiveDigit(rule, 3), rule.config.channels
    assert live.state.nonzero().tolist() == [[0, c, 14, 14] for c in range(1, channels)]  # a seed
    state = torch.randn(1, channels, 20, 30)
    live.show(state)
    assert torch.equal(live.state, state)
    first = live.told
    live.show(state[0])
    assert live.told["number"] == first["number"] + 1  # the same state twice is shown twice
    cells = memoryview(torch.full((channels, 28, 28), 0.5).numpy().tobytes())
    live.seen = {"size": [28, 28], "cells": cells}  # as the browser sends it
    assert torch.equal(live.state, torch.full((1, channels, 28, 28), 0.5))
    with pytest.raises(InputError, match="want"):
        live.show(torch.zeros(1, 4, 28, 28))


def test_directions_of_style_change_what_they_are_called(rule):
    """Two units along each: its own feature rises in every digit, more than the other way round."""
    for k, direction in enumerate(widgets.live.directions(rule)):
        axis = torch.tensor(direction["axis"])
        assert abs(axis.norm() - 1) < 0.01
        ink = [
            rule.grow(range(10), (sign * 1.5 * axis).expand(10, -1), 40)[-1, :, 0].clamp(0, 1)
            for sign in (1, -1)
        ]
        more, less = (widgets.live.features(each)[:, k] for each in ink)
        assert (more > less).all(), direction["name"]


def test_slant_weight_and_width_of_known_shapes():
    upright, leaning, wide = (torch.zeros(28, 28) for _ in range(3))
    upright[4:24, 12:16] = 1
    for row in range(4, 24):
        leaning[row, 18 - row // 4 : 22 - row // 4] = 1  # its top is further right
    wide[4:24, 8:20] = 1
    slant, weight, width = widgets.live.features(torch.stack([upright, leaning, wide])).T
    assert slant[0] == 0 == slant[2]
    assert 0.2 < slant[1] < 0.3  # four rows a column
    assert weight.tolist() == [80, 80, 240]
    assert width[2] > 2.5 * width[0]


def test_rules_without_handwriting_have_no_directions():
    small = NCA(RuleConfig(channels=6, hidden=8, label_dim=2, style_dim=2)).eval()
    assert widgets.live.directions(small) == []
    fresh = NCA(RuleConfig(channels=6, hidden=8, label_dim=2, style_dim=4)).eval()  # untrained
    axes = torch.tensor([d["axis"] for d in widgets.live.directions(fresh)])
    assert axes.isfinite().all()
