"""tools/results.py: what it says of results that are known."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import results as tool


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A function that writes a file of results into the folder that the tool reads."""
    monkeypatch.setattr(tool, "RESULTS", tmp_path)
    return lambda name, what: (tmp_path / f"{name}.json").write_text(json.dumps(what))


def evaluation(accuracy, weights="w", **more):
    return {"pixel_accuracy": accuracy, "weights": weights} | more


def test_figures_are_means_of_the_seeds_with_the_largest_distance(written):
    for seed, value in enumerate((0.97, 0.98, 0.96)):
        written(f"unified-{seed}", evaluation(value))
    assert tool.figure(tool.read("unified"), "pixel_accuracy") == "97.00 ± 1.00 %"


def test_evaluations_of_different_weights_are_not_mixed(written):
    for seed in range(2):
        written(f"unified-{seed}", evaluation(0.9, weights=str(seed)))
    with pytest.raises(AssertionError, match="different weights"):
        tool.read("unified")


def test_an_experiment_has_its_seeds_in_one_file(written):
    written("hold", {"weights": "w", "seeds": [{"1x": 0.9, "100x": 0.8}, {"1x": 0.9, "100x": 0.9}]})
    assert tool.lost("hold", "1x", "100x")() == pytest.approx([10, 0])


def test_the_worst_wound_is_compared_with_no_wound_at_the_same_step(written):
    wounds = {"square": {"after_64_steps": 0.93}, "disc": {"after_64_steps": 0.91}}
    written(
        "unified-0", {"weights": "w", "unwounded": {"after_64_steps": 0.94}, "regeneration": wounds}
    )
    assert tool.worst_wound("unified", 64)() == pytest.approx([3])


def test_the_blur_that_gains_least_counts(written):
    rows = {"box3": {"left_alone": 0.9, "restored": 0.95}, "noise": {"left_alone": 0.9}}
    rows["noise"]["restored"] = 0.89
    written("restore-0", {"weights": "w", "other_blurs": rows})
    assert tool.least_gain() == pytest.approx([-1])


def test_targets_say_what_is_met_and_by_how_much_not(monkeypatch):
    monkeypatch.setattr(
        tool,
        "TARGETS",
        [
            ("a", "accuracy, %", lambda: [98.0, 98.2], tool.AT_LEAST, 98.0),
            ("", "points lost", lambda: [0.7], tool.AT_MOST, 0.5),
        ],
    )
    assert tool.targets().splitlines()[2:] == [
        "| a | accuracy, % | at least 98 | 98.10 ± 0.10 | yes |",
        "|  | points lost | at most 0.5 | 0.70 | off by 0.20 |",
    ]


def test_a_control_has_a_row_for_each_case(written):
    rows = [{"told": {"a": 1.0, "fid": 2.0}}, {"told": {"a": 0.5, "fid": 4.0}}]
    written("leakage", {"weights": "w", "seeds": rows})
    table = tool.control("leakage", {"told": "told this"}, {"a": "A", "fid": "FID"})
    assert table.splitlines()[2] == "| told this | 75.00 ± 25.00 % | 3.00 ± 1.00 |"
