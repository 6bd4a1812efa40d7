"""A file of results to resume from, one JSON line per training run, and its Markdown table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

RATES = (1e-3, 2e-3, 4e-3)  # learning rates that seed 0 tries
MEASURES = {
    "pixel_accuracy": "pixel accuracy",
    "ink_iou": "ink IoU",
    "classifier_accuracy": "classifier",
    "persists_10x": "pixel accuracy at 10x the steps",
    "healed_64": "64 steps after losing a square",
    "healed_256": "256 steps after losing a square",
}


class Results:
    """The rows of a file; every row is written as soon as its run is measured."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows = [json.loads(line) for line in lines]

    def has(self, **wanted) -> bool:
        """Whether there is a row with these values."""
        return any(all(row.get(key) == value for key, value in wanted.items()) for row in self.rows)

    def add(self, row: dict) -> None:
        self.rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print({key: value for key, value in row.items() if key != "curve"}, flush=True)

    def of(self, variant: str) -> list[dict]:
        """The rows of a variant; of several learning rates, those of the chosen one."""
        rows = [row for row in self.rows if row["variant"] == variant]
        rate = self.best_rate(variant)
        return [row for row in rows if row.get("learning_rate") == rate]

    def best_rate(self, variant: str) -> float | None:
        """The learning rate that gives seed 0 the highest pixel accuracy."""
        first = [row for row in self.rows if (row["variant"], row["seed"]) == (variant, 0)]
        best = max(first, key=lambda row: row["pixel_accuracy"], default={})
        return best.get("learning_rate")

    def variants(self) -> list[str]:
        """In the order in which they were run."""
        return list(dict.fromkeys(row["variant"] for row in self.rows))


def try_rates(results: Results, variant: str, seeds: int, run: Callable[[int, float], dict]):
    """Run each learning rate with seed 0, then the best of them with all seeds.

    `run(seed, learning_rate)` returns a row. So no variant is judged by a learning rate that was
    chosen for another one.
    """
    for seed in range(seeds):
        for rate in RATES if seed == 0 else (results.best_rate(variant),):
            if not results.has(variant=variant, seed=seed, learning_rate=rate):
                row = {"variant": variant, "seed": seed, "learning_rate": rate}
                results.add(row | run(seed, rate))


def spread(rows: list[dict], key: str) -> tuple[float, float]:
    """Mean and standard deviation over the seeds."""
    values = [row[key] for row in rows]
    return mean(values), stdev(values) if len(values) > 1 else 0.0


def table(results: Results) -> str:
    """Markdown: a row per variant, with mean and standard deviation."""
    lines = ["| | " + " | ".join(MEASURES.values()) + " |", "| --- |" + " --- |" * len(MEASURES)]
    for variant in results.variants():
        rows, cells = results.of(variant), []
        for key in MEASURES:
            middle, off = spread(rows, key)
            iou = key == "ink_iou"
            cells.append(f"{middle:.3f} ± {off:.3f}" if iou else f"{middle:.2%} ± {off * 100:.2f}")
        size = f"{rows[0]['parameters']:,} parameters, " if variant.startswith("hidden") else ""
        lines.append(f"| {size}{variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
