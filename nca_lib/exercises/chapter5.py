"""Checks for chapter 5, the growth explorer."""

from __future__ import annotations

from nca_lib.cells import LIFE, seed_state
from nca_lib.exercises.trying import as_tensor, attempt, same
from nca_lib.rollout.fire import fire_mask
from nca_lib.rule import NCA
from nca_lib.training.presets import PRESETS

import torch
from torch import Tensor

FILMS = ((3, (0, 1, 2, 5)), (7, (4,)), (3, (0,)))  # digit and chosen steps


def small_rule() -> NCA:
    """A random rule whose tissue spreads; the reader's random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rule = NCA(PRESETS["full"].rule).requires_grad_(False)
        rule.update.weight.normal_(std=0.01)
        rule.update.weight[LIFE] = rule.update.weight[LIFE].abs()
    return rule


def growth(rule: NCA, digit: int, steps: int, mask=lambda step: step, fire_rate=None) -> Tensor:
    """States `[steps + 1, C, H, W]`; `mask` says which mask a step draws."""
    state, states = seed_state(1, rule.config.channels, rule.kind.size), []
    rate, size = fire_rate or rule.config.fire_rate, rule.kind.size
    for step in range(steps + 1):
        states.append(state[0])
        fire = fire_mask(torch.tensor([0]), mask(step), *size, rate)
        state = rule.step(state, rule.genome(torch.tensor([digit])), fire)
    return torch.stack(states)


def check_film(film) -> None:
    """The states of a growth at chosen steps, by the reader's own loop."""
    rule = small_rule()
    for digit, chosen in FILMS:
        given = attempt(film, rule, digit, chosen, name="film")
        given = None if given is None else as_tensor(given, "the film")
        if given is None:
            return
        steps, wanted = list(chosen), growth(rule, digit, 8)
        if given.shape == (len(steps), 1, *wanted.shape[1:]):
            print("Your states have a batch of one in the middle: keep state[0].")
            return
        if given.shape == (len(steps), *wanted.shape[2:]):
            print("That is one channel: keep all of them, the ink is channel 0.")
            return
        if same(given, wanted[steps], "the film", atol=1e-4):
            continue
        if given.shape == wanted[steps].shape:
            print(what_is_wrong(given, rule, digit, steps))
        return
    print("Right: one seed, one step after the other, and the states that were asked for.")


def what_is_wrong(film: Tensor, rule: NCA, digit: int, steps: list[int]) -> str:
    """A sentence for a film of the right shape with the wrong states."""
    late = [step + 1 for step in steps]
    others = {
        "Each state is one step late: step 0 is the seed, before any step.": (
            growth(rule, digit, 8)[late]
        ),
        "The same cells fire in every step: give fire_mask the number of the step.": (
            growth(rule, digit, 8, lambda step: 0)[steps]
        ),
        "The masks are one ahead: the step from state 0 to state 1 draws mask 0.": (
            growth(rule, digit, 8, lambda step: step + 1)[steps]
        ),
        "All cells fire: the fire rate is rule.config.fire_rate.": (
            growth(rule, digit, 8, fire_rate=1.0)[steps]
        ),
        f"That is not a {digit}: make the genome of the digit that is asked for.": (
            growth(rule, 3 if digit != 3 else 0, 8)[steps]
        ),
    }
    for sentence, states in others.items():
        if torch.allclose(film.double(), states.double(), atol=1e-4):
            return sentence
    wanted = growth(rule, digit, 8)[steps]
    wrong = [
        k
        for k, (a, b) in enumerate(zip(film, wanted, strict=True))
        if not (a - b).abs().max() <= 1e-4
    ]
    return f"Of the states at {steps}, that of step {steps[wrong[0]]} is not the rule's."


def check_reach(reach) -> None:
    """How many king's moves the furthest True cell is away."""
    generator = torch.Generator().manual_seed(0)
    one = torch.zeros(4, 9, 12, dtype=torch.bool)
    one[0, 5, 7] = one[1, 0, 5] = one[2, 8, 11] = True  # itself, above, on the right; none
    some = torch.rand(6, 9, 12, generator=generator) < 0.05
    for mask, row, column in ((one, 5, 7), (some, 2, 9), (some, 8, 0)):
        given = attempt(reach, mask, row, column, name="reach")
        given = None if given is None else as_tensor(given, "reach")
        if given is None:
            return
        y = (torch.arange(9) - row)[:, None]
        x = (torch.arange(12) - column)[None]
        wanted = (torch.maximum(y.abs(), x.abs()) * mask).amax((1, 2))
        if same(given, wanted, "reach"):
            continue
        if given.shape == wanted.shape:
            print(which_distance(given, mask, y, x))
        return
    print("Right: the furthest True cell, in king's moves.")


