"""Self-classifying models: how well the cells agree on what lies under them."""

from __future__ import annotations

from nca_lib.data.dataset import Pictures
from nca_lib.evaluation.behaviour import CLASSIFYING, REPLACED
from nca_lib.evaluation.metrics import BATCH
from nca_lib.inputs import InputError
from nca_lib.model import NCA
from nca_lib.rollout.fire import rng_seeds
from nca_lib.training.tasks import Classify, count_votes, task_of

import torch
from torch import Tensor

CLASSIFY_STEPS = 60, 200  # when votes are counted
REPLACED_STEPS = 80  # after which a picture that replaced the first should be classified


@torch.no_grad()
def classify_steps(
    model: NCA, images: Tensor, steps=CLASSIFY_STEPS, rng_seeds=0, states=None, first_step=0
) -> Tensor:
    """Let the cells classify images `[B, I, H, W]`: states after `steps`, `[R, B, C, H, W]`.

    Args:
        states: `[B, C, H, W]` to continue from, under new images; None: no memory of any image.

    Raises:
        InputError: the model was not trained to classify.
    """
    task = task_of(model)
    if not isinstance(task, Classify):
        raise InputError(f"this model {task.does}: give a self-classifying one, such as 'reader'")
    start = task.initial_state(model, images).to(model.kernels)
    if states is not None:
        start = torch.where(model.free, states, start)  # the picture is new, the memory is not
    return model.rollout(start, None, max(steps), rng_seeds, steps, first_step)


def measure_classifying(model: NCA, pictures: Pictures, seed: int = 0) -> dict[str, dict]:
    """How well cells classify: a `summary` after each of `CLASSIFY_STEPS`, and `replaced`.

    For `replaced`, a picture of another class replaces the first one after the first of these
    steps; the `summary` is that of the new picture, `REPLACED_STEPS` later.
    """
    n, spec = len(pictures), model.spec
    other = pictures.select(torch.randperm(n, generator=torch.Generator().manual_seed(seed)))
    seeds, again = (rng_seeds(n, seed, purpose) for purpose in (CLASSIFYING, REPLACED))
    tallies = []
    for part in torch.arange(n).split(BATCH):
        images, new = pictures.images[part], other.images[part]
        first, last = classify_steps(model, images, CLASSIFY_STEPS, seeds[part])
        changed = classify_steps(model, new, (REPLACED_STEPS,), again[part], first)[-1]
        shown = (first, images), (last, images), (changed, new)
        tallies.append(torch.stack([count_votes(states.cpu(), x, spec) for states, x in shown]))
    first, last, replaced = torch.cat(tallies, 1)  # [N, L] each
    differ = pictures.labels != other.labels
    return {
        f"after_{CLASSIFY_STEPS[0]}_steps": summary(first, pictures.labels),
        f"after_{CLASSIFY_STEPS[1]}_steps": summary(last, pictures.labels),
        "replaced": summary(replaced[differ], other.labels[differ])
        | {"n": int(differ.sum()), "steps": REPLACED_STEPS},
    }


def summary(tally: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Shares of votes `[N, L]`, in [0, 1]; pictures without ink do not count, None if all are so.

    `cells`: votes for the label. `agree`: pictures in which all cells vote alike. `majority`:
    pictures in which most cells vote for the label.
    """
    inked = tally.sum(1) > 0
    tally, labels = tally[inked], labels[inked]
    if not len(tally):
        return dict.fromkeys(("cells", "agree", "majority"))
    right = tally.gather(1, labels[:, None])[:, 0]
    return {
        "cells": right.sum().item() / tally.sum().item(),
        "agree": (tally.max(1).values == tally.sum(1)).double().mean().item(),
        "majority": (tally.argmax(1) == labels).double().mean().item(),
    }
