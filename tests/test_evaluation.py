"""Evaluation, on models and pictures whose answers are known; then on real digits."""

import json
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

from nca_lib.classifier import FEATURES
from nca_lib.data import Dataset, Pictures, load_data
from nca_lib.data.blur import add_noise, box_blur
from nca_lib.evaluation import baselines, behaviour, evaluate, metrics, samples
from nca_lib.evaluation.baselines import ClassPCA, baseline_pictures, class_pca, principal
from nca_lib.evaluation.behaviour import other_blurs, regeneration, regrow
from nca_lib.evaluation.evaluate import pictures_for
from nca_lib.evaluation.metrics import compare_sets, ink_iou, measure, pixel_accuracy, worst_of
from nca_lib.inputs import InputError
from nca_lib.masks import evaluation_damage
from nca_lib.model import NCA
from nca_lib.rollout.fire import rng_seeds
from nca_lib.spec import MNIST, ImageSpec
from nca_lib.state import state_from_image

import numpy as np
import pytest
import scipy.linalg
import torch
import toy
from torchmetrics.functional.image import structural_similarity_index_measure
from toy import LABEL_INK, PIXELS, WIDTH, bar, bars, forgotten, inked, toy_data, toy_model
from toy import ToyClassifier as Toy

evaluation = sys.modules["nca_lib.evaluation.evaluate"]  # the function hides its module


def exactly(value):
    """Up to what the last bits of a mean may do."""
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def right(wrong):
    """The pixel accuracy of a picture with so many wrong pixels."""
    return exactly(1 - wrong / PIXELS)


def restorer(steps=2):
    """A model that changes nothing, and starts from the blur."""
    model = NCA(MNIST, channels=3, hidden=2, label_dim=1)
    model.task, model.steps = "restore", steps
    return model


# --- growing many pictures


def test_a_picture_is_regrown_from_its_label_and_the_style_inferred_from_it():
    model = toy_model(LABEL_INK, (0.25,))
    toy.known_code(model, [0.5], [0.0])
    pictures = bars([1, 4, 9], LABEL_INK)
    assert behaviour.infer_styles(model, pictures).tolist() == [[0.5]] * 3
    frames = regrow(model, pictures, (2, 8))
    assert frames.shape == (2, 3, 5, 28, 28)
    double = regrow(model.double(), pictures, (2, 8))
    assert double.dtype == torch.float64
    assert torch.equal(double.float(), frames)
    model.float()
    given = regrow(model, pictures, (8,), styles=torch.tensor([[0.0], [1.0], [-1.0]]))
    for sample, (label, own) in enumerate(zip((1, 4, 9), (0, 1 / 4, -1 / 4), strict=True)):
        assert torch.equal(frames[0, sample, 0], bar(LABEL_INK[label] + 1 / 8, 1))
        assert torch.equal(frames[1, sample, 0], bar(LABEL_INK[label] + 1 / 8))
        assert torch.equal(given[0, sample, 0], bar(LABEL_INK[label] + own))
    given += 1  # an ordinary tensor, which may be edited
    assert behaviour.infer_styles(NCA(MNIST, channels=3), pictures) is None


@pytest.mark.parametrize("batch", [250, 7, 3])
def test_fire_masks_follow_from_seed_and_index(monkeypatch, batch):
    monkeypatch.setattr(behaviour, "BATCH", batch)
    model, pictures = toy_model(fire_rate=0.5), bars([0] * 7)
    state, condition = model.seed(7), model.condition(pictures.labels)
    of_seed = {s: model.rollout(state, condition, 9, rng_seeds(7, s), (4, 9)) for s in (0, 3)}
    assert not torch.equal(of_seed[0], of_seed[3])
    assert torch.equal(regrow(model, pictures, (4, 9), 3), of_seed[3])
    assert torch.equal(regrow(model, pictures, (4, 9)), of_seed[0])
    turned = regrow(model, pictures, (4, 9), rng_seeds=rng_seeds(7, 3).flip(0))
    assert torch.equal(turned, of_seed[3].flip(1))


# --- metrics


