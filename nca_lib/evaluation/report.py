"""Reports: tables, JSON and figures of what was measured, and a picture of training's progress."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from nca_lib.checkpoint import write_atomically
from nca_lib.data.dataset import Dataset
from nca_lib.evaluation.behaviour import GROWTH, regrow
from nca_lib.evaluation.classifying import CLASSIFY_STEPS
from nca_lib.evaluation.evaluate import pictures_for
from nca_lib.model import NCA
from nca_lib.rollout.fire import rng_seeds
from nca_lib.training.run import read_log
from nca_lib.training.tasks import Classify, task_of
from nca_lib.visual import plots

import torch
from matplotlib.figure import Figure
from torch import Tensor

COLUMNS = ("pixel_accuracy", "ink_iou", "ssim", "psnr", "classifier_accuracy")


def percent(value: float | None) -> str:
    """A share as text; "-" where it could not be measured."""
    return "-" if value is None else f"{value:.2%}"


def table(results: dict) -> str:
    """The model compared with its baselines; then how it persists, heals, switches and samples."""
    rows = [("", *COLUMNS)]
    for name, row in {"this model": results, **results["baselines"]}.items():
        cells = (f"{row[c]:.2f} dB" if c == "psnr" else percent(row[c]) for c in COLUMNS)
        rows.append((name, *cells))
    lines = ["".join(f"{cell.replace('_', ' '):>20}" for cell in row) for row in rows]
    if decoder := results["baselines"].get("conv_decoder"):
        numbers, source = decoder["numbers"], decoder["trained_on"]
        lines.append(f"(conv decoder: a code of {numbers} numbers, trained on {source})")
    if not results["held_out"]:
        lines.append("(measured on the training pictures: there are no others)")
    row = ", ".join(f"{percent(value)} at {name}" for name, value in results["persistence"].items())
    lines.append(f"persists: {row} the training steps")
    for name, row in results["regeneration"].items():
        path = " -> ".join(percent(value) for value in row.values())
        lines.append(f"heals: {name.replace('_', ' ')}: {path} after 64 and 256 steps")
    if row := results.get("switching"):
        share, least = row["classifier_accuracy"], row["worst_pair_classifier_accuracy"]
        worst = "{} to {}".format(*row["worst_pair"])
        lines.append(f"switches: {percent(share)} in 96 steps, {percent(least)} from {worst}")
    if row := results.get("samples"):
        share, fid = percent(row["classifier_accuracy"]), row["fid"]
        coverage = percent(row["coverage"])
        lines.append(f"samples: {share} look like their label, FID {fid:.1f}, coverage {coverage}")
    return "\n".join(lines)


def classifying_table(results: dict) -> str:
    """What a self-classifying model gets right, as text."""
    rows = {f"after {steps} steps": results[f"after_{steps}_steps"] for steps in CLASSIFY_STEPS}
    replaced = results["replaced"]
    rows[f"{replaced['steps']} steps after the picture was replaced"] = replaced
    return "\n".join(
        f"{when}: {percent(row['cells'])} of the cells with ink are right, all agree in "
        f"{percent(row['agree'])} of the pictures, most are right in {percent(row['majority'])}"
        for when, row in rows.items()
    )


def first_of_each(labels: Tensor, count: int = 2) -> Tensor:
    """Indices of the first picture of each label, then of the second."""
    each = [(labels == label).nonzero()[:count, 0] for label in labels.unique()]
    return torch.cat([index[row : row + 1] for row in range(count) for index in each])


def write_figures(
    model: NCA, results: dict, data: Dataset, folder: Path, logs: dict | None = None
) -> None:
    """All figures of an evaluation, of the pictures it measured; learning curves from `logs`."""
    pictures = pictures_for(model, data, results["split"], results["limit"])
    seeds, steps = rng_seeds(len(pictures), results["seed"], GROWTH), results["steps"]

    def grown(index: Tensor, times: list[int]) -> Tensor:  # ink as it was when measured
        frames = regrow(model, pictures.select(index), times, rng_seeds=seeds[index])
        return frames[:, :, : model.spec.channels]  # [R, n, I, H, W]

    def compared(index: Tensor, title: str, caption: str = "") -> Figure:
        return plots.compare(pictures.images[index], grown(index, [steps])[0], title, caption)

    first, worst = first_of_each(pictures.labels), torch.tensor(results["worst"])
    times = sorted({1, *(round(steps * k / 5) for k in range(1, 6)), 2 * steps, 4 * steps} - {0})
    growth = grown(first[:1], times)[:, 0]
    under = f"Below each original: the model after {steps} steps."
    figures = {
        "originals_and_grown": compared(first, "Originals and grown pictures", under),
        "film_strip": plots.film_strip(growth, times, "The growth of a picture"),
        "accuracy_by_step": plots.accuracy_by_step(results),
        "per_digit": plots.per_digit_bars(results),
        "worst_cases": compared(worst, f"The worst {len(worst)} of {results['n']}"),
    }
    if logs:
        figures["learning_curves"] = plots.learning_curves(logs)
    for number, (name, figure) in enumerate(figures.items(), 1):
        plots.save_figure(figure, Path(folder) / f"{number:02d}_{name}.png")


def report(
    model: NCA, results: dict, data: Dataset, json_file=None, figures=None, logs: dict | None = None
) -> None:
    """Print what `evaluate` measured; write a JSON file and a folder of figures, unless None."""
    print(classifying_table(results) if isinstance(task_of(model), Classify) else table(results))
    if json_file is not None:
        write_atomically(json_file, (json.dumps(results, indent=2) + "\n").encode())
    if figures is not None:
        write_figures(model, results, data, figures, logs)


def read_logs(folder: Path) -> dict[str, list[dict]]:
    """The logs of all training runs in a folder, by name."""
    found = {path.stem: read_log(path) for path in sorted(Path(folder).glob("*.jsonl"))}
    return {name: log for name, log in found.items() if log}


def progress_callback(data: Dataset, path: Path) -> Callable[[int, dict, NCA], None]:
    """A callback for `train` that draws some validation pictures as the model makes them now."""
    some = data.validation if len(data.validation) else data.train
    pictures = some.select(first_of_each(some.labels))

    def draw(step: int, metrics: dict, model: NCA) -> None:
        states = regrow(model, pictures, (model.steps,))[-1]
        votes = isinstance(task_of(model), Classify)
        ink = plots.vote_colours(states, model.spec) if votes else plots.ink_of(states, model.spec)
        plots.save_figure(plots.progress_picture(ink), path)

    return draw
