"""The model: a learned update rule, the same in every cell.

One step, as in Growing NCA (Mordvintsev et al., 2020): every cell perceives its 3x3 neighbourhood;
a small network turns what it perceives, and the condition, into a change of its state; a fire mask
picks the cells that really change; and cells without a living neighbourhood are emptied.

`NCA.step` is written to be read: it computes the whole grid. `NCA.rollout` is what training and
inference use: the same mathematics, computed only where something can change.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from nca_lib.conditioning import Conditioning, StyleCode, StyleEncoder
from nca_lib.inputs import InputError, as_labels, as_tensor, as_whole
from nca_lib.rollout import roll_out
from nca_lib.rollout.plan import as_rng_seeds, check_inputs, make_plan
from nca_lib.spec import ImageSpec
from nca_lib.state import alive_mask, seed_state

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRADIENT_GAIN = 3  # Sobel gradients are faint: thrice the initial weight learns faster


@dataclass(frozen=True)
class ModelConfig:
    """What is chosen about a model; its `ImageSpec` follows from the data."""

    channels: int = 16  # numbers in a cell's state
    hidden: int = 256  # width of the hidden layer
    label_dim: int = 16  # length of the label embedding; 0: not conditioned on a label
    style_dim: int = 0  # length of the style code; 0: not conditioned on a style
    perception: Literal["sobel", "patch"] = "sobel"  # itself and 2 gradients, or all 9 neighbours
    fire_rate: float = 0.5  # probability that a cell updates in a step
    frozen: tuple[int, ...] = ()  # channels that never change, in dead cells either

    def __post_init__(self):
        for name, least in (("channels", 2), ("hidden", 1), ("label_dim", 0), ("style_dim", 0)):
            as_whole(getattr(self, name), name, least)
        if not 0 < self.fire_rate <= 1:
            raise InputError(f"fire_rate is {self.fire_rate}: choose a probability in (0, 1]")
        if self.perception not in ("sobel", "patch"):
            raise InputError(f"perception is {self.perception!r}: choose 'sobel' or 'patch'")
        frozen = tuple(sorted({as_whole(channel, "a frozen channel") for channel in self.frozen}))
        if frozen and frozen[-1] >= self.channels:
            raise InputError(f"frozen channel {frozen[-1]}: they go from 0 to {self.channels - 1}")
        object.__setattr__(self, "frozen", frozen)


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
    """A neural cellular automaton.

    Args:
        spec: the pictures that it grows: their classes, ink channels and size.
        config: a whole `ModelConfig`; or give its fields as keywords, `NCA(spec, channels=16)`.
        kernels: 3x3 filters `[K, 1, 3, 3]` of your own, instead of `perception`'s.

    Attributes:
        conditioning: `(labels, style) -> [B, D]`, or None.
        encoder: `(images, labels) -> StyleCode`, or None for a model without styles.
        task: what it is trained for: 'grow', 'restore' or 'classify' (training/tasks.py).
        steps: how long its rollouts were in training.
        trained_labels: the labels it was trained on.
        metadata: how it was trained; for people, nothing is computed from it.

    Raises:
        InputError: too few channels for these pictures, kernels of another shape, a wrong setting.
    """

    def __init__(
        self,
        spec: ImageSpec,
        config: ModelConfig | None = None,
        *,
        kernels: Tensor | None = None,
        **settings,
    ):
        super().__init__()
        self.spec, self.config = spec, (config := make_config(spec, config, settings))
        self.task, self.steps, self.metadata = "grow", 32, {}
        self.trained_labels = list(range(len(spec.classes)))
        own, sobel = kernels is not None, config.perception == "sobel" and kernels is None
        kernels = kernels if own else perception_kernels(config.perception)
        if kernels.shape[1:] != (1, 3, 3):
            raise InputError(f"kernels have shape {list(kernels.shape)}: want [K, 1, 3, 3]")
        self.register_buffer("kernels", kernels, persistent=own)
        free = torch.ones(config.channels if config.frozen else 1, 1, 1, dtype=torch.bool)
        free[list(config.frozen)] = False
        self.register_buffer("free", free, persistent=False)  # channels that may change, [C or 1]
        self.conditioning = self.encoder = self.from_condition = None
        length = config.label_dim + config.style_dim
        if length:
            self.conditioning = Conditioning(spec, config.label_dim, config.style_dim)
        if config.style_dim:
            self.encoder = StyleEncoder(spec, config.style_dim)
        self.hidden = nn.Linear(len(kernels) * config.channels, config.hidden)
        if length:
            self.from_condition = nn.Linear(length, config.hidden, bias=False)
        self.output = nn.Linear(config.hidden, config.channels, bias=False)
        nn.init.kaiming_normal_(self.hidden.weight)
        if sobel:
            self.hidden.weight.data[:, config.channels :] *= GRADIENT_GAIN
        nn.init.zeros_(self.output.weight)  # an untrained model changes nothing

    @property
    def parameter_count(self) -> int:
        """How many parameters the automaton has, conditioning included, encoder not."""
        named = self.named_parameters()
        return sum(p.numel() for name, p in named if not name.startswith("encoder."))

    @property
    def style_parameters(self) -> int:
        """How many numbers the Gaussians of the styles have: means and triangular factors."""
        length = self.config.style_dim
        return len(self.spec.classes) * length * (length + 3) // 2

    # ---- one step --------------------------------------------------------------------------------

    def seed(self, count: int = 1, at: tuple[int, int] | None = None) -> Tensor:
        """States `[count, C, H, W]` with one living cell each; `at` is its (row, column)."""
        state = seed_state(self.spec, self.config.channels, as_whole(count, "count"), at)
        return state.to(self.kernels)

    def condition(self, labels, style: Tensor | None = None) -> Tensor | None:
        """The condition `[B, D]` of labels `[B]` (numbers or names) and styles `[B, S]`.

        None for a model without conditioning.

        Raises:
            InputError: a label that no class has, styles of another shape.
        """
        if self.conditioning is None:
            as_labels(labels, self.spec.classes)
            return None
        return self.conditioning(labels, style)

    def perceive(self, state: Tensor) -> Tensor:
        """What each cell sees through the kernels: `[B, C, H, W]` -> `[B, K * C, H, W]`."""
        b, c, h, w = state.shape
        seen = F.conv2d(state.reshape(b * c, 1, h, w), self.kernels, padding=1)  # [B * C, K, H, W]
        seen = seen.view(b, c, len(self.kernels), h, w)  # [B, C, K, H, W]
        return seen.transpose(1, 2).flatten(1, 2)  # [B, K * C, H, W]

    def update(self, perceived: Tensor, condition: Tensor | None) -> Tensor:
        """The update rule: what a cell adds to its state.

        `[B, K * C, H, W]` and `[B, D]` -> `[B, C, H, W]`. The condition is the same in all cells of
        a sample, so it acts as a bias of the hidden layer.
        """
        hidden = self.hidden(perceived.movedim(1, -1))  # [B, H, W, hidden]
        if condition is not None:
            hidden = hidden + self.from_condition(condition)[:, None, None]
        return self.output(F.relu(hidden)).movedim(-1, 1)

    def step(self, state: Tensor, condition: Tensor | None, fire: Tensor) -> Tensor:
        """One step of the whole grid: the definition that every engine is checked against.

        Args:
            state: `[B, C, H, W]`.
            condition: `[B, D]`, or None.
            fire: bool `[B, H, W]`, the cells that may update (`fire.fire_mask` draws them).
        """
        before = alive_mask(state, self.spec.alive)  # [B, 1, H, W]; dead cells do not act
        acting = before & fire[:, None] & self.free  # [B, C or 1, H, W]
        state = state + self.update(self.perceive(state), condition) * acting
        return state * (before & alive_mask(state, self.spec.alive) | ~self.free)

    # ---- many steps ------------------------------------------------------------------------------

    def rollout(
        self,
        state: Tensor,
        condition: Tensor | None,
        steps: int,
        rng_seeds: Tensor | int = 0,
        record_steps: tuple[int, ...] | int | None = None,
        first_step: int = 0,
        engine: str = "auto",
    ) -> Tensor:
        """Repeat the step and return the states asked for; differentiable.

        Args:
            state: `[B, C, H, W]`, for instance `model.seed(B)`.
            condition: `[B, D]` or `[1, D]`; None for a model without conditioning.
            steps: at least 1.
            rng_seeds: int64 `[B]`, >= 0, which decide each sample's fire masks. Or one seed below
                2**28, from which every sample gets its own.
            record_steps: the steps (1 to `steps`, increasing) to return; None: the last.
            first_step: to continue a rollout as if it had never stopped: the steps already made.
            engine: 'auto', or one of `rollout.ENGINES`. A model whose `perceive`, `update` or
                `step` was replaced is rolled out by its own dense step.

        Returns:
            `[len(record_steps), B, C, H, W]`.

        Raises:
            InputError: steps out of range, shapes or types that do not match, autocast, an engine
                that can't run here.
        """
        condition = check_inputs(self, state, condition)
        plan = make_plan(self, state, steps, record_steps, first_step)
        seeds = as_rng_seeds(rng_seeds, state)
        return roll_out(self, state, condition, plan, seeds, engine)

    def forward(
        self,
        state: Tensor,
        condition: Tensor | None = None,
        steps: int | None = None,
        rng_seeds: Tensor | int = 0,
        engine: str = "auto",
    ) -> Tensor:
        """A rollout's last state, `[B, C, H, W]` -> `[B, C, H, W]`; steps default to training's."""
        return self.rollout(state, condition, steps or self.steps, rng_seeds, engine=engine)[-1]

    @torch.no_grad()
    def grow(
        self,
        labels,
        style: Tensor | None = None,
        steps: int | None = None,
        rng_seeds: int | Tensor = 0,
        at: tuple[int, int] | None = None,
    ) -> Tensor:
        """Growth from one cell each, the seed included: states `[steps + 1, B, C, H, W]`.

        The result carries `spec`, so that `nca_lib.show` and `save_gif` know its ink channels.

        Args:
            labels: `[B]` or one, numbers or names.
            style: `[B, S]`; None: the mean style.
            steps: default: twice the steps of its training.
            rng_seeds: as in `rollout`.
            at: row and column of the seed; None: the middle.

        Raises:
            InputError: a label that no class has, styles of another shape, steps below 1.
        """
        steps = as_whole(2 * self.steps if steps is None else steps, "steps", least=1)
        count = len(as_labels(labels, self.spec.classes))
        condition, state = self.condition(labels, style), self.seed(count, at)
        frames = self.rollout(state, condition, steps, rng_seeds, range(1, steps + 1))
        frames = torch.cat([state[None], frames])
        frames.spec = self.spec
        return frames

    def redraw(
        self, picture, label, labels=None, steps: int | None = None, rng_seeds: int = 0
    ) -> Tensor:
        """Grow a picture anew in its own style: states `[steps + 1, B, C, H, W]`, as in `grow`.

        Args:
            picture: `[I, H, W]` or `[H, W]` in [0, 1], prepared as the training pictures were
                (`nca_lib.read_digit` prepares a drawn or photographed digit).
            label: what it shows.
            labels: what to write in its style, `[B]`; None: the same label.

        Raises:
            InputError: a model without styles, another spec of picture, a label that no class has.
        """
        if self.encoder is None:
            raise InputError("this model has no styles: it can't grow a picture in its own")
        images = as_tensor(picture, "picture").to(self.kernels)
        images = images.reshape(-1, *images.shape[-3:]) if images.dim() > 2 else images[None, None]
        style = self.infer_style(images, label)  # [1, S]
        labels = as_labels(label if labels is None else labels, self.spec.classes)
        return self.grow(labels, style.expand(len(labels), -1), steps, rng_seeds)

    # ---- styles and files ------------------------------------------------------------------------

    @torch.no_grad()
    def infer_style(self, images: Tensor, labels) -> Tensor | None:
        """The styles `[B, S]` of pictures `[B, I, H, W]`; None for a model without styles."""
        if self.encoder is None:
            return None
        labels = as_labels(labels, self.spec.classes, self.kernels.device)
        return self.conditioning.style_of(self.encoder(images, labels).mean, labels)

    @torch.no_grad()
    def fit_styles(self, images: Tensor, labels: Tensor, batch: int = 1000) -> None:
        """Give styles their scale, from training pictures (`Conditioning.fit_styles`)."""
        if self.encoder is None:
            return
        pairs = zip(images.split(batch), labels.split(batch), strict=True)
        codes = [self.encoder(i, y) for i, y in pairs]
        code = StyleCode(*(torch.cat(part).cpu() for part in zip(*codes, strict=True)))
        self.conditioning.fit_styles(code, labels)

    def settings(self) -> dict:
        """Everything that `load` needs to build this model again, as plain values."""
        spec = {"classes": self.spec.classes, "image_channels": self.spec.channels}
        trained = {"task": self.task, "steps": self.steps, "trained_labels": self.trained_labels}
        both = spec | {"size": self.spec.size} | asdict(self.config) | trained
        return {name: list(v) if isinstance(v, tuple) else v for name, v in both.items()}

    def save(self, path) -> None:
        """Write a safetensors file, whole or not at all; `nca_lib.load` reads it."""
        from nca_lib.checkpoint import save_model

        save_model(path, self)


def make_config(spec: ImageSpec, config: ModelConfig | None, settings: dict) -> ModelConfig:
    """The configuration given whole or as keywords, if it fits the pictures."""
    if not isinstance(spec, ImageSpec):
        raise InputError(f"spec is {type(spec).__name__}: give an ImageSpec, such as data.spec")
    if config is not None and settings:
        raise InputError(f"give a ModelConfig or keywords, not both ({', '.join(settings)})")
    unknown = settings.keys() - ModelConfig.__dataclass_fields__.keys()
    if unknown:
        known = ", ".join(ModelConfig.__dataclass_fields__)
        raise InputError(f"NCA has no setting {sorted(unknown)[0]!r}: choose from {known}")
    config = config or ModelConfig(**settings)
    if config.channels <= spec.alive:
        raise InputError(
            f"channels is {config.channels}: {spec.channels} of ink and an alive one are the least"
        )
    return config
