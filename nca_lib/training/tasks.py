"""Tasks: what a model is trained for. Each knows its initial state, its loss and its accuracy.

Grow: from one seed cell. Restore: from a blurred picture (the initial state shows the target, so
this is no growth). Classify: the ink is given and stays, and the cells agree which class it is
(Randazzo et al., 2020): each votes with the last channels of its state, one per class.
"""

from __future__ import annotations

from nca_lib.data.blur import box_blur, random_blur
from nca_lib.inputs import InputError
from nca_lib.model import NCA
from nca_lib.spec import ImageSpec
from nca_lib.state import INK_THRESHOLD, crop, pad, state_from_image
from nca_lib.training.config import TrainingConfig
from nca_lib.training.losses import (
    Losses,
    alive_target,
    origin_target,
    overflow_error,
    perceptual_error,
    position_error,
)

import torch.nn.functional as F
from torch import Tensor


class Task:
    """What the three tasks share; `name` is what a model's file says."""

    name: str
    does: str  # for people: "this model ..."
    from_seed = False  # growth begins with one cell
    switches = True  # a sample's target may change while it grows

    def check(self, model: NCA, config: TrainingConfig) -> None:
        """Raise InputError if the model can't be trained for this task with these settings."""

    def initial_state(self, model: NCA, images: Tensor) -> Tensor:
        """Where a rollout for images `[B, I, H, W]` starts, `[B, C, H, W]`: at one seed each."""
        return model.seed(len(images)).to(images)

    def training_state(
        self, model: NCA, images: Tensor, rng_seeds: Tensor, config: TrainingConfig
    ) -> Tensor:
        """As `initial_state`, with what training varies and its margin."""
        return pad(self.initial_state(model, images), config.margin)

    def accuracy(self, model: NCA, states: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """The share of right pixels of each sample, `[B]`; states `[B, C, H, W]`."""
        same = (states[:, : model.spec.channels] > 0.5) == (images > 0.5)  # [B, I, H, W]
        return same.float().mean((1, 2, 3))

    def losses(
        self, model: NCA, frames: Tensor, images: Tensor, labels: Tensor, config, perceptual
    ) -> Losses:
        """The loss at the recorded steps: frames `[R, B, C, H, W]`, targets `[B, I, H, W]`.

        Frames may have a margin around the pictures; in it there should be nothing. Errors are
        means over the cells of a picture, however wide the margin is.
        """
        spec, margin = model.spec, config.margin
        wide = pad(images, margin)
        ratio = wide.numel() / images.numel()
        weights = ratio * equal_weights(frames)
        none = frames.new_zeros(())
        ink = (frames[:, :, : spec.channels] - wide).square().mean((1, 2, 3, 4))  # [R]
        alive = (frames[:, :, spec.alive] - alive_target(wide)[:, 0]).square().mean((1, 2, 3))
        origin = position = seen = none
        if config.origin_weight:
            off = frames[:, :, spec.origin] - origin_target(wide)[:, 0]
            origin = config.origin_weight * (off.square().mean((1, 2, 3)) @ weights)
        if config.position_weight:
            error = position_error(frames[:, :, spec.positional], wide, margin)  # [R]
            position = config.position_weight * (error @ weights)
        if perceptual is not None:
            shown = crop(frames[:, :, : spec.channels], margin)
            seen = config.perceptual_weight * perceptual_error(perceptual, shown, images)
        overflow = ratio * (config.overflow_weight * overflow_error(frames))
        alive = config.alive_weight * (alive @ weights)
        return Losses(ink @ weights, alive, origin, position, seen, overflow, none)


class Grow(Task):
    """Grow a picture from one cell, conditioned on its label and style."""

    name, does, from_seed = "grow", "grows pictures", True

    def check(self, model: NCA, config: TrainingConfig) -> None:
        spec, channels = model.spec, model.config.channels
        wanted = spec.positional.stop if config.position_weight else 0
        wanted = max(wanted, spec.origin + 1 if config.origin_weight else 0)
        if channels < wanted:
            raise InputError(
                f"the model has {channels} channels, origin marker and positional channels want "
                f"{wanted}: choose more, or set origin_weight and position_weight to 0"
            )


class Restore(Task):
    """Sharpen a picture that a 5x5 box has blurred."""

    name, does, switches = "restore", "restores blurred pictures", False

    def initial_state(self, model: NCA, images: Tensor) -> Tensor:
        return state_from_image(box_blur(images), model.config.channels, threshold=0)

    def training_state(
        self, model: NCA, images: Tensor, rng_seeds: Tensor, config: TrainingConfig
    ) -> Tensor:
        blurred = random_blur(images, config.blurs, config.noise, rng_seeds)
        return pad(state_from_image(blurred, model.config.channels, threshold=0), config.margin)


class Classify(Task):
    """Agree which class the picture under the cells belongs to."""

    name, does = "classify", "classifies pictures"

    def check(self, model: NCA, config: TrainingConfig) -> None:
        wanted = model.spec.alive + 1 + len(model.spec.classes)
        if model.config.channels < wanted:
            raise InputError(
                f"votes want {wanted} channels, this model has {model.config.channels}"
            )
        if model.conditioning is not None:
            raise InputError("a self-classifying model has no conditioning: label_dim, style_dim 0")

    def initial_state(self, model: NCA, images: Tensor) -> Tensor:
        return state_from_image(images, model.config.channels)

    def accuracy(self, model: NCA, states: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """The share of cells on the ink that vote for the label, `[B]`."""
        tally = count_votes(states, images, model.spec)  # [B, L]
        return tally.gather(1, labels[:, None])[:, 0] / tally.sum(1).clamp(min=1)

    def losses(
        self, model: NCA, frames: Tensor, images: Tensor, labels: Tensor, config, perceptual
    ) -> Losses:
        error = vote_error(frames, pad(images, config.margin), labels, model.spec)  # [R]
        votes, none = error @ equal_weights(frames), frames.new_zeros(())
        overflow = config.overflow_weight * overflow_error(frames)
        return Losses(votes, none, none, none, none, overflow, none)


TASKS = {task.name: task for task in (Grow(), Restore(), Classify())}


def task_of(model: NCA) -> Task:
    """The task that a model is trained for."""
    return TASKS[model.task]


def equal_weights(frames: Tensor) -> Tensor:
    """Weights of the loss steps, `[R]`; they add up to 1."""
    return frames.new_full((len(frames),), 1 / len(frames))


# ---- votes of self-classifying models ------------------------------------------------------------


def voters(images: Tensor) -> Tensor:
    """The cells whose votes count, bool `[B, H, W]`: those on the ink of `[B, I, H, W]`."""
    return (images > INK_THRESHOLD).any(1)


def votes(states: Tensor, spec: ImageSpec) -> Tensor:
    """Each cell's vote for each class: `[..., C, H, W]` -> `[..., L, H, W]`."""
    return states[..., -len(spec.classes) :, :, :]


def vote_error(frames: Tensor, images: Tensor, labels: Tensor, spec: ImageSpec) -> Tensor:
    """Squared distance of the votes to 1 for the label and 0 for the rest, `[R]`.

    Mean over the voting cells, then over the samples; frames `[R, B, C, H, W]`.
    """
    wanted = F.one_hot(labels, len(spec.classes)).to(frames)[..., None, None]  # [B, L, 1, 1]
    off = (votes(frames, spec) - wanted).square().sum(2)  # [R, B, H, W]
    counts = voters(images)  # [B, H, W]
    each = (off * counts).sum((2, 3)) / counts.sum((1, 2)).clamp(min=1)  # [R, B]
    return each.mean(1)


def count_votes(states: Tensor, images: Tensor, spec: ImageSpec) -> Tensor:
    """How many of the voting cells vote for each class: `[B, C, H, W]` -> int `[B, L]`."""
    chosen = votes(states, spec).argmax(1)  # [B, H, W]
    ballots = F.one_hot(chosen, len(spec.classes))  # [B, H, W, L]
    return (ballots * voters(images).to(ballots.device)[..., None]).sum((1, 2))
