"""Checks for chapter 4, evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from nca_lib.data import Digits
from nca_lib.evaluation import ink_iou


def check_black(accuracy: float | None, digits: Digits) -> None:
    """Pixel accuracy of all-black pictures."""
    true = (digits.images <= 0.5).double().mean().item()
    if accuracy is None:
        print("Give a number between 0 and 1: accuracy = ...")
    elif abs(accuracy - true) < 1e-3:
        print("Right, and nothing has been drawn yet.")
    elif abs(accuracy - (1 - true)) < 1e-3:
        print("That is the share of ink; black pictures are right everywhere else.")
    else:
        print(f"Not {accuracy:.3f}: compare zeros with digits.images at threshold 0.5.")


def check_iou(value: float | None, a: Tensor, b: Tensor) -> None:
    """Ink IoU of two batches of pictures."""
    true = ink_iou(a, b)
    if value is None:
        print("Give a number between 0 and 1: value = ...")
    elif abs(value - true) < 1e-3:
        print("Right.")
    elif abs(value - ((a > 0.5) == (b > 0.5)).double().mean().item()) < 1e-3:
        print("That is pixel accuracy: leave out the pixels that are empty in both.")
    else:
        print(f"Not {value:.3f}: for each picture, ink in both over ink in either; then the mean.")


def check_leak(answer: str | None) -> None:
    """Which start tells the target: 'seed' or 'blur'."""
    if answer is None:
        print("Answer 'seed' or 'blur'.")
    elif answer == "blur":
        print("Right: most of the picture can be read off the start by a threshold.")
    else:
        print("Not the seed: it is the same single cell for every picture.")


def check_threshold(threshold: float | None, grown: Tensor, digits: Digits) -> None:
    """A threshold that gives the grown digits a pixel accuracy as high as any."""

    def right(value: float) -> float:
        return ((grown > value) == (digits.images > 0.5)).double().mean().item()

    if threshold is None:
        print("Give a number between 0 and 1: threshold = ...")
        return
    best = max(torch.linspace(0.3, 0.7, 41).tolist(), key=right)
    if right(threshold) >= right(best) - 2e-4:
        print("Right: about as good as it gets. Choosing it on test digits would be cheating.")
    else:
        print(
            f"{threshold} gives {right(threshold):.4f}, there are better ones between 0.3 and 0.7."
        )
