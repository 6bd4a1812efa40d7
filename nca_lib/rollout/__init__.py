"""Rollouts: many steps of a model, computed only where something can change.

`dense` repeats the step of the whole grid, the definition. `sparse` computes the cells that are
alive and fire, in plain PyTorch; `compiled` does the same in machine code, on the CPU. All take the
same `Plan` and draw the same fire masks, so they give the same states and gradients.
"""

from __future__ import annotations

import os

from nca_lib.inputs import InputError
from nca_lib.rollout.dense import dense_rollout
from nca_lib.rollout.plan import Plan, Weights, weights_of
from nca_lib.rollout.sparse import sparse_rollout

import torch
from torch import Tensor, float32, float64, is_grad_enabled

__all__ = ["ENGINES", "Plan", "Weights", "roll_out"]

ENGINES = ("auto", "dense", "sparse", "compiled", "graph")
# Perceived numbers x hidden units, up to which the compiled rollout is faster: its blocks must be
# small enough for one thread, and of larger models too small to be fast (benchmarks/sizes.py).
COMPILED_UP_TO = {"training": 40_000, "rollout": 60_000, "rollout of one sample": 100_000}


def roll_out(
    model, state: Tensor, condition: Tensor | None, plan: Plan, rng_seeds: Tensor, engine: str
) -> Tensor:
    """The states after the plan's recorded steps, `[R, B, C, H, W]`, by one of the engines.

    Raises:
        InputError: an engine that can't run this model here.
    """
    if engine not in ENGINES:
        raise InputError(f"engine is {engine!r}: choose one of {', '.join(ENGINES)}")
    if engine == "graph" and not state.is_cuda:
        raise InputError("engine 'graph' replays a CUDA graph: move the model to a GPU, or 'auto'")
    weights = None
    if engine not in ("dense", "graph") and not torch._C._are_functorch_transforms_active():
        weights = weights_of(model, condition, len(state), plan.sobel)
    if weights is None:
        if engine in ("sparse", "compiled"):
            raise InputError(
                f"engine {engine!r} knows only NCA's own step, outside torch.func: choose 'dense'"
            )
        return dense_rollout(model, state, condition, plan, rng_seeds, engine == "graph")
    if engine == "auto":
        engine = "compiled" if compiled_is_faster(state, weights) else "sparse"
    if engine == "sparse":
        return sparse_rollout(state, weights, rng_seeds, plan)
    return run_compiled(state, weights, rng_seeds, plan)


def compiled_is_faster(state: Tensor, weights: Weights) -> bool:
    """Whether the compiled rollout can run here, and would be faster than the sparse one."""
    learns = is_grad_enabled() and any(t.requires_grad for t in (state, *weights))
    work = "rollout of one sample" if len(state) == 1 else "rollout"
    fits = weights.hidden.numel() <= COMPILED_UP_TO["training" if learns else work]
    on_cpu = state.device.type == "cpu" and state.dtype in (float32, float64)
    if not (on_cpu and fits) or os.environ.get("NCA_COMPILED") == "0":
        return False
    from nca_lib.rollout import compiled  # numba takes half a second to import: late

    return compiled.available()[0]


def run_compiled(state: Tensor, weights: Weights, rng_seeds: Tensor, plan: Plan) -> Tensor:
    from nca_lib.rollout import compiled

    ready, why = compiled.available()
    if not ready or state.device.type != "cpu" or state.dtype not in (float32, float64):
        why = "it wants float32 or float64 on a CPU" if ready else why
        raise InputError(f"engine 'compiled' can't run here ({why}): choose 'auto'")
    return compiled.compiled_rollout(state, weights, rng_seeds, plan)
