"""Which rollout is faster for which size of rule, and which does `choose_rollout` take?

`python benchmarks/sizes.py`: one thread, a minute; prints a table. `bench.py` runs it too.
"""

from __future__ import annotations

import time

from nca_lib import rule as rule_module
from nca_lib.rollout import choose_rollout
from nca_lib.rollout.compiled import compiled_rollout
from nca_lib.rollout.sparse import sparse_rollout
from nca_lib.rule import NCA, RuleConfig

import torch
from reference import FAINT, SIZE, disc

SIZES = [
    (16, "sobel", 256), (16, "sobel", 384), (16, "patch", 192), (16, "patch", 256),
    (32, "sobel", 512), (32, "patch", 256), (32, "patch", 320), (32, "patch", 512),
    (48, "patch", 640),
]  # fmt: skip
WORKS = [("training", 8), ("rollout", 1), ("rollout", 8)]
PATHS = {"sparse": sparse_rollout, "compiled": compiled_rollout}
STEPS, ROUNDS, NOISE = 32, 5, 1.15


def work_of(config: RuleConfig, what: str, batch: int):
    """A rollout of the reference's disc of living cells, there and back or without gradients."""
    torch.manual_seed(0)
    rule = NCA(config)
    torch.nn.init.normal_(rule.update.weight, std=FAINT)
    state = torch.zeros(batch, config.channels, SIZE, SIZE)
    state[:, 1:] = torch.tensor(disc()).float()
    genome, seeds = torch.randn(batch, config.label_dim + config.style_dim), torch.arange(batch)

    def training():
        rule.zero_grad()
        frames = rule.rollout(state, genome, STEPS, seeds, (20, 24, 28, 32))
        frames[:, :, :2].square().mean().backward()

    def rollout():
        with torch.no_grad():
            rule.rollout(state, genome, STEPS, seeds)

    return training if what == "training" else rollout


def seconds(work, path) -> float:
    """Of the processor's time."""
    rule_module.choose_rollout = lambda *_: path
    started = time.process_time()
    work()
    return time.process_time() - started


def chosen_for(work) -> str:
    """The path that the library takes by itself."""
    taken = []
    rule_module.choose_rollout = lambda *given: taken.append(choose_rollout(*given)) or taken[0]
    work()
    return next(name for name, path in PATHS.items() if path is taken[0])


def row(channels: int, perception: str, hidden: int) -> str:
    config, cells = RuleConfig(channels, hidden, 16, 16, perception), []
    for what, batch in WORKS:
        work, times = work_of(config, what, batch), {name: [] for name in PATHS}
        chosen = chosen_for(work)
        for turn in range(ROUNDS + 1):
            for name, path in PATHS.items():
                took = seconds(work, path)
                times[name] += [took] if turn else []  # the first round warms up
        best = {name: min(values) for name, values in times.items()}
        slower = best[chosen] / min(best.values())
        verdict = "" if slower <= NOISE else f", {slower:.2f} times slower"
        cells.append(f"{best['sparse'] / best['compiled']:.2f} ({chosen}{verdict})")
    return f"| {channels} | {perception} | {hidden} | " + " | ".join(cells) + " |"


def main() -> None:
    torch.set_num_threads(1)
    heads = " | ".join(f"{what}, batch {batch}" for what, batch in WORKS)
    print(f"| channels | perception | hidden | {heads} |")
    print("| --- |" + " --- |" * 5)
    for size in SIZES:
        print(row(*size), flush=True)


if __name__ == "__main__":
    main()
