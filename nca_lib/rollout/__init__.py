"""Rollouts: many steps of a rule, computed only where something can change.

`dense` repeats the step of the whole grid, the definition. `sparse` computes the cells that are
alive and fire, in plain PyTorch; `compiled` does the same in machine code, on the CPU. `graphed`
replays the step of the whole grid on a GPU, without starting its kernels one by one. All take the
same `Plan` and draw the same masks (`fire`), so they give the same states and gradients.
"""

from __future__ import annotations

import os

from nca_lib.rollout.graphed import graphed_rollout
from nca_lib.rollout.plan import Plan, Weights
from nca_lib.rollout.sparse import sparse_rollout

from torch import Tensor, float32, float64, is_grad_enabled

__all__ = ["Plan", "Weights", "choose_rollout"]

# Perceived numbers x hidden units, up to which the compiled rollout is faster: its blocks must be
# small enough for one thread, and of larger rules too small to be fast (benchmarks/sizes.py).
COMPILED_UP_TO = {"training": 40_000, "rollout": 60_000, "rollout of one sample": 100_000}
# Cells of a batch, up to which a CUDA graph of all of them is faster than the few that act
# (benchmarks/gpu.py). A way back also has to fit into memory: the hidden layer alone, of 24 steps
# of so many cells with 384 units, is 1.1 GB.
GRAPHED_UP_TO = {"training": 30_000, "rollout": 100_000}


def choose_rollout(state: Tensor, weights: Weights):
    """The faster rollout that can run here: the same results."""
    on_cpu = state.device.type == "cpu" and state.dtype in (float32, float64)
    learns = is_grad_enabled() and any(t.requires_grad for t in (state, *weights))
    if state.is_cuda:
        few = 0 < state[:, 0].numel() <= GRAPHED_UP_TO["training" if learns else "rollout"]
        return graphed_rollout if few else sparse_rollout
    work = "rollout of one sample" if len(state) == 1 else "rollout"
    fits = weights.perceive.numel() <= COMPILED_UP_TO["training" if learns else work]
    if on_cpu and fits and os.environ.get("NCA_COMPILED") != "0":
        from nca_lib.rollout import compiled  # numba takes half a second to import: late

        if compiled.available()[0]:
            return compiled.compiled_rollout
    return sparse_rollout
