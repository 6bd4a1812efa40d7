"""What the experiments share: options, one measured training, and a file of results to go on from.

Every training is measured on validation digits; the test digits stay out of every choice.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nca_lib.cells import INK
from nca_lib.checkpoints import write_atomically
from nca_lib.data import load_digits
from nca_lib.dataset import Dataset
from nca_lib.evaluation import HEALING_STEPS, measure, pixel_accuracy, redraw, regeneration
from nca_lib.judge import load_judge
from nca_lib.rule import NCA
from nca_lib.training import TrainingConfig, TrainingDiverged, train
from nca_lib.training.presets import PRESETS

import torch

HERE = Path(__file__).resolve().parent
MEASURED = 500  # validation digits
ALONG = 200  # validation digits of a learning curve
CURVE_EVERY = 50


def options(description: str, iterations: int = 1000) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data-root", help="a folder with MNIST/raw (default: embedded sample)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of each variant")
    parser.add_argument("--iterations", type=int, default=iterations)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    return parser.parse_args()


def open_digits(data_root: str | None) -> Dataset:
    return load_digits(data_root or "embedded", "full" if data_root else "quick")


class Results:
    """One JSON line a training, written when it is done: a second call skips what is there."""

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
        """The rows of a variant; of several learning rates those of the one that was chosen."""
        rows = [row for row in self.rows if row["variant"] == variant]
        rate = self.best_rate(variant)
        return [row for row in rows if row.get("learning_rate") == rate]

    def best_rate(self, variant: str) -> float | None:
        """The learning rate with which seed 0 has most validation pixels right."""
        first = [row for row in self.rows if (row["variant"], row["seed"]) == (variant, 0)]
        best = max(first, key=lambda row: row["pixel_accuracy"], default={})
        return best.get("learning_rate")


def save_results(results: dict, path: Path) -> None:
    write_atomically(path, (json.dumps(results, indent=1) + "\n").encode())


def rounded(values: dict) -> dict:
    return {key: round(value, 5) for key, value in values.items()}


def curve_writer(curve: list, data: Dataset, steps: int) -> Callable[[NCA, int], None]:
    """Called along a training: notes the pixel accuracy on validation digits."""
    few = data.validation.limit(ALONG)

    def watch(rule: NCA, iteration: int) -> None:
        with torch.inference_mode():
            ink = redraw(rule, few, (steps,))[-1, :, INK : INK + 1]
        right = (ink > 0.5) == (few.images > 0.5)
        curve.append([iteration, round(right.double().mean().item(), 5)])

    return watch


def measure_rule(rule: NCA, data: Dataset, steps: int, seed: int) -> dict[str, float]:
    """One to one with the pictures, held for 10x the steps, and healed after losing a square."""
    digits, judge = data.validation.limit(MEASURED), load_judge()
    frames = redraw(rule, digits, (steps, 10 * steps), seed)
    now = measure(frames[0, :, INK : INK + 1], digits, judge)
    later = pixel_accuracy(frames[1, :, INK : INK + 1], digits.images)
    healed = regeneration(rule, digits, frames[0], steps, seed, ("square",))["square"]
    wanted = ("pixel_accuracy", "ink_iou", "judge_accuracy")
    return rounded(
        {key: now[key] for key in wanted}
        | {"held_10x": later}
        | {f"healed_{steps}": healed[f"after_{steps}_steps"] for steps in HEALING_STEPS}
    )


RATES = (1e-3, 2e-3, 4e-3)


def try_rates(results: Results, variant: str, seeds: int, run: Callable[[int, float], dict]):
    """Each learning rate with seed 0, then the best of them with all seeds.

    `run(seed, learning_rate)` gives a row. A variant that learns slower or is easily upset is thus
    not judged by a rate that was chosen for another.
    """
    for seed in range(seeds):
        for rate in RATES if seed == 0 else (results.best_rate(variant),):
            if not results.has(variant=variant, seed=seed, learning_rate=rate):
                row = {"variant": variant, "seed": seed, "learning_rate": rate}
                results.add(row | run(seed, rate))


def learn(rule: NCA, data: Dataset, seed: int, rate: float, iterations: int, **changes) -> dict:
    """The quick preset's training, from scratch, with these changes: a row of results."""
    config = replace(
        PRESETS["quick"].finetune, iterations=iterations, seed=seed, learning_rate=rate,
        flow_iterations=0,
    )  # fmt: skip
    row = train_and_measure(rule, data, replace(config, **changes))
    return {"numbers": rule.rule_parameters} | row


def train_and_measure(rule: NCA, data: Dataset, config: TrainingConfig) -> dict:
    """Train, with a learning curve, and measure the result; one that diverged as it stands."""
    curve: list = []
    watch, ended = curve_writer(curve, data, config.steps), {}
    try:
        log = train(rule, data.train, config, watch=watch, watch_every=CURVE_EVERY, progress=False)
        ended = {"seconds": log[-1]["seconds"]}
    except TrainingDiverged as error:
        ended = {"diverged": str(error)}
    measured = measure_rule(rule, data, config.steps, config.seed)
    return measured | {"curve": curve} | ended
