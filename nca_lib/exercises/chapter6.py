"""Checks for chapter 6, damage and regrowth."""

from __future__ import annotations

from nca_lib.cells import SIZE, half_plane, square

import torch


def check_ring(region: torch.Tensor | None) -> None:
    """A ring: cells between 6 and 8 cells away from the middle of the grid."""
    if region is None:
        print("Make a bool tensor of shape [28, 28]: my_region = ...")
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


def check_fraction(fraction: float | None) -> None:
    """The share of the grid that a square of 10 x 10 cells erases, a number between 0 and 1."""
    true = square(9, 9, 10).float().mean().item()
    if fraction is None:
        print("Give a number between 0 and 1: my_fraction = ...")
    elif abs(fraction - true) < 0.005:
        print("Right: about an eighth of the cells.")
    elif abs(fraction - 100 * true) < 1:
        print("As a share, not in per cent.")
    elif abs(fraction - (1 - true)) < 0.005:
        print("That is the share that stays.")
    else:
        print(f"Not {fraction}: a bool tensor has a mean once it is float.")


def check_marks(sides: set[str] | None) -> None:
    """The half planes that erase the cell where the growth began."""
    known = ("left", "right", "top", "bottom")
    if sides is None:
        print('Give a set of sides: my_sides = {"left", ...}')
        return
    if isinstance(sides, str) or not set(sides) <= set(known):
        print(f"Give a set with some of {', '.join(known)}; this is {sides!r}.")
        return
    for side in known:
        erased = bool(half_plane(side)[SIZE // 2, SIZE // 2])
        if erased and side not in sides:
            print(f"Not all: look at half_plane({side!r})[14, 14].")
            return
        if side in sides and not erased:
            print(f"Not {side}: half_plane({side!r})[14, 14] is False.")
            return
    print("Right: rows and columns 14 to 27 are the second half.")


def check_everything(answer: str | None) -> None:
    """What regrows when all cells are erased."""
    if answer is None:
        print("Answer 'the digit', 'noise' or 'nothing'.")
    elif answer == "nothing":
        print("Right: no cell is alive, so none may change. Nothing comes from nothing.")
    else:
        print(f"Not {answer}: which cells are alive then?")
