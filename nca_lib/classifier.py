"""The classifier: a small convolutional network that says what a picture shows.

Two ship, trained alike on real digits from different seeds. Evaluation asks the *classifier*, which
no model sees in training; training may ask its twin, the *perceptual network*, how different two
pictures look (`training.losses.perceptual_error`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from nca_lib.checkpoint import half_precision, load_network, read_spec, shipped_file, write_tensors
from nca_lib.data.dataset import Dataset, Pictures
from nca_lib.inputs import InputError
from nca_lib.spec import MNIST, ImageSpec

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

KIND = "nca_lib classifier"
FEATURES = 64


class Classifier(nn.Module):
    """Three convolutions and two linear layers; 70,000 parameters for digits."""

    def __init__(self, spec: ImageSpec):
        super().__init__()
        self.spec = spec
        widths, (height, width) = (spec.channels, 24, 48, FEATURES), spec.size
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, side, padding=side // 2)
            for (i, o), side in zip(pairwise(widths), (5, 3, 3), strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in widths[1:])
        self.read = nn.Linear(FEATURES * (height // 8) * (width // 8), FEATURES)
        self.classes = nn.Linear(FEATURES, len(spec.classes))

    def features(self, images: Tensor) -> Tensor:
        """What FID, coverage and density compare: `[N, I, H, W]` in [0, 1] -> `[N, 64]`."""
        x = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(convolution(x))), 2)  # 28 -> 14 -> 7 -> 3 pixels a side
        return F.relu(self.read(x.flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[N, L]`."""
        return self.classes(self.features(images))


def load_classifier(file: Path | None = None) -> Classifier:
    """The shipped classifier of MNIST's digits, or one from `save_network`; frozen."""
    path = file or shipped_file("classifier")
    return load_network(path, KIND, lambda metadata: Classifier(read_spec(metadata)))


def classifier_for(spec: ImageSpec) -> Classifier | None:
    """The shipped classifier, if it knows these classes; else None."""
    return load_classifier() if spec == MNIST else None


def perceptual_network(spec: ImageSpec, file: Path | None = None) -> Classifier:
    """The classifier in whose features training compares pictures: the shipped one, or a file's.

    Raises:
        InputError: none ships for these pictures; a file of a classifier of different ones.
    """
    if file is None and spec != MNIST:
        raise InputError(
            "perceptual_weight can't take effect: no perceptual network ships for these pictures; "
            "choose perceptual_weight 0, or train one (nca_lib.classifier.train_classifier)"
        )
    network = load_classifier(file or shipped_file("perceptual"))
    if network.spec != spec:
        names = ", ".join(network.spec.classes[:3])
        raise InputError(f"{file} classifies {names}, ...: train a classifier for your pictures")
    return network


def save_network(path: Path, kind: str, network: nn.Module, metadata: dict) -> None:
    """Write a classifier or decoder in half precision, with its spec and how it was trained."""
    spec = network.spec
    spec = {"classes": spec.classes, "image_channels": spec.channels, "size": spec.size}
    write_tensors(path, kind, half_precision(network), metadata=metadata | spec)


@torch.no_grad()
def accuracy(classifier: Classifier, pictures: Pictures) -> float:
    """Share of the pictures that are classified as their label."""
    parts = zip(pictures.images.split(500), pictures.labels.split(500), strict=True)
    return sum((classifier(x).argmax(1) == y).sum().item() for x, y in parts) / len(pictures)


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Small random rotations (15 degrees), scalings (10 %) and shifts (1/14 of a side)."""
    turn, scale, dx, dy = (2 * torch.rand(4, len(images), generator=generator) - 1).unbind()
    turn, scale = turn * math.radians(15), 1 + 0.1 * scale
    cos, sin = turn.cos() * scale, turn.sin() * scale
    matrix = torch.stack([cos, -sin, dx / 7, sin, cos, dy / 7], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def train_epochs(
    network: nn.Module, optimiser, loss: Callable, pictures: Pictures, epochs: int, seed: int
) -> Iterator[None]:
    """Minimise `loss(images, labels, generator)` in batches of 128; yields after every epoch.

    One-cycle schedule (Smith & Topin, 2019) with the optimiser's learning rate as its peak.
    """
    generator, batch = torch.Generator().manual_seed(seed), min(128, len(pictures))
    count, rate = len(pictures) // batch, optimiser.defaults["lr"]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * count)
    for _ in tqdm(range(epochs), desc=type(network).__name__, unit="epoch", disable=None):
        network.train()
        order = torch.randperm(len(pictures), generator=generator)
        for index in order[: count * batch].split(batch):
            optimiser.zero_grad()
            loss(pictures.images[index], pictures.labels[index], generator).backward()
            optimiser.step()
            schedule.step()
        network.eval()
        yield


def train_classifier(data: Dataset, epochs: int, seed: int) -> tuple[Classifier, dict]:
    """Train on the training pictures; the metadata hold the accuracy on the others."""
    if not len(data.train) or not len(data.validation) or min(data.spec.size) < 8:
        raise InputError(f"{data.source}: too few or too small pictures to train a classifier")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = Classifier(data.spec)

    def loss(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        return F.cross_entropy(classifier(jitter(images, generator)), labels, label_smoothing=0.05)

    optimiser = torch.optim.AdamW(classifier.parameters(), 5e-3, weight_decay=0.05)
    metadata = {"seed": seed, "epochs": epochs, "source": data.name, "validation": []}
    for _ in train_epochs(classifier, optimiser, loss, data.train, epochs, seed):
        metadata["validation"].append(round(accuracy(classifier, data.validation), 4))
    return classifier, metadata | {"test_accuracy": accuracy(classifier, data.test)}
