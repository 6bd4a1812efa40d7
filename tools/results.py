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
for table in (ROWS, NAMES):  # what `make run` makes in minutes is shown alike
    table |= {"quick": table["unified"], "quick-restore": table["restore"]}


def read(name: str) -> list[dict]:
    """The evaluations of a rule, or what an experiment found, one a seed."""
    files = sorted(RESULTS.glob(f"{name}-[0-9].json")) or [RESULTS / f"{name}.json"]
    results = [json.loads(file.read_text()) for file in files]
    if "seeds" in results[0]:  # experiments/controls.py has its seeds in one file
        weights = results[0]["weights"]
        results = [row | {"weights": weights} for row in results[0]["seeds"]]
    assert len({r["weights"] for r in results}) == 1, f"{name}: evaluations of different weights"
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
            cells += [figure(results, healed), f"{100 * sum(lost) / len(lost):z.2f}"]
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


def digit_results() -> list[dict]:
    return [json.loads((RESULTS / f"digit-{d}.json").read_text()) for d in range(10)]


def digits() -> str:
    """The ten digit rules, one evaluation each."""
    results = digit_results()
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


def lost(name: str, whole: str, after: str):
    """Points of pixel accuracy lost, a seed each: a function, so that files are read when asked."""
    return lambda: [100 * (pick(r, whole) - pick(r, after)) for r in read(name)]


def worst_wound(name: str, steps: int):
    """Points lost by the wound that heals worst, beside the digits without a wound."""
    after = f"after_{steps}_steps"
    return lambda: [
        100 * max(r["unwounded"][after] - wound[after] for wound in r["regeneration"].values())
        for r in read(name)
    ]


def of(name: str, path: str, scale: float = 100):
    return lambda: [scale * pick(r, path) for r in read(name)]


def least_gain() -> list[float]:
    """Points of pixel accuracy by which restoration helps, of the blur where it helps least."""
    rows = [r["other_blurs"].values() for r in read("restore")]
    return [100 * min(row["restored"] - row["left_alone"] for row in of_one) for of_one in rows]


def of_digits(choose):
    """The judge on drawn styles of the ten digit rules."""
    return lambda: [
        100 * choose([pick(r, "samples.judge_accuracy") for r in digit_results()])
    ]  # fmt: skip


AT_LEAST, AT_MOST = "at least", "at most"
TARGETS = [  # rule, measure, its figures, which way, how much
    ("unified", "pixel accuracy, %", of("unified", "pixel_accuracy"), AT_LEAST, 98.0),
    ("", "judge reads the redrawn digit, %", of("unified", "judge_accuracy"), AT_LEAST, 99.2),
    ("", "prior: judge, %", of("unified", "samples.judge_accuracy"), AT_LEAST, 99.0),
    ("", "prior: FID", of("unified", "samples.fid", 1), AT_MOST, 1.3),
    ("", "prior: coverage, %", of("unified", "samples.coverage"), AT_LEAST, 80.0),
    ("", "points lost at 10x the steps", lost("unified", "persistence.1x", "persistence.10x"),
     AT_MOST, 0.2),
    ("", "points lost at 100x the steps", lost("hold", "1x", "100x"), AT_MOST, 0.4),
    ("", "points lost 64 steps after the worst wound", worst_wound("unified", 64), AT_MOST, 0.5),
    ("", "points lost 256 steps after it", worst_wound("unified", 256), AT_MOST, 0.5),
    ("", "told another label: judge, %", of("unified", "switching.judge_accuracy"), AT_LEAST, 98.5),
    ("", "the worst pair, %", of("unified", "switching.worst_pair_judge_accuracy"), AT_LEAST, 90.0),
    ("", "56 x 56 cells, four seeds: judge, %", of("canvas", "judge_accuracy_trained"), AT_LEAST,
     99.0),
    ("", "bound, nats", of("elbo", "importance_weighted", 1), AT_LEAST, -93.0),
    *(("restore" if many == 1 else "", f"pixel accuracy at {many}x the steps, %",
       of("restore", f"persistence.{many}x"), AT_LEAST, 99.6) for many in (1, 4, 10)),
    ("", "other blurs: points gained, at least", least_gain, AT_LEAST, 0.0),
    ("digit-0 ... digit-9", "prior: judge, mean, %", of_digits(lambda v: sum(v) / len(v)),
     AT_LEAST, 99.3),
    ("", "prior: judge, the worst, %", of_digits(min), AT_LEAST, 98.5),
    ("reader", "ink cells right at step 60, %", of("reader", "after_60_steps.cells"), AT_LEAST,
     97.0),
    ("", "at step 200, %", of("reader", "after_200_steps.cells"), AT_LEAST, 97.0),
    ("", "digits in which all cells agree, %", of("reader", "after_200_steps.agree"), AT_LEAST,
     95.0),
    ("", "replaced digits read anew, %", of("reader", "replaced.read"), AT_LEAST, 90.0),
    ("`make run`", "pixel accuracy, %", of("quick", "pixel_accuracy"), AT_LEAST, 96.0),
    ("", "prior: judge, %", of("quick", "samples.judge_accuracy"), AT_LEAST, 97.0),
    ("", "points lost at 10x the steps", lost("quick", "persistence.1x", "persistence.10x"),
     AT_MOST, 2.0),
    ("", "points lost 64 steps after the worst wound", worst_wound("quick", 64), AT_MOST, 1.5),
    ("", "points lost 256 steps after it", worst_wound("quick", 256), AT_MOST, 1.5),
    ("", "told another label: judge, %", of("quick", "switching.judge_accuracy"), AT_LEAST, 85.0),
]  # fmt: skip


