"""Our three implementations, each in a process of its own (`pipe.py`).

`python worker.py dense|sparse|compiled THREADS`
"""

import os
import sys
import time
from functools import cache

from nca_lib import rule as rule_module
from nca_lib.cells import alive
from nca_lib.rollout import choose_rollout
from nca_lib.rollout.compiled import compiled_rollout
from nca_lib.rollout.dense import dense_rollout
from nca_lib.rollout.fire import fire_mask
from nca_lib.rollout.sparse import sparse_rollout
from nca_lib.rule import NCA, RuleConfig

import torch
from pipe import measure, serve
from reference import CHANNELS, FAINT, FIRE_RATE, HIDDEN, LABELS, LOSS_STEPS, SIZE, STEPS, disc

PATHS = {"sparse": sparse_rollout, "compiled": compiled_rollout}


@cache
def rule_of(channels: int, perception: str, hidden: int) -> NCA:
    torch.manual_seed(0)
    config = RuleConfig(channels, hidden, LABELS, 0, perception, FIRE_RATE)
    rule = NCA(config)
    torch.nn.init.normal_(rule.update.weight, std=FAINT)
    return rule


def start(batch: int, channels: int, size: int, living: int):
    """A disc of the reference's share of a grid of `living` x `living` cells, in the middle."""
    mask, inner = torch.zeros(size, size), torch.tensor(disc(living)).float()
    first = (size - living) // 2
    mask[first : first + living, first : first + living] = inner
    state = torch.zeros(batch, channels, size, size)
    state[:, 1:] = mask
    return state


def prepare(name: str, job: dict):
    """The work that a job asks for, as a function."""
    shape = job.get("rule", (CHANNELS, "sobel", HIDDEN))
    batch, steps, size = job["batch"], job.get("steps", STEPS), job.get("size", SIZE)
    rule, state = rule_of(*shape), start(batch, shape[0], size, job.get("living", size))
    genome, seeds = torch.randn(batch, LABELS), torch.arange(batch)
    record = LOSS_STEPS if job["what"] == "training" else (steps,)

    def rollout():
        if name == "dense":
            return dense_rollout(rule, state, genome, steps, seeds, record)
        return rule.rollout(state, genome, steps, seeds, record)

    def training():
        rule.zero_grad()
        rollout()[:, :, :2].square().mean().backward()

    return training if job["what"] == "training" else torch.no_grad()(rollout)


def answer(job: dict) -> dict:
    name = sys.argv[1]
    if job["what"] == "gemm":
        return gemm_rate()
    if job["what"] == "count":
        return count(job["batch"])
    chosen = []

    def choose(state, weights):
        chosen.append(choose_rollout(state, weights).__name__)
        return PATHS[name]

    rule_module.choose_rollout = choose
    result = measure(prepare(name, job), job)
    return result | {"chosen": chosen[0].removesuffix("_rollout") if chosen else name}


def count(batch: int) -> dict:
    """How many cells act in a rollout of the reference, and the share of the grid that lives."""
    lives = alive(start(batch, CHANNELS, SIZE, SIZE))[:, 0]
    masks = (fire_mask(torch.arange(batch), t, SIZE, SIZE, FIRE_RATE) for t in range(STEPS))
    acting = sum((lives & mask).sum().item() for mask in masks)
    return {"acting_cells": acting, "alive_share": lives.float().mean().item()}


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
    os.environ["NCA_COMPILED"] = "1"
    serve(answer)
