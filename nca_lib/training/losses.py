"""What is learned: the ink at several steps of the growth, and what makes it last."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from nca_lib.cells import SHOWS, inner, widened
from nca_lib.judge import Judge
from nca_lib.kinds import Kind
from nca_lib.reading import vote_error
from nca_lib.training.settings import TrainingConfig

import torch
import torch.nn.functional as F
from torch import Tensor

STATE_BOUND = 2.0  # |state| above this is penalised
PERIOD = 4  # cells between two fine marks that are alike
COARSE = 33.0  # coarse marks hardly differ between neighbours: their error counts so many times
FIRST = (1, 2, 4)  # steps after which a growth must still live,
BORN = 0.5  # with at least so much life in its liveliest cell
SHOWN = 2  # of the loss steps, the last ones, are shown to the critic: it knows finished pictures


def life_target(images: Tensor) -> Tensor:
    """Where tissue should be: the ink dilated by two cells, its gaps closed. `[B, 1, H, W]`.

    Ink is where any channel of the images `[B, I, H, W]` shows: of colours, where they are opaque.

    Gaps of up to ten cells are filled (a dilation by five, an erosion by three), so that the inside
    of a 0 lives, and with it the cell in the middle where the growth began.
    """
    shows = (images > SHOWS).any(1, keepdim=True)
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


def place_target(images: Tensor, margin: int = 0) -> Tensor:
    """Where each cell is, `[6, H, W]`: a ruler with coarse and with fine marks, from the seed on.

    Coarse: row and column, in halves of the picture, around which there is a margin. Fine: sine
    and cosine of both, with a period of four cells, so that neighbours differ by a quarter of a
    turn and no mark can lie between two cells (the grid cells of a brain work alike: Hafting et
    al., 2005).

    A rule has no coordinates, but cells can count: each is a step further than its neighbour
    ("positional information", Wolpert, 1969). Tissue that knows where it is can be healed by what
    is left of it, wherever the wound was, and the anchor grows again.
    """
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) - height // 2
    columns = torch.arange(width, device=images.device) - width // 2
    both = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))  # [2, H, W]
    turns = 2 * math.pi * both / PERIOD
    coarse = both / (min(height, width) / 2 - margin)
    return torch.cat([coarse, turns.sin(), turns.cos()]).to(images.dtype)


def place_error(frames: Tensor, images: Tensor, margin: int = 0) -> Tensor:
    """Squared error of the six channels within the tissue, `[R]`; frames `[R, B, 6, H, W]`."""
    off = (frames - place_target(images, margin)).square() * life_target(images)
    return COARSE * off[:, :, :2].mean((1, 2, 3, 4)) + off[:, :, 2:].mean((1, 2, 3, 4))


def birth_error(frames: Tensor, life: int) -> Tensor:
    """How far a growth is from dying in its first steps, a scalar; frames `[K, B, C, H, W]`.

    A grid in which all cells have died is empty, and no gradient comes from it: a rule whose seed
    dies under some fire masks would never learn better. So life is kept away from the edge, where
    there still is a gradient. Of no frames the error is 0.
    """
    if not len(frames):
        return frames.new_zeros(())
    liveliest = frames[:, :, life].flatten(2).amax(2)  # [K, B]
    return (BORN - liveliest).relu().square().mean()


# Frames [R, B, C, H, W] at the loss steps, images [B, I, H, W] and labels [B] -> a scalar.
OwnLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Losses(NamedTuple):
    """Scalars, already weighted; what is minimised is their sum."""

    ink: Tensor  # of cells that read: their votes
    life: Tensor
    anchor: Tensor
    place: Tensor
    critic: Tensor
    overflow: Tensor
    kl: Tensor


def critic_error(critic: Judge, frames: Tensor, images: Tensor) -> Tensor:
    """How far the pictures are from their targets in what a critic sees, a scalar.

    Pixels are compared one by one, and a stroke that is a little off costs as much as none; so
    what is unsure comes out grey. A critic sees strokes and their joints ("perceptual loss",
    Johnson et al., 2016). Squared error of its 64 features, in units of the real picture's
    mean square: each sample for itself, so that ranks may share a batch out.

    Args:
        frames: `[R, B, I, H, W]`, of which the last are shown.
        images: `[B, I, H, W]`.
    """
    shown = frames[-SHOWN:].clamp(-0.2, 1.2)
    with torch.no_grad():
        real = critic.features(images)  # [B, F]
    grown = critic.features(shown.flatten(0, 1)).unflatten(0, shown.shape[:2])  # [SHOWN, B, F]
    return ((grown - real).square().mean(2) / real.square().mean(1).clamp(min=1e-6)).mean()


def growth_losses(
    frames: Tensor, images: Tensor, config: TrainingConfig, critic: Judge | None = None
) -> Losses:
    """The loss at the intermediate steps: frames `[R, B, C, H, W]`, targets `[B, I, H, W]`.

    Frames may have a margin around the pictures; in it there should be nothing. Errors are means
    over the cells of a picture, however wide the margin is.
    """
    margin, channels = (frames.shape[-1] - images.shape[-1]) // 2, images.shape[1]
    pictures, images = images, widened(images, margin)
    wider = images.numel() / pictures.numel()
    weights = wider * weights_of(frames, config)
    ink = (frames[:, :, :channels] - images).square().mean((1, 2, 3, 4))  # [R]
    life = (frames[:, :, channels] - life_target(images)[:, 0]).square().mean((1, 2, 3))  # [R]
    anchor = torch.zeros_like(ink)
    if config.task == "grow" and config.anchor_weight:
        off = frames[:, :, channels + 1] - anchor_target(images)[:, 0]
        anchor = off.square().mean((1, 2, 3))  # [R]
    place = torch.zeros_like(ink)
    if config.task == "grow" and config.place_weight:
        place = place_error(frames[:, :, channels + 2 : channels + 8], images, margin)  # [R]
    seen = frames.new_zeros(())
    if critic is not None:
        seen = critic_error(critic, inner(frames[:, :, :channels], margin), pictures)
    return Losses(
        ink @ weights,
        config.life_weight * (life @ weights),
        config.anchor_weight * (anchor @ weights),
        config.place_weight * (place @ weights),
        config.critic_weight * seen,
        wider * overflow(frames, config),
        frames.new_zeros(()),
    )


def reading_losses(
    frames: Tensor, images: Tensor, labels: Tensor, kind: Kind, config: TrainingConfig
) -> Losses:
    """The loss of cells that read: their votes, in the place of the ink, and the overflow."""
    none, error = frames.new_zeros(()), vote_error(frames, images, labels, kind)  # [R]
    votes = error @ weights_of(frames, config)
    return Losses(votes, none, none, none, none, overflow(frames, config), none)


def weights_of(frames: Tensor, config: TrainingConfig) -> Tensor:
    """Of the loss steps, `[R]`; they add up to 1."""
    weights = frames.new_tensor(config.weights)
    return weights / weights.sum()


def overflow(frames: Tensor, config: TrainingConfig) -> Tensor:
    """The penalty on large states, a scalar."""
    return config.overflow_weight * (frames.abs() - STATE_BOUND).relu().square().mean()