def test_pixel_accuracy_by_hand():
    a, b = torch.zeros(1, 1, 28, 28), torch.zeros(1, 1, 28, 28)
    a[..., :2, :2], b[..., :2, :1] = 1.0, 1.0
    assert pixel_accuracy(a, b) == right(2)
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
    assert [ink_iou(a[k : k + 1], b[k : k + 1]) for k in range(4)] == [0.5, 0.0, 0.25, 1.0]
    assert ink_iou(a, b) == exactly((0.5 + 0 + 0.25 + 1) / 4)
    assert ink_iou(b[1:2], b[1:2]) == 1.0  # a single pixel


def test_all_metrics_by_hand(monkeypatch):
    monkeypatch.setattr(metrics, "BATCH", 2)
    far = torch.tensor([5.0, -3.0])
    assert metrics.squared_error(far, torch.tensor([0.5, 0.25])) == (0.5**2 + 0.25**2) / 2
    pictures = bars([3, 9, 0], (1.0, *LABEL_INK[1:9], 0.75))
    grown = pictures.images.clone()
    grown[0, 0, 0, 0] = 0.5  # half a pixel of ink where none is
    grown[1, 0, 0, :2] = -3.0  # clipped
    grown[2, 0, 14, 20] = 5.0
    grown[2, 0, 14, 21] = 0.25  # 3/4 are missing
    scores = measure(grown, pictures, Toy())
    mse = (0.25 + 9 / 16) / (3 * PIXELS)
    clipped = grown.clamp(0, 1)
    each = [
        structural_similarity_index_measure(a[None], b[None], data_range=1.0).item()
        for a, b in zip(clipped, pictures.images, strict=True)
    ]
    assert min(each) < 0.999
    perfect = measure(pictures.images, pictures, None)
    assert perfect == {"psnr": 100.0, "mse": 0.0, "classifier_accuracy": None} | dict.fromkeys(
        ("pixel_accuracy", "ink_iou", "ssim"), pytest.approx(1.0, abs=1e-6)
    )  # finite, for JSON
    assert scores == {
        "pixel_accuracy": exactly(1 - 1 / (3 * PIXELS)),
        "ink_iou": pytest.approx((1 + 1 + 14 / 15) / 3),
        "mse": pytest.approx(mse),
        "psnr": pytest.approx(-10 * math.log10(mse), rel=1e-5),
        "ssim": pytest.approx(sum(each) / 3, abs=1e-6),
        "classifier_accuracy": exactly(2 / 3),  # 3/4 is as bold as a 9
    }


def test_the_worst_pictures_come_first_and_of_alike_the_earlier():
    images = torch.zeros(14, 1, 28, 28)
    pictures = Pictures(images, torch.arange(14) % 10)
    ink = images.clone()
    for sample, wrong in enumerate([1, 4, 0, 4, 9, 2, 2, 2, 2, 2, 2, 2, 2, 2]):
        ink[sample, 0, 0, :wrong] = 0.51
    ink[2, 0, 20] = 0.5  # no ink
    images[0, 0, 21] = 0.5
    assert worst_of(ink, pictures) == [4, 1, 3, 5, 6, 7, 8, 9, 10, 11]
    assert worst_of(ink, pictures, 2) == [4, 1]
    assert worst_of(ink[:2], pictures.limit(2)) == [1, 0]
    many = Pictures(torch.zeros(400, 1, 28, 28), torch.zeros(400).long())
    assert worst_of(many.images, many, 300) == list(range(300))


# --- behaviour


def measured(model, pictures):
    return behaviour.behaviour(model, pictures, 0)


def test_a_model_that_forgets_loses_just_that():
    pictures = bars([0, 1, 2, 3])
    forgets = measured(toy_model(forget=26, loss_steps=(6, 8)), pictures)
    assert (forgotten(32, 26), forgotten(80, 26)) == (9, 15)
    assert forgets["persistence"] == {"1x": 1.0, "4x": right(9), "10x": right(15)}
    assert forgets["regeneration"]["square"]["before"] == 1.0  # damaged when just grown
    short = measured(toy_model(forget=18, loss_steps=(2,)), pictures)  # after 2, 8 and 20 steps
    assert short["persistence"] == {"1x": right(15 - 3), "4x": 1.0, "10x": right(1)}


@pytest.mark.parametrize(("count", "repeated"), [(1, 8), (3, 9), (8, 8), (9, 9)])
def test_few_pictures_are_grown_several_times(count, repeated):
    """One growth of one picture says little: what is measured over time is a mean of eight."""
    model = toy_model(forget=10, loss_steps=(5,))
    calls = toy.spy(model)
    measured(model, bars(list(range(count))))
    assert {len(call.state) for call in calls} == {repeated}


