"""What a training run does: all its settings, stored in its checkpoints."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

from nca_lib.checkpoint import LONGEST
from nca_lib.data.blur import BLURS, Blur
from nca_lib.inputs import InputError, as_whole
from nca_lib.masks import DAMAGE, DamageKind
from nca_lib.rollout.fire import check_seed

TaskName = Literal["grow", "restore", "classify"]
COUNTS = ("iterations", "batch_size", "pool_size")  # at least 1
SHARES = ("pool_share", "pool_start", "pool_renewal", "damage", "switch_share")  # 0 to 1
AMOUNTS = ("noise", "alive_weight", "origin_weight", "position_weight", "perceptual_weight",
           "overflow_weight", "kl_weight")  # fmt: skip
TUPLES = ("loss_steps", "damage_kinds", "blurs")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides what a training run does."""

    task: TaskName = "grow"  # from one cell; sharpen a blurred picture; classify a picture
    iterations: int = 1000  # batches that are grown
    batch_size: int = 16  # samples in a batch
    blurs: tuple[Blur, ...] = ("box5",)  # of pictures to restore, equally likely
    noise: float = 0.0  # on an eighth of those: its largest standard deviation
    margin: int = 0  # empty cells around a picture, so that no model leans on the grid's edge
    loss_steps: tuple[int, ...] = (20, 24, 28, 32)  # where the loss is taken; the last ends it
    learning_rate: float = 2e-3  # the highest of the one-cycle schedule, for Adam; Muon's is 10x
    pool_size: int = 256  # grown samples that are kept, to be grown on
    pool_share: float = 0.5  # of a batch that is taken from the pool
    pool_start: float = 0.4  # from this share of the iterations on: first grow, then persist
    pool_renewal: float = 0.25  # of the fresh samples that enter the pool; the rest grow on long
    damage: float = 0.25  # share of the pooled samples that are damaged
    damage_kinds: tuple[DamageKind, ...] = DAMAGE  # equally likely
    switch_share: float = 0.25  # of the pooled samples that get a new picture as their target
    alive_weight: float = 0.25  # of the alive channel's error, relative to the ink's
    origin_weight: float = 0.0  # of the origin marker's error
    position_weight: float = 0.0  # of the positional channels' error, within the tissue
    perceptual_weight: float = 0.0  # of the error in a perceptual network's features
    overflow_weight: float = 0.1  # of the penalty on |state| > 2
    kl_weight: float = 0.05  # of the styles' divergence, nats per pixel, against squared errors
    kl_warmup: float = 0.5  # share of the iterations in which that weight rises from 0
    clip_norm: float = 1.0  # longest gradient
    seed: int = 0  # all random draws follow from it

    def __post_init__(self):
        for name in TUPLES:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in COUNTS:
            as_whole(getattr(self, name), name, least=1)
        as_whole(self.margin, "margin")
        check_seed(self.seed)
        steps = tuple(as_whole(step, "a loss step", least=1) for step in self.loss_steps)
        if not steps or list(steps) != sorted(set(steps)):
            raise InputError(f"loss_steps are {steps}: give increasing numbers from 1 on")
        if steps[-1] > LONGEST:
            raise InputError(f"loss_steps end at {steps[-1]}: choose at most {LONGEST}")
        if self.task not in ("grow", "restore", "classify"):
            raise InputError(f"task is {self.task!r}: choose 'grow', 'restore' or 'classify'")
        for name, known in (("blurs", BLURS), ("damage_kinds", DAMAGE)):
            chosen = getattr(self, name)
            if not chosen or set(chosen) - set(known):
                raise InputError(f"{name} are {chosen}: choose from {', '.join(known)}")
        self._check_numbers()

    def _check_numbers(self):
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}: it is a share, from 0 to 1")
        if self.damage + self.switch_share > 1:
            raise InputError("damage and switch_share are above 1 together")
        if self.pool_size < self.batch_size:
            raise InputError(f"pool_size {self.pool_size} is below batch_size {self.batch_size}")
        for name in AMOUNTS:
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}: choose 0 or more")
        for name in ("learning_rate", "clip_norm", "kl_warmup"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}: choose a number above 0")

    @property
    def steps(self) -> int:
        """Length of a rollout in training."""
        return self.loss_steps[-1]

    def plain(self) -> dict:
        """The settings as JSON would give them back (tuples become lists)."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
