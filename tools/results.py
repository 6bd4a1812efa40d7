"""Put measured figures into README.md, docs, experiments and model cards: `make results`

It reads what `nca evaluate --json` wrote for three evaluation seeds, `NAME-SEED.json` in
experiments/results, and what the scripts in experiments/ wrote there, and replaces the text between
the markers `<!-- NAME -->` and `<!-- /NAME -->`, with the name of its files. Each figure is a mean
over the seeds, with the largest distance from it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results"
sys.path.insert(0, str(ROOT / "experiments"))
from rows import Results, table  # noqa: E402

UNITS = {"psnr": "dB", "ink_iou": "", "ssim": "", "density": "", "fid": "FID"}  # the rest: per cent
COLUMNS = {
    "pixel_accuracy": "pixel accuracy",
    "ink_iou": "ink IoU",
    "ssim": "SSIM",
    "psnr": "PSNR",
    "classifier_accuracy": "classifier",
}
SETS = {
    "classifier_accuracy": "classifier",
    "fid": "FID",
    "coverage": "coverage",
    "density": "density",
}
BASELINES = {  # of each task
    "grow": ("conv_decoder", "class_pca", "class_mean", "black"),
    "restore": ("linear_deblur", "blur_threshold", "black"),
}
NAMES = {
    "grow": "**unified model**, from one cell",
    "restore": "**restoring model**, from the 5x5 blur",
    "conv_decoder": "convolutional decoder, {} numbers",
    "class_pca": "PCA per class, {} numbers",
    "class_mean": "class mean",
    "black": "all black",
    "linear_deblur": "best linear 13x13 filter",
    "blur_threshold": "the blur itself",
}
DIGITS = [f"digit-{digit}" for digit in range(10)]


SHIPPED = {  # the SHA-256 of the models that results are of
    hashlib.sha256(path.read_bytes()).hexdigest()
    for path in (ROOT / "nca_lib" / "weights").glob("*.safetensors")
}
used: list[str] = []  # names of the files that were read


# ---- figures -------------------------------------------------------------------------------------


def read(name: str) -> list[dict]:
    """The evaluations of a model, or the results of an experiment, one per seed.

    Evaluations are of all test pictures, with the seed in the file's name.
    """
    files = sorted(RESULTS.glob(f"{name}-[0-9].json")) or [RESULTS / f"{name}.json"]
    results = [json.loads(file.read_text()) for file in files]
    for file, result in zip(files, results, strict=True):
        shipped = name.startswith("quick") or result["weights"] in SHIPPED
        used.append(file.name if shipped else f"{file.name} (of former weights)")
        if "split" in result:
            seed = 0 if file.stem == name else int(file.stem[-1])
            said = result["split"], result.get("limit"), result["seed"]
            assert said == ("test", None, seed), f"{file.name} is of {said}"
    if "seeds" in results[0]:  # experiments/controls.py has its seeds in one file
        return results[0]["seeds"]
    assert len({r["weights"] for r in results}) == 1, f"{name}: evaluations of different weights"
    return results


def pick(result: dict, path: str) -> float:
    for key in path.split("/"):
        result = result[key]
    return result


def shown(values: list[float], unit: str) -> str:
    """Mean and largest distance from it, where that can be seen."""
    values = [100 * v for v in values] if unit == "%" else values
    mean = sum(values) / len(values)
    digits, spread = 3 if unit == "" else 2, max(abs(v - mean) for v in values)
    off = f" ± {spread:.{digits}f}" if spread >= 0.5 * 10**-digits else ""
    return f"{mean:.{digits}f}{off}" + (f" {unit}" if unit in ("%", "dB") else "")


def figure(results: list[dict], path: str) -> str:
    """The value at a path such as `samples/fid`, over the seeds."""
    return shown([pick(r, path) for r in results], UNITS.get(path.split("/")[-1], "%"))


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def grid(results: list[dict], rows: dict[str, str], columns: dict[str, str]) -> str:
    """A table: paths and what to call them, down and across."""
    body = []
    for path, name in rows.items():
        prefix = f"{path}/" if path else ""
        body.append([name, *(figure(results, prefix + column) for column in columns)])
    return markdown(["", *columns.values()], body)


# ---- tables --------------------------------------------------------------------------------------


def comparison(name: str, columns: tuple[str, ...] = tuple(COLUMNS)) -> str:
    """A model compared with its baselines."""
    results = read(name)
    task, rows = results[0]["task"], results[0]["baselines"]
    names = {"": NAMES[task]}
    for key in BASELINES[task]:
        names[f"baselines/{key}"] = NAMES[key].format(rows[key].get("numbers"))
    return grid(results, names, {key: COLUMNS[key] for key in columns})


def persistence(name: str) -> str:
    """Pixel accuracy long after the steps of training, and after a change of label."""
    results = read(name)
    times = {"1x": "1x the training steps", "4x": "4x", "10x": "10x"}
    heads, row = list(times.values()), [figure(results, f"persistence/{key}") for key in times]
    if "switching" in results[0]:
        heads.append("classified as a new label, 96 steps after the change")
        row.append(figure(results, "switching/classifier_accuracy"))
    return markdown(heads, [row])


def samples(name: str) -> str:
    """Pictures in drawn styles, as a set."""
    rows = {
        "samples": "drawn styles",
        "samples/references/class_pca_gaussian": "PCA per class with a Gaussian",
        "samples/references/real_training_digits": "real training digits",
    }
    return grid(read(name), rows, SETS)


def damage(name: str) -> str:
    """How damage heals, compared with the same pictures undamaged, at the same step."""
    results, body = read(name), []
    for key in results[0]["regeneration"]:
        cells = [figure(results, f"regeneration/{key}/after_damage")]
        for when in ("after_64_steps", "after_256_steps"):
            path = f"regeneration/{key}/{when}"
            lost = [pick(r, f"undamaged/{when}") - pick(r, path) for r in results]
            cells += [figure(results, path), f"{100 * sum(lost) / len(lost):z.2f}"]
        body.append([key.replace("_", " "), *cells])
    control = [figure(results, f"undamaged/after_{steps}_steps") for steps in (64, 256)]
    body.append(["nothing", "", control[0], "", control[1], ""])
    lost = "points lost"
    return markdown(["erased", "just after", "64 steps later", lost, "256 steps later", lost], body)


def blurs() -> str:
    """Restoration from blurs other than that of the main table."""
    names = {"box3": "3x3 box", "box7": "7x7 box", "gauss": "Gaussian of 1.5 cells",
             "noise": "5x5 box, noise of 0.02"}  # fmt: skip
    rows = {f"other_blurs/{key}": name for key, name in names.items()}
    return grid(read("restore"), rows, {"left_alone": "left alone", "restored": "restored"})


def classifying() -> str:
    """The self-classifying model."""
    rows = {
        "after_60_steps": "after 60 steps",
        "after_200_steps": "after 200 steps",
        "replaced": "80 steps after another digit replaced the first",
    }
    columns = {
        "cells": "cells with ink that are right",
        "agree": "pictures in which all cells agree",
        "majority": "pictures in which most cells are right",
    }
    return grid(read("reader"), rows, columns)


def in_percent(rows: dict[str, list[float]], heads: list[str]) -> str:
    body = [[f"{name}, %", *(f"{100 * v:.1f}" for v in values)] for name, values in rows.items()]
    return markdown(["", *heads], body)


def digits() -> str:
    """The ten digit models, one evaluation each."""
    results = [read(name)[0] for name in DIGITS]
    rows = {}
    for name, path in {
        "classifier, drawn styles": "samples/classifier_accuracy",
        "classifier, test digits grown anew": "classifier_accuracy",
        "pixel accuracy": "pixel_accuracy",
        "pixel accuracy of the PCA with as many numbers": "baselines/class_pca/pixel_accuracy",
    }.items():
        values = [pick(r, path) for r in results]
        rows[name] = [*values, sum(values) / len(values)]
    return in_percent(rows, [*map(str, range(10)), "mean"])


def per_digit() -> str:
    """The unified model, digit by digit (seed 0)."""
    results = read("unified")[0]["per_digit"]
    rows = {
        name: [pick(row, path) for row in results.values()]
        for name, path in {
            "pixel accuracy": "pixel_accuracy",
            "of the convolutional decoder": "baselines/conv_decoder",
            "of the PCA with as many numbers": "baselines/class_pca",
            "of the class mean": "baselines/class_mean",
            "of all black": "baselines/black",
            "ink IoU": "ink_iou",
            "classifier accuracy": "classifier_accuracy",
        }.items()
    }
    return in_percent(rows, list(results))


def rows_of(name: str) -> str:
    """An experiment's rows, one per variant."""
    used.append(f"{name}.jsonl")
    return table(Results(RESULTS / f"{name}.jsonl"))


