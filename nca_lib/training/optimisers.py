"""How the parameters change: one cycle of the learning rate, and two optimisers."""

from __future__ import annotations

import math
from collections.abc import Callable

from nca_lib.model import NCA

import torch
from torch import Tensor

MUON_RATE = 10  # Muon's learning rate, in units of Adam's; measured on 600 iterations


def learning_rate(iteration: int, highest: float, iterations: int) -> float:
    """One cycle (Smith, 2018): a linear rise over the first tenth, then a cosine fall to ~0."""
    warm_up = max(1, iterations // 10)
    if iteration < warm_up:
        return highest * (iteration + 1) / warm_up
    progress = (iteration - warm_up) / max(1, iterations - warm_up)
    return highest * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * progress)))


class Optimisers:
    """Muon (Jordan et al., 2024) for the update rule's matrices, Adam for everything else.

    Muon gives all directions of a matrix's update the same length. Measured here: 600 iterations
    with it reach what takes Adam some 2,000. Or one optimiser of your own: `own(model)` makes it,
    and the learning rates that it was made with are the highest of the cycle.
    """

    def __init__(
        self,
        model: NCA,
        learning_rate: float,
        own: Callable[[NCA], torch.optim.Optimizer] | None = None,
    ):
        if own is None:
            layers = (model.hidden, model.from_condition, model.output)
            matrices = [layer.weight for layer in layers if layer is not None]
            taken = {id(matrix) for matrix in matrices}
            rest = [p for p in model.parameters() if id(p) not in taken]
            muon = torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.0)
            self.each, unit = {"muon": muon, "adam": torch.optim.Adam(rest, lr=1.0)}, 1.0
        else:
            self.each, unit = {"own": own(model)}, learning_rate
        self.units = {  # of the learning rate
            name: [group["lr"] / unit for group in optimiser.param_groups]
            for name, optimiser in self.each.items()
        }

    def step(self, rate: float) -> None:
        """Change the parameters along their gradients; `rate` as `learning_rate` gives it."""
        for name, optimiser in self.each.items():
            for group, units in zip(optimiser.param_groups, self.units[name], strict=True):
                group["lr"] = rate * units
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
        """Remember what `tensors` gave."""
        states = {name: optimiser.state_dict() for name, optimiser in self.each.items()}
        for full_name, tensor in tensors.items():
            name, number, key = full_name.split(".")
            states[name]["state"].setdefault(int(number), {})[key] = tensor
        for name, optimiser in self.each.items():
            optimiser.load_state_dict(states[name])
