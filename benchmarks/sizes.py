"""Which engine is faster for which size of model, and which one does `engine="auto"` choose?

`python benchmarks/sizes.py`: one thread, a minute; prints a table. `bench.py` runs it too.
"""

from __future__ import annotations

import time

from nca_lib.model import NCA
from nca_lib.rollout import compiled_is_faster
from nca_lib.rollout.plan import weights_of
from nca_lib.spec import MNIST

import torch
from reference import FAINT, SIZE, disc

SIZES = [
    (16, "sobel", 256), (16, "sobel", 384), (16, "patch", 192), (16, "patch", 256),
    (32, "sobel", 512), (32, "patch", 256), (32, "patch", 320), (32, "patch", 512),
    (48, "patch", 640),
]  # fmt: skip
WORKS = [("training", 8), ("rollout", 1), ("rollout", 8)]
STEPS, ROUNDS, NOISE = 32, 5, 1.15


class Work:
    """A rollout of the reference's disc of living cells, with or without gradients."""

    def __init__(self, channels: int, perception: str, hidden: int, what: str, batch: int):
        torch.manual_seed(0)
        self.model = NCA(
            MNIST, channels=channels, hidden=hidden, label_dim=32, perception=perception
        )
        torch.nn.init.normal_(self.model.output.weight, std=FAINT)
        self.state = torch.zeros(batch, channels, SIZE, SIZE)
        self.state[:, 1:] = torch.tensor(disc()).float()
        self.condition, self.learns = torch.randn(batch, 32), what == "training"

    def run(self, engine: str) -> None:
        steps = (20, 24, 28, STEPS) if self.learns else (STEPS,)
        with torch.set_grad_enabled(self.learns):
            frames = self.model.rollout(
                self.state, self.condition, STEPS, 0, steps, engine=engine
            )  # fmt: skip
        if self.learns:
            self.model.zero_grad()
            frames[:, :, :2].square().mean().backward()

    def choice(self) -> str:
        """The engine that "auto" chooses."""
        with torch.set_grad_enabled(self.learns):
            sobel = self.model.config.perception == "sobel"
            weights = weights_of(self.model, self.condition, len(self.state), sobel)
            return "compiled" if compiled_is_faster(self.state, weights) else "sparse"

    def seconds(self, engine: str) -> float:
        """Of the processor's time."""
        started = time.process_time()
        self.run(engine)
        return time.process_time() - started


def row(channels: int, perception: str, hidden: int) -> str:
    cells = []
    for what, batch in WORKS:
        work = Work(channels, perception, hidden, what, batch)
        chosen, times = work.choice(), {"sparse": [], "compiled": []}
        for turn in range(ROUNDS + 1):
            for engine, values in times.items():
                took = work.seconds(engine)
                values += [took] if turn else []  # the first round warms up
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
