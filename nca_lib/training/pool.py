"""The sample pool: grown states are kept and grown on, so that patterns learn to persist.

Growing NCA (Mordvintsev et al., 2020), "What persists, exists": a model that only ever sees the
first steps of a growth need not care what comes after. A pooled sample keeps everything that it
grows by: which picture is its target (and thereby its label) and its style code.
"""

from __future__ import annotations

from dataclasses import dataclass

from nca_lib.inputs import InputError
from nca_lib.model import NCA

import torch
from torch import Tensor

POOLED = ("states", "pictures", "styles")


@dataclass
class Pool:
    """`P` slots, filled from the front; a slot's three tensors belong together.

    It lives on the CPU, whatever the model's device.
    """

    states: Tensor  # [P, C, H, W]
    pictures: Tensor  # [P], index of the target among the training pictures
    styles: Tensor  # [P, S]
    filled: int = 0

    @classmethod
    def empty(cls, size: int, model: NCA, margin: int = 0) -> Pool:
        dtype, config = model.kernels.dtype, model.config
        height, width = (side + 2 * margin for side in model.spec.size)
        return cls(
            torch.zeros(size, config.channels, height, width, dtype=dtype),
            torch.zeros(size, dtype=torch.int64),
            torch.zeros(size, config.style_dim, dtype=dtype),
        )

    @property
    def size(self) -> int:
        return len(self.pictures)

    def put(self, slots: Tensor, states: Tensor, pictures: Tensor, styles: Tensor) -> None:
        """Overwrite slots (int64 `[n]`) with n samples."""
        self.states[slots] = states.cpu()
        self.pictures[slots] = pictures.cpu()
        self.styles[slots] = styles.cpu()

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
        """Take over what a checkpoint holds. Raises InputError for tensors of another pool."""
        for name in POOLED:
            own, given = getattr(self, name), tensors[name]
            if (given.shape, given.dtype) != (own.shape, own.dtype):
                raise InputError(
                    f"the pool's {name} are {list(given.shape)}, want {list(own.shape)}"
                )
            setattr(self, name, given.clone())
        if not 0 <= filled <= self.size or (self.pictures < 0).any():
            raise InputError(f"the pool has {filled} of {self.size} slots filled")
        self.filled = filled
