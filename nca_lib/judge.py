"""The judge: a small classifier that reads grown digits.

It is trained on real digits only, apart from everything else, shipped frozen, and never seen by a
rule in training. `python -m nca_lib.judge --data-root DIR` trains it again.
"""

from __future__ import annotations

import argparse
import json
import math
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from nca_lib.checkpoints import load_tensors_into, read_tensors, write_tensors
from nca_lib.data import Dataset, Digits, load_digits

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

KIND = "nca_lib judge"
FEATURES = 64


class Judge(nn.Module):
    """Three convolutions and a linear layer; 70,000 parameters."""

    def __init__(self):
        super().__init__()
        widths = (1, 24, 48, FEATURES)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, 5 if i == 1 else 3, padding=2 if i == 1 else 1)
            for i, o in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in widths[1:])
        self.read = nn.Linear(FEATURES * 3 * 3, FEATURES)
        self.classes = nn.Linear(FEATURES, 10)

    def features(self, images: Tensor) -> Tensor:
        """What FID, coverage and density compare: `[N, 1, 28, 28]` in [0, 1] -> `[N, 64]`."""
        x = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(convolution(x))), 2)  # 28 -> 14 -> 7 -> 3 cells a side
        return F.relu(self.read(x.flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[N, 10]`."""
        return self.classes(self.features(images))


def load_judge() -> Judge:
    """The shipped judge, frozen."""
    path = Path(str(files("nca_lib") / "weights" / "judge.safetensors"))
    tensors, metadata = read_tensors(path, KIND)
    judge = Judge()
    load_tensors_into(
        judge, {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, path
    )
    judge.record = metadata["record"]
    return judge.eval().requires_grad_(False)


@torch.inference_mode()
def accuracy(judge: Judge, digits: Digits) -> float:
    """Share of real digits read as their label."""
    right = [
        (judge(images).argmax(1) == labels).sum().item()
        for images, labels in zip(digits.images.split(500), digits.labels.split(500), strict=True)
    ]
    return sum(right) / len(digits)


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Small random rotations (15 degrees), scalings (10 %) and shifts (2 pixels)."""
    n = len(images)
    turn, scale, dx, dy = (2 * torch.rand(4, n, generator=generator) - 1).unbind()
    turn, scale = turn * math.radians(15), 1 + 0.1 * scale
    cos, sin = turn.cos() * scale, turn.sin() * scale
    matrix = torch.stack([cos, -sin, dx / 7, sin, cos, dy / 7], 1).view(n, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def train_judge(data: Dataset, epochs: int, seed: int) -> tuple[Judge, dict]:
    """Train on the training digits, watch the validation digits, measure the test digits once."""
    torch.manual_seed(seed)
    judge, digits, batch = Judge(), data.train, 128
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(judge.parameters(), weight_decay=0.05)
    steps = epochs * (len(digits) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, steps)
    record = {"seed": seed, "epochs": epochs, "source": data.name, "validation": []}
    for _ in tqdm(range(epochs), desc="judge", unit="epoch"):
        judge.train()
        order = torch.randperm(len(digits), generator=generator)
        for index in order[: len(digits) // batch * batch].split(batch):
            logits = judge(jitter(digits.images[index], generator))
            loss = F.cross_entropy(logits, digits.labels[index], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        record["validation"].append(round(accuracy(judge.eval(), data.validation), 4))
    record["test_accuracy"] = accuracy(judge, data.test)
    return judge, record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/judge.safetensors"))
    options = parser.parse_args()
    judge, record = train_judge(
        load_digits(options.data_root, "full"), options.epochs, options.seed
    )
    record["command"] = f"python -m nca_lib.judge --epochs {options.epochs} --seed {options.seed}"
    half = {k: v.half() if v.is_floating_point() else v for k, v in judge.state_dict().items()}
    write_tensors(options.out, KIND, half, record=record)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
