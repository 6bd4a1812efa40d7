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
    monkeypatch.setattr(tool, "SHIPPED", {"w"})
    return lambda name, what: (tmp_path / f"{name}.json").write_text(json.dumps(what))


def evaluation(seed, **more):
    """Known values: each differs from all others, and from seed to seed."""
    columns = {name: 0.5 + number / 100 for number, name in enumerate(tool.COLUMNS)}
    own, *rows = [{key: v + k / 10 + seed / 1000 for key, v in columns.items()} for k in range(4)]
    baselines = dict(zip(tool.BASELINES["restore"], rows, strict=True))
    of = {"weights": "w", "split": "test", "limit": None, "seed": seed, "task": "restore"}
    return own | of | {"baselines": baselines} | more


def test_a_comparison_has_each_measure_in_its_place(write):
    for seed in range(3):
        write(f"restore-{seed}", evaluation(seed))
    head, _, *rows = tool.comparison("restore").splitlines()
    assert head == "| | pixel accuracy | ink IoU | SSIM | PSNR | classifier |"
    names = "**restoring model**, from the 5x5 blur", "best linear 13x13 filter", "the blur itself"
    for name, row, k in zip((*names, "all black"), rows, range(5, 9), strict=True):
        first, last = f"{k}0.10 ± 0.10 %", f"{k}4.10 ± 0.10 %"
        others = f"0.{k}11 ± 0.001 | 0.{k}21 ± 0.001 | 0.{k}3 dB"
        assert row == f"| {name} | {first} | {others} | {last} |"
    wrongs = ({"weights": "x"}, "different weights"), ({"limit": 9}, "restore-1.json is of")
    for wrong, message in (*wrongs, ({"seed": 2}, "is of"), ({"split": "validation"}, "is of")):
        write("restore-1", evaluation(1) | wrong)
        with pytest.raises(AssertionError, match=message):
            tool.read("restore")


@pytest.mark.parametrize(("weights", "said"), [("w", ""), ("x", " (of former weights)")])
def test_a_table_names_the_files_that_it_is_from(write, monkeypatch, weights, said):
    for seed in range(2):
        write(f"restore-{seed}", evaluation(seed) | {"weights": weights})
    monkeypatch.setattr(tool, "PARTS", {"a": lambda: f"{len(tool.read('restore'))} seeds"})
    made = f"2 seeds\n\n<sub>from experiments/results: restore-N.json{said}</sub>\n"
    assert tool.filled("x <!-- a -->\nold\n<!-- /a --> y") == f"x <!-- a -->\n{made}<!-- /a --> y"


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
        others = {"samples": {"classifier_accuracy": digit / 100}}
        others["baselines"] = {"class_pca": {"pixel_accuracy": 0.5}}
        write(name, evaluation(digit, **others) | {"seed": 0})
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
