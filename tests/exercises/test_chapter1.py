"""The checks of chapter 1 accept what is right and say what is wrong; its diagram is drawn."""

from nca_lib.cells import alive
from nca_lib.diagram import step_diagram
from nca_lib.exercises.chapter1 import (
    check_alive,
    check_change,
    check_laplacian,
    check_life,
    check_perceive,
    check_reach,
    check_small,
    check_step,
)
from nca_lib.rule import NCA, RuleConfig, perception_kernels

import numpy as np
import pytest
import torch
import torch.nn.functional as F

NOTHING = (None, ..., 3, "step", [1, 2])  # where a function is wanted
USELESS = (
    lambda *given: None,
    lambda *given: ...,
    lambda *given: 1 / 0,
    lambda *given: [0.0, 1.0],
    lambda *given: "a",
    lambda *given: 0.0,
    lambda *given: torch.zeros(2, 3),
    lambda *given: torch.full_like(given[-1].float(), torch.nan),
    lambda: 0,
)


def said(capsys, check, *given):
    check(*given)
    text = capsys.readouterr().out
    assert len(text.splitlines()) == 1, text
    return text


# ---- the Game of Life ----------------------------------------------------------------------------


def count(grid, middle=0.0, mode="constant", corners=1.0):
    kernel = torch.tensor([[corners, 1, corners], [1, middle, 1], [corners, 1, corners]])
    framed = F.pad(grid[None, None], (1, 1, 1, 1), mode=mode)
    return F.conv2d(framed, kernel[None, None])[0, 0]


def life(grid):
    return ((count(grid) == 3) | (count(grid) == 2) & (grid == 1)).float()


def life_with_itself(grid):
    """Three of nine are three neighbours of an empty cell, or two of a living one."""
    return ((count(grid, 1) == 3) | (count(grid, 1) == 4) & (grid == 1)).float()


def life_in_place(grid):
    grid[:] = life(grid)
    return grid


