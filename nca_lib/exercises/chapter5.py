"""Checks for chapter 5, the growth explorer."""

from __future__ import annotations


def check_slowest(fire_rate: float | None) -> None:
    """At which fire rate a growth needs twice the steps that it needs at 1."""
    if fire_rate is None:
        print("Give a number between 0 and 1: fire_rate = ...")
    elif abs(fire_rate - 0.5) < 0.06:
        print("Right: a cell that acts in every second step needs twice as many.")
    else:
        print(f"At {fire_rate} a cell acts in one of {1 / max(fire_rate, 1e-9):.1f} steps.")


def check_far_seed(answer: str | None) -> None:
    """What happens to a digit whose seed is planted four cells higher."""
    if answer is None:
        print("Answer 'moves', 'stays' or 'breaks'.")
    elif answer == "moves":
        print("Right: the rule knows no coordinates, so the whole digit moves with its seed.")
    else:
        print(f"Not '{answer}': try it with the slider 'seed row'.")


def check_rest(answer: str | None) -> None:
    """Which view shows tissue around the ink that carries none."""
    if answer is None:
        print("Answer 'ink', 'life' or 'hidden'.")
    elif answer == "life":
        print("Right: its target is the ink, widened by two cells.")
    else:
        print(f"Not '{answer}': go through the three views at the last step.")
