"""Checks for chapter 5, the growth explorer."""

from __future__ import annotations


def check_shift(shift: tuple[int, int] | None) -> None:
    """By how many rows and columns a digit moves whose seed is at (13, 17) instead of (14, 14)."""
    if shift is None:
        print("Give two numbers: shift = (rows, columns)")
        return
    if len(shift) != 2:
        print(f"Two numbers are wanted, yours are {len(shift)}.")
        return
    rows, columns = (float(number) for number in shift)
    if (rows, columns) == (-1, 3):
        print("Right: 1 row up and 3 columns to the right, as the seed cell.")
    elif (rows, columns) in ((1, -3), (1, 3), (-1, -3)):
        print("The signs: row 0 is at the top, and column 0 on the left.")
    elif (round(rows), round(columns)) == (-1, 3):
        print("Almost: round to whole cells.")
    else:
        print(f"Not ({rows:g}, {columns:g}): subtract the centre of the ink with the usual seed.")


def check_slow(fire_rate: float | None) -> None:
    """The fire rate at which half of the ink is there after some 40 steps, not 10 as at 0.5."""
    if fire_rate is None:
        print("Give a number between 0 and 1: fire_rate = ...")
    elif not 0 < fire_rate <= 1:
        print(f"{fire_rate} is no probability that a cell fires.")
    elif abs(fire_rate - 0.1) < 0.025:
        print("Right: about a fifth of the rate, about four times the steps.")
    elif fire_rate < 0.1:
        print(f"At {fire_rate} it takes longer than 40 steps.")
    else:
        print(f"At {fire_rate} it takes fewer than 40 steps.")


def check_chance(same_at_1: bool | None, same_at_half: bool | None) -> None:
    """Whether the states of two growths with different fire masks are the same."""
    if same_at_1 is None or same_at_half is None:
        print("Give two booleans: compare the last states with torch.equal.")
    elif not same_at_1:
        print("At fire rate 1 every cell fires in every step: what is left for a mask to decide?")
    elif same_at_half:
        print("At 0.5 different cells fire: compare all channels, not what you see of the ink.")
    else:
        print("Right: at 1 nothing is left to chance; at 0.5 each growth has its own way to a 3.")
