"""The sample pool: grown states are kept and grown on, so that patterns learn to stay.

Growing NCA (Mordvintsev et al., 2020), "What persists, exists": a rule that only ever sees the
first steps of a growth need not care what comes after. A pooled sample keeps everything that it
grows by: which picture is its target (and thereby its label) and its style code.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from nca_lib.ranks import Ranks


@dataclass
class Pool:
    """`size` slots, filled from the front; a slot's four tensors belong together.

    Where several ranks train together each holds the slots that are its own (`ranks.py`); slots
    are numbered across all of them.
    """

    size: int
    states: Tensor  # [P, C, H, W], P = size where one process trains alone
    pictures: Tensor  # [P], index of the target among the training digits
    labels: Tensor  # [P]
    styles: Tensor  # [P, S]
    filled: int = 0
    ranks: Ranks = field(default_factory=Ranks)

    @classmethod
    def empty(
        cls, size: int, channels: int, side: int, style_dim: int, ranks: Ranks | None = None
    ) -> Pool:
        ranks = ranks or Ranks()
        mine = len(range(ranks.number, size, ranks.count))
        return cls(
            size,
            torch.zeros(mine, channels, side, side),
            torch.zeros(mine, dtype=torch.int64),
            torch.zeros(mine, dtype=torch.int64),
            torch.zeros(mine, style_dim),
            ranks=ranks,
        )

    @property
    def full(self) -> bool:
        return self.filled == self.size

    def put(
        self, slots: Tensor, states: Tensor, pictures: Tensor, labels: Tensor, styles: Tensor
    ) -> None:
        """Overwrite slots (int64 `[n]`, of this rank) with n samples."""
        rows = slots // self.ranks.count
        self.states[rows] = states.to(self.states.device)
        self.pictures[rows] = pictures
        self.labels[rows] = labels
        self.styles[rows] = styles.to(self.styles.device)

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
