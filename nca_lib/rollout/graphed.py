"""The graphed rollout: the step of the whole grid, recorded on a GPU as a CUDA graph and replayed.

A step of a small batch is dozens of kernels of a few microseconds each, and starting them takes
longer than running them. A graph starts them all at once. It computes every cell, so where a batch
keeps the GPU busy the sparse rollout is faster (`choose_rollout`; benchmarks/gpu.py).

A recording has memory of its own: what goes in is copied there, what comes out is copied away. The
way back needs what its own way there has left; if another went there since, it is repeated.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from nca_lib.cells import alive
from nca_lib.rollout.fire import fire_mask
from nca_lib.rollout.plan import Plan, Weights

import torch
import torch.nn.functional as F
from torch import Tensor

WARM_UP = 3  # runs before a recording, in which libraries choose their kernels
KEPT = 4  # recordings of each kind, each with its memory


class Given(NamedTuple):
    """What a rollout is computed from, on one device."""

    state: Tensor  # [B, C, H, W]
    perceive: Tensor  # [D, P]
    bias: Tensor  # [B, D]
    update: Tensor  # [C, D], rows of held channels zero
    seeds: Tensor  # int64 [B]
    number: Tensor  # int64 []: of the first step
    filters: Tensor  # [K, 1, 3, 3]
    held: Tensor  # bool [C, 1, 1]


LEARNED = 4  # the first four of them may want gradients; the last two are the same in all calls


def filters_of(sobel: bool) -> Tensor:
    """`[K, 1, 3, 3]`: the cell and two slopes, 8 times too large as in `sparse.py`; or all nine."""
    if not sobel:
        return torch.eye(9).view(9, 1, 3, 3)
    itself = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    return torch.stack([itself, across, across.T])[:, None]


def step(state: Tensor, given: Given, number: Tensor, plan: Plan) -> Tensor:
    """`NCA.step`, from what a rollout is told: `[B, C, H, W]` -> `[B, C, H, W]`."""
    b, c, h, w = state.shape
    seen = F.conv2d(state.reshape(b * c, 1, h, w), given.filters, padding=1)  # [B * C, K, H, W]
    seen = seen.view(b, c, len(given.filters), h, w)
    seen = seen.permute(0, 3, 4, 2, 1).flatten(3)  # [B, H, W, K * C]
    hidden = (F.linear(seen, given.perceive) + given.bias[:, None, None]).relu()
    change = F.linear(hidden, given.update).movedim(-1, 1)  # [B, C, H, W]
    fire = fire_mask(given.seeds, number, h, w, plan.fire_rate)  # [B, H, W]
    before = alive(state, plan.life, plan.alive_above)  # [B, 1, H, W]
    state = state + change * (before & fire[:, None])
    return state * (before & alive(state, plan.life, plan.alive_above) | given.held)


def unrolled(given: Given, plan: Plan) -> Tensor:
    """The whole rollout, `[R, B, C, H, W]`."""
    state, frames = given.state, []
    for t in range(plan.steps):
        state = step(state, given, given.number + t, plan)
        if t + 1 in plan.record:
            frames.append(state)
    return torch.stack(frames)


def warm_up(do) -> None:
    """Run it a few times apart from everything else, as a recording wants."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            do()
    torch.cuda.current_stream().wait_stream(side)


def capture(do, beside=None):
    """The graph of what is done, and its result, which every replay overwrites.

    `beside` names a graph whose memory it may use: they are always replayed in this order.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=beside and beside.pool()):
        result = do()
    return graph, result


def blank(shapes: tuple, plan: Plan, dtype: torch.dtype, device: torch.device) -> Given:
    """The memory of a recording, still empty."""
    learned = [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]
    seeds = torch.zeros(len(learned[0]), dtype=torch.int64, device=device)
    held = torch.zeros(shapes[0][1], 1, 1, dtype=torch.bool)
    held[list(plan.held)] = True
    filters = filters_of(plan.sobel).to(device, dtype)
    number = torch.zeros((), dtype=torch.int64, device=device)
    return Given(*learned, seeds, number, filters, held.to(device))


def fill(own: Given, given: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        for mine, theirs in zip(own, given, strict=False):  # the last two of `own` stay
            mine.copy_(theirs)


class Film:
    """A recorded step, for rollouts of any length without a way back."""

    def __init__(self, own: Given, plan: Plan):
        def once() -> None:
            own.state.copy_(step(own.state, own, own.number, plan))
            own.number.add_(1)

        self.own = own
        warm_up(once)
        self.graph, _ = capture(once)

    def run(self, given: tuple[Tensor, ...], plan: Plan) -> Tensor:
        fill(self.own, given)
        frames = given[0].new_empty(len(plan.record), *given[0].shape)
        for t in range(plan.steps):
            self.graph.replay()
            if t + 1 in plan.record:
                frames[plan.record.index(t + 1)] = self.own.state
        return frames


class ThereAndBack:
    """A recorded rollout, and its gradients."""

    def __init__(self, own: Given, plan: Plan):
        self.own, self.turn = own, 0
        learned = [tensor.requires_grad_() for tensor in own[:LEARNED]]

        def there() -> Tensor:
            self.latest = None  # the graph of gradients before this one was for another stream
            self.latest = unrolled(own, plan)
            return self.latest

        def back(grad: Tensor):
            return torch.autograd.grad(self.latest, learned, grad)

        warm_up(lambda: back(torch.zeros_like(there())))
        self.there, frames = capture(there)
        self.frames, self.grad = frames.detach(), torch.zeros_like(frames)
        self.back, self.grads = capture(lambda: back(self.grad), beside=self.there)

    def run(self, given: tuple[Tensor, ...]) -> Tensor:
        fill(self.own, given)
        self.there.replay()
        self.turn += 1
        return self.frames.clone()

    def run_back(self, grad: Tensor) -> list[Tensor]:
        self.grad.copy_(grad)
        self.back.replay()
        return [grad.clone() for grad in self.grads]


def exactly():
    """Let convolutions be those of float32, not of the GPU's 19-bit format."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


@lru_cache(maxsize=KEPT)
def film(*key) -> Film:
    with torch.inference_mode(False), torch.no_grad(), exactly():
        return Film(blank(*key), key[1])


@lru_cache(maxsize=KEPT)
def there_and_back(*key) -> ThereAndBack:
    with torch.inference_mode(False), torch.enable_grad(), exactly():
        return ThereAndBack(blank(*key), key[1])


class GraphedRollout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, recording, *given):
        ctx.recording, frames = recording, recording.run(given)
        ctx.turn = recording.turn
        ctx.save_for_backward(*given)
        return frames

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        if ctx.recording.turn != ctx.turn:
            ctx.recording.run(ctx.saved_tensors)
            ctx.turn = ctx.recording.turn
        return None, *ctx.recording.run_back(grad), None, None


def graphed_rollout(state: Tensor, weights: Weights, seeds: Tensor, plan: Plan) -> Tensor:
    """Run the plan's steps and return the states after those that it records.

    Arguments and result are those of `sparse_rollout`; all of it is on a CUDA GPU.
    """
    number = torch.tensor(plan.first_step, device=state.device)
    given = (state, *weights, seeds, number)
    shapes = tuple(tuple(tensor.shape) for tensor in given[:LEARNED])
    plan_of, like = plan._replace(first_step=0), (state.dtype, state.device)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given[:LEARNED]):
        return GraphedRollout.apply(there_and_back(shapes, plan_of, *like), *given)
    any_length = plan_of._replace(steps=1, record=())
    return film(shapes, any_length, *like).run(given, plan)
