"""Checks for chapter 3, one rule for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from nca_lib.exercises.trying import as_tensor, attempt
from nca_lib.rule import NCA, RuleConfig
from nca_lib.training.losses import PERIOD, place_target
from nca_lib.training.pretraining import LABEL_TABLES, initial_rule

import torch
from torch import Tensor


def shaped(given, wanted: Tensor, name: str) -> Tensor | None:
    """The reader's numbers if they have the wanted shape; None, and a sentence, otherwise."""
    given = as_tensor(given, name)
    if given is None or given.shape == wanted.shape:
        return None if given is None else given.double()
    print(f"{name} has the shape {list(given.shape)}, expected {list(wanted.shape)}.")
    return None


def close(a: Tensor, b: Tensor, atol: float = 1e-5) -> bool:
    return torch.allclose(a.double(), b.double(), atol=atol)


def check_genome(make_genome: Callable | None) -> None:
    """`(labels [B], code [B, S], table [L, E]) -> [B, E + S]`: the label's row, then the code."""
    draw = torch.Generator().manual_seed(0)
    for rows, length, style, labels in (
        (10, 16, 32, [3, 8, 3, 0, 9]),
        (5, 4, 4, [4, 1, 2]),  # as many numbers of the label as of the style
        (3, 2, 5, [2]),
    ):
        table = torch.randn(rows, length, generator=draw)
        code, labels = torch.randn(len(labels), style, generator=draw), torch.tensor(labels)
        given = attempt(make_genome, labels, code, table, name="make_genome")
        if given is None:
            return
        row = table[labels]  # [B, E]
        wanted = torch.cat([row, code], 1)
        if (given := shaped(given, wanted, "the genome")) is None:
            return
        if not close(given, wanted):
            if close(given, torch.cat([code, row], 1)):
                print("The other way round: the label's row comes first, then the code.")
            elif close(given[:, length:], code):
                print("The codes are right, but label 3 wants row 3 of the table, and so on.")
            elif close(given[:, :length], row):
                print("The rows of the table are right, the codes behind them are not.")
            else:
                print("Neither part is right: look the label up in the table, join the code to it.")
            return
    print("Right: one row of a table, and the style behind it.")


def misplaced(height: int, width: int) -> dict[str, Tensor]:
    """Typical mistakes in the six channels, with what to say of them; each `[6, H, W]`."""

    def channels(rows: Tensor, columns: Tensor, halves: tuple, turn: float) -> list[Tensor]:
        both = torch.meshgrid(rows.double(), columns.double(), indexing="ij")
        coarse = [x / half for x, half in zip(both, halves, strict=True)]
        return [*coarse, *((turn * x).sin() for x in both), *((turn * x).cos() for x in both)]

    rows, columns = torch.arange(height) - height // 2, torch.arange(width) - width // 2
    half, turn = [min(height, width) / 2] * 2, 2 * math.pi / PERIOD
    right = channels(rows, columns, half, turn)
    centred = torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2
    mistakes = {
        "Row and column are swapped: the row comes first, it grows downwards.": [
            right[k] for k in (1, 0, 3, 2, 5, 4)
        ],
        "The order is: row, column, both sines, both cosines.": [
            right[k] for k in (0, 1, 2, 4, 3, 5)
        ],
        "Cosines and sines are swapped: the sines come first.": [
            right[k] for k in (0, 1, 4, 5, 2, 3)
        ],
        "Rows count downwards, columns to the right: your signs are turned.": channels(
            -rows, -columns, half, turn
        ),
        "The zero is not in the seed's cell, row height // 2 and column width // 2.": channels(
            *centred, half, turn
        ),
        "Count from the seed, not from the corner.": channels(
            torch.arange(height), torch.arange(width), half, turn
        ),
        "Row and column are divided by half of the shorter side: divide yours.": channels(
            rows, columns, (1, 1), turn
        ),
        "Divide both by half of the *shorter* side: a row is as far as a column.": channels(
            rows, columns, (height / 2, width / 2), turn
        ),
        "Sine and cosine have another period: it takes 4 cells.": channels(
            rows, columns, half, 1.0
        ),
    }
    return {what: torch.stack(maps) for what, maps in mistakes.items()}


def check_place(place: Callable | None) -> None:
    """`(height, width) -> [6, H, W]`: row, column, their sines and their cosines, from the seed."""
    for height, width in ((28, 28), (20, 30), (9, 6)):
        given = attempt(place, height, width, name="place")
        if given is None:
            return
        wanted = place_target(torch.zeros(1, 1, height, width))
        if (given := shaped(given, wanted, f"place({height}, {width})")) is None:
            return
        if close(given, wanted, 1e-4):
            continue
        for what, mistake in misplaced(height, width).items():
            if close(given, mistake, 1e-4):
                print(what)
                return
        wrong = int((given - wanted).abs().amax((1, 2)).argmax())
        names = "row", "column", "sine of the row", "sine of the column"
        name = (*names, "cosine of the row", "cosine of the column")[wrong]
        cell = height // 2 + 1, width // 2 + 2
        print(
            f"Not yet: in a grid of {height} x {width} the {name} is {given[wrong][cell]:.2f} in "
            f"row {cell[0]}, column {cell[1]}; that cell is 1 below the seed and 2 to its right."
        )
        return
    print("Right: a coarse ruler and a fine one, with their zero in the seed.")


