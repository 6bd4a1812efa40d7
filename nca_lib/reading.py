"""Cells that read: the automaton turned round (Randazzo et al., 2020).

The ink of a picture is given and stays. Cells on it and beside it exchange messages through their
hidden channels, and each votes which class the picture belongs to. None of them sees more than its
eight neighbours, yet all are to agree.

The votes are the last channels of the cell state, one a class; the largest is the cell's vote.
"""

from __future__ import annotations

from nca_lib.cells import SHOWS, inked_state
from nca_lib.dataset import Pictures
from nca_lib.errors import InputError
from nca_lib.kinds import MNIST, Kind
from nca_lib.rollout.fire import streams
from nca_lib.rule import NCA

import torch
from torch import Tensor

READING_STEPS = 60, 200  # when their votes are counted
REREAD_STEPS = 80  # after which another picture, laid under the cells, should be read
BATCH = 250
READING, REPLACED = 3, 4  # streams: what draws them from a seed


def readers(images: Tensor) -> Tensor:
    """The cells whose votes count, bool `[B, H, W]`: those on the ink of `[B, I, H, W]`."""
    return (images > SHOWS).any(1)


def votes(states: Tensor, kind: Kind = MNIST) -> Tensor:
    """What each cell says of each class: `[..., C, H, W]` -> `[..., L, H, W]`."""
    return states[..., -len(kind.classes) :, :, :]


def vote_error(frames: Tensor, images: Tensor, labels: Tensor, kind: Kind = MNIST) -> Tensor:
    """Squared distance of the votes to 1 for the label and 0 for the rest, `[R]`.

    Mean over the cells that read, then over the samples; frames `[R, B, C, H, W]`.
    """
    wanted = torch.nn.functional.one_hot(labels, len(kind.classes)).to(frames)[..., None, None]
    off = (votes(frames, kind) - wanted).square().sum(2)  # [R, B, H, W]
    counts = readers(images)  # [B, H, W]
    each = (off * counts).sum((2, 3)) / counts.sum((1, 2)).clamp(min=1)  # [R, B]
    return each.mean(1)


def count_votes(states: Tensor, images: Tensor, kind: Kind = MNIST) -> Tensor:
    """How many of the reading cells vote for each class: `[B, C, H, W]` -> int `[B, L]`."""
    chosen = votes(states, kind).argmax(1)  # [B, H, W]
    ballots = torch.nn.functional.one_hot(chosen, len(kind.classes))  # [B, H, W, L]
    return (ballots * readers(images).to(ballots.device)[..., None]).sum((1, 2))


def check_reader(rule: NCA) -> None:
    """Raise InputError for a rule that reads nothing."""
    if rule.task != "read":
        raise InputError("this rule grows pictures, it does not read them: give a reading rule")


@torch.inference_mode()
def read(
    rule: NCA,
    images: Tensor,
    record: tuple[int, ...] = READING_STEPS,
    seeds: Tensor | int = 0,
    states: Tensor | None = None,
    first_step: int = 0,
) -> Tensor:
    """Let the cells read pictures `[B, I, H, W]`: states `[R, B, C, H, W]` at the steps asked for.

    Args:
        states: `[B, C, H, W]` to go on from, under new pictures; None: cells that know nothing.

    Raises:
        InputError: a rule that reads nothing.
    """
    check_reader(rule)
    start = inked_state(images, rule.config.channels).to(rule.kernels)
    if states is not None:
        held = list(rule.config.held)
        start, given = states.clone(), start
        start[:, held] = given[:, held]
    genome = rule.genome([0] * len(images))  # nobody tells them which
    return rule.rollout(start, genome, max(record), seeds, record, first_step)


def measure_reading(rule: NCA, digits: Pictures, seed: int = 0) -> dict:
    """How well cells read held-out pictures; shares of reading cells and of pictures, in [0, 1].

    Returns:
        For each of `READING_STEPS`: `cells`, the share of all reading cells that vote right, and
        `agree`, the share of pictures in which all of them cast one vote. `replaced`: another
        picture, of another class, is laid under cells that have read for the first of these times;
        `REREAD_STEPS` later `cells`, `agree` as above, and `read`: most vote for the new class.
    """
    kind, order = (
        rule.kind,
        torch.randperm(len(digits), generator=torch.Generator().manual_seed(seed)),
    )
    other = digits.select(order)
    seeds, again = (streams(len(digits), seed, part) for part in (READING, REPLACED))
    tallies: dict = {step: [] for step in (*READING_STEPS, "replaced")}
    for part in torch.arange(len(digits)).split(BATCH):
        images, new = digits.images[part], other.images[part]
        first, last = read(rule, images, READING_STEPS, seeds[part])
        tallies[READING_STEPS[0]].append(count_votes(first, images, kind))
        tallies[READING_STEPS[1]].append(count_votes(last, images, kind))
        changed = read(rule, new, (REREAD_STEPS,), again[part], first)[-1]
        tallies["replaced"].append(count_votes(changed, new, kind))
    results = {
        f"after_{step}_steps": tally_up(torch.cat(tallies[step]), digits.labels)
        for step in READING_STEPS
    }
    differ = digits.labels != other.labels
    replaced = tally_up(torch.cat(tallies["replaced"])[differ], other.labels[differ])
    return results | {"replaced": replaced | {"n": int(differ.sum()), "steps": REREAD_STEPS}}


def tally_up(tally: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Of votes `[N, L]`: right cells, pictures that agree, pictures whose majority is right.

    Pictures without ink do not count; None where no others are left.
    """
    inked = tally.sum(1) > 0
    tally, labels = tally[inked], labels[inked]
    if not len(tally):
        return dict.fromkeys(("cells", "agree", "read"))
    right = tally.gather(1, labels[:, None])[:, 0]
    return {
        "cells": right.sum().item() / tally.sum().item(),
        "agree": (tally.max(1).values == tally.sum(1)).double().mean().item(),
        "read": (tally.argmax(1) == labels).double().mean().item(),
    }
