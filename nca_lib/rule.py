"""The rule: the learned local update, the same in every cell.

A step, as in Growing NCA (Mordvintsev et al., 2020): every cell perceives its 3x3 neighbourhood,
a hidden layer that is also told the genome turns that into a change of state, a fire mask picks
the cells that really change, and cells without life around them are emptied.

`NCA.step` is written to be read: it computes the whole grid. `NCA.rollout` is what training and
inference use: the same mathematics, computed only where something can change.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal
from warnings import catch_warnings

from nca_lib import cells
from nca_lib.cells import alive, seed_state
from nca_lib.errors import InputError
from nca_lib.genome import Genome, StyleCode, StyleEncoder
from nca_lib.inputs import as_labels, as_steps, as_tensor, as_whole
from nca_lib.kinds import MNIST, Kind
from nca_lib.rollout import Plan, Weights, choose_rollout
from nca_lib.rollout.dense import dense_rollout
from nca_lib.rollout.fire import streams

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class RuleConfig:
    """What is chosen of a rule; the rest, its `Kind`, follows from the data."""

    channels: int = 16  # numbers in a cell's state
    hidden: int = 256  # width of the hidden layer
    label_dim: int = 16  # length of the label embedding; 0: cells are told no label
    style_dim: int = 16  # length of the style code; 0: the rule knows no styles
    perception: Literal["sobel", "patch"] = "sobel"  # itself and two slopes, or all nine neighbours
    fire_rate: float = 0.5  # probability that a cell updates in a step
    held: tuple[int, ...] = ()  # channels that stay as they were given, in dead cells too

    def __post_init__(self):
        for name, least in (("channels", 2), ("hidden", 1), ("label_dim", 0), ("style_dim", 0)):
            as_whole(getattr(self, name), name, least)
        if not 0 < self.fire_rate <= 1:
            raise InputError(f"fire_rate is {self.fire_rate}: choose a probability in (0, 1]")
        if self.perception not in ("sobel", "patch"):
            raise InputError(f"perception is {self.perception!r}: choose 'sobel' or 'patch'")
        held = tuple(sorted({as_whole(channel, "a held channel") for channel in self.held}))
        if held and held[-1] >= self.channels:
            raise InputError(f"held channel {held[-1]}: they go from 0 to {self.channels - 1}")
        object.__setattr__(self, "held", held)


def perception_kernels(perception: str) -> Tensor:
    """The 3x3 filters that every channel is seen through, `[K, 1, 3, 3]`.

    sobel: the cell itself and the two gradients around it (Growing NCA).
    patch: all nine neighbours as they are; with the hidden layer, a trainable 3x3 convolution.
    """
    if perception == "patch":
        return torch.eye(9).view(9, 1, 3, 3)
    itself = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    return torch.stack([itself, across, across.T])[:, None]


class NCA(nn.Module):
    """A neural cellular automaton with a genome.

    Args:
        config: what is chosen; None: the usual.
        kind: the pictures that it grows: their classes, ink channels and size.
        kernels: 3x3 filters `[K, 1, 3, 3]` of your own, instead of `config.perception`'s.

    Attributes:
        genome: `(labels [B], style [B, S] or None) -> [B, G]`.
        encoder: `(images, labels) -> StyleCode`, or None for a rule without styles.

    Raises:
        InputError: too few channels for this kind of pictures, kernels of another shape.
    """

    def __init__(
        self, config: RuleConfig | None = None, kind: Kind = MNIST, kernels: Tensor | None = None
    ):
        super().__init__()
        self.config, self.kind = (config := config or RuleConfig()), kind
        self.record: dict = {}  # how the rule was trained, filled in by checkpoints.load
        if config.channels <= kind.life:
            raise InputError(
                f"channels is {config.channels}: {kind.ink} of ink and one of life are the least"
            )
        if kernels is not None and kernels.shape[1:] != (1, 3, 3):
            raise InputError(f"kernels have shape {list(kernels.shape)}: want [K, 1, 3, 3]")
        own, sobel = kernels is not None, config.perception == "sobel" and kernels is None
        kernels = kernels if own else perception_kernels(config.perception)
        self.register_buffer("kernels", kernels, persistent=own)
        free = torch.ones(config.channels, 1, 1, dtype=torch.bool)
        free[list(config.held)] = False
        self.register_buffer("free", free, persistent=False)  # channels that may change
        self.genome = Genome(config.label_dim, config.style_dim, kind)
        self.encoder = StyleEncoder(config.style_dim, kind) if config.style_dim else None
        self.perceived = nn.Linear(len(kernels) * config.channels, config.hidden)
        with catch_warnings(action="ignore", category=UserWarning):  # where cells are told nothing
            self.told = nn.Linear(config.label_dim + config.style_dim, config.hidden, bias=False)
        self.update = nn.Linear(config.hidden, config.channels, bias=False)
        nn.init.kaiming_normal_(self.perceived.weight)
        if sobel:  # slopes are faint: thrice the weight learns faster
            self.perceived.weight.data[:, config.channels :] *= 3
        nn.init.zeros_(self.update.weight)  # an untrained rule changes nothing

    @property
    def matrices(self) -> list[nn.Parameter]:
        """What a cell computes with: the weights `[D, P]`, `[D, G]` (if told) and `[C, D]`."""
        every = [self.perceived.weight, self.told.weight, self.update.weight]
        return [matrix for matrix in every if matrix.numel()]

    @property
    def task(self) -> str:
        """What it was trained for: 'grow', 'restore' or 'read'."""
        return self.record.get("training", {}).get("task", "grow")

    @property
    def known(self) -> list[int]:
        """The labels that it was trained on."""
        return self.record.get("digits") or list(range(len(self.kind.classes)))

    @property
    def trained_steps(self) -> int:
        """How long a rollout was in its training."""
        return max(self.record.get("training", {}).get("loss_steps", [32]))

    @property
    def fitted_numbers(self) -> int:
        """How many numbers were fitted after training: the styles' Gaussians, and their flow."""
        size, flow = self.config.style_dim, self.genome.flow
        bends = flow is not None and bool(flow.last.any() or flow.offset.any())
        bent = sum(weight.numel() for weight in flow.weights) if bends else 0
        return len(self.genome.average) * (size + size * (size + 1) // 2) + bent

    @property
    def rule_parameters(self) -> int:
        """How many numbers the rule has learned, genome included, encoder apart."""
        return sum(p.numel() for n, p in self.named_parameters() if not n.startswith("encoder."))

    def perceive(self, state: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, K * C, H, W]"""
        b, c, h, w = state.shape
        seen = F.conv2d(state.reshape(b * c, 1, h, w), self.kernels, padding=1)  # [B * C, K, H, W]
        return (
            seen.view(b, c, len(self.kernels), h, w).transpose(1, 2).flatten(1, 2)
        )  # [B, K * C, H, W]

    def change(self, seen: Tensor, genome: Tensor) -> Tensor:
        """What a cell adds to its state: `[B, K * C, H, W]`, `[B, G]` -> `[B, C, H, W]`.

        The genome is the same in all cells of a sample, so it acts as a bias of the hidden layer.
        """
        hidden = self.perceived(seen.movedim(1, -1)) + self.told(genome)[:, None, None]
        return self.update(F.relu(hidden)).movedim(-1, 1)

    def step(self, state: Tensor, genome: Tensor, fire: Tensor) -> Tensor:
        """One step of the whole grid: the definition that every other path is checked against.

        Args:
            state: `[B, C, H, W]`.
            genome: `[B, G]`.
            fire: bool `[B, H, W]`, the cells that may update (`fire.fire_mask` draws them).
        """
        before = alive(state, self.kind.life)  # [B, 1, H, W]; dead cells do not act
        acting = before & fire[:, None] & self.free  # [B, C, H, W]
        state = state + self.change(self.perceive(state), genome) * acting
        return state * (before & alive(state, self.kind.life) | ~self.free)

    def rollout(
        self,
        state: Tensor,
        genome: Tensor,
        steps: int,
        seeds: Tensor | int,
        record: tuple[int, ...] | int | None = None,
        first_step: int = 0,
    ) -> Tensor:
        """Repeat the step and return the states asked for; differentiable, and sparse.

        A rule whose `perceive`, `change` or `step` was replaced is rolled out by its own step.

        Args:
            state: `[B, C, H, W]`, for instance `cells.seed_state(...)`.
            genome: `[B, G]`.
            steps: at least 1.
            seeds: int64 `[B]`, >= 0: the stream of fire masks that each sample draws. Or one number
                below 2**28: a seed, from which every sample gets a stream of its own.
            record: the steps (1 to `steps`, increasing) whose states are returned; None: the last.
            first_step: to continue a rollout as if it had never stopped: the steps already made.

        Returns:
            `[len(record), B, C, H, W]`.

        Raises:
            InputError: steps below 1, steps to record out of range, shapes or types that do not
                match, autocast.
        """
        if as_whole(steps, "steps") < 1:
            raise InputError(f"steps is {steps}: a rollout has at least 1 step")
        record, first_step = as_steps(record, steps), as_whole(first_step, "first_step")
        self._check(state, genome)
        seeds = self._streams(seeds, state)
        weights = self._weights(genome)
        if weights is None:
            return dense_rollout(self, state, genome, steps, seeds, record, first_step)
        config, sobel = self.config, weights.perceive.shape[1] == 3 * self.config.channels
        physics = config.fire_rate, sobel, config.held, self.kind.life, cells.ALIVE_ABOVE
        plan = Plan(steps, record, first_step, *physics)
        return choose_rollout(state, weights)(state, weights, seeds, plan)

    def _weights(self, genome: Tensor) -> Weights | None:
        """The rule as the sparse rollouts want it; None if it is not of the kind that they know.

        They see itself and two slopes, without Sobel's factor 1/8, or all nine neighbours: any
        other 3x3 kernels are nine weights each, and become a part of the first layer.
        """
        layers, c = (self.perceived, self.told, self.update), self.config.channels
        known = all(type(layer) is nn.Linear for layer in layers) and self.update.bias is None
        methods = ("perceive", "change", "step")
        known &= all(getattr(type(self), m) is getattr(NCA, m) for m in methods)
        if not known or self.__dict__.keys() & {*methods} or self.kernels.shape[1:] != (1, 3, 3):
            return None
        kernels, update = self.kernels, self.update.weight
        perceive = self.perceived.weight.unflatten(1, (len(kernels), c))  # [D, K, C]
        if torch.equal(kernels, perception_kernels("sobel").to(kernels)):
            scale = kernels.new_tensor([1, 1 / 8, 1 / 8])
            perceive = perceive * scale[:, None]  # [D, 3, C]
        else:
            perceive = torch.einsum("dkc,kn->dnc", perceive, kernels.flatten(1))  # [D, 9, C]
        if self.config.held:
            update = update * self.free[:, :, 0]
        return Weights(perceive.flatten(1), self.perceived.bias + self.told(genome), update)

    def _streams(self, seeds, state: Tensor) -> Tensor:
        if isinstance(seeds, int):
            return streams(len(state), seeds).to(state.device)
        seeds = as_tensor(seeds, "seeds")
        whole = not (seeds.is_floating_point() or seeds.is_complex() or seeds.dtype == torch.bool)
        if not whole or seeds.shape != (len(state),) or (seeds < 0).any():
            raise InputError(f"seeds: want whole numbers [{len(state)}], >= 0, one a sample")
        return seeds.to(state.device, torch.int64)

    def _check(self, state: Tensor, genome: Tensor) -> None:
        (c, g), own = (self.config.channels, self.told.in_features), self.kernels
        if state.dim() != 4 or state.shape[1] != c or not (state.shape[2] and state.shape[3]):
            raise InputError(f"state has shape {list(state.shape)}, this rule wants [B, {c}, H, W]")
        if genome.shape != (len(state), g):
            raise InputError(f"genome has shape {list(genome.shape)}, want {[len(state), g]}")
        if torch.is_autocast_enabled(state.device.type):
            raise InputError("a rollout computes in float32 or float64: call it outside autocast")
        for name, given in (("state", state), ("genome", genome)):
            if (given.dtype, given.device) != (own.dtype, own.device):
                raise InputError(
                    f"{name} is {given.dtype} on {given.device}, the rule {own.dtype} on "
                    f"{own.device}: convert one of them, as in {name}.to(rule.kernels)"
                )

    @torch.no_grad()
    def grow(
        self,
        labels,
        style: Tensor | None = None,
        steps: int | None = None,
        seed: int | Tensor = 0,
        at: tuple[int, int] | None = None,
    ) -> Tensor:
        """Growths from one cell each, the seed included: states `[steps + 1, B, C, H, W]`.

        Args:
            labels: `[B]` or one, numbers or names.
            style: `[B, S]`; None: the average hand.
            steps: default: twice the steps of its training.
            seed: of the fire masks, or a stream for each growth: `seeds` of `rollout`.
            at: row and column of the seed; None: the middle.

        Raises:
            InputError: a label that no class has, styles of another shape, steps below 1.
        """
        steps = as_whole(2 * self.trained_steps if steps is None else steps, "steps", least=1)
        genome, kind = self.genome(labels, style), self.kind
        state = seed_state(len(genome), self.config.channels, kind.size, kind.life).to(self.kernels)
        if at is not None:
            middle = (side // 2 for side in kind.size)
            state = state.roll([to - of for to, of in zip(at, middle, strict=True)], (2, 3))
        frames = self.rollout(state, genome, steps, seed, range(1, steps + 1))
        return torch.cat([state[None], frames])

    @torch.no_grad()
    def redraw(self, picture: Tensor, label, labels=None, steps: int | None = None, seed: int = 0):
        """Grow a picture anew in its own style: states `[steps + 1, B, C, H, W]`, as in `grow`.

        Args:
            picture: `[I, H, W]` or `[H, W]` in [0, 1], prepared as the training pictures were
                (`handwriting.read_picture` prepares a drawn or photographed digit).
            label: what it shows.
            labels: what to write in its style, `[B]`; None: the same label.

        Raises:
            InputError: a rule without styles, another kind of picture, a label that no class has.
        """
        if self.encoder is None:
            raise InputError("this rule knows no styles: it can't redraw a picture in its own")
        images = as_tensor(picture, "picture").to(self.kernels)
        images = images.reshape(-1, *images.shape[-3:]) if images.dim() > 2 else images[None, None]
        style = self.infer_style(images, label)  # [1, S]
        labels = as_labels(label if labels is None else labels, self.kind.classes)
        return self.grow(labels, style.expand(len(labels), -1), steps, seed)

    def infer_style(self, images: Tensor, labels: Tensor) -> Tensor | None:
        """The style in which each picture is written, `[B, S]`; None for a rule without styles."""
        if self.encoder is None:
            return None
        labels = as_labels(labels, self.kind.classes, self.kernels.device)
        return self.genome.style_of(self.encoder(images, labels).mean, labels)

    @torch.no_grad()
    def fit_styles(
        self, images: Tensor, labels: Tensor, iterations: int = 0, batch: int = 1000
    ) -> None:
        """Give styles their scale, from these pictures (`Genome.fit_styles`); after training."""
        if self.encoder is None:
            return
        parts = [
            self.encoder(i, y)
            for i, y in zip(images.split(batch), labels.split(batch), strict=True)
        ]
        code = StyleCode(*(torch.cat(part).cpu() for part in zip(*parts, strict=True)))
        self.genome.fit_styles(code, labels, iterations)

    def settings(self) -> dict:
        """Configuration and kind as plain values, for checkpoints."""
        both = asdict(self.config) | asdict(self.kind)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in both.items()}
