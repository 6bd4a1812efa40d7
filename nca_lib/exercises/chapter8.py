"""Checks for chapter 8, cells that read."""

from __future__ import annotations

from collections.abc import Callable

from nca_lib.cells import SHOWS, alive
from nca_lib.exercises.trying import as_tensor, attempt, same
from nca_lib.reading import count_votes, readers, vote_error, votes
from nca_lib.rule import NCA, RuleConfig

import torch
import torch.nn.functional as F
from torch import Tensor

HELD = 2  # ink and life
CLOSE = 1e-4  # states that differ by less are the same


def random_rule(generator: torch.Generator) -> NCA:
    """A small reader with random weights: wherever it acts, everything changes."""
    rule = NCA(RuleConfig(14, 6, label_dim=0, style_dim=0, held=(0, 1))).requires_grad_(False)
    for weight in (rule.perceived.weight, rule.perceived.bias, rule.update.weight):
        weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return rule


def random_states(generator: torch.Generator, count: int = 4) -> tuple[Tensor, Tensor]:
    """Pictures `[B, 1, H, W]`, with haze and each more inked than the one before; and states."""
    much = 0.15 + 0.15 * torch.arange(count)[:, None, None, None]
    inked = torch.rand(count, 1, 9, 8, generator=generator) < much
    levels = torch.rand(count, 1, 9, 8, generator=generator)
    haze = 0.08 * levels * (levels > 0.5)  # half of the cells without ink are empty
    images = torch.where(inked, 0.12 + 0.88 * levels, haze)
    states = torch.randn(count, 14, 9, 8, generator=generator)
    states[:, :1], states[:, 1:2] = images, (images > SHOWS).float()
    return images, states


