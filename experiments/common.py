"""What the experiments share: options, and a training run that is measured.

Every run is measured on validation pictures; the test pictures stay out of every choice.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nca_lib.checkpoint import write_atomically
from nca_lib.classifier import load_classifier
from nca_lib.data import Dataset, load_data
from nca_lib.evaluation.behaviour import HEALING_STEPS, regeneration, regrow
from nca_lib.evaluation.metrics import measure, pixel_accuracy
from nca_lib.model import NCA
from nca_lib.training import TrainingConfig, TrainingDiverged, train
from nca_lib.training.presets import PRESETS

import torch

HERE = Path(__file__).resolve().parent
MEASURED = 500  # validation pictures
CURVE = 200  # validation pictures of a learning curve
CURVE_EVERY = 50  # iterations


def options(description: str, iterations: int = 1000) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data-root", help="a folder with MNIST/raw (default: embedded sample)")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of each variant")
    parser.add_argument("--iterations", type=int, default=iterations)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    return parser.parse_args()


def open_digits(data_root: str | None) -> Dataset:
    return load_data("mnist", data_root or "embedded", "full" if data_root else "quick")


def save_results(results: dict, path: Path) -> None:
    write_atomically(path, (json.dumps(results, indent=1) + "\n").encode())


def rounded(values: dict) -> dict:
    return {key: round(value, 5) for key, value in values.items()}


def curve_callback(curve: list, data: Dataset) -> Callable[[int, dict, NCA], None]:
    """A callback for `train` that adds `[step, pixel accuracy]` on validation pictures."""
    few = data.validation.limit(CURVE)

    def note(step: int, metrics: dict, model: NCA) -> None:
        with torch.inference_mode():
            ink = regrow(model, few, (model.steps,))[-1, :, : model.spec.channels]
        curve.append([step, round(pixel_accuracy(ink, few.images), 5)])

    return note


def measure_model(model: NCA, data: Dataset, seed: int) -> dict[str, float]:
    """Compared with the pictures: in training's time, 10 times later, and after losing a square."""
    pictures, ink, steps = data.validation.limit(MEASURED), model.spec.channels, model.steps
    frames = regrow(model, pictures, (steps, 10 * steps), seed)
    now = measure(frames[0, :, :ink], pictures, load_classifier())
    later = pixel_accuracy(frames[1, :, :ink], pictures.images)
    healed = regeneration(model, pictures, frames[0], steps, seed, ("square",))["square"]
    wanted = ("pixel_accuracy", "ink_iou", "classifier_accuracy")
    return rounded(
        {key: now[key] for key in wanted}
        | {"persists_10x": later}
        | {f"healed_{steps}": healed[f"after_{steps}_steps"] for steps in HEALING_STEPS}
    )


def learn(model: NCA, data: Dataset, seed: int, rate: float, iterations: int, **changes) -> dict:
    """The quick preset's training run, from scratch, with these changes: a row of results."""
    config = replace(
        PRESETS["quick"].finetune, iterations=iterations, seed=seed, learning_rate=rate
    )
    row = train_and_measure(model, data, replace(config, **changes))
    return {"parameters": model.parameter_count} | row


def train_and_measure(model: NCA, data: Dataset, config: TrainingConfig) -> dict:
    """Train, with a learning curve, and measure; a run that diverged is measured as it stands."""
    curve: list = []
    note = curve_callback(curve, data)
    try:
        options = {"callbacks": note, "log_every": CURVE_EVERY, "progress": False}
        ended = {"seconds": train(model, data, config, **options)[-1]["seconds"]}
    except TrainingDiverged as error:
        ended = {"diverged": str(error)}
    return measure_model(model, data, config.seed) | {"curve": curve} | ended
