"""Reports: every figure of a table and of a picture is the one that was measured."""

import json
from dataclasses import replace

from nca_lib.evaluation import evaluate, report
from nca_lib.evaluation.behaviour import regrow
from nca_lib.training import Outputs
from nca_lib.visual import plots

import pytest
import torch
from PIL import Image
from test_classifying import toy_classifying
from test_evaluation import INKS, toy_world  # noqa: F401
from toy import toy_data, toy_model


@pytest.fixture
def measured(toy_world):  # noqa: F811
    """A model that draws a 2 too faint, its data, and its evaluation by the toy classifier."""
    model, data = toy_model(INKS, fire_rate=0.5), toy_data([0, 1, 2] * 4, 0.75)
    return model, data, evaluate(model, data, seed=3, limit=11)


def known_results():
    """Results in which no two figures are the same, as fractions of 10,000."""
    numbers = iter(range(1000, 9999))

    def row(*names):
        return {name: next(numbers) / 10_000 for name in names}

    first = row("pixel_accuracy", "ink_iou", "ssim", "psnr", "classifier_accuracy")
    again = row(*first) | {"numbers": 32, "trained_on": "MNIST"}
    times = "before", "after_damage", "after_64_steps", "after_256_steps"
    return first | {
        "baselines": {"black": row(*first), "conv_decoder": again},
        "persistence": row("1x", "4x", "10x"),
        "regeneration": {"left_half": row(*times), "middle": row(*times)},
        "switching": row("classifier_accuracy", "worst_pair_classifier_accuracy")
        | {"worst_pair": [4, 9]},
        "samples": row("classifier_accuracy", "coverage") | {"fid": 1.26},
        "held_out": True,
    }


def test_every_figure_stands_in_its_place():
    lines = report.table(known_results()).splitlines()
    assert " ".join(lines[0].split()) == "pixel accuracy ink iou ssim psnr classifier accuracy"
    for line, cells in zip(
        lines[1:4],
        ["this model 10.00% 10.01% 10.02% 0.10 dB 10.04%",
         "black 10.10% 10.11% 10.12% 0.10 dB 10.14%",
         "conv decoder 10.05% 10.06% 10.07% 0.10 dB 10.09%"],
        strict=True,
    ):  # fmt: skip
        assert " ".join(line.split()) == cells
    assert lines[4:] == [
        "(conv decoder: a code of 32 numbers, trained on MNIST)",
        "persists: 10.15% at 1x, 10.16% at 4x, 10.17% at 10x the training steps",
        "heals: left half: 10.18% -> 10.19% -> 10.20% -> 10.21% after 64 and 256 steps",
        "heals: middle: 10.22% -> 10.23% -> 10.24% -> 10.25% after 64 and 256 steps",
        "switches: 10.26% in 96 steps, 10.27% from 4 to 9",
        "samples: 10.28% look like their label, FID 1.3, coverage 10.29%",
    ]
    assert len(set(map(len, lines[:4]))) == 1  # columns stand below each other


def test_what_was_not_measured_is_not_told():
    results = known_results() | {"held_out": False, "samples": None, "classifier_accuracy": None}
    del results["switching"], results["baselines"]["conv_decoder"]
    lines = report.table(results).splitlines()
    assert (lines[1].split()[-1], len(lines)) == ("-", 7)
    assert lines[3] == "(measured on the training pictures: there are no others)"


def test_the_table_of_a_self_classifying_model():
    rows = iter(range(1, 10))
    names = "after_60_steps", "after_200_steps", "replaced"
    results = {
        name: {key: next(rows) / 100 for key in ("cells", "agree", "majority")} for name in names
    }
    results["replaced"]["steps"] = 80
    assert report.classifying_table(results).splitlines() == [
        f"{when}: {a}.00% of the cells with ink are right, all agree in {b}.00% of the pictures, "
        f"most are right in {c}.00%"
        for when, a, b, c in (
            ("after 60 steps", 1, 2, 3), ("after 200 steps", 4, 5, 6),
            ("80 steps after the picture was replaced", 7, 8, 9),
        )
    ]  # fmt: skip


def test_figures_show_the_pictures_that_were_measured(measured, tmp_path, monkeypatch):
    """The same pictures from the same seeds; the worst ones are the worst."""
    (model, data, results), shown = measured, []
    for name in ("compare", "film_strip"):
        monkeypatch.setattr(plots, name, lambda *given: shown.append(given) or plots.Figure())
    report.write_figures(model, results, data, tmp_path)
    test = data.test.limit(11)
    grown = regrow(model, test, (8,), 3)[0, :, :1]
    originals, growth, worst = shown
    first = [0, 1, 2, 3, 4, 5]
    assert torch.equal(originals[0], test.images[first])
    assert torch.equal(originals[1], grown[first])
    assert torch.equal(worst[0], test.images[results["worst"]])
    assert torch.equal(worst[1], grown[results["worst"]])
    wrong = ((worst[1] > 0.5) != (worst[0] > 0.5)).sum((1, 2, 3)).tolist()
    assert wrong == sorted(wrong, reverse=True)
    assert growth[1] == [1, 2, 3, 5, 6, 8, 16, 32]
    assert torch.equal(growth[0][5], grown[0])


def test_the_first_pictures_of_each_label():
    labels = torch.tensor([5, 2, 5, 5, 2, 9])
    assert report.first_of_each(labels).tolist() == [1, 0, 5, 4, 2]


def test_a_report_is_printed_and_written(measured, tmp_path, capsys):
    model, data, results = measured
    json_file, figures = tmp_path / "x.json", tmp_path / "figures"
    (tmp_path / "unified.jsonl").write_text(
        '{"iteration": 1, "ink": 0.5}\n{"iteration": 2, "ink": 1}'
    )
    logs = report.read_logs(tmp_path)
    assert [entry["ink"] for entry in logs["unified"]] == [0.5, 1]
    report.report(model, results, data, json_file, figures, logs)
    assert capsys.readouterr().out == report.table(results) + "\n"
    assert json.loads(json_file.read_text()) == results
    names = ["originals_and_grown", "film_strip", "accuracy_by_step", "per_digit", "worst_cases"]
    wanted = [f"0{k}_{name}.png" for k, name in enumerate([*names, "learning_curves"], 1)]
    assert sorted(file.name for file in figures.iterdir()) == wanted
    data = toy_data([1, 2, 3])
    results = evaluate(toy_classifying(), data)
    report.report(toy_classifying(), results, data)
    assert capsys.readouterr().out == report.classifying_table(results) + "\n"


@pytest.mark.parametrize("model", [toy_model(), toy_classifying()])
def test_the_progress_of_a_training_run_is_drawn(tmp_path, model):
    path, data = Outputs(tmp_path, "x").picture, toy_data([1, 2, 3] * 4)
    report.progress_callback(data, path)(5, {"loss": 1.0}, model)
    with Image.open(path) as picture:
        assert picture.size == (6 * 28 * 3, 28 * 3)
    none = replace(data, validation=data.train.limit(0), train=data.train.limit(1))
    report.progress_callback(none, path)(5, {}, model)
    with Image.open(path) as picture:
        assert picture.size == (28 * 3, 28 * 3)
