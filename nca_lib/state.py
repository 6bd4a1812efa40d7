"""Cell states: float `[B, C, H, W]`, laid out as in `spec.py`. Seeds, and who is alive."""

from __future__ import annotations

from nca_lib.spec import ImageSpec

import torch
import torch.nn.functional as F
from torch import Tensor

ALIVE_THRESHOLD = 0.1  # Growing NCA (Mordvintsev et al., 2020), "Living cells"
INK_THRESHOLD = 0.1  # ink above this belongs to the picture, below it is the haze around strokes


def alive_mask(state: Tensor, channel: int, threshold: float = ALIVE_THRESHOLD) -> Tensor:
    """Which cells are alive, bool `[B, 1, H, W]`.

    A cell is alive where the alive channel exceeds the threshold in its 3x3 neighbourhood.
    """
    return F.max_pool2d(state[:, channel : channel + 1], 3, stride=1, padding=1) > threshold


def seed_state(
    spec: ImageSpec, channels: int, count: int = 1, at: tuple[int, int] | None = None
) -> Tensor:
    """An empty grid with one living seed cell, `[count, channels, H, W]`.

    The seed's alive, origin and hidden channels are 1; it carries no ink.

    Args:
        at: row and column of the seed; None: the middle.
    """
    height, width = spec.size
    row, column = (height // 2, width // 2) if at is None else at
    state = torch.zeros(count, channels, height, width)
    state[:, spec.alive :, row, column] = 1.0
    return state


def state_from_image(images: Tensor, channels: int, threshold: float = INK_THRESHOLD) -> Tensor:
    """States that show pictures: `[B, I, H, W]` -> `[B, channels, H, W]`.

    The ink is the picture; cells are alive where any ink channel exceeds the threshold.
    """
    ink = images.shape[1]
    state = images.new_zeros(len(images), channels, *images.shape[2:])
    state[:, :ink] = images
    state[:, ink] = (images > threshold).any(1).to(images.dtype)
    return state


def pad(grids: Tensor, margin: int) -> Tensor:
    """Add `margin` empty cells on each side: `[..., H, W]` -> `[..., H + 2m, W + 2m]`."""
    return F.pad(grids, (margin,) * 4)


def crop(grids: Tensor, margin: int) -> Tensor:
    """Remove `margin` cells from each side, the inverse of `pad`."""
    height, width = grids.shape[-2:]
    return grids[..., margin : height - margin, margin : width - margin]