# ---- targets -------------------------------------------------------------------------------------


def of(name: str, path: str, scale: float = 100) -> list[float]:
    return [scale * pick(r, path) for r in read(name)]


def lost(name: str, whole: str, after: str) -> list[float]:
    """Points of pixel accuracy lost, one value per seed."""
    return [100 * (pick(r, whole) - pick(r, after)) for r in read(name)]


def worst_damage(name: str, steps: int) -> list[float]:
    """Points lost by the damage that heals worst, compared with undamaged pictures."""
    when = f"after_{steps}_steps"
    return [
        100 * max(r["undamaged"][when] - row[when] for row in r["regeneration"].values())
        for r in read(name)
    ]


def least_gain() -> list[float]:
    """Points of pixel accuracy that restoration gains on the blur where it gains least."""
    rows = [r["other_blurs"].values() for r in read("restore")]
    return [100 * min(row["restored"] - row["left_alone"] for row in blur) for blur in rows]


AT_LEAST, AT_MOST = "at least", "at most"


GROWN = "classified as their label, %"


def unified_targets() -> list[tuple]:
    """Measure, what each seed reaches, and the target."""
    name = "unified"
    return [
        ("pixel accuracy, %", of(name, "pixel_accuracy"), AT_LEAST, 98),
        (f"{GROWN}: test digits", of(name, "classifier_accuracy"), AT_LEAST, 99.2),
        (f"{GROWN}: drawn styles", of(name, "samples/classifier_accuracy"), AT_LEAST, 99),
        ("drawn styles: FID", of(name, "samples/fid", 1), AT_MOST, 1.3),
        ("drawn styles: coverage, %", of(name, "samples/coverage"), AT_LEAST, 80),
        ("points lost at 10x the steps",
         lost(name, "persistence/1x", "persistence/10x"), AT_MOST, 0.2),
        ("points lost at 100x the steps", lost("persistence", "1x", "100x"), AT_MOST, 0.4),
        ("points lost 64 steps after the worst damage", worst_damage(name, 64), AT_MOST, 0.5),
        ("points lost 256 steps after it", worst_damage(name, 256), AT_MOST, 0.5),
        (f"{GROWN}: after a change of label",
         of(name, "switching/classifier_accuracy"), AT_LEAST, 98.5),
        (f"{GROWN}: the worst pair of labels",
         of(name, "switching/worst_pair_classifier_accuracy"), AT_LEAST, 90),
        (f"{GROWN}: four seeds, 56 x 56 cells",
         of("canvas", "classifier_accuracy_trained"), AT_LEAST, 99),
        ("bound, nats", of("elbo", "importance_weighted", 1), AT_LEAST, -93),
    ]  # fmt: skip


