"""The sample pool: grown states are kept and grown on, so that patterns learn to stay.

Growing NCA (Mordvintsev et al., 2020), "What persists, exists": a rule that only ever sees the
first steps of a growth need not care what comes after. A pooled sample keeps everything that it
grows by: which picture is its target (and thereby its label) and its style code.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nca_lib.errors import InputError
from nca_lib.rule import NCA
from nca_lib.training.ranks import Ranks

import torch
from torch import Tensor

POOLED = ("states", "pictures", "styles")


@dataclass
class Pool:
    """`size` slots, filled from the front; a slot's three tensors belong together.

    Where several ranks train together each holds the slots that are its own (`ranks.py`); slots
    are numbered across all of them. It lives on the CPU, whatever the rule's device.
    """

    size: int
    states: Tensor  # [P, C, H, W], P = size where one process trains alone
    pictures: Tensor  # [P], index of the target among the training digits
    styles: Tensor  # [P, S]
    filled: int = 0
    ranks: Ranks = field(default_factory=Ranks)

    @classmethod
    def empty(cls, size: int, rule: NCA, ranks: Ranks | None = None, margin: int = 0) -> Pool:
        ranks = ranks or Ranks()
        mine, dtype = len(range(ranks.number, size, ranks.count)), rule.kernels.dtype
        height, width = (side + 2 * margin for side in rule.kind.size)
        return cls(
            size,
            torch.zeros(mine, rule.config.channels, height, width, dtype=dtype),
            torch.zeros(mine, dtype=torch.int64),
            torch.zeros(mine, rule.config.style_dim, dtype=dtype),
            ranks=ranks,
        )

    @property
    def full(self) -> bool:
        return self.filled == self.size

    def put(self, slots: Tensor, states: Tensor, pictures: Tensor, styles: Tensor) -> None:
        """Overwrite slots (int64 `[n]`, of this rank) with n samples."""
        rows = slots // self.ranks.count
        self.states[rows] = states.cpu()
        self.pictures[rows] = pictures.cpu()
        self.styles[rows] = styles.cpu()

    def take(self, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States, pictures and styles of slots (int64 `[n]`, of this rank), as copies."""
        rows = slots // self.ranks.count
        return self.states[rows], self.pictures[rows], self.styles[rows]

    def choose_slots(
        self, take: int, give: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Slots to take `take` samples from, and other slots for `give` fresh samples.

        Until the pool is full nothing is taken: `take + give` fresh samples go behind the last one.
        """
        if not self.full:
            first = self.filled
            self.filled = min(first + take + give, self.size)
            return torch.zeros(0, dtype=torch.int64), torch.arange(first, self.filled)
        shuffled = torch.randperm(self.size, generator=generator)
        return shuffled[:take], shuffled[take : take + give]

    def collect(self) -> dict[str, Tensor]:
        """The pool of all ranks together, by name (empty but on the first)."""
        whole = {name: self.ranks.collect(getattr(self, name), self.size) for name in POOLED}
        return {name: tensor for name, tensor in whole.items() if tensor is not None}

    def load(self, tensors: dict[str, Tensor], filled: int) -> None:
        """Take what `collect` gave, whatever the number of ranks was then.

        Raises:
            InputError: tensors of another pool.
        """
        for name in POOLED:
            own, part = getattr(self, name), self.ranks.part(tensors[name])
            if (part.shape, part.dtype) != (own.shape, own.dtype):
                raise InputError(
                    f"the pool's {name} are {list(part.shape)}, want {list(own.shape)}"
                )
            setattr(self, name, part)
        if not 0 <= filled <= self.size or (self.pictures < 0).any():
            raise InputError(f"the pool has {filled} of {self.size} slots filled")
        self.filled = filled