def test_how_a_picture_comes_about():
    results = measured(toy_model(forget=10, loss_steps=(5,)), bars([0, 1, 2]))
    wanted = [[t, right(15 - inked(t) + forgotten(t, 10))] for t in range(2, 21, 2)]
    assert results["accuracy_by_step"] == wanted
    assert wanted[0] != wanted[3] != wanted[-1]
    assert list(results["mse_over_time"]) == ["persistence", "undamaged", "regeneration"]


def test_behaviour_is_that_of_the_first_pictures(monkeypatch):
    """Of six, two are drawn right, two too faint, two are black. Damage has the first three."""
    for name, count in {"SUBSET": 4, "DAMAGED": 3, "BATCH": 2, "REPEATED": 4}.items():
        monkeypatch.setattr(behaviour, name, count)
    pictures = bars([0, 1, 2, 3, 4, 5], (1.0, 1.0, 0.25, 0.25, *[0.0] * 6))
    results = measured(toy_model(loss_steps=(8,)), pictures)
    assert results["persistence"] == dict.fromkeys(("1x", "4x", "10x"), right(15 / 2))
    assert results["accuracy_by_step"][-1] == [32, 1.0]
    whole = dict.fromkeys(("before", "after_damage", "after_64_steps", "after_256_steps"), right(5))
    assert results["undamaged"] == whole
    assert results["regeneration"]["left_half"] == whole | {"after_damage": right((7 + 7 + 8) / 3)}
    off = 15 * 0.75**2 / PIXELS
    error = results["mse_over_time"]
    assert error["persistence"]["1x"] == pytest.approx(off / 2)
    assert error["undamaged"] == dict.fromkeys(whole, pytest.approx(off / 3))
    seven = (7 * (1 + 1 + 0.25**2) + 8 * 0.75**2) / 3 / PIXELS
    assert error["regeneration"]["left_half"]["after_damage"] == pytest.approx(seven)
    assert error["regeneration"]["left_half"]["after_64_steps"] == pytest.approx(off / 3)


def test_healing_by_hand():
    """How many of the fifteen cells are missing after each kind of damage, and for good."""
    model, pictures = toy_model(loss_steps=(8,)), bars([0] * 5)
    grown = regrow(model, pictures, (8,))[0]
    results = regeneration(model, pictures, grown, 8, 3)
    damage = evaluation_damage(5, 3, (28, 28))
    assert list(results) == [*damage, "none"]
    for name in ("disc", "random_half"):  # they differ from picture to picture
        erased = (damage[name] & (pictures.images[:, 0] > 0)).sum().item() / 5
        row = results[name]
        assert row["after_damage"] == right(erased)
        assert row["after_damage"] < row["after_64_steps"] < 1
    missing = {
        "square": (10, 7),
        "left_half": (7, 0),
        "right_half": (8, 2),  # with the seed goes the cell that knew best how far to go
        "top_half": (0, 0),
        "bottom_half": (15, 15),  # all of it is gone for good
        "stripes": (15, 15),
        "middle": (7, 0),
        "all_but_middle": (8, 0),
    }
    for name, (after, later) in (missing | {"none": (0, 0)}).items():
        values = [1.0, right(after), right(later), right(later)]
        times = ["before", "after_damage", "after_64_steps", "after_256_steps"]
        assert results[name] == dict(zip(times, values, strict=True)), name


def test_healing_continues_the_growth_with_its_fire_masks_and_style():
    model, pictures = toy_model(0.25, (0.125,)), bars([0, 1])  # too faint to count as ink
    toy.known_code(model, [1.0], [0.0])
    grown = regrow(model, pictures, (8,), 3)[0]
    calls = toy.spy(model)
    results = regeneration(model, pictures, grown, 8, 3)
    assert [row["before"] for row in results.values()] == [right(WIDTH)] * 11
    assert list(regeneration(model, pictures, grown, 8, 3, ("none", "disc"))) == ["none", "disc"]
    assert len(calls) == 13
    for call in calls:
        assert (call.steps, call.record_steps, call.first_step) == (256, (64, 256), 8)
        assert torch.equal(call.rng_seeds, rng_seeds(2, 3, 0))
        assert call.condition.tolist() == [[0.25, 1.0]] * 2