def restore_targets() -> list[tuple]:
    steps = "pixel accuracy at {}x the steps, %"
    rows = [
        (steps.format(k), of("restore", f"persistence/{k}x"), AT_LEAST, 99.6) for k in (1, 4, 10)
    ]
    return [*rows, ("other blurs: points gained, at least", least_gain(), AT_LEAST, 0)]


def digit_targets() -> list[tuple]:
    drawn = [100 * pick(read(name)[0], "samples/classifier_accuracy") for name in DIGITS]
    return [
        (f"{GROWN}: drawn styles, mean", [sum(drawn) / len(drawn)], AT_LEAST, 99.3),
        (f"{GROWN}: drawn styles, the worst digit", [min(drawn)], AT_LEAST, 98.5),
    ]


def reader_targets() -> list[tuple]:
    return [
        ("cells right at step 60, %", of("reader", "after_60_steps/cells"), AT_LEAST, 97),
        ("cells right at step 200, %", of("reader", "after_200_steps/cells"), AT_LEAST, 97),
        ("pictures in which all cells agree, %",
         of("reader", "after_200_steps/agree"), AT_LEAST, 95),
        ("replaced digits classified anew, %", of("reader", "replaced/majority"), AT_LEAST, 90),
    ]  # fmt: skip


def quick_targets() -> list[tuple]:
    name = "quick"
    return [
        ("pixel accuracy, %", of(name, "pixel_accuracy"), AT_LEAST, 96),
        (f"{GROWN}: drawn styles", of(name, "samples/classifier_accuracy"), AT_LEAST, 97),
        ("points lost at 10x the steps",
         lost(name, "persistence/1x", "persistence/10x"), AT_MOST, 2),
        ("points lost 64 steps after the worst damage", worst_damage(name, 64), AT_MOST, 1.5),
        ("points lost 256 steps after it", worst_damage(name, 256), AT_MOST, 1.5),
        (f"{GROWN}: after a change of label",
         of(name, "switching/classifier_accuracy"), AT_LEAST, 85),
    ]  # fmt: skip