def life_by_loops(grid):
    cells, (h, w) = grid.numpy(), grid.shape
    new = np.zeros_like(cells)
    for y in range(h):
        for x in range(w):
            block = cells[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            around = block.sum() - cells[y, x]
            new[y, x] = around == 3 or (around == 2 and cells[y, x])
    return torch.from_numpy(new)


RIGHT_LIVES = (life, life_with_itself, life_in_place, life_by_loops)
WRONG_LIVES = {
    "not its own neighbour": lambda g: ((count(g, 1) == 3) | (count(g, 1) == 2) & (g == 1)).float(),
    "two neighbours lives on": lambda g: (count(g) == 3).float(),
    "an empty one is not born": lambda g: ((count(g) == 3) | (count(g) == 2)).float(),
    "closed like a ring": lambda g: (
        (count(g, mode="circular") == 3) | (count(g, mode="circular") == 2) & (g == 1)
    ).float(),
    "eight neighbours": lambda g: (
        (count(g, corners=0.0) == 3) | (count(g, corners=0.0) == 2) & (g == 1)
    ).float(),
    "the rule still has to decide": count,
    "end with .float()": lambda g: life(g).bool(),
    "count again": lambda g: ((count(g) == 3) | (count(g) == 4) & (g == 1)).float(),
    "shape": lambda g: F.pad(life(g), (1, 1, 1, 1)),
}


# ---- the parts of a step -------------------------------------------------------------------------

FILTERS = perception_kernels("sobel")


def perceive(state):
    b, c, h, w = state.shape
    seen = F.conv2d(state.reshape(b * c, 1, h, w), FILTERS, padding=1)
    return seen.view(b, c, 3, h, w).transpose(1, 2).reshape(b, 3 * c, h, w)


def perceive_in_groups(state):
    c = state.shape[1]
    each = [F.conv2d(state, k[None].expand(c, 1, 3, 3), padding=1, groups=c) for k in FILTERS]
    return torch.cat(each, 1)


def perceive_by_slices(state):
    framed = F.pad(state, (1, 1, 1, 1)).double()
    h, w = state.shape[2:]

    def at(i, j):
        return framed[:, :, 1 + i : 1 + i + h, 1 + j : 1 + j + w]

    east = sum((2 - abs(i)) * (at(i, 1) - at(i, -1)) for i in (-1, 0, 1)) / 8
    south = sum((2 - abs(j)) * (at(1, j) - at(-1, j)) for j in (-1, 0, 1)) / 8
    return torch.cat([state.double(), east, south], 1)


def interleaved(state):
    c = state.shape[1]
    return F.conv2d(state, FILTERS.repeat(c, 1, 1, 1), padding=1, groups=c)


def parts(order, signs=(1, 1, 1)):
    def function(state):
        three = perceive(state).chunk(3, 1)
        return torch.cat([sign * three[k] for k, sign in zip(order, signs, strict=True)], 1)

    return function


def for_sixteen_only(state):
    seen = F.conv2d(state.reshape(-1, 1, 28, 28), FILTERS, padding=1)
    return seen.view(-1, 16, 3, 28, 28).transpose(1, 2).reshape(-1, 48, 28, 28)


WRONG_PERCEPTIONS = {
    "in another order": interleaved,
    "swapped": parts((0, 2, 1)),
    "wrong sign": parts((0, 1, 2), (1, -1, -1)),
    "8 times too large": parts((0, 1, 2), (1, 8, 8)),
    "closed like a ring": lambda s: perceive(F.pad(s, (1, 1, 1, 1), mode="circular"))[
        ..., 1:-1, 1:-1
    ],
    "compare one cell": parts((0, 1, 2), (1, 1, -1)),
    "expected [2, 48, 28, 28]": lambda s: perceive(s)[..., 1:-1, 1:-1],
    "stopped with": for_sixteen_only,
}


def change(rule, seen, genome):
    x = seen.movedim(1, -1)
    told = (genome @ rule.told.weight.T)[:, None, None]
    hidden = torch.relu(x @ rule.perceived.weight.T + rule.perceived.bias + told)
    return (hidden @ rule.update.weight.T).movedim(-1, 1)


def change_by_convolutions(rule, seen, genome):
    first = F.conv2d(seen, rule.perceived.weight[:, :, None, None], rule.perceived.bias)
    hidden = (first + F.linear(genome, rule.told.weight)[:, :, None, None]).clamp(min=0)
    return F.conv2d(hidden, rule.update.weight[:, :, None, None])


def changed(first=True, bias=True, told=True, relu=True, after=False, late=False):
    """The change with one thing missing or in another place."""

    def function(rule, seen, genome):
        hidden = seen.movedim(1, -1) @ rule.perceived.weight.T
        say = (genome @ rule.told.weight.T)[:, None, None]
        say = say if first else say[:1]
        if bias:
            hidden = hidden + rule.perceived.bias
        if told and not late:
            hidden = hidden + say
        if relu:
            hidden = hidden.relu()
        if late:
            hidden = hidden + say
        out = (hidden @ rule.update.weight.T).movedim(-1, 1)
        return out.relu() if after else out

    return function


WRONG_CHANGES = {
    "genome is missing": changed(told=False),
    "bias is missing": changed(bias=False),
    "needs its ReLU": changed(relu=False),
    "No ReLU at the end": changed(after=True),
    "before the ReLU": changed(late=True),
    "the first for all": changed(first=False),
    "follow one cell": lambda *given: -change(*given),
    "shape": lambda *given: change(*given).movedim(1, -1),
}


def pooled(numbers, size=3):
    return F.max_pool2d(numbers, size, stride=1, padding=size // 2)


WRONG_MASKS = {
    "has to exceed": lambda s: pooled(s[:, 1:2]) >= 0.1,
    "some* cell": lambda s: s[:, 1:2] > 0.1,
    "that looks at the ink": lambda s: pooled(s[:, :1]) > 0.1,
    "looks at all channels": lambda s: pooled(s).amax(1, True) > 0.1,
    "the mean of the block": lambda s: F.avg_pool2d(s[:, 1:2], 3, stride=1, padding=1) > 0.1,
    "negative life": lambda s: pooled(s[:, 1:2].abs()) > 0.1,
    "ring": lambda s: F.max_pool2d(F.pad(s[:, 1:2], (1,) * 4, mode="circular"), 3, 1) > 0.1,
    "3x3 cells": lambda s: pooled(s[:, 1:2], 5) > 0.1,
    "true and false": lambda s: alive(s).float(),
    "some cells are wrong": lambda s: ~alive(s),
    "shape": lambda s: alive(s)[:, 0],
}


def stepped(fire=True, acts=True, first=True, last=True, rests=False):
    """A step with one of the masks missing, or one too many."""

    def function(rule, state, genome, mask):
        before = alive(state)
        moved = rule.change(rule.perceive(state), genome)
        if acts:
            moved = moved * before
        if fire:
            moved = moved * mask[:, None]
        new = state + moved
        if rests:
            new = new * mask[:, None]
        if last:
            new = new * alive(new)
        return new * before if first else new

    return function


def step_backwards(rule, state, genome, mask):
    before = alive(state)
    new = state - rule.change(rule.perceive(state), genome) * (before & mask[:, None])
    return new * (before & alive(new))


def step_by_where(rule, state, genome, mask):
    before = alive(state)
    new = torch.where(before & mask[:, None], state + change(rule, perceive(state), genome), state)
    return torch.where(before & alive(new), new, torch.zeros(()))


WRONG_STEPS = {
    "where is the fire mask": stepped(fire=False),
    "dead cells must not act": stepped(acts=False),
    "have to be emptied": stepped(first=False, last=False),
    "not who is alive after": stepped(last=False),
    "not who was before": stepped(first=False),
    "keep their state": stepped(rests=True),
    "not taken away": step_backwards,
    "check the order": lambda *given: 2 * stepped()(*given),
}

FUNCTIONS = {  # check: right functions, wrong ones by what is said of them
    check_life: (RIGHT_LIVES, WRONG_LIVES),
    check_perceive: ((perceive, perceive_in_groups, perceive_by_slices), WRONG_PERCEPTIONS),
    check_change: (
        (change, change_by_convolutions, lambda rule, *given: rule.change(*given)),
        WRONG_CHANGES,
    ),
    check_alive: ((alive, lambda s: pooled((s[:, 1:2] > 0.1).float()) == 1), WRONG_MASKS),
    check_step: ((stepped(), step_by_where), WRONG_STEPS),
}
RIGHT = [(check, one) for check, (right, _) in FUNCTIONS.items() for one in right]
WRONG = [
    (check, what, one) for check, (_, wrong) in FUNCTIONS.items() for what, one in wrong.items()
]


@pytest.mark.parametrize(("check", "function"), RIGHT)
def test_right_functions_are_accepted(capsys, check, function):
    assert said(capsys, check, function).startswith("Right")


@pytest.mark.parametrize(
    ("check", "what", "function"), WRONG, ids=[f"{c.__name__}, {what}" for c, what, _ in WRONG]
)
def test_typical_mistakes_are_told_apart(capsys, check, what, function):
    assert what.lower() in said(capsys, check, function).lower()


@pytest.mark.parametrize("check", FUNCTIONS)
@pytest.mark.parametrize("function", [*NOTHING, *USELESS])
def test_what_is_no_answer_is_said_and_nothing_raises(capsys, check, function):
    check(function)
    text = capsys.readouterr().out
    assert text.strip()
    assert not text.startswith("Right")


# ---- exercises -----------------------------------------------------------------------------------

LAPLACIAN = torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]]) / 8
FOUR = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]) / 4


