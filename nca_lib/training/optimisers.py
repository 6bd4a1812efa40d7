"""How the weights change: the learning rate's one cycle, and two optimisers."""

from __future__ import annotations

import math
from collections.abc import Callable

from nca_lib.rule import NCA
from nca_lib.training.settings import TrainingConfig

import torch
from torch import Tensor

MUON_RATE = 10  # Muon's learning rate, in units of Adam's; measured on 600 iterations


def learning_rate(iteration: int, config: TrainingConfig) -> float:
    """One cycle (Smith, 2018): up over the first tenth, then down along a cosine to almost 0."""
    warm_up = max(1, config.iterations // 10)
    if iteration < warm_up:
        return config.learning_rate * (iteration + 1) / warm_up
    progress = (iteration - warm_up) / max(1, config.iterations - warm_up)
    return config.learning_rate * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * progress)))


class Optimisers:
    """Muon (Jordan et al., 2024) for the rule's three matrices, Adam for everything else.

    Muon gives all directions of a matrix's update the same length. Measured here: 600 iterations
    with it reach what takes Adam some 2,000. Or one optimiser of your own: `own(rule)` makes it,
    and the learning rates that it was made with are the highest of the one cycle.
    """

    def __init__(
        self,
        rule: NCA,
        config: TrainingConfig,
        own: Callable[[NCA], torch.optim.Optimizer] | None = None,
    ):
        if own is not None:
            self.each = {"own": own(rule)}
            groups = self.each["own"].param_groups
            self.rates = {"own": [group["lr"] / config.learning_rate for group in groups]}
            return
        matrices = rule.matrices
        taken = {id(matrix) for matrix in matrices}
        rest = [p for p in rule.parameters() if id(p) not in taken]
        self.each = {
            "muon": torch.optim.Muon(matrices, lr=0.0, weight_decay=0.0),
            "adam": torch.optim.Adam(rest, lr=0.0),
        }
        self.rates = {"muon": [MUON_RATE], "adam": [1]}  # in units of `learning_rate`

    def step(self, rate: float) -> None:
        """Change the weights along their gradients; `rate` as `learning_rate` gives it."""
        for name, optimiser in self.each.items():
            for group, factor in zip(optimiser.param_groups, self.rates[name], strict=True):
                group["lr"] = rate * factor
            optimiser.step()

    def tensors(self) -> dict[str, Tensor]:
        """Everything they remember, by name."""
        return {
            f"{name}.{number}.{key}": torch.as_tensor(value)
            for name, optimiser in self.each.items()
            for number, state in optimiser.state_dict()["state"].items()
            for key, value in state.items()
            if value is not None
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        states = {name: optimiser.state_dict() for name, optimiser in self.each.items()}
        for full_name, tensor in tensors.items():
            name, number, key = full_name.split(".")
            states[name]["state"].setdefault(int(number), {})[key] = tensor
        for name, optimiser in self.each.items():
            optimiser.load_state_dict(states[name])
