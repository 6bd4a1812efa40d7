"""Checks for chapter 4, evaluation."""

from __future__ import annotations

from nca_lib.dataset import Pictures
from nca_lib.evaluation import ink_iou

import torch
from torch import Tensor


def check_black(accuracy: float | None, digits: Pictures) -> None:
    """Pixel accuracy of all-black pictures."""
    true = (digits.images <= 0.5).double().mean().item()
    if accuracy is None:
        print("Give a number between 0 and 1: my_accuracy = ...")
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
        print("Give a number between 0 and 1: my_iou = ...")
    elif abs(value - true) < 1e-3:
        print("Right.")
    elif abs(value - ((a > 0.5) == (b > 0.5)).double().mean().item()) < 1e-3:
        print("That is pixel accuracy: leave out the pixels that are empty in both.")
    else:
        print(f"Not {value:.3f}: for each picture, ink in both over ink in either; then the mean.")


KNOWN = {  # numbers about the one picture that each is given, beside its label
    "all black": (0, "it draws nothing, whatever it is shown"),
    "class mean": (0, "the mean of the training pictures is the same for every test picture"),
    "PCA per class": (16, "it is given its place along 16 directions"),
    "grown": (16, "one cell and the label say nothing about the picture, the style does"),
    "restored": (784, "its start is a number for each pixel"),
}


def check_known(numbers: dict | None) -> None:
    """How many numbers, read off the picture itself, each method is given."""
    if numbers is None:
        print(f"Give a dictionary: my_numbers = ... Its names: {', '.join(KNOWN)}.")
        return
    missing = [name for name in KNOWN if name not in numbers]
    if missing:
        print(f"{missing[0]!r} is missing.")
        return
    for name, (true, reason) in KNOWN.items():
        if numbers[name] != true:
            print(f"{name}: not {numbers[name]}; {reason}.")
            return
    print("Right: the PCA is the rule's fair rival, and the restoration plays another game.")


def check_threshold(threshold: float | None, grown: Tensor, digits: Pictures) -> None:
    """A threshold that gives the grown digits a pixel accuracy as high as any."""

    def right(value: float) -> float:
        return ((grown > value) == (digits.images > 0.5)).double().mean().item()

    if threshold is None:
        print("Give a number between 0 and 1: my_threshold = ...")
        return
    best = max(torch.linspace(0.3, 0.7, 41).tolist(), key=right)
    if right(threshold) >= right(best) - 2e-4:
        print("Right: about as good as it gets. Choosing it on test digits would be cheating.")
    else:
        print(
            f"{threshold} gives {right(threshold):.4f}, there are better ones between 0.3 and 0.7."
        )