@pytest.mark.parametrize("answer", [10, 10.0, torch.tensor(10), np.array([10])])
def test_the_right_reach(capsys, answer):
    assert said(capsys, check_reach, answer).startswith("Right")


@pytest.mark.parametrize("answer", [None, ..., 9, 11, 12, 20, [10, 10], "ten", {}, float("nan")])
def test_another_reach(capsys, answer):
    assert not said(capsys, check_reach, answer).startswith("Right")


@pytest.mark.parametrize(
    "kernel",
    [LAPLACIAN, -LAPLACIAN, LAPLACIAN.double(), LAPLACIAN[None, None], LAPLACIAN.tolist()],
)
def test_both_signs_of_the_laplacian_are_right(capsys, kernel):
    assert said(capsys, check_laplacian, kernel).startswith("Right")


@pytest.mark.parametrize(
    ("kernel", "what"),
    [
        (None, "empty"),
        (..., "empty"),
        ("a", "tensor"),
        (torch.zeros(2, 2), "[3, 3]"),
        (torch.zeros(3, 3), "All zeros"),
        (torch.full((3, 3), torch.nan), "not finite"),
        (LAPLACIAN.abs(), "flat"),
        (8 * LAPLACIAN, "says 8.00"),
        (FOUR, "alike"),
        (perception_kernels("sobel")[1, 0], "alike"),
    ],
)
def test_another_filter(capsys, kernel, what):
    text = said(capsys, check_laplacian, kernel)
    assert what in text
    assert not text.startswith("Right")
    assert "1/8" not in text  # the answer is not given away


PICTURE = torch.zeros(1, 1, 28, 28)
PICTURE[..., 6:22, 12:16] = 1.0


class Drawn(NCA):
    """A rule that has learned its picture, as far as a check can see."""

    def step(self, state, genome, fire):
        return torch.cat([PICTURE.expand(len(state), -1, -1, -1), state[:, 1:]], 1)


def test_a_small_rule_that_grows_the_picture(capsys):
    for hidden in (16, 40):
        rule = Drawn(RuleConfig(hidden=hidden, style_dim=0))
        assert said(capsys, check_small, rule, PICTURE).startswith("Right")


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        (None, "Make a rule"),
        (..., "Make a rule"),
        (NCA, "Make a rule"),
        (RuleConfig(hidden=20), "Make a rule"),
        (Drawn(RuleConfig(hidden=64, style_dim=0)), "5344 numbers"),
        (NCA(RuleConfig(hidden=40, style_dim=0)), "train it"),  # never trained
    ],
)
def test_a_rule_that_is_large_or_untrained(capsys, rule, what):
    assert what in said(capsys, check_small, rule, PICTURE)


def test_the_diagram_is_drawn():
    figure = step_diagram()
    words = " ".join(text.get_text() for text in figure.axes[0].texts)
    for part in ("perceive", "hidden layer", "genome", "change", "fire mask", "alive mask"):
        assert part in words
