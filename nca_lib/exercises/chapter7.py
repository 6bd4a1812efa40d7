"""Checks for chapter 7, styles."""

from __future__ import annotations

import torch
from torch import Tensor


def check_between(style: Tensor | None, first: Tensor, second: Tensor) -> None:
    """A style a quarter of the way from the first to the second."""
    if style is None:
        print("Give a tensor of shape [16]: my_style = ...")
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
        print("Give a number: my_length = ...")
    elif 3.5 <= length <= 4.5:
        print("Right: the root of 16. Hardly any style lies near 0, the average hand is rare.")
    elif length < 1:
        print("That is near the average hand. Draw some: torch.randn(1000, 16).norm(dim=1).")
    else:
        print(f"Not {length}: draw some and look, torch.randn(1000, 16).norm(dim=1).mean().")


def check_inverse(code: Tensor | None, average: Tensor, spread: Tensor, style: Tensor) -> None:
    """The code of a style, from the Gaussian of its label."""
    if code is None:
        print("Give a tensor of shape [16]: my_code = ...")
        return
    if code.shape != average.shape:
        print(f"It has shape {list(code.shape)}, wanted is {list(average.shape)}.")
    elif torch.allclose(code, average + spread @ style, atol=1e-4):
        print("Right.")
    elif torch.allclose(code, spread @ style, atol=1e-4):
        print("The average of the label is missing.")
    else:
        print("Multiply the style by the spread, then add the average.")


def check_style(style: Tensor | None, code: Tensor, average: Tensor, spread: Tensor) -> None:
    """The style of a code, from the Gaussian of its label."""
    if style is None:
        print("Give a tensor of shape [16]: my_style = ...")
        return
    if style.shape != code.shape:
        print(f"It has shape {list(style.shape)}, wanted is {list(code.shape)}.")
        return
    off = code - average
    true = torch.linalg.solve(spread, off)
    if torch.allclose(style, true, atol=1e-3):
        print("Right: spread @ my_style leads back from the average to the code.")
    elif torch.allclose(style, off, atol=1e-3):
        print("That is how far the code is from the average. Now measure it in the spread.")
    elif torch.allclose(style, torch.linalg.solve(spread, code), atol=1e-3):
        print("Take the average away first.")
    elif torch.allclose(style, spread @ off, atol=1e-3):
        print("Solve with the spread, instead of multiplying by it.")
    else:
        print("Which style s gives average + spread @ s = code? torch.linalg.solve finds it.")
