"""The sample pool: grown states are kept and grown on, so that patterns learn to stay.

Growing NCA (Mordvintsev et al., 2020), "What persists, exists": a rule that only ever sees the
first steps of a growth need not care what comes after. A pooled sample keeps everything that it
grows by: which picture is its target (and thereby its label) and its style code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Pool:
    """`P` slots, filled from the front; a slot's four tensors belong together."""

    states: Tensor  # [P, C, H, W]
    pictures: Tensor  # [P], index of the target among the training digits
    labels: Tensor  # [P]
    styles: Tensor  # [P, S]
    filled: int = 0

    @classmethod
    def empty(cls, size: int, channels: int, side: int, style_dim: int) -> Pool:
        return cls(
            torch.zeros(size, channels, side, side),
            torch.zeros(size, dtype=torch.int64),
            torch.zeros(size, dtype=torch.int64),
            torch.zeros(size, style_dim),
        )

    @property
    def full(self) -> bool:
        return self.filled == len(self.states)

    def put(
        self, slots: Tensor, states: Tensor, pictures: Tensor, labels: Tensor, styles: Tensor
    ) -> None:
        """Overwrite slots (int64 `[n]`) with n samples."""
        self.states[slots] = states.to(self.states.device)
        self.pictures[slots] = pictures
        self.labels[slots] = labels
        self.styles[slots] = styles.to(self.styles.device)
        if len(slots):
            self.filled = max(self.filled, int(slots.max()) + 1)

    def choose_slots(
        self, take: int, give: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Slots to take `take` samples from, and other slots for `give` fresh samples.

        Until the pool is full nothing is taken: `take + give` fresh samples go behind the last one.
        """
        size = len(self.states)
        if not self.full:
            give = min(take + give, size - self.filled)
            return torch.zeros(0, dtype=torch.int64), torch.arange(self.filled, self.filled + give)
        shuffled = torch.randperm(size, generator=generator)
        return shuffled[:take], shuffled[take : take + give]