def test_restoration_is_measured_on_other_blurs_too():
    """A model that changes nothing leaves them as they are; the noise follows from the seed."""
    model, pictures = restorer(), bars([0, 1, 2])
    pictures.images[:, 0, 10:18, 10:18] = 0.7  # what is left of this is more than half
    calls = toy.spy(model)
    results = other_blurs(model, pictures, 4)
    assert list(results) == ["box3", "box7", "gauss", "noise"]
    noisy = add_noise(box_blur(pictures.images), 0.02, torch.Generator().manual_seed(4))
    assert results["noise"]["left_alone"] == pixel_accuracy(noisy, pictures.images)
    for row in results.values():
        assert row["left_alone"] == row["restored"] < 1
    assert torch.equal(calls[0].state, state_from_image(box_blur(pictures.images, 3), 3, 0))
    assert torch.equal(calls[3].state, state_from_image(noisy, 3, 0))
    for call in calls:
        assert (call.steps, call.record_steps) == (2, (2,))
        assert torch.equal(call.rng_seeds, rng_seeds(3, 4, 0))
    model.output.weight.data.fill_(1.0)
    assert other_blurs(model, pictures, 4)["box3"]["restored"] != results["box3"]["restored"]


# --- samples, and labels that change


class Strict(Toy):
    """Asks for ink between 0 and 1."""

    def features(self, images):
        assert images.shape[1:] == (1, 28, 28)
        assert images.min() >= 0
        assert images.max() <= 1
        return super().features(images)


@pytest.mark.parametrize(("ink", "forget"), [(2.5, None), (0.5, 2)])
def test_ink_is_clipped_before_it_is_classified(monkeypatch, ink, forget):
    """Of a model that draws too bold, and of one that ends at -1/2; Gaussians leave the range."""
    monkeypatch.setattr(samples, "SWITCH_STYLES", 1)
    model = toy_model(ink, forget=forget, loss_steps=(12,))
    data = toy_data([0, 1] * 4, 1.0)
    data.train.images[::3] = 1.0  # far from the mean
    measure(regrow(model, data.test, (12,))[0, :, :1], data.test, Strict())
    samples.switching(model, 12, 0, Strict())
    samples.samples(model, data, data.test, 0, Strict())


def test_switching_by_hand_in_many_styles(monkeypatch):
    """Bold styles look like the next digit; which pair does worst depends on its draws."""
    monkeypatch.setattr(samples, "SWITCH_STYLES", 3)
    results = samples.switching(toy_model(LABEL_INK, (0.0, 1 / 32)), 8, 5, Toy())
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
        "classifier_accuracy": exactly(sum(fine) / 90),
        "worst_pair": list(pairs[worst]),
        "worst_pair_classifier_accuracy": exactly(fine[worst]),
    }


def test_labels_switch_after_growth_and_are_classified_later(monkeypatch):
    monkeypatch.setattr(samples, "SWITCH_STEPS", 5)
    monkeypatch.setattr(samples, "SWITCH_STYLES", 2)
    model = toy_model(LABEL_INK, (0.125,))
    calls = toy.spy(model)
    samples.switching(model, 8, 4, Toy())
    before, after = calls
    assert (before.steps, before.record_steps, before.first_step) == (8, (8,), 0)
    assert (after.steps, after.record_steps, after.first_step) == (5, (5,), 8)
    assert torch.equal(before.state, model.seed(180))
    ink = (before.condition @ torch.tensor([1.0, 0.125])).relu()
    torch.testing.assert_close(after.state[:, 0].amax((1, 2)), ink)
    styles = torch.randn(180, 1, generator=torch.Generator().manual_seed(4))
    for call in calls:
        assert torch.equal(call.rng_seeds, rng_seeds(180, 4, 1))
        assert torch.equal(call.condition[:, 1:], styles)
    labels = torch.stack([before.condition[:, 0], after.condition[:, 0]], 1).mul(16).sub(1)
    wanted = [[old, new] for old in range(10) for new in range(10) if old != new]
    assert labels.int().tolist() == wanted * 2


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
    assert compare_sets(real + 50, real)["fid"] == pytest.approx(FEATURES * 50**2, rel=1e-3)


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


