"""Reporting: tables and figures out of what was measured."""

from __future__ import annotations

import json
from pathlib import Path

from nca_lib.checkpoints import write_atomically
from nca_lib.dataset import Dataset, Pictures
from nca_lib.evaluation import MAIN, digits_for, evaluate, evaluate_reading, redraw
from nca_lib.judge import Judge
from nca_lib.plots import (
    accuracy_by_step,
    compare,
    film_strip,
    learning_curves,
    per_digit_bars,
    progress_picture,
    save_figure,
    save_picture,
    vote_colours,
)
from nca_lib.reading import READING_STEPS
from nca_lib.rollout.fire import streams
from nca_lib.rule import NCA
from nca_lib.training.run import read_log

import torch
from torch import Tensor


def table(results: dict) -> str:
    """The results as text: the rule beside its baselines, then how it holds, heals and invents."""
    columns = ("pixel_accuracy", "ink_iou", "ssim", "psnr", "judge_accuracy")
    lines = ["".join(f"{c.replace('_', ' '):>16}" for c in ("", *columns))]
    for name, row in {"this rule": results, **results["baselines"]}.items():
        cells = [shown(row[c], " dB" if c == "psnr" else "%") for c in columns]
        lines.append(f"{name.replace('_', ' '):>16}" + "".join(f"{c:>16}" for c in cells))
    rival = results["baselines"].get("conv_decoder")
    if rival is not None:
        lines.append(
            f"(conv decoder: {rival['numbers']} numbers, trained on {rival['trained_on']})"
        )
    held = ", ".join(f"{value:.2%} at {name}" for name, value in results["persistence"].items())
    lines += ["", f"holds:  {held} the training steps"]
    for name, row in results["regeneration"].items():
        path = " -> ".join(f"{value:.2%}" for value in row.values())
        lines.append(f"heals:  {name.replace('_', ' ')}: {path} after 64 and 256 steps")
    lines += squared_errors(results) if results["judge_accuracy"] is None else []
    if "switching" in results:
        row = results["switching"]
        pair = " to ".join(str(label) for label in row["worst_pair"])
        lines.append(
            f"told to become another digit: judge reads {row['judge_accuracy']:.2%} as that digit "
            f"96 steps later, {row['worst_pair_judge_accuracy']:.0%} of the worst pair ({pair})"
        )
    if results.get("samples"):
        row = results["samples"]
        lines.append(
            f"styles from the prior: judge reads {row['judge_accuracy']:.2%} as their label, "
            f"FID {row['fid']:.1f}, coverage {row['coverage']:.1%}"
        )
    return "\n".join(lines)


def reading_table(results: dict) -> str:
    """What cells that read get right, as text."""
    lines = []
    for step in READING_STEPS:
        row = results[f"after_{step}_steps"]
        lines.append(
            f"after {step} steps: {shown(row['cells'], '%')} of the cells with ink vote right, in "
            f"{shown(row['agree'], '%')} of the pictures all agree"
        )
    row = results["replaced"]
    lines.append(
        f"{row['steps']} steps after the picture was replaced: {shown(row['read'], '%')} are read "
        f"anew, {shown(row['cells'], '%')} of the cells vote right"
    )
    return "\n".join(lines)


def shown(value: float | None, unit: str) -> str:
    """A measure in a table; none where nobody could measure it."""
    if value is None:
        return "-"
    return f"{value:.2%}" if unit == "%" else f"{value:.2f}{unit}"


def squared_errors(results: dict) -> list[str]:
    """Lines for pictures that no judge reads: how far every pixel is off."""
    rows = results["mse_over_time"]
    held = ", ".join(f"{value:.4f} at {name}" for name, value in rows["persistence"].items())
    lines = ["", f"squared error: {held} the training steps"]
    for name, row in rows["regeneration"].items():
        path = " -> ".join(f"{value:.4f}" for value in row.values())
        lines.append(f"squared error: {name.replace('_', ' ')}: {path} after 64 and 256 steps")
    if not results["held_out"]:
        lines.append("there are no others to measure: these are the pictures it was trained on")
    return lines


