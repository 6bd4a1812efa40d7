"""Checks for chapter 3: conditioning, positional channels, and merging ten models."""

from math import pi

from course.checking import Check, as_tensor, compare, reports, require, same

import torch


def make_condition(labels, code, table):
    return torch.cat([table[labels], code], 1)


def condition_cases():
    many = torch.tensor([3, 8, 3, 0, 9]), torch.randn(5, 32), torch.randn(10, 16)
    few = torch.tensor([4, 1, 2]), torch.randn(3, 4), torch.randn(5, 4)
    return [many, few]


CONDITION = {
    "Right: one row of a table, and the style behind it.": {},
    "The label's row comes first.": lambda y, code, table: torch.cat([code, table[y]], 1),
    "Label 3 takes row 3.": lambda y, code, table: torch.cat([table[: len(y)], code], 1),
}
check_condition = Check(make_condition, condition_cases, CONDITION)


def place(height, width, origin=0.5, half=None, turn=pi / 2, order=range(6)):
    rows = torch.arange(height) - int(origin * height)
    columns = torch.arange(width) - int(origin * width)
    both = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).double()
    coarse = both / (half or min(height, width) / 2)
    return torch.cat([coarse, (turn * both).sin(), (turn * both).cos()])[list(order)]


POSITION = {
    "Right: a coarse ruler and a fine one, with their zero in the seed.": {},
    "Row and column are swapped: the row comes first.": {"order": (1, 0, 3, 2, 5, 4)},
    "The order is: row, column, both sines, both cosines.": {"order": (0, 1, 2, 4, 3, 5)},
    "Cosines and sines are swapped: the sines come first.": {"order": (0, 1, 4, 5, 2, 3)},
    "Count from the seed, not from the corner.": {"origin": 0},
    "Row and column are divided by half of the shorter side: divide yours.": {"half": 1},
    "Sine and cosine have the wrong period: it is 4 cells.": {"turn": 1.0},
}
check_position = Check(place, lambda: [(28, 28), (20, 30), (9, 6)], POSITION)


def read_row(coarse, sine, cosine, size=14, turn=pi / 2, nearest=torch.round):
    rough, phase = size * coarse, torch.atan2(sine, cosine) / turn
    return phase + 4 * nearest((rough - phase) / 4)


def ruler_case(blur):
    """Three channels; the coarse one may be off by `blur` rows."""
    rows = torch.arange(-14.0, 14).repeat_interleave(30).view(28, 5, 6)
    off, fine, strength = blur * (2 * torch.rand(3, *rows.shape) - 1)
    angle, strength = pi / 2 * (rows + 0.2 * fine), 1 + 0.3 * strength
    return (rows + off) / 14, strength * angle.sin(), strength * angle.cos()


ROW = {
    "Right: the coarse mark finds the turn, the fine ones find the row in it.": {},
    "That is the coarse mark, too rough: let the fine ones correct it.": lambda x, *_: 14 * x,
    "The coarse mark counts halves of the grid: 14 rows make 1.": {"size": 1},
    "That is the place between two marks: between which?": {"nearest": torch.zeros_like},
    "The angle is in radians: a full turn, 2 pi, is four rows.": {"turn": 1},
    "atan2 wants the sine first.": lambda coarse, sine, cosine: read_row(coarse, cosine, sine),
    "Take the *nearest* row with this phase: round, don't cut off.": {"nearest": torch.floor},
}
check_read_row = Check(read_row, lambda: [ruler_case(0.0), ruler_case(1.4)], ROW, atol=0.45)

TABLES = {"conditioning.labels.weight": (10, 3), "encoder.label.weight": (10, 4)}
SHAPES = TABLES | {"hidden.weight": (6, 15), "hidden.bias": (6,), "output.weight": (5, 6)}


def merge_weights(weights, how=torch.mean, tables=lambda stack: stack.diagonal().mT):
    stacks = {name: torch.stack([one[name] for one in weights]) for name in weights[0]}
    return {k: tables(stack) if k in TABLES else how(stack, 0) for k, stack in stacks.items()}


def weights_cases():
    return [([{name: torch.randn(shape) for name, shape in SHAPES.items()} for _ in range(10)],)]


MERGE = {
    "Right: the mean of ten models, in which each digit keeps its own row.": {},
    "Of a label table, model d has trained row d only.": {"tables": lambda stack: stack.mean(0)},
    "That is the sum of the ten models, not their mean.": {"how": torch.sum},
    "That is a single model, the last.": lambda weights: weights[-1],
}
check_merge = Check(merge_weights, weights_cases, MERGE, keeps=True)


@reports
def check_halfway(my_condition, model):
    """A condition halfway between those of a 3 and an 8 in the mean style, `[1, D]`."""
    half = model.condition(torch.tensor([3, 8])).detach().mean(0, keepdim=True)
    given = as_tensor(my_condition, "my_condition")
    require(not same(given, 2 * half), "That is the sum: take half of it.")
    compare(given, half, "my_condition")
    return "Right: the mean of the two. Grow it, and see what the cells make of it."