def test_samples_have_drawn_styles_and_fire_masks_of_their_own():
    """A style is measured in the Gaussian fitted to the label's codes, at the temperature."""
    model = toy_model(LABEL_INK, (0.125, 0.0))
    toy.known_code(model, [7.0, 7.0], [0.0, 0.0])
    model.conditioning.temperature.fill_(0.5)
    model.conditioning.mean[2, 1] = 9.0
    data = toy_data([0, 1, 2] * 8)
    calls = toy.spy(model)
    results = samples.samples(model, data, data.test, 6, Toy())
    (call,) = calls
    generator = torch.Generator().manual_seed(6)
    labels = data.test.labels[torch.randperm(24, generator=generator)]
    styles = torch.randn(24, 2, generator=generator)
    ink, codes = torch.tensor(LABEL_INK)[labels], styles / 2
    codes[labels == 2, 1] += 9
    torch.testing.assert_close(call.condition, torch.cat([ink[:, None], codes], 1))
    assert torch.equal(call.rng_seeds, rng_seeds(24, 6, 2))
    assert torch.equal(call.state, model.seed(24))
    assert (call.steps, call.record_steps) == (8, (8,))
    seen = (labels + styles[:, 0]).round().clamp(0, 9)
    assert results["classifier_accuracy"] == exactly((seen == labels).double().mean().item())
    assert 0.1 < results["classifier_accuracy"] < 0.9
    keys = ["classifier_accuracy", "fid", "coverage", "density", "n", "references"]
    assert (list(results), results["n"]) == (keys, 24)


def test_samples_are_compared_with_real_pictures_and_gaussians(monkeypatch):
    """A training picture of another label is left out; half of the others are drawn too bold."""
    asked = []

    class Gaussian:
        def sample(self, labels, generator):
            asked.append((labels, torch.rand(1, generator=generator)))
            return 3 * bars(labels.tolist(), LABEL_INK).images - 1 / 8  # looks like 3 * label

    monkeypatch.setattr(samples, "class_pca", lambda *given: asked.append(given) or Gaussian())
    test = bars([0, 1, 2] * 4, LABEL_INK)
    images = torch.cat([bars([0, 1, 2] * 20, LABEL_INK).images, bars([5] * 40).images])
    images[:30] += 1 / 16
    train = Pictures(images, torch.tensor([0, 1, 2] * 20 + [5] * 40))
    data = Dataset(train, test, test, "toy bars", "toy bars", MNIST)
    results = samples.samples(toy_model(LABEL_INK, (0.0, 0.0)), data, test, 2, Toy())
    generator = torch.Generator().manual_seed(2)
    labels = test.labels[torch.randperm(12, generator=generator)]
    torch.randn(12, 2, generator=generator)
    (given, length), (wanted, rest) = asked
    assert length == 2
    assert given.labels.tolist() == [0, 1, 2] * 20
    assert torch.equal(wanted, labels)
    assert rest == torch.rand(1, generator=generator)
    pick = torch.randperm(60, generator=generator)[:12]
    assert 0 < (pick >= 30).sum() < 12
    references = results["references"]
    assert list(references) == ["real_training_digits", "class_pca_gaussian"]
    real = references["real_training_digits"]
    assert real["classifier_accuracy"] == exactly((pick >= 30).double().mean().item())
    of_train = on_a_line(images[pick, 0, 14, 14].tolist())
    features = on_a_line([LABEL_INK[label] for label in test.labels.tolist()])
    assert real.items() >= compare_sets(of_train, features).items()
    gaussian = references["class_pca_gaussian"]
    drawn = 3 * torch.tensor(LABEL_INK)[labels] - 1 / 8
    assert gaussian["classifier_accuracy"] == exactly((labels == 0).double().mean().item())
    assert gaussian["fid"] == compare_sets(on_a_line(drawn.tolist()), features)["fid"] > 0
    assert results["classifier_accuracy"] == results["coverage"] == 1.0
    assert results["fid"] == pytest.approx(0, abs=1e-6)


# --- which pictures


