"""One implementation in a process of its own: reads jobs from stdin, answers with seconds.

`python worker.py dense|sparse|compiled THREADS`: ours. Each line is a JSON job, see `bench.py`.
"""

import json
import os
import resource
import sys
import time

import torch
from reference import CHANNELS, FAINT, FIRE_RATE, HIDDEN, LABELS, LOSS_STEPS, SIZE, STEPS, disc

from nca_lib import compiled
from nca_lib import rule as rule_module
from nca_lib.fire import fire_mask
from nca_lib.rule import NCA, RuleConfig, alive
from nca_lib.sparse import sparse_rollout


def dense_rollout(rule, state, genome, steps, seeds, record):
    """Step after step of the whole grid, as the definition reads."""
    frames = []
    for t in range(steps):
        state = rule.step(state, genome, fire_mask(seeds, t, *state.shape[2:], FIRE_RATE))
        if t + 1 in record:
            frames.append(state)
    return torch.stack(frames)


class Ours:
    def __init__(self, name: str):
        torch.manual_seed(0)
        config = RuleConfig(
            CHANNELS, HIDDEN, label_dim=LABELS, style_dim=0, perception="sobel", fire_rate=FIRE_RATE
        )
        self.rule, self.name = NCA(config), name
        torch.nn.init.normal_(self.rule.update.weight, std=FAINT)
        path = {"sparse": sparse_rollout, "compiled": compiled.compiled_rollout}.get(name)
        rule_module.choose_rollout = lambda state: path

    def start(self, batch: int, size: int, living: int | None):
        """A disc of the reference's share of the grid, or of a 28 x 28 grid's (`living`)."""
        mask = torch.zeros(size, size, dtype=torch.bool)
        inner = torch.tensor(disc(living or size))
        first = (size - len(inner)) // 2
        mask[first : first + len(inner), first : first + len(inner)] = inner
        state = torch.zeros(batch, CHANNELS, size, size)
        state[:, 1:] = mask.float()
        return state

    def prepare(self, job):
        batch, steps = job["batch"], job.get("steps", STEPS)
        state = self.start(batch, job.get("size", SIZE), job.get("living"))
        genome, seeds = torch.randn(batch, LABELS), torch.arange(batch)
        record = LOSS_STEPS if job["what"] == "training" else (steps,)
        if self.name == "dense":
            rollout = lambda: dense_rollout(self.rule, state, genome, steps, seeds, record)  # noqa: E731
        else:
            rollout = lambda: self.rule.rollout(state, genome, steps, seeds, record)  # noqa: E731
        if job["what"] == "rollout":
            return torch.no_grad()(rollout), state

        def training():
            self.rule.zero_grad()
            rollout()[:, :, :2].square().mean().backward()

        return training, state

    def answer(self, job):
        work, state = self.prepare(job)
        if job.get("count"):
            fired = [fire_mask(torch.arange(len(state)), t, SIZE, SIZE, 0.5) for t in range(STEPS)]
            acting = (torch.stack(fired) & alive(state)[:, 0]).sum().item()
            return {"acting_cells": acting, "alive_share": alive(state).float().mean().item()}
        if job.get("gemm"):
            return gemm_rate()
        repeats = job.get("repeats", 1)
        for _ in range(job.get("warm_up", 0)):
            work()
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        return {"seconds": (time.perf_counter() - started) / repeats, "peak_mib": peak_mib()}


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


def peak_mib() -> float:
    """The most memory this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def serve(answer) -> None:
    """Answer jobs line by line; whatever else is printed goes to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        out.write(json.dumps(answer(json.loads(line))) + "\n")
        out.flush()


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    os.environ["NCA_COMPILED"] = "1"
    serve(Ours(sys.argv[1]).answer)