def pictures_of(rule: NCA, digits: Pictures, places: Tensor, seed: int, steps: tuple[int, ...]):
    """Ink `[R, n, I, H, W]` of some of the pictures, grown as they were when measured."""
    seeds = streams(len(digits), seed, MAIN)[places]
    return redraw(rule, digits.select(places), steps, seeds=seeds)[:, :, : rule.kind.ink]


def first_of_each(labels: Tensor, count: int = 2) -> Tensor:
    """Places of the first pictures of each label, label by label; then the second ones."""
    each = [(labels == label).nonzero()[:count, 0] for label in labels.unique()]
    rows = [part[row : row + 1] for row in range(count) for part in each]
    return torch.cat([labels.new_zeros(0), *rows])


def write_figures(
    rule: NCA,
    results: dict,
    data: Dataset,
    folder: Path,
    limit: int | None = None,
    logs: dict | None = None,
) -> list[Path]:
    """All figures of an evaluation, of the digits that it measured; the comparison comes first."""
    digits, steps, seed = (
        digits_for(rule, data, results["split"], limit), results["steps"], results["seed"]
    )  # fmt: skip
    first, worst = first_of_each(digits.labels), torch.tensor(results["worst"])
    strip = sorted({1, *(round(steps * k / 5) for k in range(1, 6)), 2 * steps, 4 * steps} - {0})
    grown = pictures_of(rule, digits, first, seed, (steps,))[0]
    wrong = pictures_of(rule, digits, worst, seed, (steps,))[0]
    growth = pictures_of(rule, digits, first[3 % len(first)][None], seed, tuple(strip))[:, 0]
    how = "grown from one cell" if results["task"] == "grow" else "restored from the blur"
    under = f"Below each original the picture {how}, after {steps} steps, with its pixel accuracy."
    originals = digits.images
    figures = {
        "originals_and_grown": compare(
            originals[first], grown, "Originals and grown pictures", under
        ),
        "film_strip": film_strip(growth, strip, "The growth of a picture"),
        "accuracy_by_step": accuracy_by_step(results),
        "per_digit": per_digit_bars(results),
        "worst_cases": compare(
            originals[worst], wrong, f"The worst {len(worst)} of {len(digits)}", under
        ),
    }
    if logs:
        figures["learning_curves"] = learning_curves(logs)
    return [
        save_figure(figure, Path(folder) / f"{number:02d}_{name}.png")
        for number, (name, figure) in enumerate(figures.items(), 1)
    ]


def report(
    rule: NCA,
    data: Dataset,
    split: str,
    seed: int,
    limit: int | None,
    json_file: Path | None,
    figures: Path | None,
    logs: dict | None = None,
    judge: Judge | None = None,
) -> list[Path]:
    """Evaluate, print the table, write JSON and figures; returns what was written."""
    if rule.task == "read":
        results = evaluate_reading(rule, data, split=split, seed=seed, limit=limit)
        print(reading_table(results))
    else:
        results = evaluate(rule, data, split=split, seed=seed, limit=limit, judge=judge)
        print(table(results))
    written = []
    if json_file is not None:
        write_atomically(json_file, (json.dumps(results, indent=2) + "\n").encode())
        written.append(json_file)
    if figures is not None:
        written += write_figures(rule, results, data, figures, limit, logs)
    return written


def read_logs(folder: Path) -> dict[str, list[dict]]:
    """The logs of all trainings in a folder, by name."""
    return {path.stem: read_log(path) for path in sorted(Path(folder).glob("*.jsonl"))}


def painter(data: Dataset, path: Path, steps: int):
    """Draws, every so often in training, some validation pictures as the rule grows them now."""
    held = data.validation if len(data.validation) else data.train
    digits = held.select(first_of_each(held.labels))

    def paint(rule: NCA, iteration: int) -> None:
        if len(digits):
            states = redraw(rule, digits, (steps,))[-1]
            reads, ink = rule.task == "read", states[:, : rule.kind.ink]
            save_picture(progress_picture(vote_colours(states, rule.kind) if reads else ink), path)

    return paint