def which_distance(given: Tensor, mask: Tensor, y: Tensor, x: Tensor) -> str:
    """A sentence for distances that are not those wanted."""
    across, furthest = x.abs().expand(9, 12), torch.maximum(y.abs(), x.abs())
    others = {
        "You add rows and columns: a king's move goes one row and one column at once.": (
            (y.abs() + x.abs()) * mask
        ),
        "That is the length of a straight line: a king's move may be diagonal.": (
            (y**2 + x**2).sqrt() * mask
        ),
        "Cells above and on the left have negative differences: take abs().": (
            torch.maximum(y, x) * mask
        ),
        "You count the rows alone: take the larger of both distances.": (
            y.abs().expand(9, 12) * mask
        ),
        "You count the columns alone: take the larger of both distances.": across * mask,
        "You take the smaller of both distances.": torch.minimum(y.abs(), x.abs()) * mask,
        "That is the furthest cell of the grid: only True cells count.": furthest.expand_as(mask),
    }
    for sentence, distance in others.items():
        if torch.allclose(given.double(), distance.double().amax((1, 2)), atol=1e-5):
            return sentence
    if (given[~mask.any((1, 2))] != 0).any():
        return "Where no cell is True, reach is 0."
    wanted = (furthest * mask).amax((1, 2))
    first = int((given != wanted).nonzero()[0])
    return f"Your reach is {given[first]:g}, but the furthest cell is {wanted[first]:g} moves away."


def check_probe(probe, r_squared) -> None:
    """A linear probe with a constant, and the share of the variance that it explains."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=generator)
    y = 2 * x[:, 0] - x[:, 1] + 3 + 0.5 * torch.randn(200, generator=generator)
    for seen, wanted in ((x, y), (x[:, :1], y), (x + 5, x[:, 0] - 7)):
        given = attempt(probe, seen, wanted, name="probe")
        given = None if given is None else as_tensor(given, "the weights")
        if given is None or not are_weights(given, seen, wanted):
            return
    guess = torch.stack([y, y.mean().expand(200), 0.5 * y + 2, y + 1, torch.zeros(200)])
    for line in guess:
        given = attempt(r_squared, line, y, name="r_squared")
        given = None if given is None else as_tensor(given, "R squared")
        if given is None:
            return
        if given.numel() != 1:
            print(f"r_squared is one number, yours has the shape {list(given.shape)}.")
            return
        if not is_r_squared(given.double().item(), line.double(), y.double()):
            return
    print("Right: weights with a constant, and 1 minus what is left over what there was.")


def are_weights(given: Tensor, x: Tensor, y: Tensor) -> bool:
    """Whether they are the least squares weights, the constant last; says what is wrong."""
    ones = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    best = torch.linalg.lstsq(ones, y.double()[:, None]).solution[:, 0]  # [F + 1]
    if given.shape == x.shape[1:]:
        print("A weight for each channel, but no constant: add a column of ones to x.")
    elif given.shape == (*best.shape, 1):
        print("The weights are a column, [F + 1, 1]: take [:, 0].")
    elif given.shape != best.shape:
        print(f"The weights have the shape {list(given.shape)}, wanted is {list(best.shape)}.")
    elif torch.allclose(given.double(), best, rtol=1e-2, atol=1e-2):
        return True
    elif torch.allclose(given.double().roll(-1), best, rtol=1e-2, atol=1e-2):
        print("The constant comes last: put the column of ones behind the channels.")
    else:
        left = (ones @ given.double() - y).square().mean().item()
        least = (ones @ best - y).square().mean().item()
        print(f"Your weights leave a squared error of {left:.2f}; {least:.2f} is possible.")
    return False


def is_r_squared(given: float, guess: Tensor, y: Tensor) -> bool:
    """Whether it is R squared; says what is wrong."""
    left, there = (y - guess).square().mean().item(), (y - y.mean()).square().mean().item()
    true, by_zero = 1 - left / there, 1 - left / y.square().mean().item()
    if abs(given - true) < 1e-3:
        return True
    related = torch.corrcoef(torch.stack([guess, y]))[0, 1].square().item()
    for sentence, other in (
        ("That is what is left. R squared is 1 minus that share.", left / there),
        ("Divide what is left by the variance of y.", 1 - left),
        ("Measure y from its mean: a guess of the mean has R squared 0.", by_zero),
        ("That is a squared correlation: a guess that is off by 1 all over has it, too.", related),
    ):
        if abs(given - other) < 1e-3:
            print(sentence)
            return False
    print(
        f"r_squared gives {given:.2f} for a guess with {left:.2f} left of a variance {there:.2f}."
    )
    return False
