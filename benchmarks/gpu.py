"""How fast is the rule on a GPU? Ratios measured in one run: `python benchmarks/gpu.py`, 2 minutes.

The rule has the size of the shipped one. The dense eager step on the same card is 1.0. Beside it:
the two rollouts of the library, sparse and graphed; and the dense step put together by
torch.compile, as it is and in a CUDA graph, there and back. One core of the same machine's
processor runs the compiled rollout.

Every one is checked against the dense step in float64 before its time is taken.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from types import SimpleNamespace

from nca_lib.cells import ALIVE_ABOVE
from nca_lib.rollout import Plan
from nca_lib.rollout.compiled import available, compiled_rollout
from nca_lib.rollout.dense import dense_rollout
from nca_lib.rollout.graphed import capture, graphed_rollout, warm_up
from nca_lib.rollout.sparse import sparse_rollout
from nca_lib.rule import NCA, RuleConfig
from nca_lib.training.presets import PRESETS

import torch
from reference import FAINT, SIZE, disc
from torch import Tensor

HERE = Path(__file__).resolve().parent
STEPS, LOSS_STEPS = 24, (12, 16, 20, 24)
WORKS = [
    ("training", 8), ("training", 64), ("training", 512), ("rollout", 1), ("rollout", 1024),
]  # fmt: skip
MOST = max(batch for _, batch in WORKS)
ROUNDS, LEAST = 5, 0.1  # rounds, and seconds that one takes at least
CHECKED, LIVELY = 8, 0.01  # samples that are checked, with a last layer that changes something
ON_CPU = 64  # samples, up to which the processor is asked too


class Work:
    """A rollout of a batch, or a rollout and its gradients, the same for every implementation."""

    def __init__(self, what: str, batch: int, dtype=torch.float32, device="cuda"):
        torch.manual_seed(0)
        config: RuleConfig = PRESETS["full"].rule
        self.rule = NCA(config)
        torch.nn.init.normal_(self.rule.update.weight, std=LIVELY)
        self.rule.to(device, dtype)
        state = torch.zeros(batch, config.channels, SIZE, SIZE)
        state[:, 1:] = torch.tensor(disc()).float()
        state *= 0.5 + torch.rand(MOST, 1, SIZE, SIZE)[:batch]  # a sample is the same in any batch
        genome = torch.randn(MOST, config.label_dim + config.style_dim)[:batch]
        self.state, self.genome = state.to(device, dtype), genome.to(device, dtype)
        self.seeds = torch.arange(batch, device=device)
        self.learns = what == "training"
        self.record = LOSS_STEPS if self.learns else (STEPS,)
        self.parameters = [
            p for n, p in self.rule.named_parameters() if n.split(".")[0] in ("perceived", "update")
        ]

    def frames(self, path: Callable) -> Tensor:
        """By one of the library's rollouts."""
        weights = self.rule._weights(self.genome)
        config, kind = self.rule.config, self.rule.kind
        physics = config.fire_rate, True, config.held, kind.life, ALIVE_ABOVE
        plan = Plan(STEPS, self.record, 0, *physics)
        return path(self.state, weights, self.seeds, plan)

    def dense(self, step: Callable | None = None) -> Tensor:
        """By the step of the whole grid, or by what torch.compile made of it."""
        rule = SimpleNamespace(config=self.rule.config, step=step or self.rule.step)
        return dense_rollout(rule, self.state, self.genome, STEPS, self.seeds, self.record)

    def run(self, frames: Callable[[], Tensor]) -> list[Tensor]:
        """The frames, and of a training the gradients."""
        if not self.learns:
            with torch.no_grad():
                return [frames()]
        grown = frames()
        loss = grown[:, :, :2].square().mean()
        return [grown.detach(), *torch.autograd.grad(loss, self.parameters)]


def recorded(work: Work, frames: Callable[[], Tensor]) -> Callable[[], list[Tensor]]:
    """Record it once as a CUDA graph; what is given back replays it."""
    warm_up(lambda: work.run(frames))
    graph, results = capture(lambda: work.run(frames))

    def replay() -> list[Tensor]:
        graph.replay()
        return results

    return replay


