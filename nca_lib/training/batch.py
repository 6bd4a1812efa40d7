"""A batch: what is grown in an iteration, and what is learned from it.

Part of it starts from the task's initial state, part comes from the pool and grows on: some of that
is damaged, some gets a new picture as its target.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from nca_lib.data import Pictures
from nca_lib.masks import draw_damages, erase
from nca_lib.state import ALIVE_THRESHOLD, pad
from nca_lib.training.config import TrainingConfig
from nca_lib.training.losses import BIRTH_STEPS, birth_error
from nca_lib.training.run import Run

import torch
from torch import Tensor

WILD = 10.0  # |state| above this never comes back: such a sample of the pool starts anew


class Batch(NamedTuple):
    """Samples with a new target first (fresh, then switched), then those that keep theirs."""

    states: Tensor  # [B, C, H, W]
    pictures: Tensor  # [B], index of the target
    fresh: int  # how many begin their growth here
    new: int  # how many have a new target; their styles are inferred
    noise: Tensor  # [new, S], for the styles of the new ones
    styles: Tensor  # [B - new, S], of the others
    rng_seeds: Tensor  # [B], of the fire masks
    slots: Tensor  # [B], where the grown states go in the pool; -1: nowhere


def draw_batch(run: Run, pictures: Pictures, config: TrainingConfig) -> Batch:
    """All random draws of an iteration happen here, in this order."""
    generator, pool = run.generator, run.pool
    fresh = size = run.ranks.share(config.batch_size, "batch_size")
    taken = given = torch.zeros(0, dtype=torch.int64)
    if config.pool_share > 0 and run.iteration >= config.pool_start * config.iterations:
        take = min(round(config.pool_share * fresh), fresh - 1)  # at least one starts anew
        due = config.pool_renewal * (fresh - take)  # often less than one per iteration
        renewed = math.floor((run.iteration + 1) * due) - math.floor(run.iteration * due)
        taken, given = pool.choose_slots(take, renewed, generator)
        fresh -= len(taken)
    switched = round(config.switch_share * len(taken)) if run.task.switches else 0
    new, hit = fresh + switched, round(config.damage * len(taken))
    targets = torch.randint(len(pictures), (new,), generator=generator)
    noise = torch.randn(new, run.model.config.style_dim, generator=generator)
    regions = draw_damages(hit, config.damage_kinds, run.model.spec.size, generator)
    rng_seeds = torch.randint(2**62, (size,), generator=generator)

    slots = torch.cat([given, taken.new_full((fresh - len(given),), -1), taken])  # [B]
    states, kept, styles = pool.take(taken)  # switched, then damaged, then the rest
    states[switched : switched + hit] = erase(
        states[switched : switched + hit], pad(regions, config.margin)
    )
    targets = torch.cat([targets, kept[switched:]])  # [B]
    images, labels = pictures.images[targets].to(states), pictures.labels[targets]
    first = run.initial_state(images, labels, rng_seeds)  # [B, C, H, W]
    states = torch.cat([first[:fresh], revived(states, first[fresh:], run)])
    noise, styles = noise.to(states), styles[switched:]
    return Batch(states, targets, fresh, new, noise, styles, rng_seeds, slots)


def revived(states: Tensor, first: Tensor, run: Run) -> Tensor:
    """Pooled states `[n, C, H, W]`; what is frozen follows the target, the dead start anew."""
    frozen = list(run.model.config.frozen)
    states[:, frozen] = first[:, frozen]
    dead = (states[:, run.model.spec.alive] <= ALIVE_THRESHOLD).flatten(1).all(1)
    lost = dead | ~(states.abs() < WILD).flatten(1).all(1)  # or not a number
    states[lost] = first[lost]
    return states


def grow_batch(run: Run, batch: Batch, pictures: Pictures, config: TrainingConfig) -> Tensor:
    """Grow the batch, leave its gradients in the model, put the grown states into the pool.

    Returns:
        The losses, then the accuracy of the fresh samples: `[8]`.
    """
    model, own = run.model, run.model.hidden.weight
    images = pictures.images[batch.pictures].to(own)
    labels = pictures.labels[batch.pictures].to(own.device)
    styles, kl = styles_and_kl(run, batch, images, labels, config)
    births = tuple(t for t in BIRTH_STEPS if run.task.from_seed and t < config.loss_steps[0])
    frames = model.rollout(
        batch.states.to(own), model.condition(labels, styles if model.encoder else None),
        config.steps, batch.rng_seeds, births + config.loss_steps, engine=run.engine,
    )  # fmt: skip
    born, frames = frames.tensor_split([len(births)])
    losses = run.losses(frames, images, labels)
    losses = losses._replace(alive=losses.alive + birth_error(born, model.spec.alive), kl=kl)
    sum(losses).backward()
    run.pool.put(batch.slots, frames[-1], batch.pictures, styles)
    begun = slice(batch.fresh)
    accuracy = run.accuracy(frames[-1, begun], images[begun], labels[begun]).mean()
    return torch.stack([*losses, accuracy]).detach()


def styles_and_kl(
    run: Run, batch: Batch, images: Tensor, labels: Tensor, config: TrainingConfig
) -> tuple[Tensor, Tensor]:
    """The style codes `[B, S]`, those of new targets sampled, and their weighted divergence."""
    model = run.model
    styles = torch.cat([batch.noise, batch.styles]).to(images)  # [B, S]
    if model.encoder is None:
        return styles, images.new_zeros(())
    code = model.encoder(images[: batch.new], labels[: batch.new])
    styles = torch.cat([code.sample(styles[: batch.new]), styles[batch.new :]])
    risen = min(1.0, run.iteration / (config.kl_warmup * config.iterations))
    kl = risen * config.kl_weight * code.kl().sum() / batch.new / images[0].numel()
    return styles, kl
