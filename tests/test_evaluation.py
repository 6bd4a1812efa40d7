"""Measures and baselines, on cases whose answer is known."""

import json

import pytest
import torch

from nca_lib import baselines, evaluation
from nca_lib.data import Digits, load_digits
from nca_lib.errors import InputError
from nca_lib.evaluation import compare_sets, evaluate, ink_iou, measure, pixel_accuracy, table
from nca_lib.judge import accuracy, load_judge
from nca_lib.plots import learning_curves, progress_picture, save_gif, smooth
from nca_lib.pretraining import initial_rule
from nca_lib.rule import RuleConfig
from nca_lib.seeds import blur


@pytest.fixture(scope="module")
def data():
    return load_digits("embedded")


@pytest.fixture(scope="module")
def rule():
    torch.manual_seed(0)
    rule = initial_rule(RuleConfig(channels=6, hidden=8, label_dim=4, style_dim=2), 0)
    torch.nn.init.normal_(rule.update.weight, std=0.02)
    rule.record = {"training": {"task": "grow", "loss_steps": [3, 4]}}
    return rule


def test_the_judge_reads_real_digits(data):
    judge = load_judge()
    assert accuracy(judge, data.test) >= 0.99
    few = data.test.images[:7]
    torch.testing.assert_close(judge(few)[:1], judge(few[:1]), atol=1e-4, rtol=1e-4)
    assert judge.record["test_accuracy"] >= 0.993


def test_perfect_pictures_score_perfectly(data):
    some = data.test.limit(20)
    scores = measure(some.images, some, load_judge())
    assert scores["pixel_accuracy"] == scores["ink_iou"] == 1.0
    assert scores["mse"] == 0.0
    assert scores["ssim"] == pytest.approx(1.0, abs=1e-4)


def test_measures_by_hand():
    a, b = torch.zeros(1, 1, 28, 28), torch.zeros(1, 1, 28, 28)
    a[..., :2, :2] = 1.0
    b[..., :2, :1] = 1.0
    assert pixel_accuracy(a, b) == pytest.approx(1 - 2 / 784)
    assert ink_iou(a, b) == 0.5


def test_baselines(data):
    some = data.test.limit(200)
    ink = (some.images > 0.5).double().mean().item()
    assert pixel_accuracy(baselines.black(some), some.images) == pytest.approx(1 - ink)
    sevens = data.train.only(7)
    mean = baselines.class_mean(data.train, some.only(7))
    torch.testing.assert_close(mean[0], sevens.images.mean(0))
    deblurred = baselines.linear_deblur(data.train, some, 1000)
    assert (
        pixel_accuracy(deblurred, some.images)
        > 0.98
        > pixel_accuracy(blur(some.images), some.images)
    )


def test_class_pca_with_all_components_is_exact(data):
    few = Digits(data.train.images[:50], torch.zeros(50, dtype=torch.int64))
    pca = baselines.class_pca(few, 60)
    torch.testing.assert_close(pca.redraw(few), few.images, atol=1e-4, rtol=0)
    errors = [(baselines.class_pca(few, k).redraw(few) - few.images).square().mean()
              for k in (1, 4, 16)]  # fmt: skip
    assert errors[0] > errors[1] > errors[2]


def test_sets_of_features():
    torch.manual_seed(0)
    real = torch.randn(200, 64)
    same, far = compare_sets(real.clone(), real), compare_sets(real + 50, real)
    assert same["fid"] < 0.1 < far["fid"]
    assert same["coverage"] == 1.0
    assert far["coverage"] == far["density"] == 0.0


def test_evaluation_is_complete_repeatable_and_free_of_the_batch_size(data, rule, monkeypatch):
    first = evaluate(rule, data, limit=80)
    monkeypatch.setattr(evaluation, "BATCH", 33)
    again = evaluate(rule, data, limit=80)
    for key in ("pixel_accuracy", "ink_iou", "mse", "judge_accuracy"):
        assert first[key] == pytest.approx(again[key], abs=1e-6)
    assert first["persistence"].keys() == {"1x", "4x", "10x"}
    assert first["regeneration"].keys() == {"square", "half_plane", "disc"}
    assert len(set(first["switching"]["worst_pair"])) == 2
    assert first["switching"]["worst_pair_judge_accuracy"] <= first["switching"]["judge_accuracy"]
    assert first["samples"]["references"]["real_training_digits"]["judge_accuracy"] > 0.9
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    counts = {d: row["n"] for d, row in first["per_digit"].items()}
    black = sum(n * first["per_digit"][d]["baselines"]["black"] for d, n in counts.items()) / 80
    assert black == pytest.approx(first["baselines"]["black"]["pixel_accuracy"])
    assert "class pca" in table(first)
    with pytest.raises(InputError, match="at least 1"):
        evaluate(rule, data, limit=0)


def test_a_digit_rule_is_measured_on_its_digit(data, rule):
    rule.record["digits"] = [7]
    results = evaluate(rule, data, limit=10)
    del rule.record["digits"]
    assert results["per_digit"].keys() == {"7"}
    assert results["samples"] is None
    assert "switching" not in results


@pytest.mark.parametrize("records", [1, 4, 5, 30])
def test_learning_curves_of_short_trainings(records):
    assert smooth([2.0] * records) == pytest.approx([2.0] * records)
    log = [{"iteration": k, "ink": 0.1} for k in range(records)]
    assert learning_curves({"digit-0": log, "unified": log}).axes


def test_pictures(tmp_path):
    from PIL import Image

    frames = torch.rand(5, 28, 28)
    assert progress_picture(torch.rand(20, 28, 28), scale=2).size == (560, 112)
    save_gif(frames, tmp_path / "x.gif", scale=2)
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 5
        assert gif.size == (56, 56)
