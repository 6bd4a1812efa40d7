"""A batch: what is grown in an iteration, and what is learned from it.

Part of it begins at a start (a seed, or the blurred picture), part of it comes from the pool and
grows on: some of that is damaged, some is told to become another picture.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from nca_lib.cells import ALIVE_ABOVE, erase, widened
from nca_lib.dataset import Pictures
from nca_lib.training.damage import draw_wounds
from nca_lib.training.losses import FIRST, Losses, birth_error
from nca_lib.training.run import Run
from nca_lib.training.settings import TrainingConfig

import torch
from torch import Tensor

WILD = 10.0  # |state| above this never comes back: such a sample of the pool starts anew


class Counts(NamedTuple):
    """How many samples a batch has, all ranks together."""

    samples: int
    new: int  # with a new target: fresh, then switched
    fresh: int  # beginning their growth


class Draws(NamedTuple):
    """The random draws of an iteration, for all ranks alike; by place in the whole batch."""

    pictures: Tensor  # [new], targets
    noise: Tensor  # [new, S], for their styles
    regions: Tensor  # bool [damaged, H, W], what is lost
    seeds: Tensor  # [B], streams of fire masks
    slots: Tensor  # [B], where the grown states go in the pool; -1: nowhere


class Batch(NamedTuple):
    """This rank's samples: those with a new target (fresh, then switched), then all others."""

    states: Tensor  # [b, C, H, W]
    pictures: Tensor  # [b], index of the target
    new: int  # how many have a new target; their styles are inferred
    fresh: int  # how many of those begin their growth here
    noise: Tensor  # [new, S], for the styles of the new ones
    styles: Tensor  # [b - new, S], of the others
    seeds: Tensor  # [b], streams of fire masks
    slots: Tensor  # [b], where the grown states go in the pool; -1: nowhere
    counts: Counts  # of all ranks together


def pooling(run: Run, config: TrainingConfig) -> bool:
    """Whether the pool is in use already."""
    return config.pool_share > 0 and run.iteration >= config.pool_start * config.iterations


def draw_batch(run: Run, digits: Pictures, config: TrainingConfig) -> Batch:
    """All random draws of an iteration happen here, for all ranks alike; then come the shares."""
    generator, pool = run.generator, run.pool
    taken = given = torch.zeros(0, dtype=torch.int64)
    fresh = config.batch_size
    if pooling(run, config):
        take = min(round(config.pool_share * fresh), fresh - 1)  # at least one grows from its start
        due = config.pool_renewal * (fresh - take)  # often less than one an iteration
        renewed = math.floor((run.iteration + 1) * due) - math.floor(run.iteration * due)
        taken, given = pool.choose_slots(take, renewed, generator)
        fresh -= len(taken)
    switched = round(config.switch_share * len(taken)) if config.task != "restore" else 0
    new, hit = fresh + switched, round(config.damage_share * len(taken))
    drawn = torch.randint(len(digits), (new,), generator=generator)
    noise = torch.randn(new, run.rule.config.style_dim, generator=generator)
    regions = draw_wounds(hit, config.wounds, run.rule.kind.size, generator)
    regions = widened(regions, config.margin)
    seeds = torch.randint(2**62, (config.batch_size,), generator=generator)

    slots = torch.cat([given, taken.new_full((fresh - len(given),), -1), taken])  # [B]
    counts = Counts(config.batch_size, new, fresh)
    return share_out(run, digits, config, Draws(drawn, noise, regions, seeds, slots), counts)


def share_out(run: Run, digits: Pictures, config: TrainingConfig, draws: Draws, counts: Counts):
    """This rank's samples of a batch: new targets, damage, and new starts for what is lost."""
    pool, (_, new, fresh) = run.pool, counts
    mine = pool.ranks.share(draws.slots)  # [b]
    ours, pooled = mine[mine < new], mine[mine >= fresh]
    states, pictures, styles = pool.take(draws.slots[pooled])
    going_on = pooled >= new
    damaged = going_on & (pooled < new + len(draws.regions))
    states[damaged] = erase(states[damaged], draws.regions[pooled[damaged] - new])
    pictures = torch.cat([draws.pictures[ours], pictures[going_on]])  # [b]
    first = run.task.start(
        digits.images[pictures].to(states), digits.labels[pictures], draws.seeds[mine]
    )
    begin, held = len(mine) - len(pooled), list(run.rule.config.held)
    states[:, held] = first[begin:, held]  # what is given follows the picture, and can't be hurt
    dead = (states[:, run.rule.kind.life] <= ALIVE_ABOVE).flatten(1).all(1)
    lost = dead | ~(states.abs() < WILD).flatten(1).all(1)  # or not a number
    states[lost] = first[begin:][lost]
    return Batch(
        torch.cat([first[:begin], states]),
        pictures,
        len(ours),
        begin,
        draws.noise[ours].to(states),
        styles[going_on],
        draws.seeds[mine],
        draws.slots[mine],
        counts,
    )


def grow_batch(run: Run, batch: Batch, digits: Pictures, config: TrainingConfig) -> Tensor:
    """Grow this rank's share, leave its gradients in the rule, put it into the pool.

    Returns:
        The losses and the pixel accuracy `[6]`, this rank's part of the sums.
    """
    rule, (size, new, fresh), own = run.rule, batch.counts, run.rule.kernels
    images = digits.images[batch.pictures].to(own)
    labels = digits.labels[batch.pictures].to(own.device)
    styles, kl = torch.cat([batch.noise, batch.styles]).to(own), own.new_zeros(())
    if rule.encoder is not None and batch.new:
        code = rule.encoder(images[: batch.new], labels[: batch.new])
        drawn = code.sample(styles[: batch.new])  # [new, S]
        styles = torch.cat([drawn, styles[batch.new :]])  # [b, S]
        risen = min(1.0, run.iteration / (config.kl_full * config.iterations))
        kl = risen * config.kl_weight * code.kl().sum() / new / images[0].numel()
    first = tuple(t for t in FIRST if config.task == "grow" and t < config.loss_steps[0])
    frames = rule.rollout(
        batch.states.to(own),
        rule.genome(labels, styles),
        config.steps,
        batch.seeds,
        first + config.loss_steps,
    )
    births, frames = frames.tensor_split([len(first)])
    losses, share = run.task.loss(frames, images, labels), len(images) / size
    losses = losses._replace(life=losses.life + birth_error(births, rule.kind.life))
    losses = Losses(*(share * loss for loss in losses))
    losses = losses._replace(kl=kl)
    sum(losses).backward()
    final, kept = frames[-1].detach(), batch.slots >= 0
    run.pool.put(
        batch.slots[kept], final.cpu()[kept], batch.pictures[kept], styles.detach().cpu()[kept]
    )
    begun = slice(batch.fresh)
    accuracy = run.task.right(final[begun], images[begun], labels[begun]).sum() / fresh
    return torch.stack([*losses, accuracy]).detach()
