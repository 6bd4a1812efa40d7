"""The widgets' kernel side; a browser drives them in tests/browser."""

import io

import pytest
import torch
from PIL import Image

from nca_lib import load, widgets
from nca_lib.rule import NCA, RuleConfig
from nca_lib.seeds import square
from nca_lib.widgets import Brush, DamageBrush, GrowthExplorer, GrowthPlayer, grow_frames


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


def test_controls_have_names_for_those_who_cannot_see_them(rule):
    explorer = GrowthExplorer(rule)
    controls = [
        *explorer.digits,
        explorer.row,
        explorer.column,
        explorer.style,
        explorer.player.step,
    ]
    assert all(control.description for control in controls)
    assert all(image.alt for image in explorer.player.images)
    assert "erase" in Brush().label


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
    lab.brush.erased = [[14.0, 14.0], [15.0, 14.0]]
    hurt, healed = lab.player.growths[0][0, 0], lab.player.growths[0][-1, 0]
    assert hurt[14, 14] == 0
    assert healed[12:16, 12:17].sum() > 0.5 * whole[12:16, 12:17].sum() > 0
    assert "cells were erased" in lab.status.value
    lab.again.click()
    assert torch.equal(lab.state[0, 0], whole)


def test_damage_can_be_told_from_python():
    small = NCA(RuleConfig(channels=6, hidden=8, label_dim=2, style_dim=2)).eval()
    lab = DamageBrush(small, 1, steps=3)
    lab.damage(square(0, 0, 28))
    assert lab.state.abs().sum() == 0
