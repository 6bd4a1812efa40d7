"""The widgets' kernel side; a browser drives them in tests/browser."""

import io

from nca_lib import load, widgets
from nca_lib.cells import square
from nca_lib.rule import NCA, RuleConfig
from nca_lib.widgets import DamageBrush, GrowthExplorer, GrowthPlayer, grow_frames

import pytest
import torch
from PIL import Image


@pytest.fixture(scope="module")
def rule():
    return load("unified")


def test_a_growth_begins_with_its_seed(rule):
    frames = grow_frames(rule, 3, steps=20, at=(10, 17))
    assert frames.shape == (21, 16, 28, 28)
    assert frames[0, 1].nonzero().tolist() == [[10, 17]]
    fast = grow_frames(rule, 3, steps=20, fire_rate=1.0)
    assert (fast[20, 1] > 0.1).sum() > (grow_frames(rule, 3, steps=20)[10, 1] > 0.1).sum()
    assert rule.config.fire_rate == 0.5


def test_moving_the_slider_only_picks_a_picture(rule, monkeypatch):
    player = GrowthPlayer([grow_frames(rule, d, steps=12) for d in (3, 8)], ["3", "8"])
    monkeypatch.setattr(widgets, "as_png", lambda *a: pytest.fail("rendered on a move"))
    monkeypatch.setattr(NCA, "rollout", lambda *a, **k: pytest.fail("grown on a move"))
    before = [image.value for image in player.images]
    player.step.value = 12
    after = [image.value for image in player.images]
    assert before != after
    assert Image.open(io.BytesIO(after[0])).size == (280, 280)
    player.step.value = 0
    assert [image.value for image in player.images] == before


def test_views_show_other_channels(rule):
    player = GrowthPlayer(grow_frames(rule, 3, steps=12))
    player.step.value = 12
    seen = set()
    for view in widgets.VIEWS:
        player.view.value = view
        seen.add(player.images[0].value)
    assert len(seen) == 3


def test_other_growths_may_be_shorter_longer_and_more(rule):
    player = GrowthPlayer(grow_frames(rule, 3, steps=12))
    player.step.value = 12
    image = player.images[0]
    player.show(grow_frames(rule, 8, steps=4), ["<8>"])
    assert (player.step.value, player.step.max) == (4, 4)
    assert player.images[0] is image  # a new one would flicker
    assert player.names[0].value == "<b>&lt;8&gt;</b>"
    player.show([grow_frames(rule, d, steps=20) for d in (1, 2)], ["1", "2"])
    assert (player.step.max, len(player.row.children)) == (20, 2)


def test_what_cannot_be_seen_is_told(rule):
    explorer, lab = GrowthExplorer(rule), DamageBrush(rule, steps=2)
    sliders = [explorer.row, explorer.column, explorer.fire_rate, explorer.style, *lab.sliders]
    for control in (explorer.player.step, explorer.player.play, *sliders):
        assert control.description
        assert control.tooltip
        assert {"description", "tooltip"} <= set(control.keys)  # they reach the browser
    assert all(digit.description for digit in explorer.digits)
    assert all(image.tooltip and "tooltip" in image.keys for image in explorer.player.images)
    assert len(explorer.player.view.tooltips) == len(widgets.VIEWS)
    assert "erase" in lab.brush.label
    assert 'role="status"' in lab.status.value


def test_explorer_grows_anew_when_a_control_moves(rule):
    explorer = GrowthExplorer(rule, (3, 8))
    explorer.player.step.value = 40
    before = explorer.player.images[0].value
    explorer.digits[0].value = 7
    assert explorer.player.images[0].value != before
    before = explorer.player.images[1].value
    explorer.style.value = 5
    assert explorer.player.images[1].value != before


def test_brush_erases_where_the_pointer_was_and_the_rule_heals(rule):
    lab = DamageBrush(rule, 3)
    whole = lab.state[0, 0].clone()
    lab.brush.stroke = {"number": 1, "points": [[14.5, 9.5], [15.5, 9.5]]}
    hurt, healed = lab.player.growths[0][0, 0], lab.player.growths[0][-1, 0]
    assert hurt[9, 14] == 0
    assert healed[7:12, 12:18].sum() > 0.8 * whole[7:12, 12:18].sum() > 0
    assert "cells were erased" in lab.status.value
    assert lab.player.play.playing
    lab.again.click()
    assert torch.equal(lab.state[0, 0], whole)
    assert "Drag" in lab.status.value


def test_the_same_wound_can_be_made_twice(rule):
    lab = DamageBrush(rule, 3, steps=4)
    for number in (1, 2):
        lab.brush.stroke = {"number": number, "points": [[14.5, 14.5]]}
        assert lab.player.growths[0][0, 1, 14, 14] == 0
        assert lab.age == 32 + 4 * number


def test_sliders_place_the_ring_and_a_button_erases_it(rule):
    lab = DamageBrush(rule, 3, steps=4)
    row, column, radius = lab.sliders
    row.value, column.value, radius.value = 8, 16, 1.5
    assert (lab.brush.y, lab.brush.x, lab.brush.radius) == (8, 16, 1.5)
    lab.brush.x = 17  # the browser's arrow keys
    assert column.value == 17
    before = lab.grown[0, 1]
    lab.erase.click()
    lost = (before != lab.player.growths[0][0, 1]).nonzero()
    assert lost.float().mean(0).tolist() == [8, 17]
    assert len(lost) == 9


def test_damage_can_be_told_from_python():
    small = NCA(RuleConfig(channels=6, hidden=8, label_dim=2, style_dim=2)).eval()
    lab = DamageBrush(small, 1, steps=3)
    lab.damage(square(0, 0, 28))
    assert lab.state.abs().sum() == 0
