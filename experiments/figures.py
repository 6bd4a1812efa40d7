"""Figures of the experiments; each value is a mean over seeds, with their spread."""

from __future__ import annotations

from pathlib import Path

from nca_lib.visual.plots import BLUE, GREY, ORANGE, in_percent, legend, new_figure, save_figure

import numpy as np
from matplotlib.ticker import PercentFormatter
from rows import MEASURES, Results, spread


def draw_merging(results: Results, variants: tuple[str, ...], path: Path) -> None:
    """Learning curves with the range over the seeds."""
    figure = new_figure(
        7, 4.2, "Do ten pretrained models help the unified model?",
        f"Mean and range over {len(results.of(variants[0]))} seeds; validation digits.",
    )  # fmt: skip
    ax = figure.subplots()
    styles = [(GREY, "-"), (ORANGE, "--"), (BLUE, "-"), (BLUE, ":"), (GREY, "-.")]
    for variant, (colour, line) in zip(variants, styles, strict=True):
        curves = np.array([row["curve"] for row in results.of(variant)])  # [seeds, points, 2]
        x, y = curves[0, :, 0], curves[:, :, 1]
        label = "scratch, with the iterations of pretraining" if variant == "longer" else variant
        ax.plot(x, y.mean(0), line, color=colour, label=label)
        ax.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.15, lw=0)
    ax.set(xlabel="training iteration", ylabel="pixel accuracy", ylim=(0.83, None))
    in_percent(ax)
    legend(ax, loc="lower right")
    save_figure(figure, path)


def draw_ablations(results: Results, variants: list[str], path: Path) -> None:
    """Three measures of each variant: a dot per seed, a tick for the mean, the base as a line."""
    figure = new_figure(
        10, 4.2, "What each part is worth",
        "Each dot is a seed, each tick the mean; the dotted line is the full training.",
    )  # fmt: skip
    shown = ("pixel_accuracy", "classifier_accuracy", "healed_256")
    y = np.arange(len(variants))
    for ax, key in zip(figure.subplots(1, 3, sharey=True), shown, strict=True):
        for row, variant in enumerate(variants):
            values = [r[key] for r in results.of(variant)]
            colour = BLUE if row == 0 else ORANGE
            ax.plot(values, [row] * len(values), "o", color=colour, ms=4, alpha=0.6)
            ax.plot(np.mean(values), row, "|", color=colour, ms=14, mew=2)
        ax.axvline(spread(results.of(variants[0]), key)[0], color=GREY, ls=":", lw=1)
        ax.set_title(MEASURES[key])
        ax.set_yticks(y, variants)
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.invert_yaxis()
    save_figure(figure, path)


def draw_sizes(results: Results, variants: list[str], path: Path) -> None:
    """Pixel accuracy and classifier accuracy against the number of parameters."""
    figure = new_figure(
        8.5, 3.6, "How large must a model be?", "Each dot is a seed, the line their mean."
    )
    rows = [results.of(variant) for variant in variants]
    sizes = [of[0]["parameters"] for of in rows]
    shown = ("pixel_accuracy", "classifier_accuracy")
    for ax, key in zip(figure.subplots(1, 2), shown, strict=True):
        for size, of in zip(sizes, rows, strict=True):
            ax.plot([size] * len(of), [r[key] for r in of], "o", color=ORANGE, ms=4, alpha=0.6)
        ax.plot(sizes, [spread(of, key)[0] for of in rows], color=BLUE)
        ax.set(xscale="log", xlabel="parameters of the model", title=MEASURES[key])
        ax.set_xticks(sizes, [f"{size / 1000:.0f}k" for size in sizes])
        ax.minorticks_off()
        in_percent(ax)
    save_figure(figure, path)


def means_of(rows: list[dict], key: str | None = None) -> dict[str, float]:
    """The mean over the seeds of each entry, or of its value at `key`."""
    names = rows[0]
    return {n: np.mean([row[n] if key is None else row[n][key] for row in rows]) for n in names}


def draw_controls(found: dict[str, list[dict]], path: Path) -> None:
    """What holds a picture, where drawn styles come from, which label is seen: bars of means."""
    seen = {
        f"{name}: {whose}": mean
        for key, whose in {"given_label": "given", "picture_label": "picture's"}.items()
        for name, mean in means_of(found["leakage"], key).items()
    }
    panels = {
        "Wiped every 32 steps: pixel accuracy at 320": means_of(found["origin"]),
        "Drawn styles: classified as the label": means_of(found["prior"], "classifier_accuracy"),
        "Classified as this label": seen,
    }
    figure = new_figure(
        13.5, 3.2, "Three claims and their controls", f"Means of {len(found['origin'])} seeds."
    )
    for ax, (title, means) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        bars = ax.barh(list(means), means.values(), color=[BLUE] + [ORANGE] * (len(means) - 1))
        ax.bar_label(bars, [f"{mean:.1%}" for mean in means.values()], padding=3)
        ax.set(title=title, xlim=(0, 1.2), xticks=[])
        ax.invert_yaxis()
    save_figure(figure, path)
