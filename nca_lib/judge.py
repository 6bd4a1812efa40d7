"""The judge: a small classifier that reads grown digits.

It is trained on real digits only, apart from everything else, shipped frozen, and never seen by a
rule in training. `nca judge` trains it again, and others for other pictures.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from nca_lib.checkpoints import digest_of, halved, load_network, read_kind, write_tensors
from nca_lib.dataset import Dataset, Pictures
from nca_lib.errors import InputError
from nca_lib.kinds import MNIST, Kind

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

KIND = "nca_lib judge"
FEATURES = 64


class Judge(nn.Module):
    """Three convolutions and a linear layer; 70,000 parameters for digits."""

    def __init__(self, kind: Kind = MNIST):
        super().__init__()
        self.kind = kind
        widths, (height, width) = (kind.ink, 24, 48, FEATURES), kind.size
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, side, padding=side // 2)
            for (i, o), side in zip(pairwise(widths), (5, 3, 3), strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in widths[1:])
        self.read = nn.Linear(FEATURES * (height // 8) * (width // 8), FEATURES)
        self.classes = nn.Linear(FEATURES, len(kind.classes))

    def features(self, images: Tensor) -> Tensor:
        """What FID, coverage and density compare: `[N, I, H, W]` in [0, 1] -> `[N, 64]`."""
        x = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(convolution(x))), 2)  # 28 -> 14 -> 7 -> 3 cells a side
        return F.relu(self.read(x.flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[N, L]`, one a class."""
        return self.classes(self.features(images))


def load_judge(file: Path | None = None) -> Judge:
    """The shipped judge of MNIST's digits, or one that `nca judge` wrote; frozen.

    Raises:
        InputError: a file that can't be used.
    """
    path = file or Path(str(files("nca_lib") / "weights" / "judge.safetensors"))

    def make(record: dict) -> Judge:
        return Judge(read_kind(dict(record.get("kind") or {})))

    return load_network(path, KIND, "nca judge", make)


def judge_for(kind: Kind, file: Path | None = None) -> Judge | None:
    """The judge of a file, or the shipped one if it knows these classes; else None.

    Raises:
        InputError: a file whose judge reads other pictures.
    """
    if file is None:
        return load_judge() if kind == MNIST else None
    judge = load_judge(file)
    if judge.kind != kind:
        raise InputError(
            f"{file} reads {', '.join(judge.kind.classes[:3])}, ...: these are other pictures; "
            "train a judge for them with nca judge"
        )
    return judge


def critic_for(kind: Kind, file: Path | None = None) -> Judge:
    """A judge's twin that rules may learn from: trained alike, from another seed.

    The judge itself stays unseen by the rules that it judges.

    Raises:
        InputError: no file is given and none is shipped for these pictures, or it reads others.
    """
    path = file or Path(str(files("nca_lib") / "weights" / "critic.safetensors"))
    if file is None and kind != MNIST:
        raise InputError(
            "critic_weight can't take effect: no critic is shipped for these pictures; train one "
            "with nca judge and give it as --critic, or choose --critic-weight 0"
        )
    return judge_for(kind, path)


def fingerprint(judge: Judge) -> str:
    """Tells one judge from another: the beginning of the SHA-256 of its weights."""
    return digest_of({name: t.cpu() for name, t in judge.state_dict().items()}, {})[:16]


def save_judge(path: Path, judge: Judge, record: dict) -> None:
    """Write a judge in half precision, with how it was trained."""
    write_tensors(path, KIND, halved(judge), record=record | {"kind": asdict(judge.kind)})


@torch.inference_mode()
def accuracy(judge: Judge, digits: Pictures) -> float:
    """Share of real digits read as their label."""
    right = [
        (judge(images).argmax(1) == labels).sum().item()
        for images, labels in zip(digits.images.split(500), digits.labels.split(500), strict=True)
    ]
    return sum(right) / len(digits)


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Small random rotations (15 degrees), scalings (10 %) and shifts (a fourteenth)."""
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
    judge, digits, batch = Judge(data.kind), data.train, min(128, len(data.train))
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