def test_the_pictures_that_a_model_is_measured_on():
    data = toy_data([3, 5, 7, 3, 5, 7])
    assert torch.equal(pictures_for(toy_model(), data, "test").images, data.test.images)
    for given, wanted in (
        (("test",), [5, 7, 5, 7]), (("validation",), [5, 7, 5]), (("test", 3), [5, 7, 5]),
        (("validation", 1), [5]), (("test", 100), [5, 7, 5, 7]),
    ):  # fmt: skip
        assert pictures_for(toy_model(digits=(5, 7, 9)), data, *given).labels.tolist() == wanted


@pytest.mark.parametrize(
    ("split", "limit", "message"),
    [
        ("train", None, "^--split train: choose test or validation$"),
        ("test", 0, "^--limit is 0: give a whole number of at least 1$"),
        ("test", 1.5, "^--limit is 1.5: give a whole number$"),
        ("validation", None, r"^toy bars in memory has no validation .* the labels \[5, 8\]$"),
    ],
)
def test_pictures_that_can_not_be_had(split, limit, message):
    data, model = toy_data([3, 5]), toy_model(digits=(5, 8))
    with pytest.raises(InputError, match=message):
        pictures_for(model, data, split, limit)
    other = replace(data, spec=ImageSpec(("cat", "dog", "newt", "eel"), 1, (28, 28)))
    with pytest.raises(InputError, match=r"holds cat, dog, newt, .* model grows 0, 1, 2, "):
        pictures_for(model, other, split, limit)


# --- everything


def test_all_baselines():
    train, test = bars([0, 1, 0, 1, 0, 1]), bars([0, 1])
    pictures = baseline_pictures(train, test, 2)
    names = ["black", "class_mean", "blur_threshold", "linear_deblur", "class_pca"]
    assert list(pictures) == names
    assert all(picture.shape == (2, 1, 28, 28) for picture in pictures.values())
    assert not pictures["black"].any()
    torch.testing.assert_close(pictures["class_mean"], test.images)
    assert torch.equal(pictures["blur_threshold"], box_blur(test.images))
    assert torch.equal(pictures["linear_deblur"], baselines.linear_deblur(train, test))
    torch.testing.assert_close(pictures["class_pca"], test.images)


class ToyDecoder:
    """Draws every picture too faint; its codes have seven numbers."""

    metadata = {"style_dim": 7, "source": "toys"}  # noqa: RUF012

    def redraw(self, pictures):
        return pictures.images / 4


@pytest.fixture
def toy_world(monkeypatch):
    """Evaluation with the toy classifier, small and fast; what its parts were asked."""
    asked = []

    def class_means(train, length):
        asked.append((train, length))
        every = Pictures(train.images[:1].expand(10, 1, 28, 28), torch.arange(10))
        means = baselines.class_mean(train, every).flatten(1)
        nothing = torch.zeros(10, length, PIXELS), torch.zeros(10, length)
        return ClassPCA(means, *nothing, (1, 28, 28))

    monkeypatch.setattr(baselines, "class_pca", class_means)
    monkeypatch.setattr(samples, "class_pca", class_means)
    monkeypatch.setattr(evaluation, "classifier_for", {MNIST: Toy()}.get)
    monkeypatch.setattr(evaluation, "decoder_for", {MNIST: ToyDecoder()}.get)
    monkeypatch.setattr(evaluation, "FEATURES", 8)
    monkeypatch.setattr(samples, "SWITCH_STEPS", 2)
    monkeypatch.setattr(samples, "SWITCH_STYLES", 2)
    return asked


INKS = (1.0, 0.75, 0.25, 1.0, *[1.0] * 6)  # the model draws a 2 too faint


