"""What the experiments share: rates are chosen for each variant, nothing is lost; and the bound."""

import math
import sys
from dataclasses import replace
from pathlib import Path

from nca_lib.data import load_digits
from nca_lib.dataset import Pictures
from nca_lib.rule import NCA, RuleConfig
from nca_lib.training import TrainingConfig

import pytest
import torch
from toy import COLUMN, FAR, ROW, toy_rule

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))
import common
import elbo
from common import Results, train_and_measure, try_rates


def test_each_variant_gets_the_rate_that_is_best_for_its_first_seed(tmp_path):
    asked = []

    def run(seed, rate):
        asked.append((seed, rate))
        return {"pixel_accuracy": 0.9 - abs(rate - 2e-3) + 0.01 * seed}

    results = Results(tmp_path / "rows.jsonl")
    try_rates(results, "one", 3, run)
    assert asked == [(0, 1e-3), (0, 2e-3), (0, 4e-3), (1, 2e-3), (2, 2e-3)]
    assert [row["seed"] for row in results.of("one")] == [0, 1, 2]  # the others are left out


def test_a_second_call_goes_on_where_the_first_was_stopped(tmp_path):
    path, calls = tmp_path / "rows.jsonl", []

    def run(seed, rate):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append((seed, rate))
        return {"pixel_accuracy": 0.5}

    with pytest.raises(KeyboardInterrupt):
        try_rates(Results(path), "one", 1, run)
    calls.clear()
    try_rates(Results(path), "one", 1, run)
    assert calls == [(0, 4e-3)]


def test_a_training_that_diverges_is_measured_as_it_stands(monkeypatch):
    monkeypatch.setattr(common, "MEASURED", 10)
    data = load_digits("embedded")
    config = TrainingConfig(iterations=30, batch_size=4, pool_size=8, loss_steps=(3, 5))
    rule = NCA(RuleConfig(channels=12, hidden=16))
    whole = train_and_measure(rule, data, config)
    assert "seconds" in whole
    assert "diverged" not in whole
    wild = replace(config, learning_rate=1e9, clip_norm=1e9)
    ended = train_and_measure(NCA(RuleConfig(channels=12, hidden=16)), data, wild)
    assert "not finite" in ended["diverged"]
    assert whole.keys() - {"seconds"} == ended.keys() - {"diverged"}


def bars(count):
    """Bars that the toy rule can draw, thrown with coins of 0.3 to 0.6."""
    generator = torch.Generator().manual_seed(3)
    grey = torch.zeros(count, 1, 28, 28)
    grey[:, 0, ROW, COLUMN - FAR : COLUMN + FAR + 1] = torch.linspace(0.3, 0.6, count)[:, None]
    return elbo.binarise(Pictures(grey, torch.zeros(count, dtype=torch.long)), generator)


def toy_with_styles():
    """Ink `0.5 + code[0] / 8` for codes from N(0.5, 1.5 ** 2)."""
    rule = toy_rule(label_ink=0.5, style_ink=(0.125, 0.0), fire_rate=1.0)
    rule.genome.average.fill_(0.5)
    rule.genome.spread.copy_(1.5 * torch.eye(2).expand(10, 2, 2))
    return rule


@pytest.mark.parametrize("wider", [1.0, 1.6])
def test_the_bound_in_nats_is_the_integral_for_any_proposal(wider, monkeypatch):
    monkeypatch.setattr(elbo, "SAMPLES", 4000)
    monkeypatch.setattr(elbo, "TOGETHER", 2)
    rule, digits = toy_with_styles(), bars(4)
    style = torch.linspace(-5, 5, 2001)  # its second number changes nothing
    ink = 0.5 + 0.125 * (0.5 + 1.5 * style)  # of the bar, [2001]
    coin = ink.clamp(1 - elbo.SURE, elbo.SURE)
    inside = digits.images[:, 0, ROW, COLUMN - FAR : COLUMN + FAR + 1].sum(1, keepdim=True)
    log_p = inside * coin.log() + (2 * FAR + 1 - inside) * (1 - coin).log()  # [4, 2001]
    log_p = log_p + (28 * 28 - 2 * FAR - 1) * math.log(elbo.SURE)
    density = torch.exp(-0.5 * style.square()) / math.sqrt(2 * math.pi)
    integral = (log_p.exp().double() * density).sum(1) * 0.005
    exact = (integral / 10).log().mean().item()
    found = elbo.summary(elbo.bounds(rule, elbo.Proposal(rule, wider), digits))
    assert found["importance_weighted"] == pytest.approx(exact, abs=0.05)
    assert found["elbo"] < exact - 0.1


def test_a_proposal_that_is_fitted_bounds_better_and_the_rule_learns_nothing(monkeypatch):
    monkeypatch.setattr(elbo, "SAMPLES", 50)
    rule, digits = toy_with_styles(), bars(40)
    before = {name: tensor.clone() for name, tensor in rule.state_dict().items()}
    proposal = elbo.Proposal(rule, wider=3.0)
    loose = elbo.summary(elbo.bounds(rule, proposal, digits))
    elbo.fit(rule, proposal, digits, iterations=60)
    tight = elbo.summary(elbo.bounds(rule, proposal, digits))
    assert tight["elbo"] > loose["elbo"] + 1.0
    assert all(torch.equal(tensor, before[name]) for name, tensor in rule.state_dict().items())
    assert not torch.equal(proposal.encoder.code.bias, rule.encoder.code.bias)
