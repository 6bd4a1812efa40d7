"""The sample pool: grown states are kept and grown on, so that patterns learn to persist.

Growing NCA (Mordvintsev et al., 2020), "What persists, exists": a model that only ever sees the
first steps of a growth need not care what comes after. A pooled sample keeps everything that it
grows by: which picture is its target (and thereby its label) and its style code.
"""

from __future__ import annotations

from nca_lib.inputs import InputError
from nca_lib.model import NCA

import torch
from torch import Tensor

POOLED = ("states", "pictures", "styles")


class Pool:
    """`P` slots, filled from the front; a slot's three tensors belong together.

    It lives on the CPU, whatever the model's device.
    """

    def __init__(self, size: int, model: NCA, margin: int = 0):
        dtype, config = model.kernels.dtype, model.config
        height, width = (side + 2 * margin for side in model.spec.size)
        self.states = torch.zeros(size, config.channels, height, width, dtype=dtype)
        self.pictures = torch.zeros(size, dtype=torch.int64)  # [P], index of the target
        self.styles = torch.zeros(size, config.style_dim, dtype=dtype)  # [P, S]
        self.size, self.filled = size, 0

    def put(self, slots: Tensor, states: Tensor, pictures: Tensor, styles: Tensor) -> None:
        """Overwrite slots (int64 `[n]`) with n samples; of slot -1 nothing is kept."""
        kept = slots >= 0
        for name, given in zip(POOLED, (states, pictures, styles), strict=True):
            getattr(self, name)[slots[kept]] = given.detach().cpu()[kept]

    def take(self, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States, pictures and styles of slots (int64 `[n]`), as copies."""
        return self.states[slots], self.pictures[slots], self.styles[slots]

    def choose_slots(
        self, take: int, give: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Slots to take `take` samples from, and other slots for `give` fresh samples.

        Until the pool is full nothing is taken: `take + give` fresh samples go behind the last one.
        """
        if self.filled < self.size:
            first = self.filled
            self.filled = min(first + take + give, self.size)
            return torch.zeros(0, dtype=torch.int64), torch.arange(first, self.filled)
        shuffled = torch.randperm(self.size, generator=generator)
        return shuffled[:take], shuffled[take : take + give]

    def load(self, tensors: dict[str, Tensor], filled: int) -> None:
        """Take over what a checkpoint holds. Raises InputError for more than there are slots."""
        for name in POOLED:
            getattr(self, name).copy_(tensors[name])
        if not 0 <= filled <= self.size:
            raise InputError(f"the pool has {filled} of {self.size} slots filled")
        self.filled = filled
