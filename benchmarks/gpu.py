"""How fast are the engines on a GPU? Ratios measured in one run: `python benchmarks/gpu.py`.

The model has the size of the shipped one; the dense engine on the same card is 1.0. One core of the
same machine's processor runs the compiled engine. Every engine is checked against the dense step in
float64 before its time is taken. Two minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median

from nca_lib.model import NCA
from nca_lib.rollout.compiled import available
from nca_lib.spec import MNIST
from nca_lib.training.presets import PRESETS

import torch
from reference import FAINT, SIZE, disc
from torch import Tensor

HERE = Path(__file__).resolve().parent
ENGINES = ("dense", "sparse", "graph")
STEPS, LOSS_STEPS = 24, (12, 16, 20, 24)
WORKS = [
    ("training", 8), ("training", 64), ("training", 512), ("rollout", 1), ("rollout", 1024),
]  # fmt: skip
MOST = max(batch for _, batch in WORKS)
ROUNDS, LEAST = 5, 0.1  # rounds, and seconds that one takes at least
CHECKED, LIVELY = 8, 0.01  # samples that are checked, with a last layer that changes something
ON_CPU = 64  # samples, up to which the processor is measured too


class Work:
    """A rollout of a batch, or a rollout and its gradients, the same for every engine."""

    def __init__(self, what: str, batch: int, dtype=torch.float32, device="cuda"):
        torch.manual_seed(0)
        config = PRESETS["full"].model
        self.model = NCA(MNIST, config)
        torch.nn.init.normal_(self.model.output.weight, std=LIVELY)
        self.model.to(device, dtype)
        state = torch.zeros(batch, config.channels, SIZE, SIZE)
        state[:, 1:] = torch.tensor(disc()).float()
        state *= 0.5 + torch.rand(MOST, 1, SIZE, SIZE)[:batch]  # a sample is the same in any batch
        condition = torch.randn(MOST, config.label_dim + config.style_dim)[:batch]
        self.state, self.condition = state.to(device, dtype), condition.to(device, dtype)
        self.seeds, self.learns = torch.arange(batch, device=device), what == "training"
        self.record_steps = LOSS_STEPS if self.learns else (STEPS,)
        layers = self.model.hidden, self.model.from_condition, self.model.output
        self.parameters = [p for layer in layers for p in layer.parameters()]

    def run(self, engine: str) -> list[Tensor]:
        """The frames, and in training the gradients."""
        given = self.state, self.condition, STEPS, self.seeds, self.record_steps
        with torch.set_grad_enabled(self.learns):
            frames = self.model.rollout(*given, engine=engine)
        if not self.learns:
            return [frames]
        loss = frames[:, :, :2].square().mean()
        return [frames.detach(), *torch.autograd.grad(loss, self.parameters)]

    def calm(self) -> None:
        """Make the last layer so faint that every round is the same work."""
        with torch.no_grad():
            self.model.output.weight.mul_(FAINT / LIVELY)


def seconds(do: Callable, wait: Callable[[], None]) -> float:
    """Of one run, measured over as many runs as take a while."""
    count = 1
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
    """Milliseconds of each engine, the median of the rounds, and its error."""
    torch.compiler.reset()  # it gives up after eight shapes
    wanted = Work(what, min(batch, CHECKED), torch.float64, "cpu").run("dense")
    work, rows = Work(what, batch), {}
    for engine in ENGINES:
        started = time.perf_counter()
        try:
            error = furthest(work.run(engine), wanted)
        except Exception as problem:
            rows[engine] = {"problem": f"{type(problem).__name__}: {problem}"[:500]}
            continue
        torch.cuda.synchronize()
        rows[engine] = {"error": error, "begin": time.perf_counter() - started, "rounds": []}
    work.calm()
    for _ in range(ROUNDS):
        for engine, row in rows.items():
            if "rounds" in row:
                took = seconds(lambda engine=engine: work.run(engine), torch.cuda.synchronize)
                row["rounds"].append(1e3 * took)
    if batch <= ON_CPU and available()[0]:
        core = Work(what, batch, device="cpu")
        core.calm()
        core.run("compiled")
        values = [1e3 * seconds(lambda: core.run("compiled"), lambda: None) for _ in range(3)]
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
    """Markdown: how many times as fast as the dense engine, and milliseconds."""
    model, works = results["model"], results["works"]
    names = list(dict.fromkeys(name for rows in works.values() for name in rows))
    layers = f"{3 * model['channels']} -> {model['hidden']} -> {model['channels']}"
    lines = [
        f"{results['card']}, PyTorch {results['pytorch']}; {SIZE} x {SIZE} cells, {layers}, "
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
        "model": asdict(PRESETS["full"].model),
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
