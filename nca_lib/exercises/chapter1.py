"""Checks for chapter 1, the anatomy of a rule."""

from __future__ import annotations

from nca_lib.cells import alive, seed_state
from nca_lib.rule import NCA

import torch


def check_reach(steps: int | None) -> None:
    """How many steps until a cell 10 columns away can know of the seed, if all cells fire."""
    if steps is None:
        print("Give a number: reach = ...")
    elif steps == 10:
        print(
            "Right: what a cell does is seen by its neighbours one step later, so one cell a step."
        )
    elif steps == 12:
        print("That is about right at fire rate 0.5; here all cells fire.")
    else:
        print(f"Not {steps}: a cell sees only its eight neighbours, and they only theirs.")


def check_laplacian(kernel: torch.Tensor | None) -> None:
    """A 3x3 filter that tells a cell how far it is from the mean of its eight neighbours."""
    if kernel is None:
        print("Give a 3x3 tensor: kernel = torch.tensor([[...], [...], [...]])")
        return
    kernel = torch.as_tensor(kernel, dtype=torch.float32)
    if kernel.shape != (3, 3):
        print(f"The filter has shape {list(kernel.shape)}, it must be [3, 3].")
    elif abs(kernel.sum()) > 1e-5:
        print(
            f"On a flat picture the answer must be 0, yours is {kernel.sum():.2f} times the level."
        )
    elif abs(kernel[1, 1] - 1) > 1e-5 or not torch.allclose(
        kernel.flatten()[[0, 1, 2, 3, 5, 6, 7, 8]], torch.full((8,), -1 / 8), atol=1e-5
    ):
        print("The middle counts 1, and each of the eight neighbours -1/8.")
    else:
        print("Right: itself minus the mean of the eight around it.")


def check_alive_count(count: int | None) -> None:
    """How many cells of a fresh seed are alive."""
    true = int(alive(seed_state(1, 16)).sum())
    if count is None:
        print("Give a number: count = ...")
    elif count == 1:
        print("Only one cell holds life, but the mask asks for the largest life in its 3x3 block.")
    elif count == 25:
        print("That many can be alive after one step; count those of the fresh seed.")
    elif count != true:
        print(f"Not {count}: draw the seed, and mark each cell that has it as itself or neighbour.")
    else:
        print("Right: the seed and the eight cells that can see it.")


def check_parameters(rule: NCA | None) -> None:
    """A rule with at most 4,000 numbers, encoder apart."""
    if rule is None:
        print("Make a rule: small = NCA(RuleConfig(hidden=...))")
    elif rule.rule_parameters > 4000:
        print(f"It has {rule.rule_parameters} numbers. The hidden layer costs most of them.")
    elif rule.config.hidden < 8:
        print("That will hardly learn anything: fewer than 8 hidden numbers.")
    else:
        print(f"Right: {rule.rule_parameters} numbers.")
