"""From ten models to one: a model per class, trained one after another, and their merger.

All start from one common initialisation, so that their parameters stay comparable and a mean of
them can make sense. Whether it helps is an experiment, not a belief: `merge` offers several ways.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from nca_lib.checkpoint import load
from nca_lib.data import Dataset
from nca_lib.inputs import InputError
from nca_lib.model import NCA, ModelConfig
from nca_lib.spec import MNIST, ImageSpec
from nca_lib.training.config import TrainingConfig
from nca_lib.training.loop import train
from nca_lib.training.run import Outputs

import torch

Merging = Literal["mean", "last", "scratch"]
LABEL_TABLES = ("conditioning.labels.weight", "encoder.label.weight")  # row d belongs to label d


def initial_model(spec: ImageSpec, config: ModelConfig, seed: int) -> NCA:
    """The common initialisation: equal parameters for equal spec, configuration and seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NCA(spec, config)


def model_name(label: int, spec: ImageSpec) -> str:
    """The name of one class's model: digit-3, or class-3 where classes are no digits."""
    return f"{'digit' if spec.classes == MNIST.classes else 'class'}-{label}"


def pretrain(
    config: ModelConfig,
    data: Dataset,
    training: TrainingConfig,
    folder: Path,
    **options,
) -> list[Path]:
    """Train a model for each label, one after another.

    Args:
        options: of `train`, such as `resume`, `perceptual` and `ranks`.

    Returns:
        The files `folder/digit-D.safetensors`, or `class-D` where classes are no digits.

    Raises:
        InputError, Stopped, TrainingDiverged: as `train` does.
    """
    spec, files = data.spec, []
    pictures = [data.train.only(label) for label in range(len(spec.classes))]
    for name, own in zip(spec.classes, pictures, strict=True):
        if not len(own):
            raise InputError(f"there is no picture of a {name} in the training pictures")
    device = options.pop("device", "cpu")
    for label, own in enumerate(pictures):
        outputs = Outputs(Path(folder), model_name(label, spec))
        model = initial_model(spec, config, training.seed).to(device)
        settings = replace(training, seed=training.seed + 1 + label)
        train(model, replace(data, train=own), settings, outputs, **options)
        files.append(outputs.model)
    return files


def merge(models: list[NCA], how: Merging, seed: int = 0) -> NCA:
    """A model for each class, in order of their labels, become the start of the unified model.

    mean: the mean of all parameters; each digit keeps its own row of the label tables.
    last: the parameters of the last digit, as when ten files are loaded one over another.
    scratch: none of them, the common initialisation again.

    Raises:
        InputError: not one for each class, or models of different configurations.
    """
    if not models or len(models) != len(models[0].spec.classes):
        raise InputError(f"{len(models)} models to merge: give one for each class")
    first = models[0]
    for label, model in enumerate(models):
        if (model.config, model.spec) != (first.config, first.spec):
            raise InputError(
                f"the model of label {label} has another configuration than that of label 0: "
                "pretrain all of them with the same options"
            )
    merged = initial_model(first.spec, first.config, seed)
    if how == "last":
        merged.load_state_dict(models[-1].state_dict())
    elif how == "mean":
        merged.load_state_dict(mean_of([model.state_dict() for model in models]))
    elif how != "scratch":
        raise InputError(f"merging is {how!r}: choose mean, last or scratch")
    if merged.conditioning is not None:
        merged.conditioning.reset_styles()  # each digit's codes had a scale of their own
    return merged


def mean_of(states: list[dict]) -> dict:
    """The mean of every tensor; of label tables, each model's own row."""
    mean = {name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]}
    for name in mean.keys() & set(LABEL_TABLES):
        mean[name] = torch.stack([s[name][label] for label, s in enumerate(states)])
    return mean


def load_digit_models(folder: Path, spec: ImageSpec) -> list[NCA]:
    """The models of a pretraining, one for each class.

    Raises:
        InputError: one is missing or can't be used.
    """
    labels = range(len(spec.classes))
    return [load(Outputs(Path(folder), model_name(label, spec)).model) for label in labels]
