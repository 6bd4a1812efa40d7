"""The sparse rollout: compute only the cells that are alive *and* fire, the others rest.

On MNIST a third of the grid is alive and half of that fires, so five cells in six need no work.
Each step gathers the 3x3 neighbourhoods of the cells that act, as rows of a matrix, sends the rows
through the hidden layer, and adds the change back. The mathematics is that of the dense step
(`model.py`); the tests compare states and all gradients.

The whole rollout is one `autograd.Function`: autograd would keep a copy of the state a step,
the tape here keeps only the rows that were perceived.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from nca_lib.rollout.fire import fires, step_keys
from nca_lib.rollout.plan import Plan, Weights, check_first_derivative

import torch
import torch.nn.functional as F
from torch import Tensor

AHEAD = 64  # masks (steps x samples) that are drawn together: many small calls become few


class Grid(NamedTuple):
    """Index tables of a grid with a border of one empty cell, flattened."""

    cells: int  # (H + 2) * (W + 2)
    neighbours: Tensor  # [9, 1], what to add to a cell's index, row by row
    number: Tensor  # [cells], y * W + x of the cell (any number on the border)


@lru_cache(maxsize=16)
def grid(height: int, width: int, device: torch.device) -> Grid:
    y, x = torch.meshgrid(torch.arange(-1, height + 1), torch.arange(-1, width + 1), indexing="ij")
    w = width + 2
    neighbours = torch.tensor([dy * w + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)])[:, None]
    number = (y * width + x).flatten()
    return Grid(number.numel(), neighbours.to(device), number.to(device))


def to_rows(state: Tensor) -> Tensor:
    """[B, C, H, W] -> [B * (H + 2) * (W + 2), C], a row a cell, an empty border around."""
    return F.pad(state.movedim(1, -1), (0, 0, 1, 1, 1, 1)).flatten(0, 2)


def from_rows(rows: Tensor, batch: int, height: int, width: int) -> Tensor:
    """[..., B * (H + 2) * (W + 2), C] -> [..., B, C, H, W]"""
    grids = rows.view(*rows.shape[:-2], batch, height + 2, width + 2, rows.shape[-1])
    return grids[..., 1:-1, 1:-1, :].movedim(-1, -3)


def alive_rows(rows: Tensor, batch: int, height: int, width: int, plan: Plan) -> Tensor:
    """The alive mask, bool [B * (H + 2) * (W + 2)]; the border is never alive."""
    alive = rows[:, plan.alive_channel].view(batch, height + 2, width + 2)
    tall = torch.maximum(
        torch.maximum(alive[:, :-2], alive[:, 1:-1]), alive[:, 2:]
    )  # [B, H, W + 2]
    wide = torch.maximum(torch.maximum(tall[..., :-2], tall[..., 1:-1]), tall[..., 2:])  # [B, H, W]
    return F.pad(wide > plan.alive_threshold, (1, 1, 1, 1)).flatten()


def perceive(rows: Tensor, acting: Tensor, neighbours: Tensor, sobel: bool) -> Tensor:
    """What each acting cell sees: [n] -> [n, 3C] (itself, Sobel x, Sobel y) or [n, 9C] (all nine).

    The Sobel sums are left unscaled (8 times too large): `plan.py` scales the weights instead.
    """
    seen = rows.index_select(0, (acting + neighbours).flatten())  # [9n, C]
    nine = seen.view(9, len(acting), rows.shape[1]).unbind(0)  # 9 x [n, C]
    nw, n, ne, w, me, e, sw, s, se = nine
    if not sobel:
        return torch.cat(nine, 1)
    main, anti = se - nw, ne - sw  # the two diagonals serve both kernels
    across = torch.add(main + anti, e - w, alpha=2)
    down = torch.add(main - anti, s - n, alpha=2)
    return torch.cat([me, across, down], 1)


def perceive_transposed(grad: Tensor, channels: int, sobel: bool) -> Tensor:
    """How a gradient of what was perceived falls back on the nine cells: [n, P] -> [9n, C]."""
    parts = grad.split(channels, 1)
    if not sobel:
        return torch.cat(parts, 0)
    me, across, down = parts
    both, apart = across + down, across - down
    return torch.cat(
        [-both, -2 * down, apart, -2 * across, me, 2 * across, -apart, 2 * down, both], 0
    )


def fire_rows(rng_seeds: Tensor, steps: range, number: Tensor, fire_rate: float) -> Tensor:
    """Fire masks of a few steps at once, bool [len(steps), B * (H + 2) * (W + 2)]."""
    keys = torch.stack([step_keys(rng_seeds, step) for step in steps])  # [steps, B]
    return fires(keys[:, :, None], number, fire_rate).flatten(1)


class Step(NamedTuple):
    """What the way back needs of a step."""

    acting: Tensor  # [n], rows of the cells that acted
    seen: Tensor  # [n, P]
    kept: Tensor  # bool [cells of all samples, 1 or C], False where a state was emptied


def fire_ahead(rng_seeds: Tensor, plan: Plan, number: Tensor):
    """The fire masks of all steps in turn, bool [cells of all samples], drawn a few at a time."""
    together, end = max(1, AHEAD // max(1, len(rng_seeds))), plan.first_step + plan.steps
    for first in range(plan.first_step, end, together):
        yield from fire_rows(
            rng_seeds, range(first, min(first + together, end)), number, plan.fire_rate
        )


def run(state, w1, bias, w2, rng_seeds, plan, keep):
    """The frames `[R, B, C, H, W]`, and the tape: a `Step` a step (none if not `keep`)."""
    batch, channels, height, width = state.shape
    table = grid(height, width, state.device)
    rows = to_rows(state)  # [cells of all samples, C]; a copy, changed in place from here on
    if rows.data_ptr() == state.data_ptr():
        rows = rows.clone()
    frozen = torch.zeros(channels, dtype=torch.bool, device=state.device)
    frozen[list(plan.frozen)] = True
    frames, tape = state.new_empty(len(plan.record_steps), *state.shape), []
    before = alive_rows(rows, batch, height, width, plan)
    for t, fire in enumerate(fire_ahead(rng_seeds, plan, table.number)):
        acting = (before & fire).nonzero().flatten()  # [n]
        sample = acting // table.cells
        seen = perceive(rows, acting, table.neighbours, plan.sobel)  # [n, P]
        hidden = F.linear(seen, w1).add_(bias.index_select(0, sample)).relu_()  # [n, D]
        rows.index_add_(0, acting, F.linear(hidden, w2))
        lives = before & alive_rows(rows, batch, height, width, plan)
        kept = lives[:, None] | frozen if plan.frozen else lives[:, None]
        rows.mul_(kept)
        before = alive_rows(rows, batch, height, width, plan)
        if keep:
            tape.append(Step(acting, seen, kept))
        if t + 1 in plan.record_steps:
            frames[plan.record_steps.index(t + 1)] = from_rows(rows, batch, height, width)
    return frames, tape


class SparseRollout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, state, w1, bias, w2, rng_seeds, plan):
        frames, ctx.tape = run(state, w1, bias, w2, rng_seeds, plan, keep=True)
        ctx.plan, ctx.shape = plan, state.shape
        ctx.save_for_backward(w1, bias, w2)
        return frames

    @staticmethod
    def backward(ctx, grad_frames):
        check_first_derivative()
        w1, bias, w2 = ctx.saved_tensors
        batch, channels, height, width = ctx.shape
        grad_w1, grad_bias, grad_w2 = map(torch.zeros_like, (w1, bias, w2))
        table = grid(height, width, grad_frames.device)
        grad = to_rows(grad_frames.new_zeros(ctx.shape))  # [cells of all samples, C]
        frame = len(grad_frames)
        for t in reversed(range(ctx.plan.steps)):
            if t + 1 in ctx.plan.record_steps:
                frame -= 1
                grad += to_rows(grad_frames[frame])
            acting, seen, kept = ctx.tape[t]
            sample = acting // table.cells
            grad.mul_(kept)
            hidden = F.linear(seen, w1).add_(bias.index_select(0, sample)).relu_()  # as it was
            grad_change = grad.index_select(0, acting)  # [n, C]
            grad_w2.addmm_(grad_change.t(), hidden)
            grad_hidden = (grad_change @ w2).mul_(hidden > 0)  # [n, D]
            grad_w1.addmm_(grad_hidden.t(), seen)
            grad_bias.index_add_(0, sample, grad_hidden)
            back = perceive_transposed(grad_hidden @ w1, channels, ctx.plan.sobel)  # [9n, C]
            grad.index_add_(0, (acting + table.neighbours).flatten(), back)
        grad_state = from_rows(grad, batch, height, width)
        return grad_state, grad_w1, grad_bias, grad_w2, None, None


def sparse_rollout(state: Tensor, weights: Weights, rng_seeds: Tensor, plan: Plan) -> Tensor:
    """Run the plan's steps and return the states after those that it records.

    Args:
        state: cell states `[B, C, H, W]`.
        weights: the update rule, for this batch.
        rng_seeds: int64 `[B]`, which decide the samples' fire masks.
        plan: steps, what to record, and how cells live and fire.

    Returns:
        `[len(record_steps), B, C, H, W]`, differentiable in the state and the weights.
    """
    args = state, *weights, rng_seeds, plan
    if torch.is_grad_enabled() and any(a.requires_grad for a in args[:4]):
        return SparseRollout.apply(*args)
    return run(*args, keep=False)[0]
