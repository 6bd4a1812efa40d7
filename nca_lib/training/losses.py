"""What is learned: the ink at several steps of the growth, and what makes it last."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nca_lib.training.settings import TrainingConfig

import torch
import torch.nn.functional as F
from torch import Tensor

STATE_BOUND = 2.0  # |state| above this is penalised


def life_target(images: Tensor) -> Tensor:
    """Where tissue should be: the ink dilated by two cells, its gaps closed. `[B, 1, H, W]`.

    Ink is where any channel of the images `[B, I, H, W]` shows: of colours, where they are opaque.

    Gaps of up to six cells are filled (a dilation by five, an erosion by three), so that the inside
    of a 0 lives, and with it the cell in the middle where the growth began.
    """
    shows = (images > 0.1).any(1, keepdim=True)
    ink = F.pad(shows.to(images.dtype), (5, 5, 5, 5))  # beyond the grid is nothing
    wide = F.max_pool2d(ink, 11, stride=1, padding=5)
    return -F.max_pool2d(-wide, 7, stride=1, padding=3)[..., 5:-5, 5:-5]


def anchor_target(images: Tensor) -> Tensor:
    """A channel marks the cell that grew first, `[B, 1, H, W]`: 1 there, 0 elsewhere.

    The seed carries this mark (`cells.seed_state`). A rule has no coordinates, so a picture may
    drift, and nobody can tell it back; a rule that keeps the mark can measure from it.
    """
    target = torch.zeros_like(images[:, :1])
    target[:, :, images.shape[2] // 2, images.shape[3] // 2] = 1.0
    return target


# Frames [R, B, C, H, W] at the loss steps, images [B, I, H, W] and labels [B] -> a scalar.
OwnLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Losses(NamedTuple):
    """Scalars, already weighted; what is minimised is their sum."""

    ink: Tensor
    life: Tensor
    anchor: Tensor
    overflow: Tensor
    kl: Tensor


def growth_losses(frames: Tensor, images: Tensor, config: TrainingConfig) -> Losses:
    """The loss at the intermediate steps: frames `[R, B, C, H, W]`, targets `[B, I, H, W]`."""
    weights, channels = frames.new_tensor(config.weights), images.shape[1]
    weights = weights / weights.sum()
    ink = (frames[:, :, :channels] - images).square().mean((1, 2, 3, 4))  # [R]
    life = (frames[:, :, channels] - life_target(images)[:, 0]).square().mean((1, 2, 3))  # [R]
    anchor = torch.zeros_like(ink)
    if config.task == "grow" and config.anchor_weight:
        off = frames[:, :, channels + 1] - anchor_target(images)[:, 0]
        anchor = off.square().mean((1, 2, 3))  # [R]
    overflow = (frames.abs() - STATE_BOUND).relu().square().mean()
    return Losses(
        ink @ weights,
        config.life_weight * (life @ weights),
        config.anchor_weight * (anchor @ weights),
        config.overflow_weight * overflow,
        frames.new_zeros(()),
    )
