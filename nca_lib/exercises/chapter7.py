"""Checks for chapter 7, styles."""

from __future__ import annotations

import torch
from torch import Tensor


def check_between(style: Tensor | None, first: Tensor, second: Tensor) -> None:
    """A style a quarter of the way from the first to the second."""
    if style is None:
        print("Give a tensor of shape [16]: style = ...")
        return
    if style.shape != first.shape:
        print(f"It has shape {list(style.shape)}, wanted is {list(first.shape)}.")
    elif torch.allclose(style, 0.75 * first + 0.25 * second, atol=1e-4):
        print("Right: three parts of the first, one of the second.")
    elif torch.allclose(style, 0.25 * first + 0.75 * second, atol=1e-4):
        print("That is a quarter of the way from the second to the first.")
    else:
        print("That does not lie on the line from one to the other, a quarter of its length on.")


def check_length(length: float | None) -> None:
    """The length that a style of 16 numbers from N(0, I) has, roughly."""
    if length is None:
        print("Give a number: length = ...")
    elif 3.5 <= length <= 4.5:
        print("Right: the root of 16. Hardly any style lies near 0, the average hand is rare.")
    elif length < 1:
        print("That is near the average hand. Draw some: torch.randn(1000, 16).norm(dim=1).")
    else:
        print(f"Not {length}: draw some and look, torch.randn(1000, 16).norm(dim=1).mean().")


def check_inverse(code: Tensor | None, average: Tensor, spread: Tensor, style: Tensor) -> None:
    """The code of a style, from the Gaussian of its label."""
    if code is None:
        print("Give a tensor of shape [16]: code = ...")
        return
    if code.shape != average.shape:
        print(f"It has shape {list(code.shape)}, wanted is {list(average.shape)}.")
    elif torch.allclose(code, average + spread @ style, atol=1e-4):
        print("Right.")
    elif torch.allclose(code, spread @ style, atol=1e-4):
        print("The average of the label is missing.")
    else:
        print("Multiply the style by the spread, then add the average.")
