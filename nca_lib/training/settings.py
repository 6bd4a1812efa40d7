"""What a training does: all its settings, stored in its checkpoints."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

from nca_lib.blurs import BLURS, Blur
from nca_lib.checkpoints import TASKS
from nca_lib.errors import InputError
from nca_lib.inputs import as_whole
from nca_lib.rollout.fire import check_seed
from nca_lib.training.damage import WOUNDS, Wound

Task = Literal["grow", "restore", "read"]  # as in checkpoints.TASKS
SHARES = ("pool_share", "pool_start", "pool_renewal", "damage_share", "switch_share")
AMOUNTS = (
    "noise",
    "life_weight",
    "anchor_weight",
    "place_weight",
    "critic_weight",
    "overflow_weight",
    "kl_weight",
)


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a training does."""

    task: Task = "grow"  # from one cell; sharpen the blurred picture; read the picture
    iterations: int = 1000  # batches that are grown
    batch_size: int = 16  # samples in a batch
    blurs: tuple[Blur, ...] = ("box5",)  # of pictures to restore, each as likely
    noise: float = 0.0  # upon an eighth of those: its largest standard deviation
    margin: int = 0  # empty cells around a picture, so that a rule can't lean on the grid's edge
    loss_steps: tuple[int, ...] = (20, 24, 28, 32)  # where the loss is taken; the last ends it
    loss_weights: tuple[float, ...] = ()  # of the loss steps; none: all alike
    learning_rate: float = 2e-3  # the highest of the one-cycle schedule, for Adam; Muon's is 10x
    pool_size: int = 256  # grown samples that are kept, to be grown on
    pool_share: float = 0.5  # of a batch that is taken from the pool
    pool_start: float = 0.4  # from this share of the iterations on: first grow, then persist
    pool_renewal: float = 0.25  # of the fresh samples that enter the pool; the rest grow on long
    damage_share: float = 0.25  # of the pooled samples that are damaged
    wounds: tuple[Wound, ...] = WOUNDS  # a damaged sample gets one of them, each as likely
    switch_share: float = 0.25  # of the pooled samples that are told to become another picture
    life_weight: float = 0.25  # of the life channel's error, beside the ink's
    anchor_weight: float = 0.0  # of the anchor's error: a mark in the cell that grew first
    place_weight: float = 0.0  # of the error of where a cell thinks it is, within the tissue
    critic_weight: float = 0.0  # of the error in the features that a critic sees (judge.py)
    overflow_weight: float = 0.1  # of the penalty on |state| > 2
    kl_weight: float = 0.05  # of the styles' divergence, nats a pixel, against squared errors
    kl_full: float = 0.5  # share of the iterations in which it rises: first digits, then styles
    flow_iterations: int = 0  # of the flow of the styles, fitted when all else is learned; 0: none
    clip_norm: float = 1.0  # longest gradient
    seed: int = 0  # all random draws follow from it

    def __post_init__(self):
        for name in ("iterations", "batch_size", "pool_size"):
            as_whole(getattr(self, name), name, least=1)
        for name in ("flow_iterations", "margin"):
            as_whole(getattr(self, name), name)
        check_seed(self.seed)
        if self.task not in TASKS:
            raise InputError(f"task is {self.task!r}: choose 'grow', 'restore' or 'read'")
        steps = tuple(as_whole(step, "a loss step") for step in self.loss_steps)
        if not steps or list(steps) != sorted(set(steps)) or steps[0] < 1:
            raise InputError(f"loss_steps are {steps}: give increasing numbers from 1 on")
        if self.loss_weights and len(self.loss_weights) != len(steps):
            raise InputError("give as many loss_weights as loss_steps, or none")
        object.__setattr__(self, "loss_steps", steps)
        object.__setattr__(self, "loss_weights", tuple(self.loss_weights))
        object.__setattr__(self, "wounds", tuple(self.wounds))
        object.__setattr__(self, "blurs", tuple(self.blurs))
        if not self.blurs or set(self.blurs) - set(BLURS):
            raise InputError(f"blurs are {self.blurs}: choose from {', '.join(BLURS)}")
        if not self.wounds or set(self.wounds) - set(WOUNDS):
            raise InputError(f"wounds are {self.wounds}: choose from {', '.join(WOUNDS)}")
        self._check_numbers()

    def _check_numbers(self):
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}: it is a share, from 0 to 1")
        if self.damage_share + self.switch_share > 1:
            raise InputError("damage_share and switch_share are above 1 together")
        if not 0 < self.kl_full <= 1:
            raise InputError(f"kl_full is {self.kl_full}: it is a share, above 0")
        if self.pool_size < self.batch_size:
            raise InputError(f"pool_size {self.pool_size} is below batch_size {self.batch_size}")
        amounts = [(name, getattr(self, name)) for name in AMOUNTS]
        for name, value in amounts + [("a loss weight", w) for w in self.loss_weights]:
            if not 0 <= value < math.inf:
                raise InputError(f"{name} is {value}: choose 0 or more")
        if not any(self.weights):
            raise InputError("loss_weights are all 0: nothing would be learned")
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}: choose a number above 0")

    @property
    def steps(self) -> int:
        """Length of a rollout in training."""
        return self.loss_steps[-1]

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the loss steps; they need not add up to 1."""
        return self.loss_weights or (1.0,) * len(self.loss_steps)

    def plain(self) -> dict:
        """The settings as JSON would give them back (tuples become lists)."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def second_half(steps: int, count: int = 4) -> tuple[int, ...]:
    """`count` loss steps in the second half of a rollout: before, the seed is still spreading.

    Raises:
        InputError: steps below 1.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}: a rollout has at least 1 step")
    return tuple(
        sorted({max(1, round(steps * (0.5 + 0.5 * k / count))) for k in range(1, count + 1)})
    )
