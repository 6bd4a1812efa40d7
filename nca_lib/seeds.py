"""Starting states, and what can happen to a state: seed, blurred start, damage."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nca_lib.rule import INK
from nca_lib.sparse import LIFE

SIZE = 28  # cells a side, as MNIST has pixels
BLUR = 5  # side of the box blur, as in the project's origin


def seed_state(count: int, channels: int, size: int = SIZE) -> Tensor:
    """`[count, channels, size, size]`: all empty, but for one living cell in the middle.

    The seed's life and hidden channels are 1; it carries no ink.
    """
    state = torch.zeros(count, channels, size, size)
    state[:, LIFE:, size // 2, size // 2] = 1.0
    return state


def blur(images: Tensor) -> Tensor:
    """5x5 box blur with an empty border, `[B, 1, H, W]` to the same."""
    return F.avg_pool2d(images, BLUR, stride=1, padding=BLUR // 2)


def blurred_state(images: Tensor, channels: int) -> Tensor:
    """The start of restoration, `[B, channels, H, W]`: ink is the blur, life 1 where it shows."""
    blurred = blur(images)
    state = images.new_zeros(len(images), channels, *images.shape[2:])
    state[:, INK] = blurred[:, 0]
    state[:, LIFE] = (blurred[:, 0] > 0).to(images.dtype)
    return state


def erase(state: Tensor, region: Tensor) -> Tensor:
    """Damage: the state is zero where `region` (bool, `[H, W]` or `[B, H, W]`) is True."""
    return state * ~(region if region.dim() == 2 else region[:, None])


def disc(centre_y: Tensor, centre_x: Tensor, radius: Tensor, size: int = SIZE) -> Tensor:
    """Discs as bool `[B, size, size]`; centres and radii in cells, `[B]`."""
    y, x = torch.arange(size)[:, None], torch.arange(size)[None]
    distance = (y - centre_y[:, None, None]) ** 2 + (x - centre_x[:, None, None]) ** 2
    return distance <= radius[:, None, None] ** 2


def square(top: int, left: int, side: int, size: int = SIZE) -> Tensor:
    """A square as bool `[size, size]`."""
    region = torch.zeros(size, size, dtype=torch.bool)
    region[top : top + side, left : left + side] = True
    return region


def half_plane(side: str, size: int = SIZE) -> Tensor:
    """One half of the grid as bool `[size, size]`: 'left', 'right', 'top' or 'bottom'."""
    near = torch.arange(size) < size // 2
    rows, columns = {"top": near, "bottom": ~near}, {"left": near, "right": ~near}
    region = rows[side][:, None] if side in rows else columns[side][None]
    return region.expand(size, size).clone()
