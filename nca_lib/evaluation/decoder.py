"""The convolutional decoder: what a conventional network makes of the same style code.

A conditional variational auto-encoder (Kingma & Welling, 2014) with the encoder of `NCA`. Its
decoder draws the whole picture at once, with several times as many parameters: the difference shows
what is lost because cells see only their neighbours. `tools/make_weights.py` trains it.
"""

from __future__ import annotations

from pathlib import Path

from nca_lib.checkpoint import load_network, read_spec, shipped_file
from nca_lib.conditioning import StyleEncoder
from nca_lib.data.dataset import Pictures
from nca_lib.inputs import as_whole
from nca_lib.spec import MNIST, ImageSpec

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KIND = "nca_lib decoder"
LABEL_DIM = 16


class Decoder(nn.Module):
    """Encoder and convolutional decoder of pictures, conditioned on the label."""

    def __init__(self, spec: ImageSpec, style_dim: int):
        super().__init__()
        self.spec, self.coarse = spec, [-(-side // 4) for side in spec.size]  # 28 -> 7
        self.encoder = StyleEncoder(spec, style_dim)
        self.labels = nn.Embedding(len(spec.classes), LABEL_DIM)
        self.unfold = nn.Linear(LABEL_DIM + style_dim, 64 * self.coarse[0] * self.coarse[1])
        widths = (64, 48), (48, 32), (32, 24), (24, spec.channels)
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in widths)

    @property
    def parameter_count(self) -> int:
        """Parameters of the decoder, encoder not included."""
        return sum(p.numel() for n, p in self.named_parameters() if not n.startswith("encoder."))

    def decode(self, labels: Tensor, code: Tensor) -> Tensor:
        """Labels `[B]`, codes `[B, S]` -> ink `[B, I, H, W]`."""
        condition = torch.cat([self.labels(labels), code], 1)
        x = F.relu(self.unfold(condition)).view(-1, 64, *self.coarse)
        *first, last = self.convolutions
        for layer, convolution in enumerate(first):
            x = F.relu(convolution(x))
            if layer < 2:  # 7 -> 14 -> 28 pixels a side
                x = F.interpolate(x, scale_factor=2, mode="bilinear")
        height, width = self.spec.size
        return last(x)[..., :height, :width]

    @torch.no_grad()
    def redraw(self, pictures: Pictures) -> Tensor:
        """Each picture from its label and its mean code, `[N, I, H, W]`."""
        parts = zip(pictures.images.split(1000), pictures.labels.split(1000), strict=True)
        return torch.cat([self.decode(y, self.encoder(x, y).mean) for x, y in parts])


def load_decoder(file: Path | None = None) -> Decoder:
    """The shipped decoder of MNIST's digits, or one from `save_network`; frozen."""

    def make(metadata: dict) -> Decoder:
        return Decoder(read_spec(metadata), as_whole(metadata["style_dim"], "style_dim", least=1))

    return load_network(file or shipped_file("decoder"), KIND, make)


def decoder_for(spec: ImageSpec) -> Decoder | None:
    """The shipped decoder, if it draws such pictures; else None."""
    return load_decoder() if spec == MNIST else None
