"""Our engines, each in a process of its own (`pipe.py`).

`python worker.py dense|sparse|compiled|auto THREADS`
"""

import sys
import time
from functools import cache

from nca_lib.model import NCA
from nca_lib.rollout.fire import fire_mask
from nca_lib.spec import MNIST
from nca_lib.state import alive_mask

import torch
from pipe import measure, serve
from reference import CHANNELS, CONDITION, FAINT, FIRE_RATE, HIDDEN, LOSS_STEPS, SIZE, STEPS, disc


@cache
def model_of(channels: int, perception: str, hidden: int) -> NCA:
    torch.manual_seed(0)
    model = NCA(
        MNIST, channels=channels, hidden=hidden, label_dim=CONDITION, perception=perception,
        fire_rate=FIRE_RATE,
    )  # fmt: skip
    torch.nn.init.normal_(model.output.weight, std=FAINT)
    return model


def start(batch: int, channels: int, size: int, living: int):
    """A disc of the reference's share of a grid of `living` x `living` cells, in the middle."""
    mask, inner = torch.zeros(size, size), torch.tensor(disc(living)).float()
    first = (size - living) // 2
    mask[first : first + living, first : first + living] = inner
    state = torch.zeros(batch, channels, size, size)
    state[:, 1:] = mask
    return state


def prepare(engine: str, job: dict):
    """The work that a job asks for, as a function."""
    shape = job.get("model", (CHANNELS, "sobel", HIDDEN))
    batch, steps, size = job["batch"], job.get("steps", STEPS), job.get("size", SIZE)
    model, state = model_of(*shape), start(batch, shape[0], size, job.get("living", size))
    condition, seeds = torch.randn(batch, CONDITION), torch.arange(batch)
    record_steps = LOSS_STEPS if job["what"] == "training" else (steps,)

    def rollout():
        return model.rollout(state, condition, steps, seeds, record_steps, engine=engine)

    def training():
        model.zero_grad()
        rollout()[:, :, :2].square().mean().backward()

    return training if job["what"] == "training" else torch.no_grad()(rollout)


def answer(job: dict) -> dict:
    if job["what"] == "gemm":
        return gemm_rate()
    if job["what"] == "count":
        return count(job["batch"])
    return measure(prepare(sys.argv[1], job), job)


def count(batch: int) -> dict:
    """How many cells act in a rollout of the reference, and the share of the grid that is alive."""
    alive = alive_mask(start(batch, CHANNELS, SIZE, SIZE), MNIST.alive)[:, 0]
    masks = (fire_mask(torch.arange(batch), t, SIZE, SIZE, FIRE_RATE) for t in range(STEPS))
    acting = sum((alive & mask).sum().item() for mask in masks)
    return {"acting_cells": acting, "alive_share": alive.float().mean().item()}


def gemm_rate() -> dict:
    """GFLOP/s of PyTorch's matrix product: large squares, and the shape of the hidden layer."""
    rates = {}
    for name, (n, k, m) in {"square": (1024, 1024, 1024), "layer": (4096, 48, 128)}.items():
        a, b, out = torch.randn(n, k), torch.randn(k, m), torch.empty(n, m)
        repeats, best = max(1, round(2e9 / (2 * n * k * m))), float("inf")
        for _ in range(7):
            started = time.perf_counter()
            for _ in range(repeats):
                torch.mm(a, b, out=out)
            best = min(best, (time.perf_counter() - started) / repeats)
        rates[name] = 2 * n * k * m / best / 1e9
    return rates


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    serve(answer)
