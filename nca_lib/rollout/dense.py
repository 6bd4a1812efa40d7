"""The dense rollout: the step of the whole grid, repeated. The definition, and slow.

Every other engine is checked against it. It runs whatever `step` the model has, and so it serves
models whose perception, update or step somebody has replaced. On a GPU `compile=True` lets
`torch.compile` fuse the step and replay it as a CUDA graph, which starts its kernels all at once.
"""

from __future__ import annotations

from nca_lib.rollout.fire import fire_mask

import torch
from torch import Tensor


def dense_rollout(
    model, state: Tensor, condition: Tensor | None, plan, rng_seeds: Tensor, compile: bool = False
) -> Tensor:
    """The states after the plan's recorded steps, `[R, B, C, H, W]`; see `NCA.rollout`."""
    step = compiled_step(model) if compile else model.step
    frames = [state.new_empty(0, *state.shape)]
    for t in range(plan.steps):
        fire = fire_mask(rng_seeds, plan.first_step + t, *state.shape[2:], plan.fire_rate)
        state = step(state, condition, fire)
        if t + 1 in plan.record_steps:
            frames.append(state[None])
        if compile:
            state = state.clone()  # the next replay overwrites its output
    return torch.cat(frames)


def compiled_step(model):
    """The model's step as a CUDA graph; kept with the model, because compiling takes seconds."""
    if "_compiled_step" not in model.__dict__:
        model.__dict__["_compiled_step"] = torch.compile(model.step, mode="reduce-overhead")
    return model.__dict__["_compiled_step"]
