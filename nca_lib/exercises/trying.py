"""What all checks share: try what the reader wrote, and say in one sentence what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def attempt(function: Callable | None, *inputs, name: str = "your function"):
    """What the reader's function gives for these inputs; None where it returns nothing yet.

    Whatever goes wrong inside is said in a sentence, not in a traceback: a check is a teacher.
    The function gets copies of the tensors, so it can't change what its answer is compared with.
    """
    if not callable(function):
        print(f"{name} is no function yet: write it with def.")
        return None
    try:
        given = function(*map(copied, inputs))
    except Exception as error:  # whatever the reader wrote
        said = str(error).strip().partition("\n")[0]
        print(f"{name} stopped with {type(error).__name__}{': ' * bool(said)}{said}")
        return None
    if given is None or given is ...:
        print(f"{name} returns nothing yet: replace the ... and end with return.")
        return None
    return given


def copied(one):
    """A copy of a tensor, and of those in a list or tuple; anything else is given as it is."""
    if isinstance(one, Tensor):
        return one.clone()
    return type(one)(map(copied, one)) if type(one) in (list, tuple) else one


def as_tensor(given, name: str = "your answer") -> Tensor | None:
    """A reader's tensor, array, list or number as a tensor; None, and a sentence, otherwise."""
    if given is None or given is ...:
        print(f"{name} is still empty: replace the None.")
        return None
    try:
        tensor = torch.as_tensor(given).detach()
    except Exception:  # whatever the reader gave
        print(f"{name} is of type {type(given).__name__}: give a tensor.")
        return None
    if tensor.is_complex() or tensor.layout != torch.strided:
        print(f"{name} is {tensor.dtype}, {tensor.layout}: give a plain tensor of real numbers.")
        return None
    return tensor


def same(given, wanted: Tensor, name: str = "the result", atol: float = 1e-5) -> bool:
    """Whether it is the expected tensor; says at once when it is none or its shape is another."""
    given = as_tensor(given, name)
    if given is None:
        return False
    if given.shape != wanted.shape:
        print(f"{name} has the shape {list(given.shape)}, expected {list(wanted.shape)}.")
        return False
    return torch.allclose(given.double(), wanted.double(), atol=atol)
