"""What a cell's state is: its channels, when it is alive, how a growth starts, and damage.

A state is float `[B, C, H, W]`: `C` numbers for each cell of each sample's grid. The ink comes
first, one channel for digits, four for coloured pictures; then life, the anchor, hidden channels.
"""

from __future__ import annotations

from nca_lib.blurs import box
from nca_lib.kinds import MNIST

import torch
import torch.nn.functional as F
from torch import Tensor

INK = 0  # channel of a digit's cell state: the picture
LIFE = MNIST.life  # tissue that may carry ink
ANCHOR = MNIST.anchor  # where the growth began, for rules that are taught to know; then hidden ones
ALIVE_ABOVE = 0.1  # Growing NCA (Mordvintsev et al., 2020), "Living cells"
SHOWS = 0.1  # ink above this is part of a picture; below is the haze around strokes

SIZE = MNIST.size[0]  # cells a side, as MNIST has pixels


def alive(state: Tensor, life: int = LIFE, above: float | None = None) -> Tensor:
    """The alive mask, bool `[B, 1, H, W]`: life in the 3x3 neighbourhood is above 0.1 (`above`)."""
    above = ALIVE_ABOVE if above is None else above
    return F.max_pool2d(state[:, life : life + 1], 3, stride=1, padding=1) > above


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of a grid; one number means a square."""
    return (size, size) if isinstance(size, int) else size


def seed_state(
    count: int, channels: int, size: int | tuple[int, int] = SIZE, life: int = LIFE
) -> Tensor:
    """`[count, channels, H, W]`: all empty, but for one living cell in the middle.

    The seed's life and hidden channels are 1; it carries no ink.
    """
    height, width = sides(size)
    state = torch.zeros(count, channels, height, width)
    state[:, life:, height // 2, width // 2] = 1.0
    return state


def inked_state(images: Tensor, channels: int, above: float = SHOWS) -> Tensor:
    """A start that shows a picture, `[B, channels, H, W]`: its ink, and life 1 where it shows.

    Of a picture to be read that is ink `above` 0.1, of a blurred one to be restored any ink.
    """
    ink = images.shape[1]
    state = images.new_zeros(len(images), channels, *images.shape[2:])
    state[:, :ink] = images
    state[:, ink] = (images > above).any(1).to(images.dtype)
    return state


def starts(task: str, images: Tensor, channels: int) -> Tensor:
    """Starting states `[B, C, H, W]` for images `[B, I, H, W]`.

    A seed for growth, the blurred picture to restore, the picture to read.
    """
    if task == "restore":
        return inked_state(box(images), channels, above=0)
    if task == "read":
        return inked_state(images, channels)
    life = images.shape[1]
    return seed_state(len(images), channels, tuple(images.shape[2:]), life).to(images)


def widened(grids: Tensor, margin: int) -> Tensor:
    """Grids `[..., H, W]` with `margin` empty cells more on each side."""
    return F.pad(grids, (margin,) * 4)


def inner(grids: Tensor, margin: int) -> Tensor:
    """Grids `[..., H, W]` without the `margin` outermost cells of each side."""
    height, width = grids.shape[-2:]
    return grids[..., margin : height - margin, margin : width - margin]


def erase(state: Tensor, region: Tensor) -> Tensor:
    """Damage: the state is zero where `region` (bool, `[H, W]` or `[B, H, W]`) is True."""
    return state * ~(region if region.dim() == 2 else region[:, None]).to(state.device)


def disc(
    centre_y: Tensor, centre_x: Tensor, radius: Tensor, size: int | tuple[int, int] = SIZE
) -> Tensor:
    """Discs as bool `[B, H, W]`; centres and radii in cells, `[B]`."""
    height, width = sides(size)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    distance = (y - centre_y[:, None, None]) ** 2 + (x - centre_x[:, None, None]) ** 2
    return distance <= radius[:, None, None] ** 2


def square(top: int, left: int, side: int, size: int | tuple[int, int] = SIZE) -> Tensor:
    """A square as bool `[H, W]`."""
    region = torch.zeros(sides(size), dtype=torch.bool)
    region[top : top + side, left : left + side] = True
    return region


def half_at(
    centre_y: Tensor, centre_x: Tensor, angle: Tensor, size: int | tuple[int, int] = SIZE
) -> Tensor:
    """All cells on one side of a line, bool `[B, H, W]`.

    Args:
        centre_y, centre_x: a point of the line, in cells, `[B]`.
        angle: in radians, `[B]`: 0 takes the cells to the right, pi / 2 those below.
        size: of the grid.
    """
    height, width = sides(size)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    down, right = (y - centre_y[:, None, None]), (x - centre_x[:, None, None])
    return down * angle.sin()[:, None, None] + right * angle.cos()[:, None, None] > 0


def stripes(
    angle: Tensor, width: Tensor, phase: Tensor, size: int | tuple[int, int] = SIZE
) -> Tensor:
    """Bands as wide as the gaps between them, bool `[B, H, W]`.

    Args:
        angle: across the bands, in radians, `[B]`: 0 makes upright ones, pi / 2 level ones.
        width: of a band, in cells, `[B]`.
        phase: where the first begins, in cycles, `[B]`.
        size: of the grid.
    """
    height, width_of_grid = sides(size)
    y, x = torch.arange(height)[:, None], torch.arange(width_of_grid)[None]
    along = y * angle.sin()[:, None, None] + x * angle.cos()[:, None, None]  # [B, H, W], cells
    along = along + 1e-4  # the cosine of pi / 2 is a hair below 0
    return (along / (2 * width[:, None, None]) + phase[:, None, None]) % 1 < 0.5


def scattered(
    count: int, share: float, generator: torch.Generator, size: int | tuple[int, int] = SIZE
) -> Tensor:
    """Cells here and there, each with the probability `share`, bool `[count, H, W]`."""
    return torch.rand(count, *sides(size), generator=generator) < share


def half_plane(side: str, size: int | tuple[int, int] = SIZE) -> Tensor:
    """One half of the grid as bool `[H, W]`: 'left', 'right', 'top' or 'bottom'."""
    height, width = sides(size)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    half = {"top": y < height // 2, "bottom": y >= height // 2,
            "left": x < width // 2, "right": x >= width // 2}[side]  # fmt: skip
    return half.expand(height, width).clone()
