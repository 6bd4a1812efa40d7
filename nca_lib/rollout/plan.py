"""What a rollout is told, whichever path computes it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Weights(NamedTuple):
    """What a rollout needs of a rule; `P` numbers are perceived by a cell, `D` are hidden."""

    perceive: Tensor  # [D, P]
    bias: Tensor  # [B, D], the genome's say included
    update: Tensor  # [C, D], rows of held channels zero


class Plan(NamedTuple):
    """How long, what to record, and the physics: all plain values."""

    steps: int
    record: tuple[int, ...]  # increasing numbers from 1 to `steps`: the states to return
    first_step: int  # where in their streams the samples stand (a rollout continued)
    fire_rate: float
    sobel: bool  # perceive itself and two slopes (8 times too large); else all nine neighbours
    held: tuple[int, ...]  # channels that stay as they were given, in dead cells too
    life: int  # channel of the life
    alive_above: float
