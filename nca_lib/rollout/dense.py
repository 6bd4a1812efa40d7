"""The dense rollout: the step of the whole grid, repeated. The definition, and slow.

Every other path is checked against it. A rule whose perception, change or step is somebody's own
is rolled out by it: whatever its step does.
"""

from __future__ import annotations

from nca_lib.rollout.fire import fire_mask

import torch
from torch import Tensor


def dense_rollout(
    rule,
    state: Tensor,
    genome: Tensor,
    steps: int,
    seeds: Tensor,
    record: tuple[int, ...],
    first_step: int = 0,
) -> Tensor:
    """`NCA.rollout`, step after step: the same arguments, the same result."""
    frames = [state.new_empty(0, *state.shape)]
    for t in range(first_step, first_step + steps):
        fire = fire_mask(seeds, t, *state.shape[2:], rule.config.fire_rate)
        state = rule.step(state, genome, fire)
        if t + 1 - first_step in record:
            frames.append(state[None])
    return torch.cat(frames)
