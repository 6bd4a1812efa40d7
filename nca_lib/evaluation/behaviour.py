"""Behaviour over time: growing many pictures, whether they persist, and whether they heal."""

from __future__ import annotations

import math
from collections.abc import Callable

from nca_lib.data.blur import BLURS, add_noise, blur, box_blur
from nca_lib.data.dataset import Pictures
from nca_lib.evaluation.metrics import BATCH, pixel_accuracy, squared_error
from nca_lib.masks import erase, evaluation_damage
from nca_lib.model import NCA
from nca_lib.rollout.fire import rng_seeds as seeds_of
from nca_lib.state import state_from_image
from nca_lib.training.tasks import task_of

import torch
from torch import Tensor

GROWTH, SWITCHING, SAMPLES, CLASSIFYING, REPLACED = range(5)  # purposes of `fire.rng_seeds`
REPEATED = 8  # growths, at least, that a mean over time is taken of
SUBSET = 1000  # persistence uses the first pictures only,
DAMAGED = 400  # and regeneration fewer: there are many kinds of damage
HEALING_STEPS = 64, 256


@torch.no_grad()
def rollout_batches(
    model: NCA, states: Tensor, condition: Tensor | None, steps, rng_seeds, first_step=0
) -> Tensor:
    """As `NCA.rollout`, in batches: `[N, C, H, W]` -> those after `steps`, `[R, N, C, H, W]`.

    `steps` increase; the result is on the CPU.
    """
    frames = []
    for part in torch.arange(len(states)).split(BATCH):
        given = states[part].to(model.kernels), None if condition is None else condition[part]
        frames.append(model.rollout(*given, steps[-1], rng_seeds[part], steps, first_step).cpu())
    return torch.cat(frames, 1)


@torch.no_grad()
def infer_styles(model: NCA, pictures: Pictures) -> Tensor | None:
    """The style of each picture, `[N, S]` on the CPU; None for a model without styles."""
    if model.encoder is None:
        return None
    parts = zip(pictures.images.split(BATCH), pictures.labels.split(BATCH), strict=True)
    return torch.cat([model.infer_style(images, labels).cpu() for images, labels in parts])


@torch.no_grad()
def regrow(
    model: NCA, pictures: Pictures, steps, seed: int = 0, styles=None, rng_seeds=None
) -> Tensor:
    """Each picture from its label and inferred style (or `styles`), `[R, N, C, H, W]` on the CPU.

    A picture's fire masks follow from `seed` and its index, or are those of `rng_seeds`, `[N]`.
    """
    styles = infer_styles(model, pictures) if styles is None else styles
    seeds = seeds_of(len(pictures), seed, GROWTH) if rng_seeds is None else rng_seeds
    states = task_of(model).initial_state(model, pictures.images)
    return rollout_batches(model, states, model.condition(pictures.labels, styles), steps, seeds)


@torch.no_grad()
def healing(
    model: NCA, pictures: Pictures, grown: Tensor, steps: int, seed: int, only=()
) -> dict[str, dict[str, Tensor]]:
    """Ink `[N, I, H, W]` before each kind of damage, just after it, 64 and 256 steps later.

    The last row, `none`, is the control: the same pictures at the same steps, undamaged.

    Args:
        grown: states `[N, C, H, W]` after `steps` steps.
        only: names of kinds of damage (`masks.evaluation_damage`) or `none`; empty: all.
    """
    condition = model.condition(pictures.labels, infer_styles(model, pictures))
    seeds = seeds_of(len(pictures), seed, GROWTH)
    damage = evaluation_damage(len(pictures), seed, model.spec.size)
    damage["none"] = torch.zeros(model.spec.size, dtype=torch.bool)
    ink, results = model.spec.channels, {}
    for name in only or damage:
        state = erase(grown, damage[name])
        later = rollout_batches(model, state, condition, HEALING_STEPS, seeds, steps)
        results[name] = {"before": grown[:, :ink], "after_damage": state[:, :ink]}
        for after, healed in zip(HEALING_STEPS, later, strict=True):
            results[name][f"after_{after}_steps"] = healed[:, :ink]
    return results


def regeneration(
    model: NCA, pictures: Pictures, grown: Tensor, steps: int, seed: int, only=()
) -> dict[str, dict[str, float]]:
    """As `healing`, with pixel accuracies instead of ink."""
    ink = healing(model, pictures, grown, steps, seed, only)
    return compare(ink, pictures.images, pixel_accuracy)


def compare(ink: Tensor | dict, images: Tensor, metric: Callable) -> float | dict:
    """The `metric(ink, images)` of ink that is sorted into dictionaries: of the first images."""
    if isinstance(ink, dict):
        return {name: compare(part, images, metric) for name, part in ink.items()}
    return metric(ink, images[: len(ink)])


def behaviour(model: NCA, pictures: Pictures, seed: int, only=()) -> dict:
    """Persistence, regeneration and growth of the first pictures; `only` as in `healing`.

    If there are fewer than `REPEATED`, each is grown several times with different fire masks.
    """
    few, steps, ink = pictures.limit(SUBSET), model.steps, model.spec.channels
    few = few.select(torch.arange(len(few)).repeat(math.ceil(REPEATED / len(few))))
    long = regrow(model, few, (steps, 4 * steps, 10 * steps), seed)
    persistence = dict(zip(("1x", "4x", "10x"), long[:, :, :ink], strict=True))
    healed = healing(model, few.limit(DAMAGED), long[0, :DAMAGED], steps, seed, only)
    control = healed.pop("none")
    rows = {"persistence": persistence, "undamaged": control, "regeneration": healed}
    times, first = tuple(range(2, 4 * steps + 1, 2)), few.limit(BATCH)
    path = regrow(model, first, times, seed)[:, :, :ink]
    curve = [[t, pixel_accuracy(frame, first.images)] for t, frame in zip(times, path, strict=True)]
    error = compare(rows, few.images, squared_error)
    more = {"mse_over_time": error, "accuracy_by_step": curve}
    return compare(rows, few.images, pixel_accuracy) | more


def other_blurs(model: NCA, pictures: Pictures, seed: int) -> dict[str, dict[str, float]]:
    """Pixel accuracy of pictures blurred in ways other than the usual: left alone, and restored.

    `noise`: normal noise of 0.02 on the usual blur.
    """
    generator, seeds = torch.Generator().manual_seed(seed), seeds_of(len(pictures), seed, GROWTH)
    blurred = {name: blur(pictures.images, name) for name in BLURS[1:]}
    blurred["noise"] = add_noise(box_blur(pictures.images), 0.02, generator)
    condition, results = model.condition(pictures.labels), {}
    for name, images in blurred.items():
        state = state_from_image(images, model.config.channels, threshold=0)
        grown = rollout_batches(model, state, condition, (model.steps,), seeds)[-1]
        results[name] = {
            "left_alone": pixel_accuracy(images, pictures.images),
            "restored": pixel_accuracy(grown[:, : model.spec.channels], pictures.images),
        }
    return results
