"""Evaluation, on rules and pictures whose answers are known; then on real digits."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

from nca_lib import baselines, evaluation
from nca_lib.blurs import box, with_noise
from nca_lib.cells import disc, half_plane, inked_state, scattered, seed_state, square, starts
from nca_lib.checkpoints import load
from nca_lib.data import load_digits
from nca_lib.dataset import Dataset, Pictures
from nca_lib.errors import InputError
from nca_lib.evaluation import (
    baseline_pictures,
    behaviour,
    compare_sets,
    damages,
    digits_for,
    evaluate,
    healing,
    ink_iou,
    measure,
    other_blurs,
    per_class,
    pixel_accuracy,
    read_by_judge,
    redraw,
    regeneration,
    roll_out,
    samples,
    styles_of,
    switching,
    worst_of,
)
from nca_lib.judge import FEATURES, accuracy, load_judge
from nca_lib.kinds import MNIST
from nca_lib.plots import learning_curves, progress_picture, save_gif, smooth
from nca_lib.report import table
from nca_lib.rollout.fire import streams
from nca_lib.rule import NCA, RuleConfig
from nca_lib.training.pretraining import initial_rule

import numpy as np
import pytest
import scipy.linalg
import torch
import toy
from torchmetrics.functional.image import structural_similarity_index_measure
from toy import LABEL_INK, PIXELS, WIDTH, ToyJudge, bar, bars, forgotten, inked, toy_data, toy_rule


def exactly(value):
    """Up to what the last bits of a mean may do."""
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def right(wrong):
    """The pixel accuracy of a picture with so many wrong pixels."""
    return exactly(1 - wrong / PIXELS)


def test_the_sizes_of_an_evaluation():
    """They are said in README and in every results file: `after_64_steps`, 96 steps, and so on."""
    names = ("BATCH", "SUBSET", "WOUNDED", "HEALING_STEPS", "SWITCH_STEPS", "NEIGHBOURS")
    assert [getattr(evaluation, name) for name in names] == [250, 1000, 400, (64, 256), 96, 5]
    streams_of = evaluation.MAIN, evaluation.SWITCHING, evaluation.SAMPLES
    assert streams_of == (0, 1, 2)


# --- pictures of a rule


def test_a_picture_is_drawn_from_its_label_and_the_style_found_in_it():
    rule = toy_rule(LABEL_INK, (0.25,))
    toy.known_code(rule, [0.5], [0.0])
    digits = bars([1, 4, 9], LABEL_INK)
    assert styles_of(rule, digits).tolist() == [[0.5]] * 3
    frames = redraw(rule, digits, (2, 8))
    assert frames.shape == (2, 3, 5, 28, 28)
    for sample, label in enumerate((1, 4, 9)):
        assert torch.equal(frames[0, sample, 0], bar(LABEL_INK[label] + 1 / 8, 1))
        assert torch.equal(frames[1, sample, 0], bar(LABEL_INK[label] + 1 / 8))
    other = redraw(rule, digits, (8,), styles=torch.tensor([[0.0], [1.0], [-1.0]]))
    for sample, ink in enumerate((2 / 16, 5 / 16 + 1 / 4, 10 / 16 - 1 / 4)):
        assert torch.equal(other[0, sample, 0], bar(ink))


def test_styles_are_those_of_the_fitted_scale():
    rule = toy_rule(style_ink=(0.5,))
    toy.known_code(rule, [3.0], [0.0])
    rule.genome.average[2], rule.genome.spread[2] = 1.0, 4.0
    assert styles_of(rule, bars([2, 3])).tolist() == [[0.5], [3.0]]
    plain = NCA(RuleConfig(3, 2, 1, 0))
    assert styles_of(plain, bars([2, 3])) is None


def test_fire_masks_follow_from_seed_and_place(monkeypatch):
    rule, digits = toy_rule(fire_rate=0.5), bars([0] * 7)
    states, genome = seed_state(7, 5), rule.genome(digits.labels)
    of_seed = {s: rule.rollout(states, genome, 9, streams(7, s, 0), (4, 9)) for s in (0, 3)}
    assert not torch.equal(of_seed[0], of_seed[3])
    for batch in (250, 7, 6, 3, 1):
        monkeypatch.setattr(evaluation, "BATCH", batch)
        assert torch.equal(redraw(rule, digits, (4, 9), 3), of_seed[3])
        assert torch.equal(redraw(rule, digits, (4, 9)), of_seed[0])
        some = streams(7, 3, 0).flip(0)
        assert torch.equal(redraw(rule, digits, (4, 9), seeds=some), of_seed[3].flip(1))


def test_a_rollout_can_be_continued(monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH", 2)
    rule, labels = toy_rule(fire_rate=0.5), torch.tensor([0, 1, 2])
    whole = roll_out(rule, seed_state(3, 5), labels, None, (5, 9), streams(3, 1))
    rest = roll_out(rule, whole[0], labels, None, (4,), streams(3, 1), 5)
    assert torch.equal(rest[0], whole[1])


def test_a_rule_in_double_precision_draws_pictures_in_single():
    rule = toy_rule(LABEL_INK).double()
    frames = redraw(rule, bars([2, 5], LABEL_INK), (8,))
    assert frames.dtype == torch.float64
    assert torch.equal(frames[0, 1, 0].float(), bar(6 / 16))


def test_a_restorer_starts_from_the_blur():
    rule = NCA(RuleConfig(3, 2, 1, 0))  # untrained: it changes nothing
    rule.record = {"training": {"task": "restore"}}
    digits = bars([0, 1])
    start = starts("restore", digits.images, 3)
    assert torch.equal(redraw(rule, digits, (1, 4)), start.expand(2, 2, 3, 28, 28))


# --- measures


def test_pixel_accuracy_by_hand():
    a, b = torch.zeros(1, 1, 28, 28), torch.zeros(1, 1, 28, 28)
    a[..., :2, :2], b[..., :2, :1] = 1.0, 1.0
    assert pixel_accuracy(a, b) == right(2)
    assert pixel_accuracy(a, 0 * a) == right(4)
    half = torch.full_like(a, 0.5)  # not more than half: no ink
    assert pixel_accuracy(half, 0 * a) == pixel_accuracy(0 * a, half) == 1.0
    assert pixel_accuracy(half + 0.01, 0 * a) == 0.0
    assert pixel_accuracy(1.01 * half, 1.5 * half) == 1.0


def test_ink_iou_by_hand():
    a, b = torch.zeros(4, 1, 28, 28), torch.zeros(4, 1, 28, 28)
    a[0, 0, :2, :2], b[0, 0, :2, :1] = 1.0, 1.0  # two of four
    b[1, 0, 3, 3] = 0.51  # none of one
    a[2, 0, 5:8, 5], b[2, 0, 7:9, 5] = 0.6, 0.7  # one of four
    a[3], b[3] = 0.5, 0.5  # both without ink: they agree
    assert ink_iou(a[:1], b[:1]) == 0.5
    assert ink_iou(a[1:2], b[1:2]) == ink_iou(b[1:2], a[1:2]) == 0.0
    assert ink_iou(a[2:3], b[2:3]) == 0.25
    assert ink_iou(a[3:], b[3:]) == 1.0
    assert ink_iou(a, b) == exactly((0.5 + 0 + 0.25 + 1) / 4)
    one = torch.zeros(1, 1, 28, 28)
    one[0, 0, 0, 0] = 1.0
    assert ink_iou(one, one) == 1.0


def test_what_the_judge_reads(monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH", 2)
    read, features = read_by_judge(ToyJudge(), bars([3, 9, 0], LABEL_INK).images)
    assert read.tolist() == [3, 9, 0]
    assert features.shape == (3, FEATURES)
    assert features[:, 0].tolist() == [4 / 16, 10 / 16, 1 / 16]


def test_all_measures_by_hand(monkeypatch):
    monkeypatch.setattr(evaluation, "BATCH", 2)
    digits = bars([3, 9, 0], (1.0, *LABEL_INK[1:9], 0.75))
    grown = digits.images.clone()
    grown[0, 0, 0, 0] = 0.5  # half a pixel of ink where none is
    grown[1, 0, 0, :2] = -3.0  # bounded
    grown[2, 0, 14, 20] = 5.0
    grown[2, 0, 14, 21] = 0.25  # 3/4 are missing
    scores = measure(grown, digits, ToyJudge())
    wrong, mse = 1, (0.25 + 9 / 16) / (3 * PIXELS)
    assert scores["pixel_accuracy"] == exactly(1 - wrong / (3 * PIXELS))
    assert scores["ink_iou"] == pytest.approx((1 + 1 + 14 / 15) / 3)
    assert scores["mse"] == pytest.approx(mse)
    assert scores["psnr"] == pytest.approx(-10 * math.log10(mse), rel=1e-5)
    assert scores["judge_accuracy"] == exactly(2 / 3)  # 3/4 is as bold as a 9
    bounded = grown.clamp(0, 1)
    each = [
        structural_similarity_index_measure(a[None], b[None], data_range=1.0).item()
        for a, b in zip(bounded, digits.images, strict=True)
    ]
    assert scores["ssim"] == pytest.approx(sum(each) / 3, abs=1e-6)
    assert min(each) < 0.999
    assert list(scores) == [
        "pixel_accuracy", "ink_iou", "mse", "psnr", "ssim", "judge_accuracy",
    ]  # fmt: skip


def test_perfect_pictures_score_perfectly():
    digits = bars([1, 2, 9], LABEL_INK)
    scores = measure(digits.images, digits, ToyJudge())
    assert scores.pop("psnr") == 100.0  # finite, for JSON
    assert scores.pop("mse") == 0.0
    assert list(scores.values()) == [pytest.approx(1.0, abs=1e-6)] * 4


def test_each_digit_on_its_own():
    """Label 3 is drawn as it is; label 5 without five of its cells, and the judge reads a 2."""
    digits = bars([3, 5, 3, 5, 5], 0.75)
    grown = digits.images.clone()
    grown[digits.labels == 5, 0, 14, 7:12] = 0.0
    grown[:, 0, 14, 14] = torch.tensor([4.0, 3, 4, 3, 6]) / 16
    rivals = {"black": torch.zeros_like(grown), "itself": digits.images}
    rows = per_class(grown, digits, ToyJudge(), rivals, MNIST.classes)
    assert list(rows) == ["3", "5"]
    assert [rows[label]["n"] for label in rows] == [2, 3]
    assert rows["3"]["pixel_accuracy"] == right(1)
    assert rows["5"]["pixel_accuracy"] == right(6)
    assert rows["5"]["ink_iou"] == pytest.approx(9 / 15)
    assert rows["3"]["judge_accuracy"] == 1.0
    assert rows["5"]["judge_accuracy"] == exactly(1 / 3)
    for row in rows.values():
        assert row["baselines"] == {"black": right(15), "itself": 1.0}


def test_the_worst_pictures_come_first_and_of_alike_the_earlier():
    images = torch.zeros(14, 1, 28, 28)
    digits = Pictures(images, torch.arange(14) % 10)
    ink = images.clone()
    for sample, wrong in enumerate([1, 4, 0, 4, 9, 2, 2, 2, 2, 2, 2, 2, 2, 2]):
        ink[sample, 0, 0, :wrong] = 0.51
    ink[2, 0, 20] = 0.5  # no ink
    images[0, 0, 21] = 0.5
    assert worst_of(ink, digits) == [4, 1, 3, 5, 6, 7, 8, 9, 10, 11]
    assert worst_of(ink, digits, 2) == [4, 1]
    assert worst_of(ink[:2], digits.limit(2)) == [1, 0]
    many = Pictures(torch.zeros(400, 1, 28, 28), torch.zeros(400).long())
    assert worst_of(many.images, many, 300) == list(range(300))


# --- how a rule behaves


def test_who_forgets_nothing_holds_and_who_forgets_loses_just_that():
    digits = bars([0, 1, 2, 3])
    holds = behaviour(toy_rule(loss_steps=(6, 8)), digits, 0)
    assert holds["persistence"] == {"1x": 1.0, "4x": 1.0, "10x": 1.0}
    forgets = behaviour(toy_rule(forget=26, loss_steps=(6, 8)), digits, 0)
    assert (forgotten(32, 26), forgotten(80, 26)) == (9, 15)
    assert forgets["persistence"] == {"1x": 1.0, "4x": right(9), "10x": right(15)}
    assert forgets["regeneration"]["square"]["before"] == 1.0  # damaged when just grown
    short = behaviour(toy_rule(forget=26, loss_steps=(2,)), digits, 0)  # trained for 2, 8 and 20
    assert short["persistence"] == {"1x": right(15 - 3), "4x": 1.0, "10x": 1.0}
    begins = behaviour(toy_rule(forget=18, loss_steps=(2,)), digits, 0)  # just then
    assert begins["persistence"]["10x"] == right(1)


def test_few_pictures_are_grown_several_times(monkeypatch):
    """One growth of one picture says little: what is measured over time is a mean of eight."""
    grown, real = [], evaluation.roll_out
    monkeypatch.setattr(
        evaluation, "roll_out", lambda r, s, *a: grown.append(len(s)) or real(r, s, *a)
    )
    for count, repeated in ((1, 8), (3, 9), (8, 8), (9, 9)):
        behaviour(toy_rule(forget=10, loss_steps=(5,)), bars(list(range(count))), 0)
        assert set(grown) == {repeated}
        grown.clear()


def test_how_a_picture_comes_about():
    results = behaviour(toy_rule(forget=10, loss_steps=(5,)), bars([0, 1, 2]), 0)
    wanted = [[t, right(15 - inked(t) + forgotten(t, 10))] for t in range(2, 21, 2)]
    assert results["accuracy_by_step"] == wanted
    assert wanted[0] != wanted[3] != wanted[-1]
    wanted = ["persistence", "unwounded", "regeneration", "mse_over_time", "accuracy_by_step"]
    assert list(results) == wanted
    assert list(results["mse_over_time"]) == wanted[:3]


def test_behaviour_is_measured_of_the_first_digits(monkeypatch):
    """Of six pictures the last two are black, the third and fourth too faint."""
    monkeypatch.setattr(evaluation, "SUBSET", 4)
    monkeypatch.setattr(evaluation, "BATCH", 2)
    digits = bars([0, 1, 2, 3, 4, 5], (1.0, 1.0, 0.25, 0.25, *[0.0] * 6))
    results = behaviour(toy_rule(loss_steps=(8,)), digits, 0)
    assert results["persistence"]["4x"] == right(15 / 2)
    assert results["accuracy_by_step"][-1] == [32, 1.0]


def test_wounds_are_measured_of_fewer_digits_and_so_is_their_control(monkeypatch):
    """Of four pictures two are drawn right; in each of the others fifteen cells are too faint."""
    monkeypatch.setattr(evaluation, "WOUNDED", 3)
    monkeypatch.setattr(evaluation, "REPEATED", 4)
    digits = bars([0, 1, 2, 3], (1.0, 1.0, 0.25, 0.25, *[0.0] * 6))
    results = behaviour(toy_rule(loss_steps=(8,)), digits, 0)
    assert results["persistence"]["1x"] == right(15 / 2)
    whole = dict.fromkeys(("before", "after_damage", "after_64_steps", "after_256_steps"), right(5))
    assert results["unwounded"] == whole
    assert results["regeneration"]["left_half"] == whole | {"after_damage": right((7 + 7 + 8) / 3)}
    off = 15 * 0.75**2 / PIXELS
    assert results["mse_over_time"]["persistence"]["1x"] == pytest.approx(off / 2)
    assert results["mse_over_time"]["unwounded"] == dict.fromkeys(whole, pytest.approx(off / 3))
    seven = (7 * (1 + 1 + 0.25**2) + 8 * 0.75**2) / 3 / PIXELS
    halves = results["mse_over_time"]["regeneration"]["left_half"]
    assert halves["after_damage"] == pytest.approx(seven)
    assert halves["after_64_steps"] == pytest.approx(off / 3)


def test_who_restores_is_wounded_once():
    digits, rule = bars([0]), toy_rule(loss_steps=(8,))
    assert len(behaviour(rule, digits, 0)["regeneration"]) == 10
    rule.record["training"]["task"] = "restore"
    results = behaviour(rule, digits, 0)
    assert list(results["regeneration"]) == ["square"]
    assert list(results["unwounded"]) == list(results["regeneration"]["square"])


def test_behaviour_follows_the_seed():
    rule, digits = toy_rule(fire_rate=0.5, loss_steps=(8,)), bars([0] * 30)
    first, again, other = (behaviour(rule, digits, seed) for seed in (1, 1, 2))
    assert first == again
    for part in ("persistence", "unwounded", "regeneration", "mse_over_time", "accuracy_by_step"):
        assert first[part] != other[part]
    grown = redraw(rule, digits, (8,), 1)[0, :, :1]
    assert first["persistence"]["1x"] == pixel_accuracy(grown, digits.images)
    later = redraw(rule, digits, (4,), 1)[0, :, :1]
    assert first["accuracy_by_step"][1] == [4, pixel_accuracy(later, digits.images)]


def test_ten_wounds():
    """Two of them are others in every picture: first the discs are drawn, then the cells."""
    wounds = damages(4, 7)
    assert list(wounds) == [
        "square", "disc", "left_half", "right_half", "top_half", "bottom_half", "random_half",
        "stripes", "middle", "all_but_middle",
    ]  # fmt: skip
    y, x = torch.arange(28)[:, None], torch.arange(28)
    generator = torch.Generator().manual_seed(7)
    centre = 9 + 10 * torch.rand(2, 4, generator=generator)
    near = ((y - 14) ** 2 + (x - 14) ** 2 <= 9).expand(28, 28)
    for name, region in {
        "square": square(9, 9, 10),
        "disc": disc(*centre, torch.full((4,), 6.0)),
        **{f"{side}_half": half_plane(side) for side in ("left", "right", "top", "bottom")},
        "random_half": scattered(4, 0.5, generator),
        "stripes": (y % 6 < 3).expand(28, 28),  # level ones, of three cells
        "middle": near,
        "all_but_middle": ~near,
    }.items():
        assert torch.equal(wounds[name], region), name
    other = damages(4, 8)
    for name in ("disc", "random_half"):
        assert not torch.equal(wounds[name][0], wounds[name][1])
        assert not torch.equal(wounds[name], other[name])


def test_wounds_of_a_larger_grid():
    """Of 56 x 84 cells: all is twice as large, and lies in the middle."""
    wounds = damages(3, 0, (56, 84))
    small = damages(3, 0)
    centre = torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    y, x = torch.arange(56)[:, None], torch.arange(84)
    for name, region in {
        "square": square(18, 32, 20, (56, 84)),
        "disc": disc(18 + 20 * centre[0], 32 + 20 * centre[1], torch.full((3,), 12.0), (56, 84)),
        "left_half": half_plane("left", (56, 84)),
        "stripes": (y % 12 < 6).expand(56, 84),
        "middle": (y - 28) ** 2 + (x - 42) ** 2 <= 36,
        "all_but_middle": (y - 28) ** 2 + (x - 42) ** 2 > 36,
    }.items():
        assert torch.equal(wounds[name], region), name
    assert wounds.keys() == small.keys()
    assert wounds["random_half"].shape == (3, 56, 84)


def left_of_a_bar(region):
    """How many cells of the bar are right, by the rule of the toy: what remembers, comes back.

    A cell between two that know better learns of both, so a bar may also come back too long.
    """
    reach = [0 if region[14, x] or abs(x - 14) > 7 else 8 - abs(x - 14) for x in range(28)]
    left = sum(r > 0 for r in reach)
    for _ in range(28):
        west, east = [0, *reach[:-1]], [*reach[1:], 0]
        reach = [
            r + max(w - r - 1, 0) + max(e - r - 1, 0)
            for w, r, e in zip(west, reach, east, strict=True)
        ]
    lives = [sum(three) > 1 for three in zip(reach, reach[1:], reach[2:], strict=False)]
    inside = sum(lives[6:21])  # columns 7 to 21
    return left, inside - (sum(lives) - inside)


def test_healing_by_hand():
    """How many of the fifteen cells are missing after each wound, and for good."""
    rule, digits = toy_rule(loss_steps=(8,)), bars([0] * 5)
    grown = redraw(rule, digits, (8,))[0]
    results = regeneration(rule, digits, grown, 8, 3)
    wounds, missing = damages(5, 3), {}
    assert list(results) == [*wounds, "none"]
    for name, region in wounds.items():
        left, healed = zip(*map(left_of_a_bar, region.expand(5, 28, 28)), strict=True)
        missing[name] = WIDTH - sum(left) / 5, WIDTH - sum(healed) / 5
    drawn = [missing.pop(name) for name in ("disc", "random_half")]
    assert all(15 > after > later >= 0 for after, later in drawn)
    assert missing == {
        "square": (10, 7),
        "left_half": (7, 0),
        "right_half": (8, 2),  # with the seed goes who knew best how far to go
        "top_half": (0, 0),
        "bottom_half": (15, 15),  # all of it is gone for good
        "stripes": (15, 15),
        "middle": (7, 0),
        "all_but_middle": (8, 0),
    }
    missing |= dict(zip(("disc", "random_half"), drawn, strict=True)) | {"none": (0, 0)}
    for name, (after, later) in missing.items():
        assert results[name] == {
            "before": 1.0,
            "after_damage": right(after),
            "after_64_steps": right(later),
            "after_256_steps": right(later),
        }, name


@pytest.mark.parametrize(("steps", "missing"), [(1, 7), (2, 6), (7, 1), (8, 0)])
def test_healing_is_measured_when_it_is_said_to_be(monkeypatch, steps, missing):
    monkeypatch.setattr(evaluation, "HEALING_STEPS", (steps,))
    rule, digits = toy_rule(loss_steps=(8,)), bars([0])
    results = regeneration(rule, digits, redraw(rule, digits, (8,))[0], 8, 0)
    assert results["left_half"][f"after_{steps}_steps"] == right(missing)


def test_who_can_not_heal_stays_damaged():
    """An untrained rule changes nothing."""
    rule, digits = NCA(RuleConfig(4, 2, 1, 0)), bars([0, 1])
    grown = torch.zeros(2, 4, 28, 28)
    grown[:, :2] = bar()
    results = regeneration(rule, digits, grown, 4, 0)
    for name, missing in (("square", 10), ("left_half", 7), ("middle", 7), ("none", 0)):
        damaged = dict.fromkeys(
            ("after_damage", "after_64_steps", "after_256_steps"), right(missing)
        )
        assert results[name] == {"before": 1.0} | damaged
    for name in ("disc", "random_half"):
        assert results[name]["after_damage"] == results[name]["after_64_steps"] < 1.0


def test_some_of_the_wounds():
    """In their usual order, and each as when all are made."""
    rule, digits = toy_rule(loss_steps=(8,)), bars([0, 1])
    grown = redraw(rule, digits, (8,))[0]
    every = regeneration(rule, digits, grown, 8, 3)
    calls = toy.spy(rule)
    some = regeneration(rule, digits, grown, 8, 3, ("none", "random_half", "disc"))
    assert list(some) == ["disc", "random_half", "none"]
    assert some == {name: every[name] for name in some}
    assert len(calls) == 3


def test_who_is_not_wounded_just_grows_on(monkeypatch):
    """The control shows what would have come of the same digits, cell by cell."""
    monkeypatch.setattr(evaluation, "HEALING_STEPS", (3, 9))
    rule, digits = toy_rule(forget=6, fire_rate=0.5), bars([0] * 4)
    path = redraw(rule, digits, (8, 11, 17), 5)
    row = healing(rule, digits, path[0], 8, 5)["none"]
    assert list(row) == ["before", "after_damage", "after_3_steps", "after_9_steps"]
    assert torch.equal(row["before"], path[0, :, :1])
    assert torch.equal(row["after_damage"], path[0, :, :1])
    assert torch.equal(row["after_3_steps"], path[1, :, :1])
    assert torch.equal(row["after_9_steps"], path[2, :, :1])
    assert not torch.equal(path[1], path[2])


def test_healing_goes_on_in_the_streams_of_the_growth_and_in_its_style():
    rule, digits = toy_rule(0.25, (0.125,)), bars([0, 1])  # too faint to count as ink
    toy.known_code(rule, [1.0], [0.0])
    grown = redraw(rule, digits, (8,), 3)[0]
    calls = toy.spy(rule)
    results = regeneration(rule, digits, grown, 8, 3)
    assert [row["before"] for row in results.values()] == [right(WIDTH)] * 11
    assert [(call.steps, call.record, call.first_step) for call in calls] == [
        (256, (64, 256), 8)
    ] * 11
    for call in calls:
        assert torch.equal(call.seeds, streams(2, 3, evaluation.MAIN))
        assert call.genome.tolist() == [[0.25, 1.0]] * 2


def test_a_restorer_is_measured_on_other_blurs_too():
    """One that changes nothing leaves them as they are; the noise follows from the seed."""
    rule = NCA(RuleConfig(3, 2, 1, 0))
    rule.record = {"training": {"task": "restore", "loss_steps": [2]}}
    digits = bars([0, 1, 2])
    digits.images[:, 0, 10:18, 10:18] = 0.7  # what is left of this is more than half
    results = other_blurs(rule, digits, 4)
    assert list(results) == ["box3", "box7", "gauss", "noise"]
    noisy = with_noise(box(digits.images), 0.02, torch.Generator().manual_seed(4))
    left = pixel_accuracy(noisy, digits.images)
    assert results["noise"] == {"left_alone": left, "restored": left}
    for row in results.values():
        assert row["left_alone"] == row["restored"] < 1
    calls = toy.spy(rule)
    other_blurs(rule, digits, 4)
    assert all((call.steps, call.record) == (2, (2,)) for call in calls)
    assert torch.equal(calls[0].state, inked_state(box(digits.images, 3), 3, above=0))
    assert torch.equal(calls[3].state, inked_state(noisy, 3, above=0))
    for call in calls:
        assert torch.equal(call.seeds, streams(3, 4, evaluation.MAIN))


def test_switching_by_hand():
    """All is read as it should be, but 7 looks like 3."""
    ink = list(LABEL_INK)
    results = switching(toy_rule(ink), 8, 0, ToyJudge(), styles=1)
    assert results["judge_accuracy"] == results["worst_pair_judge_accuracy"] == 1.0
    assert results["worst_pair"] == [0, 1]
    ink[7] = ink[3]
    results = switching(toy_rule(ink), 8, 0, ToyJudge(), styles=1)
    assert results == {
        "judge_accuracy": exactly(81 / 90),
        "worst_pair": [0, 7],
        "worst_pair_judge_accuracy": 0.0,
    }


def test_switching_by_hand_with_many_hands():
    """Bold hands look like the next digit; which pair does worst depends on its draws."""
    rule = toy_rule(LABEL_INK, (0.0, 1 / 32))
    results = switching(rule, 8, 5, ToyJudge(), styles=3)
    style = torch.randn(270, 2, generator=torch.Generator().manual_seed(5))[:, 1]
    pairs = [(old, new) for old in range(10) for new in range(10) if old != new]
    off = (style / 2).round()
    fine = [
        sum(float(min(max(new + off[i + 90 * k], 0), 9) == new) for k in range(3)) / 3
        for i, (_, new) in enumerate(pairs)
    ]
    assert 0.1 < sum(fine) / 90 < 0.95
    worst = fine.index(min(fine))
    assert results == {
        "judge_accuracy": exactly(sum(fine) / 90),
        "worst_pair": list(pairs[worst]),
        "worst_pair_judge_accuracy": exactly(fine[worst]),
    }


def test_switching_is_told_when_grown_and_read_later(monkeypatch):
    monkeypatch.setattr(evaluation, "SWITCH_STEPS", 5)
    rule = toy_rule(LABEL_INK, (0.125,))
    calls = toy.spy(rule)
    switching(rule, 8, 4, ToyJudge(), styles=2)
    before, after = calls
    assert (before.steps, before.record, before.first_step) == (8, (8,), 0)
    assert (after.steps, after.record, after.first_step) == (5, (5,), 8)
    assert torch.equal(before.state, seed_state(180, 5))
    ink = (before.genome @ torch.tensor([1.0, 0.125])).relu()
    torch.testing.assert_close(after.state[:, 0].amax((1, 2)), ink)
    for call in calls:
        assert torch.equal(call.seeds, streams(180, 4, evaluation.SWITCHING))
    styles = torch.randn(180, 1, generator=torch.Generator().manual_seed(4))
    assert torch.equal(before.genome[:, 1:], styles)
    assert torch.equal(after.genome[:, 1:], styles)
    pairs = torch.stack([before.genome[:, 0], after.genome[:, 0]], 1).mul(16).sub(1).int().tolist()
    wanted = [[old, new] for old in range(10) for new in range(10) if old != new]
    assert pairs == wanted * 2


def test_switching_tries_forty_hands(monkeypatch):
    monkeypatch.setattr(evaluation, "SWITCH_STEPS", 1)
    monkeypatch.setattr(evaluation, "BATCH", 3600)
    rule = toy_rule(LABEL_INK)
    calls = toy.spy(rule)
    assert switching(rule, 2, 0, ToyJudge())["judge_accuracy"] == 1.0
    assert [len(call.state) for call in calls] == [3600, 3600]


@pytest.mark.parametrize(("ink", "forget"), [(2.5, None), (0.5, 2)])
def test_ink_is_bounded_before_it_is_read(monkeypatch, ink, forget):
    """A rule that draws too bold, and one that ends at -1/2; Gaussians leave the bounds as well."""
    monkeypatch.setattr(evaluation, "SWITCH_STEPS", 12)
    seen = []

    class Strict(ToyJudge):
        def features(self, images):
            assert images.shape[1:] == (1, 28, 28)
            assert images.min() >= 0
            assert images.max() <= 1
            seen.append(images.max().item())
            return super().features(images)

    class Gaussian:
        def sample(self, labels, generator):
            return torch.linspace(-1, 2, PIXELS).view(1, 1, 28, 28).repeat(len(labels), 1, 1, 1)

    monkeypatch.setattr(baselines, "class_pca", lambda *given: Gaussian())
    rule, strongest = toy_rule(ink, forget=forget, loss_steps=(12,)), 1.0 if forget is None else 0.0
    data = toy_data([0, 1] * 4, 1.0)
    grown = redraw(rule, data.test, (12,))[0, :, :1]
    assert grown.min() == (0 if forget is None else ink - 1)
    measure(grown, data.test, Strict())
    switching(rule, 12, 0, Strict(), styles=1)
    assert seen == [strongest] * 2
    samples(rule, data, data.test, 0, Strict())
    assert seen[2:] == [1.0, strongest, 1.0, 1.0]  # real test digits, drawn ones, references


# --- sets of pictures


def test_fid_by_the_closed_formula():
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(300, FEATURES, generator=generator)
    drawn = 1.5 * torch.randn(200, FEATURES, generator=generator) + 0.5
    drawn[:, 0] += 3 * drawn[:, 1]
    means = [part.double().mean(0).numpy() for part in (drawn, real)]
    covariances = [np.cov(part.double().numpy().T) for part in (drawn, real)]
    mixed = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    fid = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * mixed)
    assert compare_sets(drawn, real)["fid"] == pytest.approx(fid, rel=1e-3)
    assert compare_sets(real, real)["fid"] == pytest.approx(0, abs=1e-3)


def on_a_line(values):
    features = torch.zeros(len(values), FEATURES)
    features[:, 0] = torch.tensor(values)
    return features


def test_coverage_and_density_by_hand():
    """Eight real ones on a line; a ball reaches to the fifth neighbour, its rim is outside."""
    real = [0.0, 1, 2, 4, 8, 16, 32, 64]
    radii = [sorted(abs(a - b) for b in real)[5] for a in real]
    assert radii == [16, 15, 14, 12, 8, 16, 31, 62]
    drawn = [16.0, 17.0, -14.0, 500.0, 95.0]
    inside = [[abs(a - b) < radius for b in drawn] for a, radius in zip(real, radii, strict=True)]
    assert [sum(row) for row in inside] == [1, 0, 0, 0, 0, 2, 2, 3]
    results = compare_sets(on_a_line(drawn), on_a_line(real))
    assert results["coverage"] == sum(map(any, inside)) / 8 == 0.5
    assert results["density"] == exactly(sum(map(sum, inside)) / 5 / 5)
    assert list(results) == ["fid", "coverage", "density"]


def test_sets_that_are_the_same_and_sets_far_apart():
    real = torch.randn(100, FEATURES, generator=torch.Generator().manual_seed(1))
    same, far = compare_sets(real.clone(), real), compare_sets(real + 50, real)
    assert same["coverage"] == 1.0
    assert far["coverage"] == far["density"] == 0.0
    assert same["fid"] < 0.1 < far["fid"] == pytest.approx(FEATURES * 50**2, rel=1e-3)


def test_samples_have_styles_from_the_prior_and_streams_of_their_own():
    rule = toy_rule(LABEL_INK, (0.125, 0.0))
    toy.known_code(rule, [7.0, 7.0], [0.0, 0.0])
    data = toy_data([0, 1, 2] * 8)
    calls = toy.spy(rule)
    results = samples(rule, data, data.test, 6, ToyJudge())
    (call,) = calls
    generator = torch.Generator().manual_seed(6)
    labels = data.test.labels[torch.randperm(24, generator=generator)]
    styles = torch.randn(24, 2, generator=generator)
    assert torch.equal(call.genome[:, 1:], styles)
    assert 0.7 < styles.std() < 1.3
    assert torch.equal(call.genome[:, 0], torch.tensor(LABEL_INK)[labels])
    assert torch.equal(call.seeds, streams(24, 6, evaluation.SAMPLES))
    assert (call.steps, call.record) == (8, (8,))
    read = (labels + (2 * styles[:, 0])).round().clamp(0, 9)
    assert results["judge_accuracy"] == exactly((read == labels).double().mean().item())
    assert 0.1 < results["judge_accuracy"] < 0.9
    assert results["n"] == 24
    assert list(results) == ["judge_accuracy", "fid", "coverage", "density", "n", "references"]


def test_samples_stand_beside_real_digits_and_gaussians(monkeypatch):
    """A training digit of another label is left out; half of the others are drawn too bold."""
    asked = []

    class Gaussian:
        def sample(self, labels, generator):
            asked.append((labels, torch.rand(1, generator=generator)))
            return 3 * bars(labels.tolist(), LABEL_INK).images - 1 / 8  # reads 3 * (label + 1) - 3

    monkeypatch.setattr(baselines, "class_pca", lambda *given: asked.append(given) or Gaussian())
    test = bars([0, 1, 2] * 4, LABEL_INK)
    images = torch.cat([bars([0, 1, 2] * 20, LABEL_INK).images, bars([5] * 40).images])
    images[:30] += 1 / 16
    train = Pictures(images, torch.tensor([0, 1, 2] * 20 + [5] * 40))
    data = Dataset(train, test, test, "toy bars")
    results = samples(toy_rule(LABEL_INK, (0.0, 0.0)), data, test, 2, ToyJudge())
    generator = torch.Generator().manual_seed(2)
    labels = test.labels[torch.randperm(12, generator=generator)]
    torch.randn(12, 2, generator=generator)
    (given, length), (wanted, rest) = asked
    assert length == 2
    assert given.labels.tolist() == [0, 1, 2] * 20
    assert torch.equal(wanted, labels)
    assert torch.equal(rest, torch.rand(1, generator=generator))
    pick = torch.randperm(60, generator=generator)[:12]
    assert 0 < (pick >= 30).sum() < 12
    references = results["references"]
    assert list(references) == ["real_training_digits", "class_pca_gaussian"]
    real = references["real_training_digits"]
    assert real["judge_accuracy"] == exactly((pick >= 30).double().mean().item())
    of_train = on_a_line(images[pick, 0, 14, 14].tolist())
    features = on_a_line([LABEL_INK[label] for label in test.labels.tolist()])
    assert real == {"judge_accuracy": real["judge_accuracy"]} | compare_sets(of_train, features)
    gaussian = references["class_pca_gaussian"]
    drawn = 3 * torch.tensor(LABEL_INK)[labels] - 1 / 8
    read = 3 * (labels + 1) - 3
    assert gaussian["judge_accuracy"] == exactly((read == labels).double().mean().item())
    assert gaussian["fid"] == compare_sets(on_a_line(drawn.tolist()), features)["fid"] > 0
    assert results["judge_accuracy"] == 1.0
    assert results["fid"] == pytest.approx(0, abs=1e-6)
    assert results["coverage"] == 1.0


# --- which digits


def test_the_digits_of_a_rule():
    data = toy_data([3, 5, 7, 3, 5, 7])
    everything = digits_for(toy_rule(), data)
    assert everything.labels.tolist() == [3, 5, 7, 3, 5, 7]
    assert torch.equal(everything.images, data.test.images)
    rule = toy_rule(digits=(5, 7, 9))
    assert digits_for(rule, data).labels.tolist() == [5, 7, 5, 7]
    assert digits_for(rule, data, "validation").labels.tolist() == [5, 7, 5]
    assert digits_for(rule, data, limit=3).labels.tolist() == [5, 7, 5]
    assert digits_for(rule, data, "validation", 1).labels.tolist() == [5]
    assert digits_for(rule, data, limit=100).labels.tolist() == [5, 7, 5, 7]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"split": "train"}, "^--split train: choose test or validation$"),
        ({"limit": 0}, "^--limit 0: evaluate at least 1 picture$"),
        ({"limit": 1.5}, "^--limit is 1.5: give a whole number$"),
    ],
)
def test_digits_that_can_not_be_had(given, message):
    with pytest.raises(InputError, match=message):
        digits_for(toy_rule(), toy_data([3, 5]), **given)


def test_a_rule_without_digits_to_measure():
    message = r"^toy bars in memory has no validation digits with the labels \[5, 8\]$"
    with pytest.raises(InputError, match=message):
        digits_for(toy_rule(digits=(5, 8)), toy_data([3, 5]), "validation")


# --- everything


def test_all_baselines(monkeypatch):
    train, test = bars([0, 1, 0, 1, 0, 1]), bars([0, 1])
    pictures = baseline_pictures(train, test, 2)
    names = ["black", "class_mean", "blur_threshold", "linear_deblur", "class_pca"]
    assert list(pictures) == names
    assert all(picture.shape == (2, 1, 28, 28) for picture in pictures.values())
    assert not pictures["black"].any()
    torch.testing.assert_close(pictures["class_mean"], test.images)
    assert torch.equal(pictures["blur_threshold"], box(test.images))
    assert torch.equal(pictures["linear_deblur"], baselines.linear_deblur(train, test))
    torch.testing.assert_close(pictures["class_pca"], test.images)
    asked = []
    monkeypatch.setattr(
        baselines,
        "class_pca",
        lambda *given: asked.append(given) or baselines.ClassPCA(*[None] * 4),
    )
    monkeypatch.setattr(baselines.ClassPCA, "redraw", lambda self, digits: digits)
    assert baseline_pictures(train, test, 5)["class_pca"] is test
    assert asked == [(train, 5)]
    beside = baseline_pictures(train, test, 5, ToyRival())
    assert list(beside) == [*names, "conv_decoder"]
    assert torch.equal(beside["conv_decoder"], test.images / 4)


class ToyRival:
    """Draws every picture too faint; its codes have seven numbers."""

    record = {"style_dim": 7, "source": "toys"}  # noqa: RUF012

    def redraw(self, digits):
        return digits.images / 4


@pytest.fixture
def toy_world(monkeypatch):
    """Evaluation with the toy judge, small and fast; what its parts were asked."""
    asked = {"pca": []}

    def class_pca(train, length):
        asked["pca"].append((train, length))
        means = torch.zeros(10, PIXELS)
        for label in train.labels.unique().tolist():
            means[label] = train.only(label).images.mean(0).flatten()
        return baselines.ClassPCA(
            means, torch.zeros(10, length, PIXELS), torch.zeros(10, length), (1, 28, 28)
        )

    monkeypatch.setattr(baselines, "class_pca", class_pca)
    monkeypatch.setattr(evaluation, "judge_for", lambda kind: ToyJudge())
    monkeypatch.setattr(evaluation, "load_rival", ToyRival)
    monkeypatch.setattr(evaluation, "FEATURES", 8)
    monkeypatch.setattr(evaluation, "SWITCH_STEPS", 2)
    return asked


INKS = (1.0, 0.75, 0.25, 1.0, *[1.0] * 6)  # the rule draws a 2 too faint


def test_an_evaluation_by_hand(toy_world):
    rule = toy_rule(INKS, (0.0,) * 3)
    rule.record["sha256"] = "abc"
    data = toy_data([0, 1, 2] * 3, (1.0, 0.75, 0.75, *[1.0] * 7))
    results = evaluate(rule, data)
    assert list(results) == [
        "n", "split", "seed", "task", "steps", "weights", "data", "held_out", "parameters",
        "fitted",
        "pixel_accuracy", "ink_iou", "mse", "psnr", "ssim", "judge_accuracy", "per_digit", "worst",
        "baselines", "persistence", "unwounded", "regeneration", "mse_over_time",
        "accuracy_by_step", "switching", "samples", "seconds",
    ]  # fmt: skip
    for key, value in {
        "n": 9, "split": "test", "seed": 0, "task": "grow", "steps": 8, "weights": "abc",
        "data": "toy bars", "parameters": rule.rule_parameters, "fitted": 10 * (3 + 6),
        "pixel_accuracy": right(15 / 3), "ink_iou": pytest.approx(2 / 3),
        "mse": pytest.approx(15 / 4 / PIXELS / 3), "judge_accuracy": 0.0,
        "worst": [2, 5, 8, 0, 1, 3, 4, 6, 7],
    }.items():  # fmt: skip
        assert results[key] == value, key
    accuracies = {label: row["pixel_accuracy"] for label, row in results["per_digit"].items()}
    assert accuracies == {"0": 1.0, "1": 1.0, "2": right(15)}
    assert results["per_digit"]["2"]["baselines"]["class_mean"] == 1.0
    beside = results["baselines"]
    assert beside["black"]["pixel_accuracy"] == right(15)
    assert beside["class_mean"]["pixel_accuracy"] == 1.0
    assert beside["class_pca"]["numbers"] == 3
    assert beside["conv_decoder"]["pixel_accuracy"] == right(15)
    assert beside["conv_decoder"]["numbers"] == 7
    assert beside["conv_decoder"]["trained_on"] == "toys"
    assert ["numbers" in row for row in beside.values()] == [False] * 4 + [True] * 2
    assert results["persistence"] == {name: right(5) for name in ("1x", "4x", "10x")}
    assert results["unwounded"]["after_256_steps"] == right(5)
    assert results["regeneration"]["left_half"]["after_damage"] == right(5 + 7 * 2 / 3)
    assert results["accuracy_by_step"][0] == [2, right(15 - 3 * 2 / 3)]
    assert results["accuracy_by_step"][-1] == [32, right(5)]
    assert results["switching"] == switching(rule, 8, 0, ToyJudge())
    assert results["samples"] == samples(rule, data, data.test, 0, ToyJudge())
    assert toy_world["pca"][0] == (data.train, 3)
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    assert "class pca" in table(results)


def test_an_evaluation_is_of_what_was_asked(toy_world):
    rule = toy_rule(INKS, fire_rate=0.5, loss_steps=(4,))
    data = toy_data([0, 1, 2] * 4, INKS)
    first = evaluate(rule, data, split="validation", seed=3, limit=9)
    again = evaluate(rule, data, split="validation", seed=3, limit=9)
    other = evaluate(rule, data, split="validation", seed=4, limit=9)
    assert [first[key] for key in ("n", "split", "seed")] == [9, "validation", 3]
    for results in (first, again, other):
        del results["seconds"]
    assert first == again
    for part in ("mse", "persistence", "regeneration", "accuracy_by_step", "switching", "samples"):
        assert first[part] != other[part], part
    digits = data.validation.limit(9)
    ink = redraw(rule, digits, (4,), 3)[0, :, :1]
    assert first["mse"] == measure(ink, digits, ToyJudge())["mse"]
    assert first["switching"] == switching(rule, 4, 3, ToyJudge())
    assert first["samples"] == samples(rule, data, digits, 3, ToyJudge())
    assert first["weights"] is None


def test_the_seconds_of_an_evaluation(toy_world, monkeypatch):
    ticks = iter([100.0, 107.26])
    monkeypatch.setattr(evaluation, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    rule = toy_rule(INKS, digits=(0,), loss_steps=(1,))
    assert evaluate(rule, toy_data([0, 0], INKS))["seconds"] == 7.3


@pytest.mark.parametrize(("count", "enough"), [(8, False), (9, True)])
def test_few_digits_are_no_set(toy_world, count, enough):
    rule = toy_rule(INKS, digits=(0, 1, 2))
    results = evaluate(rule, toy_data([0, 1, 2] * 3, INKS), limit=count)
    assert (results["samples"] is not None) is enough
    assert "switching" not in results  # it knows three digits
    assert results["baselines"]["class_pca"]["numbers"] == 1


def test_a_restorer_switches_nothing_and_has_no_samples(toy_world):
    rule = NCA(RuleConfig(3, 2, 1, 0))
    rule.record = {"training": {"task": "restore", "loss_steps": [2]}, "digits": list(range(10))}
    data = toy_data([0, 1] * 5, INKS)
    results = evaluate(rule, data)
    assert results["task"] == "restore"
    assert results["pixel_accuracy"] == pixel_accuracy(box(data.test.images), data.test.images)
    assert "switching" not in results
    assert "samples" not in results
    assert results["other_blurs"] == other_blurs(rule, data.test, 0)
    assert results["baselines"]["class_pca"]["numbers"] == 16
    assert toy_world["pca"] == [(data.train, 16)]


@pytest.mark.parametrize(
    ("given", "message"),
    [({"limit": 0}, "at least 1"), ({"split": "train"}, "train"), ({"seed": -1}, "seed is -1")],
)
def test_an_evaluation_that_can_not_be(toy_world, given, message):
    with pytest.raises(InputError, match=message):
        evaluate(toy_rule(), toy_data([0, 1]), **given)


# --- real digits


@pytest.fixture(scope="module")
def data():
    """The embedded sample, with few digits to train on."""
    whole = load_digits("embedded")
    return replace(whole, train=whole.train.select(torch.arange(0, len(whole.train), 11)))


@pytest.fixture
def rule():
    rule = initial_rule(RuleConfig(channels=6, hidden=8, label_dim=4, style_dim=2), 0)
    generator = torch.Generator().manual_seed(0)
    rule.update.weight.data.normal_(std=0.02, generator=generator)
    rule.record = {"training": {"task": "grow", "loss_steps": [3, 4]}}
    return rule


def test_the_judge_reads_real_digits(data):
    judge = load_judge()
    assert accuracy(judge, data.test) >= 0.99
    few = data.test.images[:7]
    torch.testing.assert_close(judge(few)[:1], judge(few[:1]), atol=1e-4, rtol=1e-4)
    assert judge.record["test_accuracy"] >= 0.993


def test_baselines(data):
    some = data.test.limit(100)
    ink = (some.images > 0.5).double().mean().item()
    assert pixel_accuracy(baselines.black(some), some.images) == pytest.approx(1 - ink)
    sevens = data.train.only(7)
    mean = baselines.class_mean(data.train, some.only(7))
    torch.testing.assert_close(mean[0], sevens.images.mean(0))
    deblurred = pixel_accuracy(baselines.linear_deblur(data.train, some, 100), some.images)
    assert deblurred > 0.975 > pixel_accuracy(box(some.images), some.images)


@pytest.mark.parametrize("count", [12, 60])  # fewer pictures than pixels, and more
def test_principal_directions_point_the_same_way_on_every_processor(count, monkeypatch):
    centred = torch.randn(count, 20, generator=torch.Generator().manual_seed(0)).double()
    centred -= centred.mean(0)
    ours, _ = baselines.principal(centred, 5)
    largest = ours.gather(1, ours.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()
    eigh, svd = torch.linalg.eigh, torch.linalg.svd  # a library that turns them all round

    def turned(matrix):
        values, vectors = eigh(matrix)
        return values, -vectors

    def turned_too(matrix, full_matrices):
        left, scales, right = svd(matrix, full_matrices=full_matrices)
        return -left, scales, -right

    monkeypatch.setattr(torch.linalg, "eigh", turned)
    monkeypatch.setattr(torch.linalg, "svd", turned_too)
    assert torch.equal(baselines.principal(centred, 5)[0], ours)


def test_class_pca_with_all_components_is_exact(data):
    few = Pictures(data.train.images[:50], torch.zeros(50, dtype=torch.int64))
    pca = baselines.class_pca(few, 60)
    torch.testing.assert_close(pca.redraw(few), few.images, atol=1e-4, rtol=0)
    errors = [
        (pca._replace(components=pca.components[:, :k]).redraw(few) - few.images).square().mean()
        for k in (1, 4, 16)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_an_evaluation_of_real_digits(data, rule, monkeypatch):
    """Complete, finite, and whatever the batch; small, to be fast."""
    monkeypatch.setattr(evaluation, "SWITCH_STEPS", 2)
    monkeypatch.setattr(evaluation, "HEALING_STEPS", (2, 3))
    monkeypatch.setattr(evaluation, "FEATURES", 19)
    known = torch.tensor([3, 7])
    train = data.train.select(torch.isin(data.train.labels, known)).limit(40)
    few = replace(data, train=train, test=data.test.limit(200))
    rule.record["digits"] = known.tolist()
    first = evaluate(rule, few, limit=20)
    monkeypatch.setattr(evaluation, "BATCH", 3)
    again = evaluate(rule, few, limit=20)
    for key in ("pixel_accuracy", "ink_iou", "mse", "judge_accuracy"):
        assert first[key] == pytest.approx(again[key], abs=1e-6)
    assert set(first["per_digit"]) == {"3", "7"}
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    black = sum(row["n"] * row["baselines"]["black"] for row in first["per_digit"].values())
    assert black / first["n"] == pytest.approx(first["baselines"]["black"]["pixel_accuracy"])


# --- pictures


@pytest.mark.parametrize("records", [1, 4, 5, 30])
def test_learning_curves_of_short_trainings(records):
    assert smooth([2.0] * records) == pytest.approx([2.0] * records)
    log = [{"iteration": k, "ink": 0.1} for k in range(records)]
    assert learning_curves({"digit-0": log, "unified": log}).axes


def test_pictures(tmp_path):
    from PIL import Image

    frames = torch.rand(5, 1, 28, 28)
    assert progress_picture(torch.rand(20, 1, 28, 28), scale=2).size == (560, 112)
    save_gif(frames, tmp_path / "x.gif", scale=2)
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 5
        assert gif.size == (56, 56)


def test_a_rule_is_measured_in_its_own_type():
    """By the same way it is measured on its own device: nothing is moved to another for it."""
    rule = initial_rule(RuleConfig(channels=6, hidden=8, label_dim=4, style_dim=2), 0)
    torch.nn.init.normal_(rule.update.weight, std=0.02)
    digits = Pictures(torch.rand(7, 1, 28, 28), torch.arange(7))
    single = evaluation.redraw(rule, digits, (3,))
    double = evaluation.redraw(rule.double(), digits, (3,))
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, atol=1e-4, rtol=1e-4)
    assert rule.kernels.dtype == torch.float64


def test_the_rival_is_shown_with_its_code_and_its_pictures():
    """It has learned from all of MNIST, whatever the rule beside it has learned from."""
    from nca_lib.report import table

    results = evaluate(load("unified"), load_digits("embedded"), limit=2)
    rival = results["baselines"]["conv_decoder"]
    assert (rival["numbers"], rival["trained_on"]) == (32, "MNIST")
    assert "(conv decoder: 32 numbers, trained on MNIST)" in table(results)
