"""What all checks share: try the reader's answer, compare it, and say one sentence.

A `Check` is a table: a reference solution, cases to try, and near misses, each with the sentence
that says what went wrong. Most near misses are the solution with other keywords. A check accepts
what equals the solution in every case and refuses all else; so it never accepts a stub.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor

CLOSE = 1e-4  # relative and absolute difference of numbers that count as equal


class Wrong(Exception):
    """An answer is refused; the message is the sentence for the reader."""


def require(condition, sentence: str) -> None:
    """Refuse the answer with this sentence unless the condition holds."""
    if not condition:
        raise Wrong(sentence)


def reports(check: Callable[..., str]) -> Callable[..., None]:
    """Make a check print one line: the praise that it returns, or why it refuses the answer.

    The check's random numbers are the same each time, and the reader's stay as they are.
    """

    @wraps(check)
    def reported(*answers) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                print(check(*answers))
            except Wrong as wrong:
                print(wrong)

    return reported


def call(function: Callable | None, name: str, *inputs) -> Any:
    """What the reader's function returns; `Wrong` if it raises or returns nothing yet."""
    require(callable(function), f"{name} is not a function yet: write it with def.")
    try:
        given = function(*inputs)
    except Exception as error:  # whatever the reader wrote
        text = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
        raise Wrong(f"{name} stopped with {text}") from None
    empty = given is None or given is ...
    require(not empty, f"{name} returns nothing yet: replace the ... and end with return.")
    return given


def call_for_two(function: Callable | None, name: str, things: str, *inputs) -> tuple[Any, Any]:
    """The two `things` that the reader's function returns."""
    given = call(function, name, *inputs)
    pair = isinstance(given, tuple | list) and len(given) == 2
    require(pair, f"{name} returns two things: {things}.")
    return tuple(given)


def as_tensor(given, name: str) -> Tensor:
    """A reader's tensor, array, list or number as a tensor without gradient, or `Wrong`."""
    require(given is not None and given is not ..., f"{name} is still empty: give a value.")
    try:
        tensor = torch.as_tensor(given).detach()
    except Exception:  # whatever the reader gave
        raise Wrong(f"{name} is of type {type(given).__name__}: see the task.") from None
    plain = not tensor.is_complex() and tensor.layout == torch.strided
    require(plain, f"{name} is {tensor.dtype}, {tensor.layout}: give a dense tensor of reals.")
    return tensor


def tensors(value) -> list[Tensor]:
    """The tensors in lists, tuples and dictionaries."""
    value = list(value.values()) if isinstance(value, dict) else value
    if isinstance(value, list | tuple):
        return [tensor for one in value for tensor in tensors(one)]
    return [value] if isinstance(value, Tensor) else []


def has_gradient(value) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def same(a: Tensor, b: Tensor, atol: float = CLOSE) -> bool:
    """Whether two tensors have one shape and, nearly, the same numbers; `[1]` is one number."""
    one = a.numel() == 1 and b.dim() == 0
    close = {"rtol": CLOSE, "atol": atol, "equal_nan": True}
    return (one or a.shape == b.shape) and torch.allclose(a.double(), b.double(), **close)


def compare(given: Tensor, wanted: Tensor, name: str, atol: float = CLOSE) -> None:
    """Refuse a tensor that is not the wanted one: by its shape, its scale or its first number."""
    given = given.reshape(()) if wanted.dim() == 0 and given.numel() == 1 else given
    shape = list(wanted.shape) or "one number"
    require(given.shape == wanted.shape, f"{name} has the shape {list(given.shape)}, not {shape}.")
    require(given.isfinite().all(), f"{name} holds numbers that are not finite.")
    given, wanted = given.double(), wanted.double()
    if same(given, wanted, atol):
        return
    times = float((given * wanted).sum() / wanted.square().sum())
    whole = abs(times) > 0.5 and abs(times - round(times)) < 1e-3 and same(given, times * wanted)
    require(not whole, f"{name} is {times:.4g} times what it should be: a sum? a sign?")
    at = tuple((~torch.isclose(given, wanted, CLOSE, atol)).nonzero()[0].tolist())
    where, first, right = f" at {list(at)}" if at else "", given[at].item(), wanted[at].item()
    raise Wrong(f"Not yet: {name}{where}: {first:.4g}, not {right:.4g}.")


def named(value, name: str) -> dict[str, Tensor]:
    """The tensors of a result, by the names that sentences call them."""
    value = value if isinstance(value, Mapping) else {name: value}
    return {part: as_tensor(one, part) for part, one in value.items()}


def matches(given: dict[str, Tensor], other: dict[str, Tensor], atol: float = CLOSE) -> bool:
    """Whether two results have the same names and tensors."""
    return given.keys() == other.keys() and all(same(given[k], other[k], atol) for k in given)


@dataclass(frozen=True)
class Check:
    """A task whose answer is a function. Calling the check prints one line about the answer."""

    solution: Callable  # named like the reader's function
    cases: Callable[[], list[tuple]]  # the inputs to try it on
    sentences: Mapping[str, dict | Callable]  # of the solution, and of near misses, as keywords
    # that spoil the solution or as functions of their own
    trial: Callable = call  # (function, name, *inputs) -> what is compared: a tensor, or several
    keeps: bool = False  # refuse a function that changes its inputs
    typed: bool = False  # refuse a result of another dtype
    atol: float = CLOSE

    def examine(self, function: Callable | None) -> str:
        """The praise, if the function gives what the solution gives in every case; else `Wrong`."""
        name = self.solution.__name__
        for inputs in self.cases():
            mine = deepcopy(inputs)
            given = self.trial(function, name, *mine)
            kept = all(map(torch.equal, tensors(mine), tensors(inputs)))
            require(kept or not self.keeps, f"{name} changes its inputs: work on a copy.")
            wanted = self.trial(self.solution, name, *deepcopy(inputs))
            self.compare(named(given, name), named(wanted, name), inputs)
            lost = has_gradient(wanted) and not has_gradient(given)
            require(not lost, f"{name} is right, but has no gradient: return the tensor itself.")
            typed = not self.typed or as_tensor(given, name).dtype == wanted.dtype
            require(typed, f"{name} is right, but not of the type that the task asks for.")
        return next(iter(self.sentences))

    __call__ = reports(examine)

    def compare(self, given: dict[str, Tensor], wanted: dict[str, Tensor], inputs: tuple) -> None:
        """Raise `Wrong` for a wrong result, with the sentence of the near miss that it equals."""
        if matches(given, wanted, self.atol):
            return
        name = self.solution.__name__
        for sentence, miss in list(self.sentences.items())[1:]:
            function = partial(self.solution, **miss) if isinstance(miss, dict) else miss
            wrong = self.trial(function, name, *deepcopy(inputs))
            require(not matches(given, named(wrong, name), self.atol), sentence)
        odd = ", ".join(sorted(map(repr, given.keys() ^ wanted.keys())))
        require(not odd, f"The names differ: {odd} is on one side only.")
        for part in wanted:
            compare(given[part], wanted[part], part, self.atol)


def require_number(
    given, name: str, right: float, mistakes: dict[float, str], hint: str, atol: float = 0.01
) -> None:
    """Refuse a number that is not the right one."""
    tensor = as_tensor(given, name)
    require(tensor.numel() == 1, f"{name} has the shape {list(tensor.shape)}: give one number.")
    value = tensor.double().item()
    for wrong, sentence in mistakes.items():
        require(not abs(value - wrong) < atol, sentence)
    require(abs(value - right) < atol, f"Not {value:g}: {hint}")
