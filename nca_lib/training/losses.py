"""What is learned: the ink at several steps of the growth, and what makes it last."""

from __future__ import annotations

import math
from typing import NamedTuple

from nca_lib.state import INK_THRESHOLD

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STATE_BOUND = 2.0  # |state| above this is penalised
PERIOD = 4  # cells after which the fine positional channels repeat
COARSE = 33.0  # weight of the coarse ones, which hardly differ between neighbours
BIRTH_STEPS = (1, 2, 4)  # steps after which a growth must still be alive,
BORN = 0.5  # with at least this value in its liveliest cell
LAST = 2  # of the loss steps are shown to the perceptual network: it knows finished pictures


class Losses(NamedTuple):
    """Scalars, already weighted; their sum is minimised."""

    ink: Tensor  # of self-classifying models: the votes
    alive: Tensor
    origin: Tensor
    position: Tensor
    perceptual: Tensor
    overflow: Tensor
    kl: Tensor


def alive_target(images: Tensor) -> Tensor:
    """Where cells should be alive: the ink dilated by two cells, its gaps closed, `[B, 1, H, W]`.

    Ink is where any channel of the images `[B, I, H, W]` shows: of colours, where they are opaque.
    Gaps of up to ten cells are filled (a dilation by five, an erosion by three), so that the inside
    of a 0 lives, and with it the seed's cell.
    """
    shows = (images > INK_THRESHOLD).any(1, keepdim=True)
    ink = F.pad(shows.to(images.dtype), (5, 5, 5, 5))  # beyond the grid is nothing
    wide = F.max_pool2d(ink, 11, stride=1, padding=5)
    return -F.max_pool2d(-wide, 7, stride=1, padding=3)[..., 5:-5, 5:-5]


def origin_target(images: Tensor) -> Tensor:
    """The origin marker, `[B, 1, H, W]`: 1 in the seed's cell, 0 elsewhere.

    A model has no coordinates, so a picture may drift; one that keeps the seed's mark can measure
    from it.
    """
    target = torch.zeros_like(images[:, :1])
    target[:, :, images.shape[2] // 2, images.shape[3] // 2] = 1.0
    return target


def position_target(images: Tensor, margin: int = 0) -> Tensor:
    """Where each cell is, seen from the seed: `[6, H, W]`, two coarse and four fine channels.

    Coarse: row and column, in halves of the picture, around which there is a margin. Fine: sine
    and cosine of both with a period of four cells, so that neighbours differ by a quarter of a turn
    (grid cells of a brain work alike: Hafting et al., 2005).

    Cells have no coordinates, but they can count: each is a step further than its neighbour
    ("positional information", Wolpert, 1969). Tissue that knows its position can be regenerated
    from what is left of it.
    """
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) - height // 2
    columns = torch.arange(width, device=images.device) - width // 2
    both = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))  # [2, H, W]
    turns = 2 * math.pi * both / PERIOD
    coarse = both / (min(height, width) / 2 - margin)
    return torch.cat([coarse, turns.sin(), turns.cos()]).to(images.dtype)


def position_error(frames: Tensor, images: Tensor, margin: int = 0) -> Tensor:
    """Squared error of positional channels `[R, B, 6, H, W]` within the tissue, `[R]`."""
    off = (frames - position_target(images, margin)).square() * alive_target(images)
    return COARSE * off[:, :, :2].mean((1, 2, 3, 4)) + off[:, :, 2:].mean((1, 2, 3, 4))


def birth_error(frames: Tensor, alive: int) -> Tensor:
    """How close growths come to dying in their first steps, a scalar; frames `[K, B, C, H, W]`.

    A grid whose cells have all died is empty, and no gradient comes from it: a model whose seed
    dies under some fire masks would never learn better. So the alive channel is kept away from the
    edge, where there still is a gradient. Of no frames the error is 0.
    """
    if not len(frames):
        return frames.new_zeros(())
    liveliest = frames[:, :, alive].flatten(2).amax(2)  # [K, B]
    return (BORN - liveliest).relu().square().mean()


def perceptual_error(network: nn.Module, frames: Tensor, images: Tensor) -> Tensor:
    """Perceptual loss (Johnson et al., 2016): squared error in a network's features, a scalar.

    Pixels are compared one by one, and a stroke that is a little off costs as much as none, so
    uncertain strokes come out grey; a classifier's features see strokes and their joints. Relative
    to the mean square of the real picture's features, for each sample.

    Args:
        network: has `features`, `[N, I, H, W]` -> `[N, F]`.
        frames: `[R, B, I, H, W]`, of which the last two are compared.
        images: `[B, I, H, W]`.
    """
    shown = frames[-LAST:].clamp(-0.2, 1.2)
    with torch.no_grad():
        real = network.features(images)  # [B, F]
    grown = network.features(shown.flatten(0, 1)).unflatten(0, shown.shape[:2])  # [LAST, B, F]
    return ((grown - real).square().mean(2) / real.square().mean(1).clamp(min=1e-6)).mean()


def overflow_error(frames: Tensor) -> Tensor:
    """The penalty on large states, a scalar."""
    return (frames.abs() - STATE_BOUND).relu().square().mean()