def check_read_row(read_row: Callable | None) -> None:
    """`(coarse, sine, cosine) -> rows below the seed`, tensors of any shape: a vernier."""
    draw = torch.Generator().manual_seed(0)
    true = torch.arange(-14, 14).double().repeat_interleave(30).view(28, 5, 6)
    for blur in (0.0, 1.4):  # rows by which the coarse mark may be off
        off, fine, strength = 2 * torch.rand(3, *true.shape, generator=draw).double() - 1
        rough, mark = true + blur * off, true + 0.2 * blur * fine
        angle = 2 * math.pi * mark / PERIOD
        strength = 1 + 0.3 * blur * strength
        marks = (rough / 14, strength * angle.sin(), strength * angle.cos())
        rough, sine, cosine = 14 * marks[0].float(), marks[1].float(), marks[2].float()
        given = attempt(read_row, rough / 14, sine, cosine, name="read_row")
        if given is None or (given := shaped(given, true, "the result")) is None:
            return
        if ((given - true).abs() < 0.45).all():  # rounded or not
            continue
        phase, swapped = (
            torch.atan2(*pair) * PERIOD / (2 * math.pi) for pair in ((sine, cosine), (cosine, sine))
        )
        mistakes = {
            "That is the coarse mark, which is too rough: let the fine ones correct it.": rough,
            "The coarse mark counts halves of the grid: 14 rows make 1.": rough / 14,
            "That is where a cell is between two marks; the coarse mark says between which.": phase,
            "The angle is in radians: a full turn, 2 pi, is four rows.": phase * math.pi / 2,
            "atan2 wants the sine first.": swapped + 4 * ((rough - swapped) / 4).round(),
            "Take the *nearest* row with this phase: round, don't cut off.": (
                phase + 4 * ((rough - phase) / 4).floor()
            ),
        }
        for what, mistake in mistakes.items():
            if close(given, mistake, 1e-3):
                print(what)
                return
        worst = int((given - true).abs().flatten().nan_to_num(1e9).argmax())
        print(
            f"A cell {true.flatten()[worst]:.0f} rows below the seed, with a coarse mark of "
            f"{rough.flatten()[worst] / 14:.2f}, is read as {given.flatten()[worst]:.1f}."
        )
        return
    print("Right: the coarse mark finds the turn, the fine ones find the row in it.")


def random_weights(count: int) -> list[dict[str, Tensor]]:
    """What `count` small rules have learned, drawn at random."""
    rules, draw = [], torch.Generator().manual_seed(count)
    for _ in range(count):
        rule = initial_rule(RuleConfig(channels=5, hidden=6, label_dim=3, style_dim=2), seed=0)
        named = rule.named_parameters()
        rules.append({name: torch.randn(p.shape, generator=draw) for name, p in named})
    return rules


def check_merge(merge_weights: Callable | None) -> None:
    """`(ten dictionaries of tensors) -> one`: the mean; of label tables row d of rule d."""
    weights = random_weights(10)
    kept = [{name: tensor.clone() for name, tensor in one.items()} for one in weights]
    given = attempt(merge_weights, weights, name="merge_weights")
    if given is None:
        return
    if not isinstance(given, Mapping):
        print(f"merge_weights gives a {type(given).__name__}: give a dictionary, name to tensor.")
        return
    if any(
        not torch.equal(a[name], b[name]) for a, b in zip(weights, kept, strict=True) for name in b
    ):
        print("merge_weights changes the rules that it is given: add into a new tensor.")
        return
    if set(given) != set(kept[0]):
        odd = sorted(set(given) ^ set(kept[0]), key=str)[0]
        print(f"The names are not those of the rules: {odd!r} is on one side only.")
        return
    for name in kept[0]:
        stack = torch.stack([one[name] for one in kept])  # [10, ...]
        own = stack.diagonal().movedim(-1, 0) if name in LABEL_TABLES else None
        wanted = stack.mean(0) if own is None else own
        if (value := shaped(given[name], wanted, name)) is None:
            return
        if not close(value, wanted):
            say_what_is_wrong(name, value, stack, own)
            return
    print("Right: the mean of ten rules, in which each digit keeps its own row.")


def say_what_is_wrong(name: str, value: Tensor, stack: Tensor, own: Tensor | None) -> None:
    """Of one tensor of a merger; stack `[10, ...]`."""
    if own is not None and close(value, stack.mean(0)):
        print(f"{name} is a table with a row for each label: rule d has trained row d only.")
    elif close(value, stack.sum(0), 1e-4):
        print(f"{name} is the sum of the ten, not their mean.")
    elif any(close(value, one) for one in stack):
        print(f"{name} is that of a single rule.")
    elif own is None:
        print(f"{name} is not the mean over the ten rules.")
    else:
        print(f"{name}: take row 0 of the first rule's table, row 1 of the second's, and so on.")


def check_halfway(my_genome, rule: NCA) -> None:
    """A genome halfway between those of a 3 and an 8, average hand, `[1, G]`."""
    three, eight = rule.genome(torch.tensor([3, 8])).detach().split(1)
    if (given := shaped(my_genome, three, "my_genome")) is None:
        return
    if close(given, (three + eight) / 2):
        print("Right: the mean of the two. Grow it, and see what the cells make of it.")
    elif close(given, three + eight):
        print("That is the sum: take half of it.")
    else:
        print("That is not the mean of rule.genome(3) and rule.genome(8).")
