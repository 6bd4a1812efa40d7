"""The checks of chapter 9 accept what is right and say what is wrong."""

from nca_lib.exercises.chapter9 import (
    check_centred,
    check_ground,
    check_paper_loss,
    check_premultiplied,
)

import numpy as np
import pytest
import torch

NOTHING = (None, ..., 3, "loss", [1, 2])
USELESS = (
    lambda *given: None,
    lambda *given: ...,
    lambda *given: 1 / 0,
    lambda *given: [0.0, 1.0],
    lambda *given: "a",
    lambda *given: torch.zeros(2, 3),
    lambda *given: torch.full((), float("nan")),
    lambda *given: torch.zeros_like(given[0]) * float("nan"),
    lambda *given: given[0],
    lambda: 0,
)


def centred(small):
    """The solution of the chapter."""
    h, w = small.shape
    row = (small.sum(1) * torch.arange(h)).sum() / small.sum()
    column = (small.sum(0) * torch.arange(w)).sum() / small.sum()
    top, left = round(14 - row.item()), round(14 - column.item())
    field = torch.zeros(28, 28)
    field[top : top + h, left : left + w] = small
    return field


def centred_by_roll(small):
    """With the picture in a corner first, and NumPy at the end."""
    field = torch.zeros(28, 28)
    field[: len(small), : small.shape[1]] = small
    grid = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
    middle = [(field * each).sum() / field.sum() for each in grid]
    return np.roll(field.numpy(), [round(14 - float(each)) for each in middle], (0, 1))