TARGETS = {
    "unified": unified_targets,
    "restore": restore_targets,
    "digit-0 ... digit-9": digit_targets,
    "reader": reader_targets,
    "`make run`": quick_targets,
}


def targets() -> str:
    """What was aimed at, and what is reached."""
    body = []
    for model, rows in TARGETS.items():
        for row, (measure, values, way, target) in enumerate(rows()):
            mean = sum(values) / len(values)
            met = mean >= target if way == AT_LEAST else mean <= target
            verdict = "yes" if met else f"off by {abs(mean - target):.2f}"
            name, reached = "" if row else model, shown(values, "points")
            body.append([name, measure, f"{way} {target:g}", reached, verdict])
    return markdown(["model", "measure", "target", "reaches", ""], body)


# ---- files ---------------------------------------------------------------------------------------

PARTS = {
    "headline": lambda: comparison("unified", ("classifier_accuracy", "ink_iou", "pixel_accuracy")),
    "unified": lambda: comparison("unified"),
    "unified persistence": lambda: persistence("unified"),
    "unified samples": lambda: samples("unified"),
    "unified damage": lambda: damage("unified"),
    "restore": lambda: comparison("restore"),
    "restore persistence": lambda: persistence("restore"),
    "restore blurs": blurs,
    "reader": classifying,
    "digits": digits,
    "per digit": per_digit,
    "quick": lambda: comparison("quick"),
    "quick persistence": lambda: persistence("quick"),
    "quick samples": lambda: samples("quick"),
    "quick damage": lambda: damage("quick"),
    "quick restore": lambda: comparison("quick-restore"),
    "targets": targets,
    "origin": lambda: grid(
        read("origin"),
        {"": "pixel accuracy at 10x the training steps"},
        {name: name for name in read("origin")[0]},
    ),
    "prior": lambda: grid(read("prior"), {name: name for name in read("prior")[0]}, SETS),
    "leakage": lambda: grid(
        read("leakage"),
        {f"{which} label": f"given the {which} label" for which in ("right", "wrong")},
        {
            "given_label": "classified as the given label",
            "picture_label": "classified as the picture's label",
        },
    ),
    **{name: lambda name=name: rows_of(name) for name in ("merging", "ablations", "size")},
}
FILES = [
    *(ROOT / name for name in ("README.md", "docs/results.md", "experiments/README.md")),
    *sorted((ROOT / "nca_lib" / "weights").glob("*.md")),
]


def filled(text: str) -> str:
    """The text with every marked part generated anew, and the files that it is from."""
    for name, part in PARTS.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if between.search(text):
            used.clear()
            made = part()
            files = ", ".join(sorted({re.sub(r"-\d\.json", "-N.json", file) for file in used}))
            made += f"\n\n<sub>from experiments/results: {files}</sub>\n"
            text = between.sub(lambda m, made=made: f"{m[1]}{made}{m[2]}", text)
    return text


if __name__ == "__main__":
    for path in FILES:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
