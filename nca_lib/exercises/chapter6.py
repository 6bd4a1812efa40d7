"""Checks for chapter 6, damage and regrowth."""

from __future__ import annotations

import torch

from nca_lib.seeds import SIZE


def check_ring(region: torch.Tensor | None) -> None:
    """A ring: cells between 6 and 8 cells away from the middle of the grid."""
    if region is None:
        print("Make a bool tensor of shape [28, 28]: region = ...")
        return
    y, x = torch.arange(SIZE)[:, None] - 13.5, torch.arange(SIZE)[None] - 13.5
    distance = (y**2 + x**2).sqrt()
    if region.shape != (SIZE, SIZE) or region.dtype != torch.bool:
        print(f"It is {region.dtype} {list(region.shape)}; wanted: torch.bool [28, 28].")
    elif region[distance < 5.4].any():
        print("The middle of a ring is empty; yours is erased too.")
    elif not region[(distance > 6.6) & (distance < 7.4)].all():
        print("Not all cells 7 away from the middle are erased.")
    elif region[distance > 8.6].any():
        print("It reaches further out than 8 cells.")
    else:
        print("Right: a ring.")


def check_fraction(fraction: float | None, true: float) -> None:
    """The share of cells that a region erases, as a number between 0 and 1."""
    if fraction is None:
        print("Give a number between 0 and 1: fraction = ...")
    elif abs(fraction - true) < 0.01:
        print("Right.")
    elif abs(fraction - 100 * true) < 1:
        print("As a share, not in percent.")
    else:
        print(f"Not {fraction}: a bool tensor has a mean once it is float.")


def check_everything(answer: str | None) -> None:
    """What regrows when all cells are erased."""
    if answer is None:
        print("Answer 'the digit', 'noise' or 'nothing'.")
    elif answer == "nothing":
        print("Right: no cell is alive, so none may change. Nothing comes from nothing.")
    else:
        print(f"Not {answer}: which cells are alive then?")
