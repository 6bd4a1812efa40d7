"""Checks for chapter 5: a growth step by step, its reach, and a linear probe."""

from course.checking import Check, reports
from nca_lib.model import NCA
from nca_lib.rollout.fire import fire_mask
from nca_lib.spec import MNIST

import torch


def film(model, digit, chosen, mask=lambda step: step, rate=None, late=0):
    state, states = model.seed(), []
    for step in range(max(chosen) + late + 1):
        states.append(state[0])
        fire = fire_mask(torch.tensor([0]), mask(step), 28, 28, rate or model.config.fire_rate)
        state = model.step(state, model.condition(torch.tensor([digit])), fire)
    return torch.stack([states[step + late] for step in chosen])


def film_cases():
    model = NCA(MNIST, hidden=32, style_dim=4).requires_grad_(False)
    model.output.weight.normal_(std=0.02)
    model.output.weight[1] = model.output.weight[1].abs()  # so that it spreads
    return [(model, 3, (0, 1, 2, 5)), (model, 7, (4,)), (model, 3, (0,))]


FILM = {
    "Right: one seed, one step after the other, and the states that were asked for.": {},
    "Each state is one step late: step 0 is the seed, before any step.": {"late": 1},
    "The same cells fire in every step: give fire_mask its number.": {"mask": lambda step: 0},
    "All cells fire: the fire rate is model.config.fire_rate.": {"rate": 1.0},
    "That is not the digit that is asked for.": lambda model, _, chosen: film(model, 3, chosen),
}
check_film = Check(film, film_cases, FILM)


def reach(mask, row, column, far=lambda y, x: torch.maximum(y.abs(), x.abs()), everywhere=False):
    y = (torch.arange(mask.shape[1]) - row)[:, None]
    x = (torch.arange(mask.shape[2]) - column)[None]
    return (far(y, x) * (mask | everywhere)).amax((1, 2))


def reach_cases():
    one = torch.zeros(4, 9, 12, dtype=torch.bool)
    one[0, 5, 7] = one[1, 0, 5] = one[2, 8, 11] = True  # itself, above, on the right; none
    return [(one, 5, 7), (torch.rand(6, 9, 12) < 0.05, 2, 9)]


REACH = {
    "Right: the furthest True cell, in king's moves.": {},
    "A king goes one row and one column at once.": {"far": lambda y, x: y.abs() + x.abs()},
    "A king's move may be diagonal.": {"far": lambda y, x: (y**2 + x**2).sqrt()},
    "Cells above and on the left have negative differences: take abs().": {"far": torch.maximum},
    "You take the smaller distance.": {"far": lambda y, x: torch.minimum(y.abs(), x.abs())},
    "That is the furthest cell of the grid: only True cells count.": {"everywhere": True},
}
check_reach = Check(reach, reach_cases, REACH)


def probe(x, y, shape=(-1,), shift=0):
    x = torch.cat([x, torch.ones(len(x), 1)], 1)
    return torch.linalg.lstsq(x, y[:, None]).solution.roll(shift, 0).view(shape)


def probe_cases():
    x = torch.randn(200, 3)
    y = 2 * x[:, 0] - x[:, 1] + 3 + 0.5 * torch.randn(200)
    return [(x, y), (x[:, :1], y), (x + 5, x[:, 0] - 7)]


PROBE = {
    "Right so far: now r_squared.": {},
    "Add a column of ones to x.": lambda x, y: torch.linalg.lstsq(x, y[:, None]).solution[:, 0],
    "The weights are a column, [F + 1, 1]: take [:, 0].": {"shape": (-1, 1)},
    "The constant comes last: put the column of ones behind the channels.": {"shift": 1},
}
PROBE_CHECK = Check(probe, probe_cases, PROBE, atol=1e-2)


def r_squared(guess, y, middle=torch.mean, total=lambda off: off.square().mean()):
    return 1 - (y - guess).square().mean() / total(y - middle(y))


def guess_cases():
    y = probe_cases()[0][1]
    return [(guess, y) for guess in (y.mean().expand(200), 0.5 * y + 2, y + 1, 0 * y, y)]


R_SQUARED = {
    "Right: weights with a constant, and 1 minus what is left over what there was.": {},
    "That is what is left: R squared is 1 minus that.": lambda *both: 1 - r_squared(*both),
    "Divide what is left by the variance of y.": {"total": lambda off: 1},
    "Measure y from its mean: a guess of the mean has R squared 0.": {"middle": lambda y: 0},
}
SHARE_CHECK = Check(r_squared, guess_cases, R_SQUARED, atol=1e-3)


@reports
def check_probe(probe, r_squared):
    """A linear probe with a constant, and the share of the variance that it explains."""
    PROBE_CHECK.examine(probe)
    return SHARE_CHECK.examine(r_squared)