def targets() -> str:
    """What this edition wanted, beside what was reached."""
    lines = ["| rule | measure | wanted | reached | |", "| --- | --- | --- | --- | --- |"]
    for rule, measure, figures, way, wanted in TARGETS:
        values = figures()
        mean = sum(values) / len(values)
        spread = max(abs(value - mean) for value in values)
        met = mean >= wanted if way == AT_LEAST else mean <= wanted
        reached = f"{mean:.2f}" + (f" ± {spread:.2f}" if spread >= 0.005 else "")
        sign = "yes" if met else f"off by {abs(mean - wanted):.2f}"
        lines.append(f"| {rule} | {measure} | {way} {wanted:g} | {reached} | {sign} |")
    return "\n".join(lines)


def control(name: str, rows: dict[str, str], columns: dict[str, str]) -> str:
    """An experiment of experiments/controls.py: what is said of each row and column."""
    results = read(name)
    lines = ["| | " + " | ".join(columns.values()) + " |", "| --- |" + " --- |" * len(columns)]
    for row, said in rows.items():
        path = f"{row}." if row else ""
        units = {"fid": "FID", "density": ""}
        cells = [figure(results, path + column, units.get(column, "%")) for column in columns]
        lines.append(f"| {said} | " + " | ".join(cells) + " |")
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
    "targets": targets,
    "quick": lambda: comparison("quick"),
    "quick restore": lambda: comparison("quick-restore"),
    "quick behaviour": lambda: behaviour("quick"),
    "quick wounds": lambda: wounds("quick"),
    "anchor": lambda: control(
        "anchor",
        {"": "pixel accuracy at 10x the training steps"},
        {name: name for name in json.loads((RESULTS / "anchor.json").read_text())["seeds"][0]},
    ),
    "prior": lambda: control(
        "prior",
        {
            "flow, narrowed": "Gaussians and flow, narrowed: as the library draws",
            "flow": "Gaussians and flow, at full width",
            "Gaussians, narrowed": "Gaussians alone, narrowed",
            "Gaussians": "Gaussians alone, at full width",
            "training digits": "read off training digits",
        },
        {"judge": "judge", "fid": "FID", "coverage": "coverage", "density": "density"},
    ),
    "leakage": lambda: control(
        "leakage",
        {f"told the {which} label": f"told the {which} label" for which in ("right", "wrong")},
        {
            f"judge reads the {whose} label": f"judge reads the {whose} label"
            for whose in ("told", "picture's")
        },
    ),
    "size": lambda: (RESULTS / "size.md").read_text().strip(),
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
