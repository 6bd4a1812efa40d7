"""What the experiments share: rates are chosen for each variant, and nothing is lost."""

import sys
from dataclasses import replace
from pathlib import Path

from nca_lib.data import load_digits
from nca_lib.rule import NCA, RuleConfig
from nca_lib.training import TrainingConfig

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))
import common
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
