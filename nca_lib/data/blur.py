"""Ways to blur a picture, `[B, I, H, W]` to the same: restoration starts from a blurred one."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Blur = Literal["box5", "box3", "box7", "gauss"]
BLURS: tuple[Blur, ...] = get_args(Blur)  # the first is that of the main task


def box_blur(images: Tensor, side: int = 5) -> Tensor:
    """The mean of `side` x `side` pixels, 0 beyond the border: `[B, I, H, W]` to the same."""
    return F.avg_pool2d(images, side, stride=1, padding=side // 2)


def gaussian_blur(images: Tensor, sigma: float = 1.5) -> Tensor:
    """Gaussian blur, `sigma` in pixels, 0 beyond the border: `[B, I, H, W]` to the same."""
    reach = round(4 * sigma)
    line = torch.exp(-torch.arange(-reach, reach + 1.0).square() / (2 * sigma**2)).to(images)
    kernel = (line[:, None] * line) / line.sum() ** 2
    flat = images.flatten(0, 1)[:, None]  # [B * I, 1, H, W]
    return F.conv2d(flat, kernel[None, None], padding=reach).view_as(images)


def blur(images: Tensor, kind: Blur = "box5") -> Tensor:
    """Blur in one of the ways named in `BLURS`."""
    return gaussian_blur(images) if kind == "gauss" else box_blur(images, int(kind[-1]))


def add_noise(images: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Add normal noise to every pixel and clip to [0, 1]."""
    noise = torch.randn(images.shape, generator=generator).to(images)
    return (images + deviation * noise).clamp(0, 1)


def random_blur(images: Tensor, kinds: tuple[Blur, ...], noise: float, rng_seeds: Tensor) -> Tensor:
    """Blur each picture in one of these ways; one in eight also gets noise of up to `noise`.

    Its RNG seed decides, `[B]`, so that a picture looks the same in any batch and on any rank.
    """
    out = images.clone()
    for image, seed in zip(out, rng_seeds.tolist(), strict=True):
        generator = torch.Generator().manual_seed(seed)
        kind = kinds[int(torch.randint(len(kinds), (), generator=generator))]
        deviation = noise * (8 * torch.rand((), generator=generator).item() - 7)
        image[:] = blur(image[None], kind)[0]
        if deviation > 0:
            image[:] = add_noise(image, deviation, generator)
    return out
