"""Put measured figures into README.md and the model cards: `python tools/results.py`.

It reads what `nca evaluate --json` wrote for three evaluation seeds, `NAME-SEED.json` in
experiments/results (`make results` runs them), and replaces what stands between the markers
`<!-- NAME -->` and `<!-- /NAME -->`. Each figure is a mean over the seeds, with the largest
distance from it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results"
COLUMNS = ("pixel_accuracy", "ink_iou", "ssim", "psnr", "judge_accuracy")
ROWS = {  # baselines beside each rule
    "unified": ("conv_decoder", "class_pca", "class_mean", "black"),
    "restore": ("linear_deblur", "blur_threshold", "black"),
}
NAMES = {
    "unified": "**unified rule**, from one cell",
    "restore": "**restoration rule**, from the 5x5 blur",
    "conv_decoder": "convolutional decoder, {} numbers",
    "class_pca": "PCA per class, {} numbers",
    "class_mean": "class mean",
    "black": "all black",
    "linear_deblur": "best linear 13x13 filter",
    "blur_threshold": "the blur itself",
}


def read(name: str) -> list[dict]:
    """The evaluations of a rule, one a seed."""
    files = sorted(RESULTS.glob(f"{name}-[0-9].json"))
    results = [json.loads(file.read_text()) for file in files]
    assert len({r["weights"] for r in results}) <= 1, f"{name}: evaluations of different weights"
    return results


def pick(result: dict, path: str) -> float:
    for key in path.split("."):
        result = result[key]
    return result


def figure(results: list[dict], path: str, unit: str = "%") -> str:
    values = [pick(r, path) for r in results]
    mean = sum(values) / len(values)
    spread = max(abs(v - mean) for v in values)
    if unit == "%":
        return f"{100 * mean:.2f}" + (f" ± {100 * spread:.2f}" if spread > 5e-5 else "") + " %"
    digits = {"": 3, "dB": 2, "FID": 2}[unit]
    text = f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread > 0.5 * 10**-digits else "")
    return f"{text} dB" if unit == "dB" else text


def comparison(name: str) -> str:
    """The rule beside its baselines."""
    results = read(name)
    lines = [
        "| | pixel accuracy | ink IoU | SSIM | PSNR | judge reads the label |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in (name, *ROWS[name]):
        prefix = "" if row == name else f"baselines.{row}."
        units = ("%", "", "", "dB", "%")
        cells = [figure(results, prefix + c, u) for c, u in zip(COLUMNS, units, strict=True)]
        numbers = "" if row == name else results[0]["baselines"][row].get("numbers", "")
        lines.append(f"| {NAMES[row].format(numbers)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def behaviour(name: str) -> str:
    """How the rule holds, heals, changes and invents."""
    results = read(name)
    lines = ["| | |", "| --- | --- |"]
    for key in ("1x", "4x", "10x"):
        lines.append(
            f"| pixel accuracy at {key} the training steps (first 1,000 digits) | "
            f"{figure(results, f'persistence.{key}')} |"
        )
    if "switching" in results[0]:
        lines.append(
            "| told to become another digit: judge reads the new label 96 steps later | "
            f"{figure(results, 'switching.judge_accuracy')} |"
        )
    if results[0].get("samples"):
        rows = {
            "styles from the prior": "samples",
            "PCA per class with a Gaussian": "samples.references.class_pca_gaussian",
            "real training digits": "samples.references.real_training_digits",
        }
        for label, path in rows.items():
            lines.append(
                f"| {label}: judge; FID, coverage, density against test digits | "
                f"{figure(results, path + '.judge_accuracy')}; "
                f"{figure(results, path + '.fid', 'FID')}, "
                f"{figure(results, path + '.coverage')}, "
                f"{figure(results, path + '.density', '')} |"
            )
    return "\n".join(lines)


def wounds(name: str) -> str:
    """How wounds heal, beside the same digits without a wound at the same step."""
    results = read(name)
    lines = [
        "| erased | just after | 64 steps later | points lost | 256 steps later | points lost |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for key in results[0]["regeneration"]:
        cells = [figure(results, f"regeneration.{key}.after_damage")]
        for steps in (64, 256):
            healed = f"regeneration.{key}.after_{steps}_steps"
            lost = [pick(r, f"unwounded.after_{steps}_steps") - pick(r, healed) for r in results]
            cells += [figure(results, healed), f"{100 * sum(lost) / len(lost):.2f}"]
        lines.append(f"| {key.replace('_', ' ')} | " + " | ".join(cells) + " |")
    cells = [figure(results, f"unwounded.after_{steps}_steps") for steps in (64, 256)]
    lines.append(f"| nothing | | {cells[0]} | | {cells[1]} | |")
    return "\n".join(lines)


def blurs() -> str:
    """Restoration from blurs other than that of the main table."""
    results = read("restore")
    lines = ["| blurred by | left alone | restored |", "| --- | --- | --- |"]
    names = {
        "box3": "3x3 box",
        "box7": "7x7 box",
        "gauss": "Gaussian of 1.5 cells",
        "noise": "5x5 box, noise of 0.02",
    }
    for key, said in names.items():
        both = [figure(results, f"other_blurs.{key}.{how}") for how in ("left_alone", "restored")]
        lines.append(f"| {said} | {both[0]} | {both[1]} |")
    return "\n".join(lines)


def reading() -> str:
    """Cells that read."""
    results = read("reader")
    lines = [
        "| | cells with ink that vote right | pictures in which all agree | most vote right |",
        "| --- | --- | --- | --- |",
    ]
    for key, said in {
        "after_60_steps": "after 60 steps",
        "after_200_steps": "after 200 steps",
        "replaced": "80 steps after another digit was laid under them",
    }.items():
        cells = [figure(results, f"{key}.{what}") for what in ("cells", "agree", "read")]
        lines.append(f"| {said} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def digits() -> str:
    """The ten digit rules, one evaluation each."""
    results = [json.loads((RESULTS / f"digit-{d}.json").read_text()) for d in range(10)]
    lines = [
        "| | " + " | ".join(str(d) for d in range(10)) + " | mean |",
        "| --- |" + " --- |" * 11,
    ]
    for label, path in {
        "judge, styles from the prior": "samples.judge_accuracy",
        "judge, test digits redrawn": "judge_accuracy",
        "pixel accuracy": "pixel_accuracy",
        "of the PCA with as many numbers": "baselines.class_pca.pixel_accuracy",
    }.items():
        values = [pick(r, path) for r in results]
        cells = [f"{100 * v:.1f}" for v in [*values, sum(values) / 10]]
        lines.append(f"| {label}, % | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def per_digit() -> str:
    """The unified rule, digit by digit (seed 0)."""
    rows = read("unified")[0]["per_digit"]
    lines = ["| | " + " | ".join(rows) + " |", "| --- |" + " --- |" * len(rows)]
    for name, path in {
        "pixel accuracy": "pixel_accuracy",
        "of the convolutional decoder": "baselines.conv_decoder",
        "of the PCA with as many numbers": "baselines.class_pca",
        "of the class mean": "baselines.class_mean",
        "of all black": "baselines.black",
        "ink IoU": "ink_iou",
        "judge accuracy": "judge_accuracy",
    }.items():
        cells = [f"{100 * pick(row, path):.1f}" for row in rows.values()]
        lines.append(f"| {name}, % | " + " | ".join(cells) + " |")
    return "\n".join(lines)


PARTS = {
    "unified": lambda: comparison("unified"),
    "unified behaviour": lambda: behaviour("unified"),
    "restore": lambda: comparison("restore"),
    "unified wounds": lambda: wounds("unified"),
    "restore behaviour": lambda: behaviour("restore"),
    "restore blurs": blurs,
    "reader": reading,
    "digits": digits,
    "per digit": per_digit,
    "merging": lambda: (RESULTS / "merging.md").read_text().strip(),
    "ablations": lambda: (RESULTS / "ablations.md").read_text().strip(),
}


def main() -> None:
    weights = ROOT / "nca_lib" / "weights"
    for path in (ROOT / "README.md", ROOT / "experiments" / "README.md", *weights.glob("*.md")):
        text = path.read_text()
        for name, part in PARTS.items():
            between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
            if between.search(text):
                try:
                    text = between.sub(lambda m, part=part: f"{m[1]}{part()}\n{m[2]}", text)
                except FileNotFoundError as error:
                    print(f"{path.name}: {name} stays as it is, {error.filename} is missing")
        path.write_text(text)


if __name__ == "__main__":
    main()
