"""A model with known answers: its weights are set by hand, in eighths, so that floats are exact.

From the seed in the middle a bar grows to both sides, a cell a step and seven cells far. The ink of
a living cell is what the condition says, one step after the cell came to life:

    after step t  ->  life in columns 14 - r to 14 + r, r = min(t, 7); ink for r = min(t - 1, 7)

What is cut off comes back as far as the rest of the bar remembers how far from the seed it is. A
model that is made to forget loses the ink of a cell once it has lived longer than `forget` steps.
"""

from __future__ import annotations

from types import SimpleNamespace

from nca_lib.classifier import FEATURES
from nca_lib.data import Dataset, Pictures
from nca_lib.model import NCA
from nca_lib.spec import MNIST

import torch
from torch import Tensor

INK, ALIVE, ORIGIN, REACH, AGE = range(5)
WEST, MIDDLE, EAST = 3, 4, 5  # of the nine neighbours
ROW = COLUMN = 14  # the seed
FAR = 7  # cells to both sides
WIDTH = 2 * FAR + 1
GROWN = FAR + 1  # steps until nothing changes any more
PIXELS = 28 * 28
MOST = 4.0  # the ink that a condition may ask for is below

LABEL_INK = tuple((digit + 1) / 16 for digit in range(10))  # what the toy classifier reads


def toy_model(
    label_ink: tuple[float, ...] | float = 1.0,
    style_ink: tuple[float, ...] = (0.0,),
    forget: int | None = None,
    fire_rate: float = 1.0,
    loss_steps: tuple[int, ...] = (6, GROWN),
    digits: tuple[int, ...] | None = None,
) -> NCA:
    """The model; its ink is `label_ink[label] + style_ink @ style`, where that is above 0."""
    model = NCA(
        MNIST, channels=5, hidden=10, label_dim=1, style_dim=len(style_ink), perception="patch",
        fire_rate=fire_rate,
    ).requires_grad_(False)  # fmt: skip
    seen = torch.zeros(10, 9, 5)  # hidden unit, neighbour, channel
    bias, asked, update = torch.zeros(10), torch.zeros(10, 1 + len(style_ink)), torch.zeros(5, 10)

    for unit, side in ((0, WEST), (1, EAST)):  # reach: an eighth less than the neighbour's
        seen[unit, side, REACH], seen[unit, MIDDLE, REACH], bias[unit] = 1, -1, -1 / 8
        update[REACH, unit] = 1
    for unit, least in ((2, 1), (3, 2)):  # life: 1 where reach comes by, clipped
        seen[unit, [WEST, MIDDLE, EAST], REACH], bias[unit] = 8, -least
    seen[4, MIDDLE, ALIVE] = 1
    update[ALIVE, [2, 3, 4]] = torch.tensor([1.0, -1, -1])
    seen[5, MIDDLE, ALIVE], bias[5], asked[5] = MOST, -MOST, torch.tensor([1.0, *style_ink])
    seen[6, MIDDLE, INK], seen[7, MIDDLE, INK] = 1, -1
    update[INK, [5, 6, 7]] = torch.tensor([1.0, -1, 1])  # the condition's ink instead of the old
    update[AGE, 4] = 1
    if forget is not None:
        seen[[8, 9], MIDDLE, AGE], bias[8], bias[9] = 1, -forget, -forget - 1
        update[INK, [8, 9]] = torch.tensor([-1.0, 1])

    model.hidden.weight.copy_(seen.flatten(1))
    model.hidden.bias.copy_(bias)
    model.from_condition.weight.copy_(asked)
    model.output.weight.copy_(update)
    model.conditioning.labels.weight.copy_(torch.as_tensor(label_ink).expand(10)[:, None])
    known_code(model, [0.0] * len(style_ink), [0.0] * len(style_ink))
    model.steps = loss_steps[-1]
    if digits is not None:
        model.trained_labels = list(digits)
    return model


def known_code(model: NCA, mean: list[float], log_variance: list[float]) -> None:
    """The encoder finds this code in every picture."""
    for parameter in model.encoder.parameters():
        parameter.data.zero_()
    model.encoder.code.bias.data.copy_(torch.tensor([*mean, *log_variance]))


def inked(step: int) -> int:
    """How many cells have ink after this step."""
    return 2 * min(step - 1, FAR) + 1


def forgotten(step: int, forget: int) -> int:
    """How many cells have lost their ink after this step; a cell `r` away began to live at `r`."""
    ages = [step - 1 - abs(r) if r else step for r in range(-FAR, FAR + 1)]  # the seed starts at 1
    return sum(age > forget for age in ages)


def bar(ink: float = 1.0, radius: int = FAR) -> Tensor:
    """The picture `[28, 28]` of a bar that has come so far."""
    picture = torch.zeros(28, 28)
    picture[ROW, COLUMN - radius : COLUMN + radius + 1] = ink
    return picture


def bars(labels: list[int], label_ink=1.0) -> Pictures:
    """What the model makes of the labels."""
    inks = torch.as_tensor(label_ink).expand(10)[labels]
    return Pictures(bar()[None, None] * inks[:, None, None, None], torch.tensor(labels))


def toy_data(labels: list[int], label_ink=LABEL_INK) -> Dataset:
    """The same bars to train on, to validate and to test, each set with its own number of them."""
    train, few = bars(labels * 2, label_ink), bars(labels, label_ink)
    return Dataset(train, few.limit(len(labels) - 1), few, "toy bars in memory", "toy bars", MNIST)


class ToyClassifier:
    """Reads the ink of the cell in the middle: sixteenths, less one."""

    def features(self, images: Tensor) -> Tensor:
        features = torch.zeros(len(images), FEATURES)
        features[:, 0] = images[:, 0, ROW, COLUMN]
        return features

    def classes(self, features: Tensor) -> Tensor:
        return -(16 * features[:, :1] - 1 - torch.arange(10.0)).abs()


def spy(model: NCA) -> list[SimpleNamespace]:
    """Every rollout of the model from now on, with what it was given."""
    calls, rollout = [], model.rollout

    def noted(state, condition, steps, rng_seeds=0, record_steps=None, first_step=0, **more):
        given = {
            "state": state.clone(),
            "condition": None if condition is None else condition.detach().clone(),
            "steps": steps,
            "rng_seeds": rng_seeds.clone(),
            "record_steps": record_steps,
            "first_step": first_step,
        }
        calls.append(SimpleNamespace(**given))
        return rollout(state, condition, steps, rng_seeds, record_steps, first_step, **more)

    model.rollout = noted
    return calls
