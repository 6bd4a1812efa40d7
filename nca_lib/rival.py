"""The fair rival: the same encoder, the same length of code, but a decoder that sees everything.

A conventional convolutional decoder draws the whole picture at once, with several times as many
numbers as the rule. It is what growing cell by cell has to be compared with: how much of the
picture the code holds, and how much is lost because cells are nearsighted.

It is trained as the rules are: squared error of the ink, the label told, codes drawn from the
encoder's Gaussian, and the same weight of their divergence (a variational auto-encoder, Kingma &
Welling, 2014).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from nca_lib.checkpoints import halved, load_network, write_tensors
from nca_lib.dataset import Dataset, Pictures
from nca_lib.errors import InputError
from nca_lib.genome import StyleEncoder
from nca_lib.inputs import as_whole
from nca_lib.kinds import MNIST

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

KIND = "nca_lib rival"
BATCH = 128
RATE = 2e-3  # highest learning rate


class Rival(nn.Module):
    """Encoder and convolutional decoder of digits, told the label."""

    def __init__(self, style_dim: int = 32):
        super().__init__()
        self.encoder = StyleEncoder(style_dim)
        self.labels = nn.Embedding(len(MNIST.classes), 16)
        self.unfold = nn.Linear(16 + style_dim, 64 * 7 * 7)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1) for i, o in ((64, 48), (48, 32), (32, 24), (24, 1))
        )

    @property
    def decoder_parameters(self) -> int:
        """How many numbers the decoder has, the encoder apart."""
        return sum(p.numel() for n, p in self.named_parameters() if not n.startswith("encoder."))

    def decode(self, labels: Tensor, code: Tensor) -> Tensor:
        """Labels `[B]`, codes `[B, S]` -> ink `[B, 1, 28, 28]`."""
        told = torch.cat([self.labels(labels), code], 1)
        x = F.relu(self.unfold(told)).view(-1, 64, 7, 7)
        *first, last = self.convolutions
        for number, convolution in enumerate(first):
            x = F.relu(convolution(x))
            if number < 2:  # 7 -> 14 -> 28 cells a side
                x = F.interpolate(x, scale_factor=2, mode="bilinear")
        return last(x)

    @torch.inference_mode()
    def redraw(self, digits: Pictures) -> Tensor:
        """Each picture from its label and its mean code, `[N, 1, 28, 28]`."""
        parts = zip(digits.images.split(1000), digits.labels.split(1000), strict=True)
        return torch.cat([self.decode(y, self.encoder(x, y).mean) for x, y in parts])


def train_rival(data: Dataset, style_dim: int, kl_weight: float, epochs: int, seed: int):
    """Train on the training digits; returns the rival and the record of its training.

    Raises:
        InputError: other pictures than MNIST's kind.
    """
    if data.kind != MNIST:
        raise InputError(f"{data.source}: the rival draws digits of 28 x 28 only")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rival = Rival(style_dim)
    generator, batch = torch.Generator().manual_seed(seed), min(BATCH, len(data.train))
    optimiser, steps = torch.optim.Adam(rival.parameters()), epochs * (len(data.train) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    record = {"seed": seed, "epochs": epochs, "kl_weight": kl_weight, "source": data.name}
    record["style_dim"], record["validation_error"] = style_dim, []
    for _ in tqdm(range(epochs), desc="rival", unit="epoch", leave=False):
        order = torch.randperm(len(data.train), generator=generator)
        for index in order[: len(order) // batch * batch].split(batch):
            images, labels = data.train.images[index], data.train.labels[index]
            code = rival.encoder(images, labels)
            drawn = code.sample(torch.randn(code.mean.shape, generator=generator))
            error = (rival.decode(labels, drawn) - images).square().mean()
            loss = error + kl_weight * code.kl().mean() / images[0].numel()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        off = rival.redraw(data.validation) - data.validation.images
        record["validation_error"].append(round(off.square().mean().item(), 5))
    return rival, record


def save_rival(path: Path, rival: Rival, record: dict) -> None:
    """Write a rival in half precision, with how it was trained."""
    write_tensors(path, KIND, halved(rival), record=record)


def load_rival(file: Path | None = None) -> Rival:
    """The shipped rival, or one that `nca rival` wrote; frozen. Its training is at `record`.

    Raises:
        InputError: a file that can't be used.
    """
    path = file or Path(str(files("nca_lib") / "weights" / "rival.safetensors"))

    def make(record: dict) -> Rival:
        return Rival(as_whole(record["style_dim"], "style_dim", least=1))

    return load_network(path, KIND, "nca rival", make)
