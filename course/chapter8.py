"""Checks for chapter 8, models that classify."""

from course.checking import Check
from nca_lib.model import NCA
from nca_lib.spec import MNIST
from nca_lib.state import alive_mask

import torch
import torch.nn.functional as F


def random_states(count):
    """Pictures `[B, 1, 9, 8]`, with haze, each with more ink than the one before; and states."""
    much = 0.15 + 0.15 * torch.arange(count)[:, None, None, None]
    levels = torch.rand(count, 1, 9, 8)
    haze = 0.08 * levels * (levels > 0.5)  # half of the cells without ink are empty
    images = torch.where(torch.rand(levels.shape) < much, 0.12 + 0.88 * levels, haze)
    states = torch.randn(count, 14, 9, 8)
    states[:, :1], states[:, 1:2] = images, (images > 0.1).float()
    return states, images


def reading_step(model, state, fire, old=lambda s, n, alive: s, rest=lambda n, alive: n * alive):
    """`old` are ink and alive channel after the step, `rest` are all other channels."""
    alive = alive_mask(state, 1)
    new = state + model.update(model.perceive(state), None) * (alive & fire[:, None])
    return torch.cat([old(state, new, alive)[:, :2], rest(new, alive)[:, 2:]], 1)


def step_case():
    model = NCA(MNIST, channels=14, hidden=6, label_dim=0, frozen=(0, 1)).requires_grad_(False)
    for weight in model.parameters():
        weight.copy_(0.3 * torch.randn(weight.shape))
    state, images = random_states(2)
    state[:, 1] *= images[:, 0] > 0.75  # few cells are alive: dead ones have ink, too
    return model, state, torch.rand(2, 9, 8) < 0.5


STEP = {
    "Right: ink and alive channel are as they were given, and all the rest has moved on.": {},
    "Ink and alive channel have changed: both are frozen.": {"old": lambda s, n, alive: n * alive},
    "The faint ink of dead cells is gone: it is frozen.": {"old": lambda s, n, alive: s * alive},
    "Dead cells are emptied, but for the frozen channels.": {"rest": lambda n, alive: n},
    "Only cells that fire may change.": lambda x, y, fire: reading_step(x, y, fire | True),
}
check_step = Check(reading_step, lambda: [step_case()], STEP, keeps=True)


def tally(states, images, level=0.1, first=-10):
    ballots = F.one_hot(states[:, first : first + 10 or None].argmax(1), 10)  # [B, H, W, 10]
    return (ballots * (images[:, 0] > level)[..., None]).sum((1, 2))


TALLY = {
    "Right: each cell with ink has one vote, and the rest have none.": {},
    "All cells of the grid have voted: only those with ink have a vote.": {"level": -1},
    "Haze has voted: a cell has ink where the picture is above 0.1.": {"level": 0},
    "You have counted channels 2 to 11: the votes are the last ten.": {"first": 2},
    "A cell votes for the class of its largest vote.": lambda s, images: tally(-s, images),
}
check_tally = Check(tally, lambda: [random_states(4), random_states(1)], TALLY)


def mean_of_means(off, ink):
    return ((off * ink).sum((1, 2)) / ink.sum((1, 2))).mean()


def reading_loss(states, images, labels, votes=lambda s: s[:, -10:], mean=mean_of_means):
    wanted = F.one_hot(labels, 10)[:, :, None, None]
    return mean((votes(states) - wanted).square().sum(1), images[:, 0] > 0.1)


def loss_case(count):
    states, images = random_states(count)
    return states.requires_grad_(), images, torch.randint(10, (count,))


LOSS = {
    "Right: this is the loss that the library trains its self-classifying model with.": {},
    "The mean is over the cells with ink, above 0.1.": {"mean": lambda off, ink: off.mean()},
    "Divide by the number of cells with ink.": {"mean": lambda off, ink: (off * ink).mean()},
    "First the mean of each picture, then of all.": {"mean": lambda off, ink: off[ink].mean()},
    "The votes are the last ten channels.": {"votes": lambda states: states[:, 2:12]},
    "No softmax: compare the votes.": {"votes": lambda states: states[:, -10:].softmax(1)},
}
check_reading_loss = Check(reading_loss, lambda: [loss_case(4), loss_case(1)], LOSS)


def beside(left, right, gap, level=0.1, margin=4, end=1):
    parts = []
    for picture in (left, right):
        columns = (picture > level).any(0).nonzero()[:, 0].tolist()
        parts.append(picture[:, columns[0] : columns[-1] + end])
    blank, between = left.new_zeros(len(left), margin), left.new_zeros(len(left), gap)
    return torch.cat([blank, parts[0], between, parts[1], blank], 1)


def sheet_cases():
    left, right = 0.09 * torch.rand(2, 7, 12)  # haze
    left[2:5, 3:6] = right[1:6, 2:9] = 1.0
    right[:, 5] = 0.0  # a digit in two pieces
    right[3, 9] = 0.15
    return [(left, right, gap) for gap in (3, 0, 1)]


SHEET = {
    "Right: two digits on one sheet, with a gap of any width between them.": {},
    "The digits have changed places.": lambda left, right, gap: beside(right, left, gap),
    "Haze has been taken for ink: ink is above 0.1.": {"level": 0},
    "Leave four empty columns on either side of the sheet.": {"margin": 0},
    "The last column of each digit is missing: a slice stops before its end.": {"end": 0},
}
check_beside = Check(beside, sheet_cases, SHEET)