def test_an_evaluation_by_hand(toy_world):
    model = toy_model(INKS, (0.0,) * 3)
    model.metadata["sha256"] = "abc"
    data = toy_data([0, 1, 2] * 3, (1.0, 0.75, 0.75, *[1.0] * 7))
    results = evaluate(model, data)
    assert list(results) == [
        "n", "split", "limit", "seed", "task", "steps", "weights", "data", "held_out",
        "parameters", "style_parameters", "pixel_accuracy", "ink_iou", "mse", "psnr", "ssim",
        "classifier_accuracy", "per_digit", "worst", "baselines", "persistence", "undamaged",
        "regeneration", "mse_over_time", "accuracy_by_step", "switching", "samples", "seconds",
    ]  # fmt: skip
    assert results.items() >= {
        "n": 9, "split": "test", "limit": None, "seed": 0, "task": "grow", "steps": 8,
        "weights": "abc", "data": "toy bars", "held_out": True, "classifier_accuracy": 0.0,
        "parameters": model.parameter_count, "style_parameters": 10 * (3 + 6),
    }.items()  # fmt: skip
    assert results["pixel_accuracy"] == right(15 / 3)
    assert results["ink_iou"] == pytest.approx(2 / 3)
    assert results["mse"] == pytest.approx(15 / 4 / PIXELS / 3)
    assert results["worst"] == [2, 5, 8, 0, 1, 3, 4, 6, 7]
    digits = {d: (row["n"], row["pixel_accuracy"]) for d, row in results["per_digit"].items()}
    assert digits == {"0": (3, 1.0), "1": (3, 1.0), "2": (3, right(15))}
    assert results["per_digit"]["2"]["baselines"]["class_mean"] == 1.0
    rows = results["baselines"]
    assert rows["black"]["pixel_accuracy"] == rows["conv_decoder"]["pixel_accuracy"] == right(15)
    assert rows["class_mean"]["pixel_accuracy"] == 1.0
    for row in (rows["class_mean"], results["per_digit"]["0"]):
        assert row["classifier_accuracy"] == 0.0  # as bold as a 9
    assert [row.get("numbers") for row in rows.values()] == [None] * 4 + [3, 7]
    assert rows["conv_decoder"]["trained_on"] == "toys"
    found = behaviour.behaviour(model, data.test, 0)
    assert {key: results[key] for key in found} == found
    assert results["switching"] == samples.switching(model, 8, 0, Toy())
    assert results["samples"] == samples.samples(model, data, data.test, 0, Toy())
    assert toy_world[0] == (data.train, 3)
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_an_evaluation_measures_what_it_is_asked_for(toy_world):
    model = toy_model(INKS, fire_rate=0.5, loss_steps=(4,))
    data = replace(toy_data([0, 1, 2] * 4, INKS), held_out=False)
    first, again, other = (
        evaluate(model, data, split="validation", seed=seed, limit=9) for seed in (3, 3, 4)
    )
    assert [first[key] for key in ("n", "split", "limit", "seed")] == [9, "validation", 9, 3]
    assert first["held_out"] is False
    assert first | {"seconds": 0} == again | {"seconds": 0}
    parts = "mse", "persistence", "undamaged", "regeneration", "mse_over_time", "accuracy_by_step"
    for part in (*parts, "switching", "samples"):
        assert first[part] != other[part], part
    pictures = data.validation.limit(9)
    ink = regrow(model, pictures, (4,), 3)[0, :, :1]
    assert first["mse"] == measure(ink, pictures, Toy())["mse"]
    assert first["switching"] == samples.switching(model, 4, 3, Toy())
    assert first["samples"] == samples.samples(model, data, pictures, 3, Toy())
    assert first["weights"] is None