def check_step(function: Callable | None) -> None:
    """One step of cells that read: ink and life stay as they are given."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        rule = random_rule(generator)
        images, state = random_states(generator, 2)
        state[:, 1] *= images[:, 0] > 0.75  # few live, so that there are dead cells, with haze
        fire = torch.rand(2, 9, 8, generator=generator) < 0.5
        spoilt = []

        def watched(rule, state, fire, spoilt=spoilt):
            before = state.clone()
            given = function(rule, state, fire)
            spoilt.append(not torch.equal(before, state))
            return given

        given = attempt(watched if callable(function) else function, rule, state, fire)
        if given is None:
            return
        nothing = torch.zeros(2, 0)
        wanted = rule.step(state, nothing, fire)
        if same(given, wanted, "the new state", CLOSE) and not spoilt[0]:
            continue
        given = as_tensor(given)
        if given is not None and given.shape == wanted.shape:
            print(what_is_wrong(given.to(wanted), wanted, rule, state, fire))
        return
    print("Right: the ink and the life are as they were given, and all the rest has moved on.")


def what_is_wrong(given: Tensor, wanted: Tensor, rule: NCA, state: Tensor, fire: Tensor) -> str:
    """A sentence about a step that is not the wanted one."""
    lives = alive(state)

    def off(where: Tensor, channels: slice = slice(None)) -> bool:
        apart = ~torch.isclose(given, wanted, atol=CLOSE)
        return bool((apart & where)[:, channels].any())

    change = rule.change(rule.perceive(state), torch.zeros(len(state), 0))
    if torch.allclose(given, change * fire[:, None] * lives, atol=CLOSE):
        return "That is the change alone: add it to the state."
    if off(~lives, slice(HELD)):
        return "The faint ink of dead cells is gone or changed: what is held stays there too."
    if off(lives, slice(HELD)):
        return "Ink and life have changed where cells act: these two channels are held."
    if off(~lives, slice(HELD, None)):
        return "Cells that are not alive must come out empty, but for their ink and life."
    if off(~fire[:, None]):
        return "Cells have changed that did not fire in this step."
    if off(lives):
        return "What living cells add when they fire is not the rule's change of what they see."
    return "The step is right, but it overwrote the state that it was given: work on a new tensor."


def check_tally(function: Callable | None) -> None:
    """How many cells with ink vote for each class, `[B, L]`."""
    generator = torch.Generator().manual_seed(1)
    for count in (4, 1):
        images, states = random_states(generator, count)
        given, wanted = attempt(function, states, images), count_votes(states, images)
        if given is None:
            return
        if same(given, wanted, "the tally"):
            continue
        given = as_tensor(given)
        if given is not None and given.shape == wanted.shape:
            print(wrong_tally(given.double(), wanted, states, images))
        return
    print("Right: each cell with ink has one vote, and the rest have none.")


def wrong_tally(given: Tensor, wanted: Tensor, states: Tensor, images: Tensor) -> str:
    def counted(chosen: Tensor, who: Tensor) -> Tensor:
        return (F.one_hot(chosen, 10) * who[..., None]).sum((1, 2)).double()

    chosen, everybody = votes(states).argmax(1), torch.ones_like(images[:, 0])
    if torch.allclose(given, wanted.double() / wanted.sum(1, keepdim=True), atol=1e-5):
        return "These are shares: give the numbers of cells."
    if torch.allclose(given, counted(chosen, everybody)):
        return "All cells of the grid have voted: only those with ink have a vote."
    if torch.allclose(given, counted(chosen, images[:, 0] > 0)):
        return "Haze has voted: a cell has ink where the picture is above 0.1."
    if torch.allclose(given, counted(chosen, images[:, 0] > 0.5)):
        return "Pale ink is ink: a cell has a vote where the picture is above 0.1."
    for first in (0, 1, 2):
        if torch.allclose(given, counted(states[:, first : first + 10].argmax(1), readers(images))):
            return f"You have counted channels {first} to {first + 9}: the votes are the last ten."
    if torch.allclose(given.sum(1), readers(images).sum((1, 2)).double()):
        return "As many votes as cells with ink, but for other classes: take each cell's largest."
    return (
        "Not quite: for each picture and class, count the cells with ink whose largest vote it is."
    )


def check_reading_loss(function: Callable | None) -> None:
    """Squared error of the votes, mean over a picture's cells with ink, then over pictures."""
    generator = torch.Generator().manual_seed(2)
    for count in (4, 1):
        images, states = random_states(generator, count)
        labels = torch.randint(10, (count,), generator=generator)
        wanted = vote_error(states[None], images, labels)[0]
        given = attempt(function, states.requires_grad_(), images, labels)
        if given is None:
            return
        value = as_tensor(given, "the loss")
        if value is None:
            return
        if value.numel() != 1:
            print(f"The loss has the shape {list(value.shape)}: give one number, the mean.")
            return
        number = value.double().item()
        if not abs(number - wanted.item()) < CLOSE * wanted.item():
            print(wrong_loss(number, states.detach(), images, labels))
            return
        if not isinstance(given, Tensor) or not given.requires_grad:
            print("The number is right, but it has lost its gradient: return a tensor, as it is.")
            return
    print("Right: this is the loss that the library trains its reader with.")


