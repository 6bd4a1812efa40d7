"""The wounds of pooled samples: what heals is what was hurt in training, and what is like it."""

from __future__ import annotations

import math
from typing import Literal, get_args

from nca_lib.cells import SIZE, disc, half_at, scattered, stripes

import torch
from torch import Tensor

Wound = Literal["disc", "half", "ring", "scattered", "stripes", "middle"]
WOUNDS: tuple[Wound, ...] = get_args(Wound)


def draw_wound(kind: Wound, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """The cells that one sample loses, bool `[H, W]`.

    disc: 3 to 7 cells in radius, near the middle, on a grid of 28 x 28; larger on larger ones.
    half: all on one side of a line through a point near the middle.
    ring: all but such a disc.
    scattered: each cell by itself, with a probability of 0.3 to 0.6.
    stripes: bands as wide as the gaps between them, 1.5 to 3.5 cells, at any angle.
    middle: a disc around the cell where growth began, and with it the anchor.
    """
    sides = torch.tensor([[size[0]], [size[1]]])
    share, angle, radius, phase = torch.rand(4, 1, generator=generator)
    centre = sides / 4 + torch.rand(2, 1, generator=generator) * sides / 2  # where pictures are
    middle, angle = sides.div(2, rounding_mode="floor"), 2 * math.pi * angle
    radius = min(size) / SIZE * (3 + 4 * radius)
    if kind == "half":
        return half_at(*centre, angle, size)[0]
    if kind == "scattered":
        return scattered(1, 0.3 + 0.3 * share.item(), generator, size)[0]
    if kind == "stripes":
        return stripes(angle, radius / 2, phase, size)[0]
    region = disc(*(middle if kind == "middle" else centre), radius, size)[0]
    return ~region if kind == "ring" else region


def draw_wounds(
    hit: int, kinds: tuple[Wound, ...], size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """What each of `hit` samples loses, bool `[hit, H, W]`: a wound of any of the kinds."""
    picked = torch.randint(len(kinds), (hit,), generator=generator).tolist()
    wounds = [draw_wound(kinds[kind], size, generator) for kind in picked]
    return torch.stack(wounds) if hit else torch.zeros(0, *size, dtype=torch.bool)