def implementations(work: Work) -> dict[str, Callable[[], Callable[[], list[Tensor]]]]:
    """By name, what makes a function that does the work."""
    torch.compiler.reset()  # of every work anew: it gives up after eight shapes
    step = torch.compile(work.rule.step, dynamic=False)
    return {
        "dense": lambda: lambda: work.run(work.dense),
        "sparse": lambda: lambda: work.run(lambda: work.frames(sparse_rollout)),
        "graphed": lambda: lambda: work.run(lambda: work.frames(graphed_rollout)),
        "dense, torch.compile": lambda: lambda: work.run(lambda: work.dense(step)),
        "dense, torch.compile, CUDA graph": lambda: recorded(work, lambda: work.dense(step)),
    }


def seconds(do: Callable, wait: Callable[[], None]) -> float:
    """Of one run, in a round of as many as take a while."""
    count, took = 1, 0.0
    while True:
        wait()
        started = time.perf_counter()
        for _ in range(count):
            do()
        wait()
        took = time.perf_counter() - started
        if took >= LEAST:
            return took / count
        count = max(2 * count, int(1.2 * count * LEAST / max(took, 1e-5)))


def furthest(given: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest relative error: of the frames, and of the gradients if the batch is the same."""
    count, whole = wanted[0].shape[1], given[0].shape[1]
    pairs = [(given[0][:, :count], wanted[0])]
    pairs += zip(given[1:], wanted[1:], strict=True) if count == whole else []
    return max(((a.double().cpu() - b).norm() / b.norm()).item() for a, b in pairs)


def measure(what: str, batch: int) -> dict:
    """Milliseconds of each implementation, the median of the rounds, and its error."""
    exact, work = Work(what, min(batch, CHECKED), torch.float64, "cpu"), Work(what, batch)
    wanted = exact.run(exact.dense)
    ready, rows = {}, {}
    for name, make in implementations(work).items():
        started = time.perf_counter()
        try:
            do = make()
            error = furthest(do(), wanted)
        except Exception as problem:
            rows[name] = {"problem": f"{type(problem).__name__}: {problem}"[:500]}
            continue
        torch.cuda.synchronize()
        rows[name] = {"error": error, "begin": time.perf_counter() - started, "rounds": []}
        ready[name] = do
    with torch.no_grad():
        work.rule.update.weight.mul_(FAINT / LIVELY)  # from here on every round does the same
    for _ in range(ROUNDS):
        for name, do in ready.items():
            rows[name]["rounds"].append(1e3 * seconds(do, torch.cuda.synchronize))
    if batch <= ON_CPU and available()[0]:
        core = Work(what, batch, device="cpu")
        with torch.no_grad():
            core.rule.update.weight.mul_(FAINT / LIVELY)
        do = lambda: core.run(lambda: core.frames(compiled_rollout))  # noqa: E731
        do()
        values = [1e3 * seconds(do, lambda: None) for _ in range(3)]
        rows["one core, compiled"] = {"rounds": values}
    for row in rows.values():
        if "rounds" in row:
            row["milliseconds"] = median(row["rounds"])
    return rows


def cell(row: dict, dense: float) -> str:
    if "problem" in row:
        return f"failed: {row['problem'].splitlines()[0]}"
    ratio = dense / row["milliseconds"]
    return f"{ratio:.{1 if ratio >= 1 else 2}f} ({row['milliseconds']:.1f} ms)"


def report(results: dict) -> str:
    """Markdown: how many times as fast as the dense step, and milliseconds."""
    rule, works = results["rule"], results["works"]
    names = list(dict.fromkeys(name for rows in works.values() for name in rows))
    numbers = f"{3 * rule['channels']} -> {rule['hidden']} -> {rule['channels']}"
    lines = [
        f"{results['card']}, PyTorch {results['pytorch']}; {SIZE} x {SIZE} cells, {numbers}, "
        f"{results['steps']} steps; the dense eager step on the same card is 1.0.",
        "",
        "| | " + " | ".join(names) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    for work, rows in works.items():
        dense = rows["dense"]["milliseconds"]
        cells = [cell(rows[name], dense) if name in rows else "" for name in names]
        lines.append(f"| {work} | " + " | ".join(cells) + " |")
    errors = [row["error"] for rows in works.values() for row in rows.values() if "error" in row]
    lines += ["", f"Largest relative error against the dense step in float64: {max(errors):.1e}."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "gpu.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        "card": torch.cuda.get_device_name(),
        "pytorch": torch.__version__,
        "rule": asdict(PRESETS["full"].rule),
        "steps": STEPS,
        "works": {},
    }
    for what, batch in WORKS:
        results["works"][f"{what}, batch {batch}"] = measure(what, batch)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(report(results) + "\n")
    print(report(results))


if __name__ == "__main__":
    main()
