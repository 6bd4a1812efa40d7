"""The checks of chapter 3 accept what is right, name near misses, and never raise."""

import math

from nca_lib.exercises import chapter3
from nca_lib.rule import NCA, RuleConfig
from nca_lib.training.pretraining import LABEL_TABLES

import numpy as np
import pytest
import torch

RULE = NCA(RuleConfig(hidden=8))
THREE, EIGHT = RULE.genome([3, 8]).detach()
TURN = math.pi / 2  # a full turn in four cells


def maps(height, width, top=None, left=None, half=None, turn=TURN, order=(0, 1, 2, 3, 4, 5)):
    """The six place channels, or a near miss of them."""
    half = half or [min(height, width) / 2] * 2
    rows = (torch.arange(height) - (height // 2 if top is None else top)).double()
    columns = (torch.arange(width) - (width // 2 if left is None else left)).double()
    both = [rows[:, None].expand(height, width), columns[None].expand(height, width)]
    coarse = [x / h for x, h in zip(both, half, strict=True)]
    every = [*coarse, *((turn * x).sin() for x in both), *((turn * x).cos() for x in both)]
    return torch.stack([every[k] for k in order])


def with_loops(height, width):
    """As a beginner may write it: a number after the other, as nested lists."""
    table = np.zeros((6, height, width))
    for i in range(height):
        for j in range(width):
            y, x = i - height // 2, j - width // 2
            half = min(height, width) / 2
            sines = math.sin(TURN * y), math.sin(TURN * x)
            table[:, i, j] = [y / half, x / half, *sines, math.cos(TURN * y), math.cos(TURN * x)]
    return table.tolist()


def vernier(coarse, sine, cosine):
    rough, phase = 14 * coarse, torch.atan2(sine, cosine) / TURN
    return phase + 4 * ((rough - phase) / 4).round()


def nearest_candidate(coarse, sine, cosine):
    """Another way: of all 57 rows the one that fits both marks best."""
    rows = torch.arange(-28.0, 29.0)
    angle = torch.atan2(sine, cosine)[..., None] - TURN * rows
    off = torch.atan2(angle.sin(), angle.cos()).abs() / TURN
    far = (14 * coarse[..., None] - rows).abs()
    return rows[(off + 100 * (far > 2)).argmin(-1)]


def keep_rows(stack):
    return torch.stack([stack[digit, digit] for digit in range(10)])


def merged(weights, how=lambda stack: stack.mean(0), table=None):
    """A merger, or a near miss of it."""
    result = {}
    for name in weights[0]:
        stack = torch.stack([one[name] for one in weights])
        if name not in LABEL_TABLES:
            result[name] = how(stack)
        else:
            result[name] = (table or keep_rows)(stack)
    return result


def added_in_place(weights):
    for one in weights[1:]:
        for name in one:
            weights[0][name] += one[name]
    return merged([{name: tensor / 10 for name, tensor in weights[0].items()}] * 10)


FUNCTIONS = [  # check, right answers, wrong answers with what is said of them
    (
        chapter3.check_genome,
        [
            lambda labels, code, table: torch.cat([table[labels], code], 1),
            lambda labels, code, table: torch.hstack([table[labels], code]).double(),
            lambda labels, code, table: [
                [*table[y].tolist(), *c.tolist()] for y, c in zip(labels, code, strict=True)
            ],
            lambda labels, code, table: torch.cat(
                [torch.nn.functional.one_hot(labels, len(table)).float() @ table, code], -1
            ),
        ],
        [
            (
                lambda labels, code, table: torch.cat([code, table[labels]], 1),
                "The other way round",
            ),
            (lambda labels, code, table: table[labels], "has the shape"),
            (
                lambda labels, code, table: torch.cat([table[: len(labels)], code], 1),
                "The codes are",
            ),
            (lambda labels, code, table: torch.cat([table[labels], 0 * code], 1), "The rows of"),
            (lambda labels, code, table: torch.cat([table[labels] + 1, code + 1], 1), "Neither"),
            (lambda labels, code, table: torch.cat([table[labels], code]), "stopped with"),
            (lambda labels, code, table: "a genome", "give a tensor"),
        ],
    ),
    (
        chapter3.check_place,
        [maps, with_loops, lambda h, w: maps(h, w).float()],
        [
            (lambda h, w: maps(h, w, order=(1, 0, 3, 2, 5, 4)), "swapped"),
            (lambda h, w: maps(h, w, order=(0, 1, 2, 4, 3, 5)), "The order"),
            (lambda h, w: maps(h, w, order=(0, 1, 4, 5, 2, 3)), "Cosines and sines"),
            (
                lambda h, w: maps(h, w) * torch.tensor([-1, -1, -1, -1, 1, 1])[:, None, None],
                "signs",
            ),
            (lambda h, w: maps(h, w, (h - 1) / 2, (w - 1) / 2), "seed's cell"),
            (lambda h, w: maps(h, w, 0, 0), "from the corner"),
            (lambda h, w: maps(h, w, half=(1, 1)), "divided by half"),
            (lambda h, w: maps(h, w, half=(h / 2, w / 2)), "*shorter*"),
            (lambda h, w: maps(h, w, turn=1), "another period"),
            (lambda h, w: maps(h, w, turn=math.pi / 4), "Not yet"),
            (lambda h, w: maps(28, 28), "has the shape"),
            (lambda h, w: maps(h, w)[:2], "has the shape"),
            (lambda h, w: maps(h, w).movedim(0, -1), "has the shape"),
            (lambda h, w: maps(h, w) * float("nan"), "Not yet"),
            (lambda h, w: [[1], [2, 3]], "give a tensor"),
        ],
    ),
    (
        chapter3.check_read_row,
        [
            vernier,
            nearest_candidate,
            lambda c, s, k: vernier(c, s, k).round(),
            lambda c, s, k: vernier(c, s, k).numpy(),
        ],
        [
            (lambda c, s, k: 14 * c, "too rough"),
            (lambda c, s, k: (14 * c).round(), "is read as"),
            (lambda c, s, k: c, "halves of the grid"),
            (lambda c, s, k: torch.atan2(s, k) / TURN, "between two marks"),
            (lambda c, s, k: torch.atan2(s, k), "radians"),
            (lambda c, s, k: vernier(c, k, s), "sine first"),
            (lambda c, s, k: (14 * c + torch.atan2(s, k) / TURN) / 2, "is read as"),
            (lambda c, s, k: vernier(c / 14, s, k), "between two marks"),
            (lambda c, s, k: vernier(c, s, k).mean(), "has the shape"),
            (lambda c, s, k: vernier(c, s, k) * float("nan"), "is read as"),
        ],
    ),
    (
        chapter3.check_merge,
        [
            merged,
            lambda weights: {k: v.double() for k, v in merged(weights).items()},
            lambda weights: merged(weights, lambda stack: sum(stack) / len(stack)),
        ],
        [
            (lambda weights: merged(weights, lambda stack: stack.sum(0)), "the sum of the ten"),
            (lambda weights: merged(weights, lambda stack: stack[-1]), "a single rule"),
            (
                lambda weights: merged(weights, table=lambda stack: stack.mean(0)),
                "row for each label",
            ),
            (lambda weights: merged(weights, table=lambda stack: stack[4]), "a single rule"),
            (lambda weights: merged(weights, table=lambda stack: stack[4] + 1), "take row 0"),
            (lambda weights: merged(weights, lambda stack: stack.median(0)[0]), "is not the mean"),
            (added_in_place, "changes the rules"),
            (lambda weights: weights, "gives a list"),
            (lambda weights: {"update.weight": weights[0]["update.weight"]}, "on one side only"),
            (lambda weights: dict.fromkeys(weights[0], 0.5), "has the shape"),
            (lambda weights: dict.fromkeys(weights[0]), "still empty"),
        ],
    ),
]
NO_FUNCTIONS = [None, ..., 3, [1], lambda: None, lambda *given: ..., lambda *given: 1 / 0]


def said(capsys, check, *answer):
    check(*answer)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "right", "wrong"), FUNCTIONS, ids=lambda x: getattr(x, "__name__", "")
)
def test_of_a_function(check, right, wrong, capsys):
    for function in right:
        assert said(capsys, check, function).startswith("Right: ")
    for function, what in wrong:
        message = said(capsys, check, function)
        assert what in message
        assert not message.startswith("Right")
    for function in NO_FUNCTIONS:
        message = said(capsys, check, function)
        assert message.strip()
        assert not message.startswith("Right")


def test_of_a_genome_halfway(capsys):
    check, half = chapter3.check_halfway, (THREE + EIGHT)[None] / 2
    for answer in (half, half.double().tolist(), RULE.genome([3, 8]).mean(0, keepdim=True)):
        assert said(capsys, check, answer, RULE).startswith("Right: ")
    for answer, what in (
        (2 * half, "the sum"),
        (THREE[None], "not the mean"),
        (half[0], "shape"),
        (half + 1e-2, "not the mean"),
        (half * float("nan"), "not the mean"),
        (None, "empty"),
        (..., "empty"),
        ("text", "give a tensor"),
        (3, "shape"),
    ):
        message = said(capsys, check, answer, RULE)
        assert what in message
        assert not message.startswith("Right")


def test_drawing_cases_leaves_the_readers_random_numbers_alone(capsys):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    for check, right, _ in FUNCTIONS:
        check(right[0])
    assert torch.equal(torch.rand(3), wanted)
