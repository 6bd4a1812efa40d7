"""Evaluation: everything that is measured about a model, compared with trivial baselines.

The pictures measured are never those trained on.
"""

from __future__ import annotations

import time

from nca_lib.classifier import FEATURES, Classifier, classifier_for
from nca_lib.data.dataset import Dataset, Pictures
from nca_lib.evaluation.baselines import baseline_pictures
from nca_lib.evaluation.behaviour import SUBSET, behaviour, other_blurs, regrow
from nca_lib.evaluation.classifying import measure_classifying
from nca_lib.evaluation.decoder import decoder_for
from nca_lib.evaluation.metrics import measure, pixel_accuracy, worst_of
from nca_lib.evaluation.samples import samples, switching
from nca_lib.inputs import InputError, as_whole
from nca_lib.model import NCA
from nca_lib.rollout.fire import check_seed
from nca_lib.training.tasks import Classify, task_of

import torch
from torch import Tensor

CODE_LENGTH = 16  # of the PCA that a model without styles is compared with


def evaluate(
    model: NCA,
    data: Dataset,
    *,
    split: str = "test",
    seed: int = 0,
    limit: int | None = None,
    classifier: Classifier | None = None,
) -> dict:
    """Everything that is measured about a model, as plain values for JSON; fractions in [0, 1].

    Args:
        data: its training pictures give the baselines, those of the `split` are measured.
        split: "test" or "validation".
        seed: of fire masks, damage and drawn styles.
        limit: only so many of the pictures.
        classifier: None: the shipped one, where it knows the classes.

    Raises:
        InputError: no such pictures, a seed or limit out of range, a model that was trained from
            initial states of your own.
    """
    started, task = time.perf_counter(), task_of(model)
    if model.metadata.get("hooks", {}).get("start"):
        raise InputError("this model starts from your own initial states: roll it out from those")
    pictures = pictures_for(model, data, split, limit)
    results = {
        "n": len(pictures), "split": split, "limit": limit, "seed": check_seed(seed),
        "task": task.name, "steps": model.steps, "weights": model.metadata.get("sha256"),
        "data": data.name, "held_out": data.held_out, "parameters": model.parameter_count,
        "style_parameters": model.style_parameters,
    }  # fmt: skip
    if isinstance(task, Classify):
        results |= measure_classifying(model, pictures, seed)
    else:
        classifier = classifier or classifier_for(model.spec)
        results |= measure_pictures(model, data, pictures, seed, classifier)
    return results | {"seconds": round(time.perf_counter() - started, 1)}


def pictures_for(model: NCA, data: Dataset, split: str, limit: int | None = None) -> Pictures:
    """The pictures of a split with the labels a model was trained on, the first `limit` of them."""
    own, given = model.spec, data.spec
    if own != given:
        raise InputError(
            f"{data.source} holds {', '.join(given.classes[:3])}, ... of {given.size}; this model "
            f"grows {', '.join(own.classes[:3])}, ... of {own.size}: choose the --data it learned"
        )
    if split not in ("test", "validation"):
        raise InputError(f"--split {split}: choose test or validation")
    pictures, labels = getattr(data, split), model.trained_labels
    count = len(pictures) if limit is None else as_whole(limit, "--limit", least=1)
    pictures = pictures.select(torch.isin(pictures.labels, torch.tensor(labels))).limit(count)
    if not len(pictures):
        raise InputError(f"{data.source} has no {split} pictures with the labels {labels}")
    return pictures


def measure_pictures(
    model: NCA, data: Dataset, pictures: Pictures, seed: int, classifier: Classifier | None
) -> dict:
    """What is measured about a model that grows or restores pictures."""
    from_seed, spec = task_of(model).from_seed, model.spec
    ink = regrow(model, pictures, (model.steps,), seed)[-1, :, : spec.channels]  # [N, I, H, W]
    length = model.config.style_dim or CODE_LENGTH
    drawn = baseline_pictures(data.train, pictures, length)
    about = {"class_pca": {"numbers": length}}
    if decoder := decoder_for(spec):
        drawn["conv_decoder"], made = decoder.redraw(pictures), decoder.metadata
        about["conv_decoder"] = {"numbers": made["style_dim"], "trained_on": made["source"]}
    rows = {
        name: measure(images, pictures, classifier) | about.get(name, {})
        for name, images in drawn.items()
    }
    only = () if from_seed else ("square", "none")  # nobody can know what was erased from a blur
    results = {
        **measure(ink, pictures, classifier),
        "per_digit": per_class(ink, pictures, classifier, drawn, spec.classes),
        "worst": worst_of(ink, pictures),
        "baselines": rows,
        **behaviour(model, pictures, seed, only),
    }
    if not from_seed:
        return results | {"other_blurs": other_blurs(model, pictures.limit(SUBSET), seed)}
    every = len(model.trained_labels) == len(spec.classes) > 1
    if classifier is not None and every and model.conditioning is not None:
        results["switching"] = switching(model, model.steps, seed, classifier, len(pictures))
    if model.encoder is not None:
        enough = classifier is not None and len(pictures) > FEATURES
        results["samples"] = samples(model, data, pictures, seed, classifier) if enough else None
    return results


def per_class(
    ink: Tensor, pictures: Pictures, classifier, drawn: dict[str, Tensor], classes: tuple[str, ...]
) -> dict[str, dict]:
    """The metrics of each class on its own, and the pixel accuracy of the baselines `drawn`."""
    table = {}
    for label in pictures.labels.unique().tolist():
        chosen = pictures.labels == label
        of = pictures.select(chosen)
        others = {name: pixel_accuracy(images[chosen], of.images) for name, images in drawn.items()}
        row = {"n": len(of), **measure(ink[chosen], of, classifier), "baselines": others}
        table[classes[label]] = row
    return table
