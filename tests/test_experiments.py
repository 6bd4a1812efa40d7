"""What the experiments share: learning rates, files to resume from, a measured run; the bound."""

import math
import sys
from pathlib import Path

from nca_lib.data import Pictures, mnist
from nca_lib.model import NCA

import pytest
import torch
from toy import COLUMN, FAR, ROW, toy_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))
import common
import elbo
import rows
from common import train_and_measure
from rows import Results, try_rates


def test_each_variant_gets_the_rate_that_is_best_for_its_first_seed(tmp_path):
    asked = []

    def run(seed, rate):
        asked.append((seed, rate))
        return {"pixel_accuracy": 0.9 - abs(rate - 2e-3) + 0.01 * seed}

    results = Results(tmp_path / "rows.jsonl")
    try_rates(results, "one", 3, run)
    assert asked == [(0, 1e-3), (0, 2e-3), (0, 4e-3), (1, 2e-3), (2, 2e-3)]
    assert [row["seed"] for row in results.of("one")] == [0, 1, 2]  # without the other rates
    try_rates(Results(tmp_path / "rows.jsonl"), "one", 3, run)
    assert len(asked) == 5  # a second call skips finished runs


def test_a_table_has_mean_and_standard_deviation_over_the_seeds(tmp_path):
    results = Results(tmp_path / "rows.jsonl")
    for seed, value in enumerate((0.96, 0.98, 0.97)):
        results.add({"variant": "one", "seed": seed} | dict.fromkeys(rows.MEASURES, value))
    *_, line = rows.table(results).splitlines()
    each = "97.00% ± 1.00"
    assert line == f"| one | {each} | 0.970 ± 0.010 |" + f" {each} |" * 4


def test_a_run_that_diverges_is_measured_as_it_stands(monkeypatch):
    monkeypatch.setattr(common, "MEASURED", 10)
    monkeypatch.setattr(common, "CURVE", 10)
    data, small = mnist("embedded"), {"channels": 12, "hidden": 16}
    config = common.TrainingConfig(iterations=30, batch_size=4, pool_size=8, loss_steps=(3, 5))
    whole = train_and_measure(NCA(data.spec, **small), data, config)
    wild = common.replace(config, learning_rate=1e9, clip_norm=1e9)
    ended = train_and_measure(NCA(data.spec, **small), data, wild)
    assert "not finite" in ended["diverged"]
    assert whole.keys() - {"seconds"} == ended.keys() - {"diverged"}
    assert [step for step, _ in whole["curve"]] == [1, 30]


def toy_with_styles():
    """Ink `0.5 + code[0] / 8` for codes from N(0.5, 1.5 ** 2)."""
    model = toy_model(label_ink=0.5, style_ink=(0.125, 0.0))
    model.conditioning.mean.fill_(0.5)
    model.conditioning.scale_tril.copy_(1.5 * torch.eye(2).expand(10, 2, 2))
    return model


def bars(count):
    """Bars that the toy model can draw, thrown with coins of 0.3 to 0.6."""
    grey = torch.zeros(count, 1, 28, 28)
    grey[:, 0, ROW, COLUMN - FAR : COLUMN + FAR + 1] = torch.linspace(0.3, 0.6, count)[:, None]
    pictures = Pictures(grey, torch.zeros(count, dtype=torch.long))
    return elbo.binarise(pictures, torch.Generator().manual_seed(3))


@pytest.mark.parametrize("wider", [1.0, 1.6])
def test_the_bound_in_nats_is_the_integral_for_any_proposal(wider, monkeypatch):
    monkeypatch.setattr(elbo, "SAMPLES", 4000)
    monkeypatch.setattr(elbo, "TOGETHER", 2)
    model, pictures = toy_with_styles(), bars(4)
    style = torch.linspace(-5, 5, 2001)  # the second entry of a style changes nothing
    ink = 0.5 + 0.125 * (0.5 + 1.5 * style)  # of the bar, [2001]
    coin = ink.clamp(1 - elbo.SURE, elbo.SURE)
    inside = pictures.images[:, 0, ROW, COLUMN - FAR : COLUMN + FAR + 1].sum(1, keepdim=True)
    log_p = inside * coin.log() + (2 * FAR + 1 - inside) * (1 - coin).log()  # [4, 2001]
    log_p = log_p + (28 * 28 - 2 * FAR - 1) * math.log(elbo.SURE)
    density = torch.exp(-0.5 * style.square()) / math.sqrt(2 * math.pi)
    integral = (log_p.exp().double() * density).sum(1) * 0.005
    exact = (integral / 10).log().mean().item()
    found = elbo.summary(elbo.bounds(model, elbo.Proposal(model, wider), pictures))
    assert found["importance_weighted"] == pytest.approx(exact, abs=0.05)
    assert found["elbo"] < exact - 0.1
