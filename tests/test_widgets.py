"""The widgets' Python side; browsers drive them in tests/browser."""

import io
import math

import nca_lib as nca
from nca_lib import live
from nca_lib.checkpoint import pack_model, resolve
from nca_lib.visual.widgets import VIEWS, GrowthPlayer, LiveDigit

import numpy as np
import pytest
import torch
from PIL import Image

FALLBACK = 60_000  # bytes of a picture that stands in for a widget


@pytest.fixture(scope="module")
def model():
    return nca.load("unified")


def levels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_film_holds_every_step_of_every_view(model):
    frames = model.grow([3, 8], steps=12)
    films = GrowthPlayer(frames.unbind(1), ["3", "8"], model.spec).recorded["films"]
    assert films.keys() == VIEWS.keys()
    columns = math.ceil(math.sqrt(13))
    for view, channel in (("ink", 0), ("alive", 1)):
        wanted = (255 * (1 - frames[:, :, channel].clamp(0, 1))).round().numpy()
        for k, film in enumerate(films[view]):
            for step in (0, 5, 12):
                y, x = step // columns * 28, step % columns * 28
                assert np.array_equal(levels(film)[y : y + 28, x : x + 28], wanted[step, k])


def test_growths_of_one_shape_and_a_name_each(model):
    frames = model.grow([1, 2], steps=4)
    with pytest.raises(nca.InputError, match="of one shape"):
        GrowthPlayer([frames[:, 0], frames[1:, 1]], spec=model.spec)
    with pytest.raises(nca.InputError, match="2 names"):
        GrowthPlayer(frames[:, 0], ["1", "2"], model.spec)
    with pytest.raises(nca.InputError, match=r"pass spec=model\.spec"):
        GrowthPlayer(frames[:, 0])
    (film,) = GrowthPlayer(torch.rand(4, 4, 20, 30)).recorded["films"]["ink"]  # in colour
    assert levels(film).shape == (40, 60, 3)


def test_a_picture_stands_in_where_nobody_runs_a_widget(model):
    player = GrowthPlayer(model.grow(3, steps=40)[:, 0], ["a 3"], model.spec)
    names = {"GrowthPlayer(a 3: 40 steps)": player, "LiveDigit(3)": LiveDigit(model, 3)}
    for name, widget in names.items():
        data, _ = widget._repr_mimebundle_()
        assert len(data["image/png"]) <= FALLBACK
        assert levels(data["image/png"]).shape[1] >= 600
        assert "application/vnd.jupyter.widget-view+json" in data
        assert data["text/plain"] == name


def test_the_live_digit_takes_models_labels_and_styles(model):
    style = torch.arange(float(model.config.style_dim))
    widget = LiveDigit(model, "7", style)
    assert widget.file == pack_model(model)
    assert LiveDigit("unified").file == resolve("unified").read_bytes()
    assert (widget.label, repr(widget)) == (7, "LiveDigit(7)")
    assert torch.equal(widget.style, style)
    widget.style = None
    assert not widget.style.any()
    widget.label = 2
    for wrong in (10, -1):
        with pytest.raises(nca.InputError, match="label"):
            widget.label = wrong
    assert (widget.label, LiveDigit("digit-4").label) == (2, 4)


def test_what_cannot_live_is_refused_and_says_what_it_does():
    for given, message in (
        (("digit-4", 3), "was trained on"), (("unified", 3, torch.zeros(3)), "styles"),
        (("restore",), "this model restores blurred pictures"), (("nowhere",), "no checkpoint"),
        (("reader",), "this model classifies pictures"),
    ):  # fmt: skip
        with pytest.raises(nca.InputError, match=message):
            LiveDigit(*given)


def test_the_state_comes_and_goes(model):
    widget, channels = LiveDigit(model, 3), model.config.channels
    assert torch.equal(widget.state, model.seed())
    state = torch.randn(1, channels, 20, 30)
    widget.show(state)
    assert torch.equal(widget.state, state)
    first = widget.from_python
    widget.show(state[0])
    assert widget.from_python["number"] == first["number"] + 1  # the same state is shown again
    cells = memoryview(state.numpy().tobytes())  # as the browser sends it
    widget.from_browser = {"size": [30, 20], "cells": cells}
    assert torch.equal(widget.state, state.view(1, channels, 30, 20))
    with pytest.raises(nca.InputError, match="want"):
        widget.show(torch.zeros(1, 4, 28, 28))


def test_directions_of_style_change_what_they_are_called(model):
    """Along each its own feature rises in every digit."""
    for k, direction in enumerate(live.directions(model)):
        axis = torch.tensor(direction["axis"])
        assert abs(axis.norm() - 1) < 0.01
        styles = torch.cat([1.5 * axis.expand(10, -1), -1.5 * axis.expand(10, -1)])
        ink = model.grow([*range(10)] * 2, styles, 40)[-1, :, 0].clamp(0, 1)
        more, less = live.features(ink)[:, k].chunk(2)
        assert (more > less).all(), direction["name"]
    assert live.directions(nca.NCA(model.spec, style_dim=2)) == []
    assert len(live.directions(nca.NCA(model.spec, hidden=8, style_dim=4))) == 3  # untrained


def test_slant_weight_and_width_of_known_shapes():
    pictures = torch.zeros(3, 28, 28)
    pictures[0, 4:24, 12:16] = 1
    for row in range(4, 24):
        pictures[1, row, 18 - row // 4 : 22 - row // 4] = 1  # its top is further right
    pictures[2, 4:24, 8:20] = 1
    slant, weight, width = live.features(pictures).T
    assert slant[0] == 0 == slant[2]
    assert 0.2 < slant[1] < 0.3  # four rows a column
    assert (weight.tolist(), width[2] > 2.5 * width[0]) == ([80, 80, 240], True)