def test_every_picture_is_measured(toy_world, monkeypatch):
    """Behaviour is that of the first 1,000, but the metrics are those of all."""
    ticks = iter([100.0, 107.26])
    monkeypatch.setattr(evaluation, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    monkeypatch.setattr(evaluation, "behaviour", lambda *given: {})
    data = replace(toy_data([0] * 1000 + [2], INKS), train=bars([0, 2], INKS))
    data.test.images[-1] = bar(1.0)
    results = evaluate(toy_model(INKS, digits=(0, 2), loss_steps=(8,)), data)
    assert (results["n"], results["seconds"]) == (1001, 7.3)
    assert results["pixel_accuracy"] == right(15 / 1001)


@pytest.mark.parametrize(("count", "enough"), [(8, False), (9, True)])
def test_few_pictures_are_no_set(toy_world, count, enough):
    model = toy_model(INKS, digits=(0, 1, 2))
    results = evaluate(model, toy_data([0, 1, 2] * 3, INKS), limit=count)
    assert (results["samples"] is not None) is enough
    assert "switching" not in results  # it knows three digits
    assert results["baselines"]["class_pca"]["numbers"] == 1


def test_a_classifier_may_be_given_and_may_be_missing(toy_world, monkeypatch):
    class Sevens(Toy):
        def classes(self, features):
            return torch.eye(10)[[7] * len(features)]

    model, data = toy_model(INKS), toy_data([0, 1, 7] * 3, INKS)
    assert evaluate(model, data, classifier=Sevens())["classifier_accuracy"] == exactly(1 / 3)
    monkeypatch.setattr(evaluation, "classifier_for", lambda spec: None)
    monkeypatch.setattr(evaluation, "decoder_for", lambda spec: None)
    results = evaluate(model, data)
    assert results["classifier_accuracy"] is results["samples"] is results.get("switching") is None
    assert list(results["baselines"])[-1] == "class_pca"


def test_a_model_without_conditioning_has_no_labels_to_switch(toy_world):
    model = NCA(MNIST, channels=4, hidden=2, label_dim=0)
    model.steps = 2
    results = evaluate(model, toy_data([0, 1] * 5, INKS))
    assert not results.keys() & {"switching", "samples", "other_blurs"}
    assert results["style_parameters"] == 0
    assert results["pixel_accuracy"] == results["baselines"]["black"]["pixel_accuracy"]


def test_a_restorer_switches_nothing_and_has_no_samples(toy_world, monkeypatch):
    monkeypatch.setattr(evaluation, "SUBSET", 3)
    data = toy_data([0, 1] * 5, INKS)
    data.test.images[-1, 0, 5:20, 5:20] = 1.0  # one that the blur leaves visible
    results = evaluate(restorer(), data)
    assert results["task"] == "restore"
    assert results["pixel_accuracy"] == pixel_accuracy(box_blur(data.test.images), data.test.images)
    assert not results.keys() & {"switching", "samples"}
    assert results["other_blurs"] == other_blurs(restorer(), data.test.limit(3), 0)
    assert list(results["regeneration"]) == ["square"]  # what is erased can't be known any more
    assert results["baselines"]["class_pca"]["numbers"] == 16
    assert toy_world == [(data.train, 16)]


def test_an_evaluation_that_can_not_be(toy_world):
    model, data = toy_model(), toy_data([0, 1])
    with pytest.raises(InputError, match="seed is -1"):
        evaluate(model, data, seed=-1)
    model.metadata["hooks"] = {"start": "my_start"}
    with pytest.raises(InputError, match="your own initial states: roll it out"):
        evaluate(model, data)


# --- real digits


@pytest.fixture(scope="module")
def data():
    return load_data("mnist", "embedded")


def test_a_linear_filter_sharpens_real_digits(data):
    some = data.test.limit(100)
    deblurred = pixel_accuracy(baselines.linear_deblur(data.train.limit(100), some), some.images)
    assert deblurred > 0.975 > pixel_accuracy(box_blur(some.images), some.images)


@pytest.mark.parametrize("count", [12, 60])  # fewer pictures than pixels, and more
def test_principal_directions_point_the_same_way_on_every_processor(count, monkeypatch):
    centred = torch.randn(count, 20, generator=torch.Generator().manual_seed(0)).double()
    centred -= centred.mean(0)
    ours, deviations = principal(centred, 15)
    torch.testing.assert_close((centred @ ours.T).square().mean(0).sqrt(), deviations)
    assert (ours.norm(dim=1) > 0).sum() == min(count, 15)
    ours, _ = principal(centred, 5)
    assert (ours.gather(1, ours.abs().argmax(1, keepdim=True)) > 0).all()
    for name in ("eigh", "svd"):  # a library that turns them all round
        real = getattr(torch.linalg, name)

        def turned(matrix, real=real, **options):
            *values, directions = real(matrix, **options)
            return *values, -directions

        monkeypatch.setattr(torch.linalg, name, turned)
    assert torch.equal(principal(centred, 5)[0], ours)


def test_class_pca_with_all_components_is_exact(data):
    few = Pictures(data.train.images[:50], torch.zeros(50, dtype=torch.int64))
    pca = class_pca(few, 60)
    torch.testing.assert_close(pca.redraw(few), few.images, atol=1e-4, rtol=0)
    errors = [
        (pca._replace(components=pca.components[:, :k]).redraw(few) - few.images).square().mean()
        for k in (1, 4, 16)
    ]
    assert errors[0] > errors[1] > errors[2]
    drawn = pca.sample(torch.zeros(500).long(), torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.var(0).sum(), few.images.var(0).sum(), rtol=0.1, atol=0)