def wrong_loss(given: float, states: Tensor, images: Tensor, labels: Tensor) -> str:
    wanted = F.one_hot(labels, 10).float()[:, :, None, None]
    off, on = (votes(states) - wanted).square().sum(1), readers(images)  # [B, H, W]
    each = (off * on).sum((1, 2)) / on.sum((1, 2))  # [B]
    early = (states[:, HELD : HELD + 10] - wanted).square().sum(1)
    logits = votes(states).movedim(1, -1)[on]
    whose = labels[:, None, None].expand_as(on)[on]
    among = (votes(states).softmax(1) - wanted).square().sum(1)
    root = (off.sqrt() * on).sum((1, 2)) / on.sum((1, 2))
    mistakes = {
        "All cells have been counted: the mean is over those with ink, above 0.1.": off.mean(),
        "Divided by all cells: divide by the number of those with ink.": (off * on).mean(),
        "That is the mean over the ten classes: take their sum.": each.mean() / 10,
        "Big digits count for more: first the mean of each picture, then that of the pictures.": (
            off[on].mean()
        ),
        "That is the sum over the pictures: take their mean.": each.sum(),
        "That is the sum over the cells: take their mean.": (off * on).sum((1, 2)).mean(),
        "These are not the votes: they are the last ten channels.": (
            (early * on).sum((1, 2)) / on.sum((1, 2))
        ).mean(),
        "That is the cross-entropy: take the squared error.": F.cross_entropy(logits, whose),
        "No softmax here: the votes themselves are compared with 1 and 0.": (
            (among * on).sum((1, 2)) / on.sum((1, 2))
        ).mean(),
        "That is the distance: take its square.": root.mean(),
    }
    for sentence, value in mistakes.items():
        if abs(given - float(value)) < 1e-4 * abs(float(value)):
            return sentence
    return f"Not {given:.3f}: follow the formula from the inside out, and mind who has a vote."


def check_beside(function: Callable | None) -> None:
    """Two digits on one sheet, with a number of empty columns between their ink."""
    generator = torch.Generator().manual_seed(3)
    left, right = 0.09 * torch.rand(2, 7, 12, generator=generator)  # haze
    left[2:5, 3:6] = right[1:6, 2:9] = 1.0
    right[:, 5] = 0.0  # a digit in two pieces
    right[3, 9] = 0.15
    for gap in (3, 0, 1):
        given, wanted = attempt(function, left, right, gap), sheet(left, right, gap)
        if given is None:
            return
        given = as_tensor(given, "the sheet")
        if given is None:
            return
        if given.shape == wanted.shape and torch.allclose(given.to(wanted), wanted, atol=1e-6):
            continue
        print(wrong_sheet(given, wanted, left, right, gap))
        return
    print("Right: two digits on one sheet, with a gap of any width between them.")


def sheet(left: Tensor, right: Tensor, gap: int, above: float = SHOWS, margin: int = 4) -> Tensor:
    """What is wanted, `[H, W]`."""
    parts = []
    for picture in (left, right):
        first, *_, last = (picture > above).any(0).nonzero()[:, 0].tolist()
        parts.append(picture[:, first : last + 1])
    blank = left.new_zeros(len(left), margin)
    return torch.cat([blank, parts[0], left.new_zeros(len(left), gap), parts[1], blank], 1)


def wrong_sheet(given: Tensor, wanted: Tensor, left: Tensor, right: Tensor, gap: int) -> str:
    if given.dim() != 2 or len(given) != len(left):
        return f"The sheet has the shape {list(given.shape)}: give [H, W], as high as the pictures."
    others = {
        "The digits have changed places.": sheet(right, left, gap),
        "Haze has been taken for ink: ink is above 0.1.": sheet(left, right, gap, above=0),
        "Pale ink has been cut off: ink is above 0.1.": sheet(left, right, gap, above=0.5),
        "Leave four empty columns on either side of the sheet.": sheet(left, right, gap, margin=0),
        "The gap is one column too wide.": sheet(left, right, gap + 1),
    }
    for sentence, other in others.items():
        if given.shape == other.shape and torch.allclose(given.to(other), other, atol=1e-6):
            return sentence
    if given.shape[1] == wanted.shape[1] - 1:
        return (
            "A column is missing: cut from the first column with ink to the last, both kept; an "
            "empty column between them belongs to the digit."
        )
    if given.shape[1] != wanted.shape[1]:
        return (
            f"With a gap of {gap} the sheet is {given.shape[1]} columns wide, not "
            f"{wanted.shape[1]}: a margin of 4, the left digit, the gap, the right digit, 4."
        )
    return "The sheet is as wide as it should be, but something else stands on it."