def box_centred(small):
    h, w = small.shape
    field = torch.zeros(28, 28)
    field[(28 - h) // 2 : (28 - h) // 2 + h, (28 - w) // 2 : (28 - w) // 2 + w] = small
    return field


def swapped(small):
    return centred(small.T).T


def not_divided(small):
    h, w = small.shape
    field = torch.zeros(28, 28)
    top = int((14 - (small.sum(1) * torch.arange(h)).mean()).clamp(0, 28 - h))
    left = int((14 - (small.sum(0) * torch.arange(w)).mean()).clamp(0, 28 - w))
    field[top : top + h, left : left + w] = small
    return field


def rows_and_columns_swapped(small):
    h, w = small.shape
    row = (small.sum(1) * torch.arange(h)).sum() / small.sum()
    column = (small.sum(0) * torch.arange(w)).sum() / small.sum()
    top, left = (round(14 - x.item()) for x in (column, row))
    field = torch.zeros(28, 28)
    field[max(top, 0) : top + h, max(left, 0) : left + w] = small[: 28 - top, : 28 - left]
    return field


def doubled(small):
    return 2 * centred(small)


def turned_over(small):
    return centred(small).flip(0)


def premultiplied(pixels):
    return torch.cat([pixels[:, :3] * pixels[:, 3:], pixels[:, 3:]], 1)


def premultiplied_in_place(pixels):
    pixels[:, :3] *= pixels[:, 3:]
    return pixels


def paper_loss(frames, images, labels):
    seen = frames[:, :, :3] + 1 - frames[:, :, 3:4]
    wanted = images[:, :3] + 1 - images[:, 3:]
    return (seen - wanted).square().mean()


def paper_loss_by_steps(frames, images, labels):
    each = []
    for frame in frames:
        off = frame[:, :3] - images[:, :3] - (frame[:, 3:4] - images[:, 3:4])
        each.append((off**2).mean())
    return sum(each) / len(each)


def usual(frames, images, labels):
    return (frames[:, :, :4] - images).square().mean()


def black(frames, images, labels):
    return (frames[:, :, :3] - images[:, :3]).square().mean()


def summed(frames, images, labels):
    return paper_loss(frames, images, labels) * frames[:, :, :3].numel()


def over_colours(frames, images, labels):
    return 3 * paper_loss(frames, images, labels)


def each_step(frames, images, labels):
    return torch.stack([paper_loss(frame[None], images, labels) for frame in frames])


def last_step(frames, images, labels):
    return paper_loss(frames[-1:], images, labels)


def number(frames, images, labels):
    return paper_loss(frames, images, labels).item()


def detached(frames, images, labels):
    return paper_loss(frames.detach(), images, labels)


def opacity_added(frames, images, labels):
    seen = frames[:, :, :3] + frames[:, :, 3:4]
    return (seen - images[:, :3] - images[:, 3:]).square().mean()


def clamped(frames, images, labels):
    seen = (frames[:, :, :3] + 1 - frames[:, :, 3:4]).clamp(0, 1)
    return (seen - (images[:, :3] + 1 - images[:, 3:]).clamp(0, 1)).square().mean()


def absolute(frames, images, labels):
    seen = frames[:, :, :3] + 1 - frames[:, :, 3:4]
    return (seen - images[:, :3] - 1 + images[:, 3:]).abs().mean()


def from_the_ground(images, labels):
    b, _, h, w = images.shape
    states = images.new_zeros(b, 16, h, w)
    for state, image in zip(states, images, strict=True):
        row = (image[3] > 0.5).any(1).nonzero().max()
        state[4:, row, w // 2] = 1.0
    return states


def without_a_loop(images, labels):
    b, _, h, w = images.shape
    opaque = (images[:, 3] > 0.5).any(2) * torch.arange(h)  # [B, H]
    states = torch.zeros(b, 16, h, w)
    states[torch.arange(b), 4:, opaque.amax(1), w // 2] = 1
    return states.double()


def at(row_of, column_of=lambda w: w // 2, channels=slice(4, None)):
    """A start whose seed is elsewhere, or has other channels."""

    def start(images, labels):
        b, _, h, w = images.shape
        states = torch.zeros(b, 16, h, w)
        for state, image in zip(states, images, strict=True):
            rows = (image[3] > 0.5).any(1).nonzero()
            state[channels, row_of(rows, h), column_of(w)] = 1.0
        return states

    return start


def first_for_all(images, labels):
    return from_the_ground(images[:1].expand_as(images), labels)


def in_the_shadow(images, labels):
    return from_the_ground((images > 0).float(), labels)


def a_whole_row(images, labels):
    states = from_the_ground(images, labels)
    return states.amax(3, keepdim=True).expand_as(states)


def empty(images, labels):
    return torch.zeros(len(images), 16, *images.shape[2:])


def inked(images, labels):
    return torch.cat([images, from_the_ground(images, labels)[:, 4:]], 1)


CHECKS = {  # check: right answers, wrong answers with a word of what is said
    check_centred: (
        [centred, centred_by_roll],
        [
            (box_centred, "middle of the box"),
            (not_divided, "centre of mass"),
            (rows_and_columns_swapped, ""),
            (doubled, "lost or changed"),
            (turned_over, "by whole pixels"),
            (lambda small: centred(small)[None], "shape"),
            (lambda small: centred(small).roll(1, 0), "centre of mass"),
            (lambda small: centred(small).roll(-1, 1), "centre of mass"),
        ],
    ),
    check_premultiplied: (
        [premultiplied, premultiplied_in_place],
        [
            (lambda p: p, "Nothing has changed"),
            (lambda p: p * p[:, 3:], "multiplied with itself"),
            (lambda p: p[:, :3] * p[:, 3:], "shape"),
            (lambda p: torch.cat([p[:, :3] * (1 - p[:, 3:]), p[:, 3:]], 1), "1 - opacity"),
            (lambda p: torch.cat([p[:, 3:], p[:, :3] * p[:, 3:]], 1), "comes last"),
            (lambda p: 0.5 * p, "Not yet"),
        ],
    ),
    check_paper_loss: (
        [paper_loss, paper_loss_by_steps],
        [
            (usual, "usual loss"),
            (black, "black paper"),
            (summed, "sum"),
            (over_colours, "3 times"),
            (each_step, "shape"),
            (last_step, "last loss step"),
            (number, "float"),
            (detached, "cut off"),
            (opacity_added, "add 1 - opacity"),
            (clamped, "clamp"),
            (absolute, "absolute"),
            (lambda *given: paper_loss(*given).sqrt(), "root"),
            (lambda *given: paper_loss(*given) + 0.1, "Not yet"),
        ],
    ),
    check_ground: (
        [from_the_ground, without_a_loop, at(lambda rows, h: rows.max())],
        [
            (at(lambda rows, h: rows.min()), "highest row"),
            (at(lambda rows, h: rows.max() - 1), "expected"),
            (at(lambda rows, h: h // 2), "one row"),
            (at(lambda rows, h: rows.max(), lambda w: 0), "column"),
            (at(lambda rows, h: rows.max(), channels=4), "behind it"),
            (at(lambda rows, h: rows.max(), channels=slice(5, None)), "life"),
            (first_for_all, "ground of its own"),
            (in_the_shadow, "shadow"),
            (a_whole_row, "one is enough"),
            (empty, "nothing can grow"),
            (inked, "ink"),
            (lambda images, labels: from_the_ground(images, labels)[:1, :8], "shape"),
        ],
    ),
}
RIGHT = [(check, answer) for check, (right, _) in CHECKS.items() for answer in right]
WRONG = [(check, *answer) for check, (_, wrong) in CHECKS.items() for answer in wrong]
EMPTY = [(check, answer) for check in CHECKS for answer in (*NOTHING, *USELESS)]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_right_answer_is_right(capsys, check, answer):
    check(answer)
    assert capsys.readouterr().out.startswith("Right")


@pytest.mark.parametrize(("check", "answer", "said"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(capsys, check, answer, said):
    check(answer)
    text = capsys.readouterr().out
    assert text
    assert not text.startswith("Right")
    assert said in text


@pytest.mark.parametrize(("check", "answer"), EMPTY)
def test_nothing_and_nonsense_are_answered_in_a_sentence(capsys, check, answer):
    check(answer)
    text = capsys.readouterr().out
    assert text
    assert not text.startswith("Right")
