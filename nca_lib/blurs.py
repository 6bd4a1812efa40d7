"""Ways to blur a picture: what restoration starts from."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Blur = Literal["box5", "box3", "box7", "gauss"]
BLURS: tuple[Blur, ...] = get_args(Blur)  # the first one is that of the project's origin
SIGMA = 1.5  # of the Gaussian, in cells


def box(images: Tensor, side: int = 5) -> Tensor:
    """Box blur with an empty border, `[B, I, H, W]` to the same."""
    return F.avg_pool2d(images, side, stride=1, padding=side // 2)


def gauss(images: Tensor, sigma: float = SIGMA) -> Tensor:
    """Gaussian blur with an empty border, `[B, I, H, W]` to the same."""
    reach = round(4 * sigma)
    line = torch.exp(-torch.arange(-reach, reach + 1.0).square() / (2 * sigma**2)).to(images)
    kernel = (line[:, None] * line) / line.sum() ** 2
    flat = F.conv2d(images.flatten(0, 1)[:, None], kernel[None, None], padding=reach)
    return flat.view_as(images)


def blurred(images: Tensor, kind: Blur = "box5") -> Tensor:
    """`[B, I, H, W]` to the same."""
    return gauss(images) if kind == "gauss" else box(images, int(kind[-1]))


def with_noise(images: Tensor, deviation: float | Tensor, generator: torch.Generator) -> Tensor:
    """Normal noise on every pixel; what leaves [0, 1] is cut."""
    noise = torch.randn(images.shape, generator=generator).to(images)
    return (images + deviation * noise).clamp(0, 1)


def blurred_at_random(
    images: Tensor, kinds: tuple[Blur, ...], noise: float, streams: Tensor
) -> Tensor:
    """Each picture blurred in one of these ways, with noise up to `noise`, as its stream says.

    Seven of eight pictures stay without noise. `streams`: int64 `[B]`, those of the fire masks, so
    that a training makes the same pictures on any number of processes.
    """
    made = []
    for image, stream in zip(images, streams.tolist(), strict=True):
        generator = torch.Generator().manual_seed(stream)
        kind = kinds[int(torch.randint(len(kinds), (), generator=generator))]
        share = 8 * torch.rand((), generator=generator).item() - 7
        soft = blurred(image[None], kind)
        made.append(with_noise(soft, noise * share, generator) if noise * share > 0 else soft)
    return torch.cat(made) if made else images
