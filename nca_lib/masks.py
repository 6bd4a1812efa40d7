"""Damage: regions of the grid to erase, as bool masks. Sizes are (height, width), in cells.

Training damages pooled samples at random (`draw_damages`), so that models learn to regenerate
(Growing NCA, "Regenerating"); evaluation uses ten fixed kinds (`evaluation_damage`).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Size = tuple[int, int]
DamageKind = Literal["disc", "half", "ring", "scattered", "stripes", "middle"]
DAMAGE: tuple[DamageKind, ...] = get_args(DamageKind)
REFERENCE = 28  # radii are given for a grid of 28 x 28 cells and scale with the grid


def erase(state: Tensor, region: Tensor) -> Tensor:
    """Set the state `[B, C, H, W]` to zero where `region` (bool, `[H, W]` or `[B, H, W]`) is."""
    return state * ~(region if region.dim() == 2 else region[:, None]).to(state.device)


def coordinates(size: Size) -> tuple[Tensor, Tensor]:
    """Row numbers `[H, 1]` and column numbers `[1, W]`."""
    return torch.arange(size[0])[:, None], torch.arange(size[1])[None]


def disc(centre_y: Tensor, centre_x: Tensor, radius: Tensor, size: Size) -> Tensor:
    """Discs as bool `[B, H, W]`; centres and radii in cells, `[B]`."""
    y, x = coordinates(size)
    distance = (y - centre_y[:, None, None]) ** 2 + (x - centre_x[:, None, None]) ** 2
    return distance <= radius[:, None, None] ** 2


def square(top: int, left: int, side: int, size: Size) -> Tensor:
    """A square as bool `[H, W]`."""
    region = torch.zeros(size, dtype=torch.bool)
    region[top : top + side, left : left + side] = True
    return region


def half_at(centre_y: Tensor, centre_x: Tensor, angle: Tensor, size: Size) -> Tensor:
    """All cells on one side of a line through a point, bool `[B, H, W]`.

    Args:
        centre_y, centre_x: the point, in cells, `[B]`.
        angle: in radians, `[B]`: 0 takes the cells to the right, pi / 2 those below.
    """
    y, x = coordinates(size)
    down, right = (y - centre_y[:, None, None]), (x - centre_x[:, None, None])
    return down * angle.sin()[:, None, None] + right * angle.cos()[:, None, None] > 0


def half_plane(side: Literal["left", "right", "top", "bottom"], size: Size) -> Tensor:
    """One half of the grid as bool `[H, W]`."""
    (y, x), (height, width) = coordinates(size), size
    half = {"top": y < height // 2, "bottom": y >= height // 2,
            "left": x < width // 2, "right": x >= width // 2}[side]  # fmt: skip
    return half.expand(size).clone()


def stripes(angle: Tensor, width: Tensor, phase: Tensor, size: Size) -> Tensor:
    """Bands as wide as the gaps between them, bool `[B, H, W]`.

    Args:
        angle: across the bands, in radians, `[B]`: 0 makes vertical bands, pi / 2 horizontal ones.
        width: of a band, in cells, `[B]`.
        phase: where the first begins, in cycles, `[B]`.
    """
    y, x = coordinates(size)
    along = y * angle.sin()[:, None, None] + x * angle.cos()[:, None, None]  # [B, H, W], cells
    along = along + 1e-4  # the cosine of pi / 2 is a hair below 0
    return (along / (2 * width[:, None, None]) + phase[:, None, None]) % 1 < 0.5


def scattered(count: int, share: float, generator: torch.Generator, size: Size) -> Tensor:
    """Single cells, each with probability `share`, bool `[count, H, W]`."""
    return torch.rand(count, *size, generator=generator) < share


def draw_damage(kind: DamageKind, size: Size, generator: torch.Generator) -> Tensor:
    """The cells that one sample loses, bool `[H, W]`.

    disc: 3 to 7 cells in radius, near the middle; larger on grids larger than 28 x 28.
    half: all cells on one side of a line through a point near the middle.
    ring: everything but such a disc.
    scattered: each cell by itself, with a probability of 0.3 to 0.6.
    stripes: bands as wide as the gaps between them, 1.5 to 3.5 cells, at any angle.
    middle: a disc around the seed's cell, and with it the origin marker.
    """
    sides = torch.tensor([[size[0]], [size[1]]])
    share, angle, radius, phase = torch.rand(4, 1, generator=generator)
    centre = sides / 4 + torch.rand(2, 1, generator=generator) * sides / 2  # where pictures are
    middle, angle = sides.div(2, rounding_mode="floor"), 2 * math.pi * angle
    radius = min(size) / REFERENCE * (3 + 4 * radius)
    if kind == "half":
        return half_at(*centre, angle, size)[0]
    if kind == "scattered":
        return scattered(1, 0.3 + 0.3 * share.item(), generator, size)[0]
    if kind == "stripes":
        return stripes(angle, radius / 2, phase, size)[0]
    region = disc(*(middle if kind == "middle" else centre), radius, size)[0]
    return ~region if kind == "ring" else region


def draw_damages(
    count: int, kinds: tuple[DamageKind, ...], size: Size, generator: torch.Generator
) -> Tensor:
    """What each of `count` samples loses, bool `[count, H, W]`; the kinds are equally likely."""
    picked = torch.randint(len(kinds), (count,), generator=generator).tolist()
    regions = [draw_damage(kinds[kind], size, generator) for kind in picked]
    return torch.stack(regions) if count else torch.zeros(0, *size, dtype=torch.bool)


def evaluation_damage(count: int, seed: int, size: Size) -> dict[str, Tensor]:
    """The ten kinds of damage of an evaluation, bool `[H, W]` or one per sample, `[count, H, W]`.

    On 28 x 28 cells: a square of 10 cells a side in the middle; a disc of radius 6 near the middle;
    each half of the grid; half of the cells at random; horizontal stripes of three cells; the
    seed's cell with all cells within 3 of it; and everything but that.
    """
    generator = torch.Generator().manual_seed(seed)
    scale, (height, width) = min(size) / REFERENCE, size
    side, corners = round(10 * scale), torch.tensor(size)[:, None] / 2 - 5 * scale
    centre = corners + 10 * scale * torch.rand(2, count, generator=generator)
    cell = torch.tensor([[height // 2], [width // 2], [3.0 * scale]])
    return {
        "square": square((height - side) // 2, (width - side) // 2, side, size),
        "disc": disc(*centre, torch.full((count,), 6.0 * scale), size),
        **{f"{half}_half": half_plane(half, size) for half in ("left", "right", "top", "bottom")},
        "random_half": scattered(count, 0.5, generator, size),
        "stripes": stripes(*torch.tensor([[math.pi / 2], [3.0 * scale], [0.0]]), size)[0],
        "middle": disc(*cell, size)[0],
        "all_but_middle": ~disc(*cell, size)[0],
    }
