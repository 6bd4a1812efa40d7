"""tools/results.py: every generated table is that of the result files, and known results."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import results as tool


@pytest.mark.parametrize("path", tool.FILES, ids=lambda path: path.stem)
def test_every_generated_table_is_up_to_date(path):
    text = path.read_text(encoding="utf-8")
    assert tool.filled(text) == text, f"{path.name}: run tools/results.py"
    opened = re.findall(r"<!-- ([a-z ]+) -->", text)
    assert {name for name in opened if not name.startswith("made ")} <= tool.PARTS.keys()


def test_every_table_is_somewhere():
    texts = "".join(path.read_text(encoding="utf-8") for path in tool.FILES)
    assert all(f"<!-- {name} -->\n" in texts for name in tool.PARTS)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a file of results into the folder that the tool reads."""
    monkeypatch.setattr(tool, "RESULTS", tmp_path)
    return lambda name, what: (tmp_path / f"{name}.json").write_text(json.dumps(what))


def evaluation(seed, **more):
    """Known values: each differs from all others, and from seed to seed."""
    columns = {name: 0.5 + number / 100 for number, name in enumerate(tool.COLUMNS)}
    rows = [columns, *({key: v + k / 10 for key, v in columns.items()} for k in (1, 2, 3, 4))]
    own, *baselines = [{key: v + 0.001 * seed for key, v in row.items()} for row in rows]
    baselines = dict(zip(tool.BASELINES["grow"], baselines, strict=True))
    for number, row in enumerate(baselines.values()):
        row["numbers"] = 30 + number
    return own | {"weights": "w", "task": "grow", "baselines": baselines} | more


def test_a_comparison_has_each_measure_in_its_place(write):
    for seed in range(3):
        write(f"unified-{seed}", evaluation(seed))
    assert tool.comparison("unified").splitlines() == [
        "| | pixel accuracy | ink IoU | SSIM | PSNR | classifier |",
        "| --- | --- | --- | --- | --- | --- |",
        "| **unified model**, from one cell | 50.10 ± 0.10 % | 0.511 ± 0.001 | 0.521 ± 0.001 | "
        "0.53 dB | 54.10 ± 0.10 % |",
        "| convolutional decoder, 30 numbers | 60.10 ± 0.10 % | 0.611 ± 0.001 | 0.621 ± 0.001 | "
        "0.63 dB | 64.10 ± 0.10 % |",
        "| PCA per class, 31 numbers | 70.10 ± 0.10 % | 0.711 ± 0.001 | 0.721 ± 0.001 | "
        "0.73 dB | 74.10 ± 0.10 % |",
        "| class mean | 80.10 ± 0.10 % | 0.811 ± 0.001 | 0.821 ± 0.001 | 0.83 dB | "
        "84.10 ± 0.10 % |",
        "| all black | 90.10 ± 0.10 % | 0.911 ± 0.001 | 0.921 ± 0.001 | 0.93 dB | 94.10 ± 0.10 % |",
    ]


def test_evaluations_of_different_weights_are_not_mixed(write):
    for seed in range(2):
        write(f"unified-{seed}", evaluation(seed, weights=str(seed)))
    with pytest.raises(AssertionError, match="different weights"):
        tool.read("unified")


def test_damage_is_compared_with_the_undamaged_control_at_the_same_step(write):
    times = ("after_damage", "after_64_steps", "after_256_steps")
    rows = {"left_half": (0.5, 0.93, 0.92), "disc": (0.6, 0.91, 0.96)}
    rows = {name: dict(zip(times, values, strict=True)) for name, values in rows.items()}
    undamaged = {"after_64_steps": 0.94, "after_256_steps": 0.95}
    write("unified-0", evaluation(0, regeneration=rows, undamaged=undamaged))
    assert tool.damage("unified").splitlines()[2:] == [
        "| left half | 50.00 % | 93.00 % | 1.00 | 92.00 % | 3.00 |",
        "| disc | 60.00 % | 91.00 % | 3.00 | 96.00 % | -1.00 |",
        "| nothing | | 94.00 % | | 95.00 % | |",
    ]
    assert tool.worst_damage("unified", 64) == pytest.approx([3])


def test_ten_digit_models_are_read_in_order(write):
    for digit, name in enumerate(tool.DIGITS):
        drawn = {"samples": {"classifier_accuracy": digit / 100}}
        write(name, evaluation(digit, **drawn))
    row = tool.digits().splitlines()[2]
    assert row.startswith("| classifier, drawn styles, % | 0.0 | 1.0 | 2.0 | 3.0 ")
    assert row.endswith("| 9.0 | 4.5 |")


def test_targets_say_which_are_met_and_what_lacks(monkeypatch):
    rows = [("accuracy, %", [98.0, 98.2], tool.AT_LEAST, 98), ("lost", [0.7], tool.AT_MOST, 0.5)]
    monkeypatch.setattr(tool, "TARGETS", {"a": lambda: rows})
    assert tool.targets().splitlines()[2:] == [
        "| a | accuracy, % | at least 98 | 98.10 ± 0.10 | yes |",
        "| | lost | at most 0.5 | 0.70 | off by 0.20 |",
    ]
