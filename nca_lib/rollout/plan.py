"""What every rollout engine is given: the weights of the update rule, and a plan."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Weights(NamedTuple):
    """The update rule for one batch; a cell perceives `P` numbers, the hidden layer has `D`."""

    hidden: Tensor  # [D, P]
    bias: Tensor  # [B, D], the condition's part included
    output: Tensor  # [C, D], rows of frozen channels zero


class Plan(NamedTuple):
    """How long, what to record, and how cells live and fire: plain values."""

    steps: int
    record_steps: tuple[int, ...]  # increasing, from 1 to `steps`: the states to return
    first_step: int  # steps that the samples have made before (a rollout continued)
    fire_rate: float
    sobel: bool  # perceive itself and two gradients (8 times too large); else all nine neighbours
    frozen: tuple[int, ...]  # channels that never change, in dead cells either
    alive_channel: int
    alive_threshold: float
