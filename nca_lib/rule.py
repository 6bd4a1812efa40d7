"""The rule: the learned local update, the same in every cell.

A step, as in Growing NCA (Mordvintsev et al., 2020): every cell perceives its 3x3 neighbourhood,
a hidden layer that is also told the genome turns that into a change of state, a fire mask picks
the cells that really change, and cells without life around them are emptied.

`NCA.step` is written to be read: it computes the whole grid. `NCA.rollout` is what training and
inference use: the same mathematics, computed only where something can change.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nca_lib.errors import InputError
from nca_lib.genome import Genome, StyleCode, StyleEncoder
from nca_lib.sparse import ALIVE_ABOVE, LIFE, Weights, sparse_rollout

INK = 0  # channel of the cell state: the picture


@dataclass(frozen=True)
class RuleConfig:
    """Everything that decides the shapes and the behaviour of a rule."""

    channels: int = 16  # numbers in a cell's state
    hidden: int = 256  # width of the hidden layer
    label_dim: int = 16  # length of the label embedding
    style_dim: int = 16  # length of the style code; 0: the rule knows no styles
    perception: Literal["sobel", "patch"] = "sobel"  # see `perception_kernels`
    fire_rate: float = 0.5  # probability that a cell updates in a step

    def __post_init__(self):
        for name in ("channels", "hidden", "label_dim"):
            if getattr(self, name) < (2 if name == "channels" else 1):
                raise InputError(f"{name} is {getattr(self, name)}: choose a larger number")
        if self.style_dim < 0:
            raise InputError(f"style_dim is {self.style_dim}: choose 0 (no style) or more")
        if not 0 < self.fire_rate <= 1:
            raise InputError(f"fire_rate is {self.fire_rate}: choose a probability in (0, 1]")
        if self.perception not in ("sobel", "patch"):
            raise InputError(f"perception is {self.perception!r}: choose 'sobel' or 'patch'")


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


def choose_rollout(state: Tensor):
    """The compiled rollout where it can run, else the sparse one: the same results."""
    on_cpu = state.device.type == "cpu" and state.dtype in (torch.float32, torch.float64)
    if on_cpu and os.environ.get("NCA_COMPILED") != "0":
        from nca_lib import compiled  # numba takes half a second to import: late

        if compiled.available()[0]:
            return compiled.compiled_rollout
    return sparse_rollout


def alive(state: Tensor) -> Tensor:
    """The alive mask, bool `[B, 1, H, W]`: life in the 3x3 neighbourhood exceeds 0.1."""
    return F.max_pool2d(state[:, LIFE : LIFE + 1], 3, stride=1, padding=1) > ALIVE_ABOVE


class NCA(nn.Module):
    """A neural cellular automaton with a genome.

    Attributes:
        config: a `RuleConfig`.
        genome: `(labels [B], style [B, S] or None) -> [B, G]`.
        encoder: `(images, labels) -> StyleCode`, or None for a rule without styles.
    """

    def __init__(self, config: RuleConfig | None = None):
        super().__init__()
        self.config = config = config or RuleConfig()
        self.record: dict = {}  # how the rule was trained, filled in by checkpoints.load
        kernels = perception_kernels(config.perception)
        self.register_buffer("kernels", kernels, persistent=False)
        self.genome = Genome(config.label_dim, config.style_dim)
        self.encoder = StyleEncoder(config.style_dim) if config.style_dim else None
        self.perceived = nn.Linear(len(kernels) * config.channels, config.hidden)
        self.told = nn.Linear(config.label_dim + config.style_dim, config.hidden, bias=False)
        self.update = nn.Linear(config.hidden, config.channels, bias=False)
        nn.init.kaiming_normal_(self.perceived.weight)
        if config.perception == "sobel":  # slopes are faint: thrice the weight learns faster
            self.perceived.weight.data[:, config.channels :] *= 3
        nn.init.zeros_(self.update.weight)  # an untrained rule changes nothing

    @property
    def rule_parameters(self) -> int:
        """How many numbers the rule has, genome included, encoder apart."""
        return sum(p.numel() for n, p in self.named_parameters() if not n.startswith("encoder."))

    def perceive(self, state: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, K * C, H, W]"""
        b, c, h, w = state.shape
        seen = F.conv2d(state.reshape(b * c, 1, h, w), self.kernels, padding=1)  # [B * C, K, H, W]
        return seen.view(b, c, -1, h, w).transpose(1, 2).flatten(1, 2)  # [B, K * C, H, W]

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
        before = alive(state)
        state = state + self.change(self.perceive(state), genome) * fire[:, None]
        return state * (before & alive(state))

    def rollout(
        self,
        state: Tensor,
        genome: Tensor,
        steps: int,
        seeds: Tensor,
        record: tuple[int, ...] | None = None,
        first_step: int = 0,
    ) -> Tensor:
        """Repeat the step and return the states asked for; differentiable, and sparse.

        Args:
            state: `[B, C, H, W]`, for instance `seeds.seed_state(...)`.
            genome: `[B, G]`.
            steps: at least 1.
            seeds: int64 `[B]`, >= 0: which fire masks each sample draws.
            record: the steps (1 to `steps`, increasing) whose states are returned; None: the last.
            first_step: to continue a rollout as if it had never stopped: the steps already made.

        Returns:
            `[len(record), B, C, H, W]`.

        Raises:
            InputError: steps below 1, steps to record out of range, shapes that do not match.
        """
        record = (steps,) if record is None else tuple(record)
        self._check(state, genome, steps, seeds, record)
        scale = 1.0
        if self.config.perception == "sobel":  # sparse.perceive leaves out the factor 1/8
            scale = torch.full((3, 1), 1 / 8, dtype=state.dtype, device=state.device)
            scale[0] = 1.0
            scale = scale.expand(3, self.config.channels).reshape(1, -1)  # [1, 3C]
        weights = Weights(
            self.perceived.weight * scale,
            self.perceived.bias + self.told(genome),
            self.update.weight,
        )
        return choose_rollout(state)(
            state,
            weights,
            seeds,
            steps,
            record,
            first_step,
            self.config.fire_rate,
            self.config.perception == "sobel",
        )

    def _check(self, state, genome, steps, seeds, record):
        c, g = self.config.channels, self.told.in_features
        if steps < 1:
            raise InputError(f"steps is {steps}: a rollout has at least 1 step")
        if list(record) != sorted(set(record)) or not record:
            raise InputError(f"steps to record are {list(record)}: give increasing numbers")
        if record[0] < 1 or record[-1] > steps:
            raise InputError(f"steps to record are {list(record)}: they go from 1 to {steps}")
        if state.dim() != 4 or state.shape[1] != c:
            raise InputError(f"state has shape {list(state.shape)}, this rule wants [B, {c}, H, W]")
        if genome.shape != (len(state), g):
            raise InputError(f"genome has shape {list(genome.shape)}, want {[len(state), g]}")
        if seeds.shape != (len(state),) or seeds.dtype != torch.int64:
            raise InputError(f"seeds: want int64 [{len(state)}], one number a sample")

    def infer_style(self, images: Tensor, labels: Tensor) -> Tensor | None:
        """The style in which each picture is written, `[B, S]`; None for a rule without styles."""
        if self.encoder is None:
            return None
        return self.genome.style_of(self.encoder(images, labels).mean, labels)

    @torch.no_grad()
    def fit_styles(self, images: Tensor, labels: Tensor, batch: int = 1000) -> None:
        """Give styles their scale, from these pictures (`Genome.fit_styles`); after training."""
        if self.encoder is None:
            return
        parts = [
            self.encoder(i.to(self.kernels.device), y.to(self.kernels.device))
            for i, y in zip(images.split(batch), labels.split(batch), strict=True)
        ]
        code = StyleCode(*(torch.cat(part).cpu() for part in zip(*parts, strict=True)))
        self.genome.fit_styles(code, labels)

    def settings(self) -> dict:
        """The configuration as plain values, for checkpoints."""
        return asdict(self.config)
