"""Figures and tables of the experiments; each value is a mean over seeds, with their spread."""

from __future__ import annotations

from pathlib import Path

from nca_lib.plots import BLUE, GREY, ORANGE, in_percent, legend, new_figure, save_figure

import numpy as np
from common import Results
from matplotlib.ticker import PercentFormatter

MEASURES = {
    "pixel_accuracy": "pixel accuracy",
    "ink_iou": "ink IoU",
    "judge_accuracy": "judge",
    "held_10x": "pixel accuracy at 10x the steps",
    "healed_64": "64 steps after losing a square",
    "healed_256": "256 steps after losing a square",
}


def spread(rows: list[dict], key: str) -> tuple[float, float]:
    values = np.array([row[key] for row in rows])
    return values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0


def table(results: Results, variants: list[str], names: list[str] | None = None) -> str:
    """Markdown: a row for each variant, by its own or another name."""
    lines = ["| | " + " | ".join(MEASURES.values()) + " |", "| --- |" + " --- |" * len(MEASURES)]
    for variant, name in zip(variants, names or variants, strict=True):
        cells = []
        for key in MEASURES:
            mean, deviation = spread(results.of(variant), key)
            percent = key != "ink_iou"
            cells.append(
                f"{mean:.2%} ± {deviation * 100:.2f}"
                if percent
                else f"{mean:.3f} ± {deviation:.3f}"
            )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw_merging(results: Results, variants: tuple[str, ...], path: Path) -> None:
    """Learning curves with the spread over the seeds."""
    figure = new_figure(
        7, 4.2, "Do ten pretrained rules help the unified rule?",
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
    ax.set(xlabel="training iteration", ylabel="pixel accuracy", ylim=(0.86, None))
    in_percent(ax)
    legend(ax, loc="lower right")
    save_figure(figure, path)
    path.with_suffix(".md").write_text(table(results, list(variants)) + "\n")


def draw_ablations(results: Results, variants: list[str], path: Path) -> None:
    """Three measures of each variant: a dot a seed, a bar for the mean, the base as a line."""
    figure = new_figure(
        10, 4.2, "What each part is worth",
        "Each dot is a seed, each tick the mean; the dotted line is the full training.",
    )  # fmt: skip
    shown = ("pixel_accuracy", "judge_accuracy", "healed_256")
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
    path.with_suffix(".md").write_text(table(results, variants) + "\n")


def draw_sizes(results: Results, variants: list[str], path: Path) -> None:
    """Pixel accuracy and judge against the numbers in the rule."""
    figure = new_figure(
        8.5, 3.6, "How large must a rule be?", "Each dot is a seed, the line their mean."
    )
    rows = [results.of(variant) for variant in variants]
    sizes = [of[0]["numbers"] for of in rows]
    for ax, key in zip(figure.subplots(1, 2), ("pixel_accuracy", "judge_accuracy"), strict=True):
        for size, of in zip(sizes, rows, strict=True):
            ax.plot([size] * len(of), [r[key] for r in of], "o", color=ORANGE, ms=4, alpha=0.6)
        ax.plot(sizes, [spread(of, key)[0] for of in rows], color=BLUE)
        ax.set(xscale="log", xlabel="numbers in the rule", title=MEASURES[key])
        ax.set_xticks(sizes, [f"{size / 1000:.0f}k" for size in sizes])
        ax.minorticks_off()
        in_percent(ax)
    save_figure(figure, path)
    names = [f"{size:,} numbers, {name}" for size, name in zip(sizes, variants, strict=True)]
    path.with_suffix(".md").write_text(table(results, variants, names) + "\n")


def draw_controls(found: dict[str, list[dict]], path: Path) -> None:
    """What holds a picture, where drawn styles come from, whose label is read: bars of means."""
    told = {
        f"{row}: {'told' if 'told' in column else 'shown'}": [
            seed[row][column] for seed in found["leakage"]
        ]
        for row in found["leakage"][0]
        for column in found["leakage"][0][row]
    }
    panels = {
        "Wiped every 32 steps: pixel accuracy at 320": {
            name: [seed[name] for seed in found["anchor"]] for name in found["anchor"][0]
        },
        "Drawn styles: the judge reads the label": {
            name: [seed[name]["judge"] for seed in found["prior"]] for name in found["prior"][0]
        },
        "The judge reads this label": told,
    }
    figure = new_figure(
        13.5, 3.2, "Three claims and their controls", f"Means of {len(found['anchor'])} seeds."
    )
    for ax, (title, rows) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        means = [np.mean(values) for values in rows.values()]
        bars = ax.barh(list(rows), means, color=[BLUE] + [ORANGE] * (len(rows) - 1))
        ax.bar_label(bars, [f"{mean:.1%}" for mean in means], padding=3)
        ax.set(title=title, xlim=(0, 1.2), xticks=[])
        ax.invert_yaxis()
    save_figure(figure, path)
