"""The checks of the chapters accept what is right, name near misses, and never accept a stub."""

import importlib
import math
import re
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from nca_lib.conditioning import StyleCode
from nca_lib.data.dataset import Pictures
from nca_lib.evaluation.baselines import class_mean
from nca_lib.evaluation.metrics import ink_iou, pixel_accuracy
from nca_lib.masks import disc, erase
from nca_lib.model import NCA, perception_kernels
from nca_lib.spec import MNIST
from nca_lib.state import alive_mask, seed_state, state_from_image
from nca_lib.training.config import TrainingConfig
from nca_lib.training.losses import alive_target, position_target
from nca_lib.training.tasks import count_votes, vote_error

import numpy as np
import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from course.checking import Check, Wrong, as_tensor, call, same
from course.diagram import step_diagram

CHAPTERS = [importlib.import_module(f"course.chapter{number}") for number in range(1, 10)]
CHECKS = {
    f"{chapter.__name__.removeprefix('course.chapter')} {name.removeprefix('check_')}": check
    for chapter in CHAPTERS
    for name, check in vars(chapter).items()
    if name.startswith("check_")
}
PICTURE = torch.zeros(1, 1, 28, 28)
PICTURE[..., 6:22, 12:16] = 0.8
MODEL = NCA(MNIST, hidden=8, style_dim=4)
CONFIG = TrainingConfig(iterations=300, batch_size=8, pool_share=0.0, damage=0.0)
OTHERS = {  # what a chapter gives its check besides the reader's answer
    "1 small": (PICTURE,),
    "2 learn_once": (PICTURE,),
    "2 config": (CONFIG,),
    "3 halfway": (MODEL,),
    "7 length": (32,),
}
PAIRS = ("2 pool", "5 probe")  # two answers


def said(capsys, name, given):
    """What the check prints about an answer, or two: one line."""
    CHECKS[name](*(given if name in PAIRS else (given,)), *OTHERS.get(name, ()))
    text = capsys.readouterr().out
    assert len(text.splitlines()) == 1, text
    return text


# ---- chapter 1 -----------------------------------------------------------------------------------


def neighbours(grid, middle=0.0, mode="constant"):
    kernel = torch.tensor([[1.0, 1, 1], [1, middle, 1], [1, 1, 1]])
    framed = F.pad(grid[None, None], (1, 1, 1, 1), mode=mode)
    return F.conv2d(framed, kernel[None, None])[0, 0]


def life(grid, **how):
    count = neighbours(grid, **how)
    return ((count == 3) | (count == 2) & (grid == 1)).float()


def life_in_place(grid):
    grid[:] = life(grid)
    return grid


FILTERS = perception_kernels("sobel")


def perceive(state, filters=FILTERS):
    c = state.shape[1]
    each = [F.conv2d(state, k[None].expand(c, 1, 3, 3), padding=1, groups=c) for k in filters]
    return torch.cat(each, 1)


def perceive_interleaved(state):
    return F.conv2d(state, FILTERS.repeat(state.shape[1], 1, 1, 1), padding=1, groups=len(state[0]))


def change(model, seen, condition, bias=1):
    first = F.conv2d(seen, model.hidden.weight[:, :, None, None], bias * model.hidden.bias)
    hidden = (first + F.linear(condition, model.from_condition.weight)[:, :, None, None]).clamp(0)
    return F.conv2d(hidden, model.output.weight[:, :, None, None])


def step(model, state, condition, fire, first=True, last=True):
    before = alive_mask(state, 1)
    acting = before & fire[:, None]
    new = torch.where(acting, state + change(model, perceive(state), condition), state)
    new = new * alive_mask(new, 1) if last else new
    return new * before if first else new


class Drawn(NCA):
    """A model that has learned its picture, as far as a check can see."""

    def grow(self, *given, **options):
        return PICTURE[None]


LAPLACIAN = torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]]) / 8
ANSWERS = [  # task, what is said, answer
    ("1 life", "Right", life),
    ("1 life", "Right", life_in_place),
    ("1 life", "its own neighbour", lambda grid: life(grid, middle=1)),
    ("1 life", "like a ring", lambda grid: life(grid, mode="circular")),
    ("1 life", "not of the type", lambda grid: life(grid).bool()),
    ("1 life", "Not yet", neighbours),
    ("1 perceive", "Right", perceive),
    ("1 perceive", "Right", lambda state: perceive(state.double(), FILTERS.double())),
    ("1 perceive", "All channels come first", perceive_interleaved),
    ("1 perceive", "swapped", lambda state: perceive(state, FILTERS[[0, 2, 1]])),
    ("1 perceive", "-1 times", lambda state: -perceive(state)),
    ("1 change", "Right", change),
    ("1 change", "Right", lambda model, *given: model.update(*given)),
    ("1 change", "bias is missing", lambda *given: change(*given, bias=0)),
    ("1 change", "No ReLU at the end", lambda *given: change(*given).relu()),
    ("1 change", "of its own", lambda model, seen, condition: change(model, seen, condition[:1])),
    ("1 alive", "Right", partial(alive_mask, channel=1)),
    ("1 alive", "*some* cell", lambda state: state[:, 1:2] > 0.1),
    ("1 alive", "looks at the ink", lambda state: alive_mask(state, 0)),
    ("1 alive", "not of the type", lambda state: alive_mask(state, 1).float()),
    ("1 step", "Right", step),
    ("1 step", "Right", lambda model, *given: model.step(*given)),
    ("1 step", "alive before", lambda *given: step(*given, first=False)),
    ("1 step", "alive after", lambda *given: step(*given, last=False)),
    ("1 step", "fire mask", lambda model, s, c, fire: step(model, s, c, fire | True)),
    ("1 reach", "Right", 10),
    ("1 reach", "Right", np.array([10])),
    ("1 reach", "fire rate 0.5", 12),
    ("1 reach", "one number", [10, 10]),
    ("1 reach", "Not nan", math.nan),
    ("1 laplacian", "Right", -LAPLACIAN.double()),
    ("1 laplacian", "Right", LAPLACIAN.tolist()),
    ("1 laplacian", "flat", LAPLACIAN.abs()),
    ("1 laplacian", "All zeros", torch.zeros(3, 3)),
    ("1 laplacian", "alike", torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]) / 4),
    ("1 small", "Right", Drawn(MNIST, hidden=40)),
    ("1 small", "5344 parameters", Drawn(MNIST, hidden=64)),
    ("1 small", "train it longer", NCA(MNIST, hidden=40)),
]

# ---- chapters 2 and 3 ----------------------------------------------------------------------------


def loss_of(frames, picture, tissue, alive=0.25, limit=2.0):
    total = 0
    for state in frames:
        ink = F.mse_loss(state[:, :1], picture.expand(len(state), -1, -1, -1))
        living = (state[:, 1:2] - tissue).pow(2).mean()
        beyond = (state - state.clamp(-limit, limit)).pow(2).mean()
        total = total + (ink + alive * living + beyond / 10) / len(frames)
    return total


def learn_once(model, optimiser, states, seeds, record, wrong=""):
    condition = model.condition([3] * len(states))
    frames = model.rollout(states, condition, record[-1], seeds, record)
    loss = loss_of(frames, PICTURE, alive_target(PICTURE))
    if wrong != "clean":
        optimiser.zero_grad()
    (-loss if wrong == "sign" else loss).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9 if wrong == "clip" else 1.0)
    optimiser.step()
    return loss.item(), frames[-1] if wrong == "detach" else frames[-1].detach()


def draw(pool, count, generator, shuffle=True, seeded=0, spoil=False):
    slots = torch.randperm(len(pool), generator=generator) if shuffle else torch.arange(len(pool))
    states = pool[slots[:count]]
    states[seeded] = seed_state(MNIST, pool.shape[1])[0]
    pool *= not spoil
    return slots[:count], states


def put_back(pool, slots, states, detach=True):
    pool[slots] = states.detach() if detach else states
    return pool


def place(height, width):
    return position_target(torch.zeros(1, 1, height, width))


def nearest_candidate(coarse, sine, cosine):
    """Another way: of all 57 rows the one that fits both marks best."""
    rows = torch.arange(-28.0, 29.0)
    angle = torch.atan2(sine, cosine)[..., None] - math.pi / 2 * rows
    off, far = torch.atan2(angle.sin(), angle.cos()).abs(), (14 * coarse[..., None] - rows).abs()
    return rows[(off + 100 * (far > 2)).argmin(-1)]


def merge(weights, tables=True):
    result = {}
    for name in weights[0]:
        stack = torch.stack([one[name] for one in weights]).double()
        own = tables and name in ("conditioning.labels.weight", "encoder.label.weight")
        result[name] = stack[range(10), range(10)] if own else stack.mean(0)
    return result


THREE, EIGHT = MODEL.condition([3, 8]).detach()
ANSWERS += [
    ("2 loss", "Right", loss_of),
    ("2 loss", "counts a quarter", lambda *given: loss_of(*given, alive=1)),
    ("2 loss", "penalty for large numbers", lambda *given: loss_of(*given, limit=99)),
    ("2 loss", "4 times", lambda *given: loss_of(*given) * len(given[0])),
    ("2 loss", "no gradient", lambda *given: loss_of(*given).item()),
    ("2 loss", "All samples count", lambda x, y, z: loss_of(x[:, : len(y)], y, z)),
    ("2 learn_once", "Right", learn_once),
    ("2 learn_once", "not clipped", lambda *given: learn_once(*given, wrong="clip")),
    ("2 learn_once", "zero_grad", lambda *given: learn_once(*given, "clean")),
    ("2 learn_once", "the weights of", lambda *given: learn_once(*given, "sign")),
    ("2 learn_once", "detach()", lambda *given: learn_once(*given, "detach")),
    ("2 learn_once", "the loss first", lambda *given: learn_once(*given)[::-1]),
    ("2 pool", "Right", (draw, put_back)),
    ("2 pool", "The first of the states", (partial(draw, seeded=-1), put_back)),
    ("2 pool", "Drawing changes the pool", (partial(draw, spoil=True), put_back)),
    ("2 pool", "never drawn", (partial(draw, shuffle=False), put_back)),
    ("2 pool", "detach() the states", (draw, partial(put_back, detach=False))),
    ("2 pool", "two things", (lambda *given: draw(*given)[1], put_back)),
    ("2 pool", "the pool itself", (draw, lambda pool, *given: put_back(pool.clone(), *given))),
    ("2 pool", "put_back is not a function", (draw, None)),
    ("2 age", "Right", 8),
    ("2 age", "Right", np.float64(8)),
    ("2 age", "counts, too", 7),
    ("2 age", "Not 0.125", 1 / 8),
    ("2 config", "Right", replace(CONFIG, pool_share=0.75, pool_start=0)),
    ("2 config", "pool_start is 0.4", replace(CONFIG, pool_share=0.75)),
    ("2 config", "seed is 1", replace(CONFIG, pool_share=0.75, pool_start=0, seed=1)),
    ("2 config", "Make one", {"pool_share": 0.75}),
    (
        "3 condition",
        "Right",
        lambda labels, code, table: torch.hstack([table[labels], code]).double(),
    ),
    ("3 condition", "comes first", lambda labels, code, table: torch.cat([code, table[labels]], 1)),
    ("3 condition", "Not yet", lambda labels, code, table: torch.cat([table[labels], 0 * code], 1)),
    ("3 position", "Right", place),
    ("3 position", "swapped", lambda h, w: place(h, w)[[1, 0, 3, 2, 5, 4]]),
    ("3 position", "both sines, both cosines", lambda h, w: place(h, w)[[0, 1, 2, 4, 3, 5]]),
    ("3 position", "shape", lambda h, w: place(28, 28)),
    ("3 read_row", "Right", nearest_candidate),
    ("3 read_row", "too rough", lambda coarse, sine, cosine: 14 * coarse),
    ("3 read_row", "Not yet", lambda coarse, sine, cosine: (14 * coarse).round()),
    ("3 merge", "Right", merge),
    ("3 merge", "row d only", lambda weights: merge(weights, tables=False)),
    ("3 merge", "changes its inputs", lambda weights: weights[0]["hidden.bias"].zero_()),
    ("3 merge", "a single model", lambda weights: weights[-1]),
    ("3 merge", "one side only", lambda weights: {"hidden.bias": weights[0]["hidden.bias"]}),
    ("3 merge", "still empty", lambda weights: dict.fromkeys(weights[0])),
    ("3 halfway", "Right", (THREE + EIGHT)[None] / 2),
    ("3 halfway", "the sum", (THREE + EIGHT)[None]),
    ("3 halfway", "Not yet", THREE[None]),
    ("3 halfway", "shape", THREE),
]

# ---- chapters 4 to 6 -----------------------------------------------------------------------------


def iou(grown, images, empty=1.0):
    a, b = (grown > 0.5).flatten(1).double(), (images > 0.5).flatten(1).double()
    return ((a * b).sum(1) / torch.maximum(a, b).sum(1)).nan_to_num(empty).mean()


def mean_picture(images, labels, wanted):
    return class_mean(Pictures(images, labels), Pictures(images[: len(wanted)], wanted))


def confusion(labels, read):
    table = torch.zeros(10, 10, dtype=torch.int64)
    for label, digit in zip(labels, read, strict=True):
        table[label, digit] += 1
    return table


def known(length):
    return {"all black": 0, "class mean": 0, "PCA per class": length, "restored": 784} | (
        dict.fromkeys(("convolutional decoder", "grown"), length)
    )


def film(model, digit, chosen, first_step=0):
    steps, condition = max(*chosen, 1), model.condition(digit)
    record, seeds = range(1, steps + 1), torch.tensor([0])
    grown = model.rollout(model.seed(), condition, steps, seeds, record, first_step)
    return torch.cat([model.seed()[None], grown])[list(chosen), 0]


def reach(mask, row, column, join=max):
    return [
        max([join(abs(y - row), abs(x - column)) for y, x in grid.nonzero().tolist()], default=0)
        for grid in mask
    ]


def probe(x, y):
    a = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    return torch.linalg.solve(a.T @ a, a.T @ y.double())


def r_squared(guess, y):
    return 1 - (y - guess).square().sum() / (y - y.mean()).square().sum()


def erase_discs(states, hit, centres, radius):
    region = disc(*centres.T, radius, tuple(states.shape[2:]))
    return erase(states, region & hit[:, None, None])


def training_batch(pool, taken, fresh, regions, revive=True):
    batch = [seed_state(MNIST, pool.shape[1])[0] for _ in range(fresh)]
    for number, slot in enumerate(taken.tolist()):
        state = pool[slot].clone()
        if number < len(regions):
            state[:, regions[number]] = 0
        alive = (state[1] > 0.1).any() or not revive
        batch.append(state if alive else seed_state(MNIST, pool.shape[1])[0])
    return torch.stack(batch)


def score(formula):
    return lambda hurt, later, control, images: formula(
        *(ink_iou(ink, images) for ink in (hurt, later, control))
    )


TAKERS = {"square", "right_half", "bottom_half", "stripes", "middle"}
ANSWERS += [
    ("4 pixel_accuracy", "Right", pixel_accuracy),
    ("4 pixel_accuracy", "wrong pixels", lambda *both: 1 - pixel_accuracy(*both)),
    ("4 pixel_accuracy", "100 times", lambda *both: 100 * pixel_accuracy(*both)),
    ("4 pixel_accuracy", "threshold on both", lambda a, b: (a == b).double().mean()),
    ("4 pixel_accuracy", "one number", lambda grown, images: (grown > 0.5) == (images > 0.5)),
    ("4 iou", "Right", ink_iou),
    ("4 iou", "0 / 0", lambda *both: iou(*both, empty=math.nan)),
    ("4 iou", "pixel accuracy", pixel_accuracy),
    ("4 iou", "picture by picture", lambda a, b: ink_iou(a.flatten()[None], b.flatten()[None])),
    ("4 iou", "Not yet", lambda *both: iou(*both, empty=0.0)),
    ("4 class_mean", "Right", mean_picture),
    ("4 class_mean", "in the order", lambda *given: mean_picture(*given[:2], given[2].sort()[0])),
    ("4 class_mean", "first picture", lambda x, y, z: torch.stack([x[y == k][0] for k in z])),
    ("4 confusion", "Right", confusion),
    ("4 confusion", "Turn it", lambda labels, read: confusion(read, labels)),
    ("4 confusion", "counts once", lambda *given: confusion(*given).clamp(max=1)),
    ("4 confusion", "Not yet", lambda *given: confusion(*given) + 1),
    ("4 numbers", "Right", known(32)),
    ("4 numbers", "'all black' is missing", {}),
    ("4 numbers", "not 48", known(48)),
    ("4 numbers", "class mean: not 32", known(32) | {"class mean": 32}),
    ("5 film", "Right", film),
    ("5 film", "shape", lambda *given: film(*given)[:, None]),
    ("5 film", "not the digit", lambda model, _, chosen: film(model, 3, chosen)),
    ("5 film", "Not yet", lambda *given: film(*given, first_step=1)),
    ("5 reach", "Right", reach),
    ("5 reach", "at once", lambda *given: reach(*given, join=lambda a, b: a + b)),
    ("5 reach", "diagonal", lambda *given: reach(*given, join=math.hypot)),
    ("5 probe", "Right", (probe, r_squared)),
    ("5 probe", "Right", (probe, lambda *given: r_squared(*given)[None])),
    ("5 probe", "constant comes last", (lambda x, y: probe(x, y).roll(1), r_squared)),
    ("5 probe", "what is left", (probe, lambda *given: 1 - r_squared(*given))),
    ("5 probe", "by the variance", (probe, lambda guess, y: 1 - (y - guess).square().mean())),
    ("6 erase_discs", "Right", erase_discs),
    ("6 erase_discs", "The others are hit", lambda s, hit, c, r: erase_discs(s, ~hit, c, r)),
    ("6 erase_discs", "(row, column)", lambda s, hit, c, r: erase_discs(s, hit, c.flip(1), r)),
    ("6 erase_discs", "use <=", lambda s, hit, c, r: erase_discs(s, hit, c, r - 1e-3)),
    ("6 erase_discs", "changes its inputs", lambda s, *given: s.mul_(0)),
    ("6 training_batch", "Right", training_batch),
    ("6 training_batch", "can't heal", lambda *given: training_batch(*given, revive=False)),
    ("6 training_batch", "changes its", lambda pool, *given: training_batch(pool.mul_(2), *given)),
    ("6 training_batch", "come first", lambda *given: training_batch(*given).roll(-given[2], 0)),
    ("6 training_batch", "Not yet", lambda *given: training_batch(*given[:3], ~given[3])),
    ("6 heal_score", "Right", score(lambda low, now, high: 1 - (high - now) / (high - low))),
    ("6 heal_score", "with the control", score(lambda low, now, high: (now - low) / (1 - low))),
    ("6 heal_score", "should get 0", score(lambda low, now, high: now / high)),
    ("6 heal_score", "Not yet", score(lambda low, now, high: now)),
    ("6 takers", "Right", sorted(TAKERS)),
    ("6 takers", "Right", dict.fromkeys(TAKERS)),
    ("6 takers", "mask[14, 14]", TAKERS - {"stripes"}),
    ("6 takers", "No such damage: top", TAKERS | {"top"}),
    ("6 takers", "set of names", "square"),
]

# ---- chapters 7 to 9 -----------------------------------------------------------------------------


def kl(mean, log_variance):
    return StyleCode(mean.double(), log_variance.double()).kl()


def gaussian(codes, upper=False):
    off = codes - codes.mean(0)
    return codes.mean(0), torch.linalg.cholesky(off.T @ off / (len(off) - 1), upper=upper)


def arc(a, b, share):
    angle = torch.acos(torch.cosine_similarity(a, b, 0))
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()


def reading_step(model, state, fire, frozen=True):
    """Whoever acts though dead is emptied afterwards."""
    after = state + model.update(model.perceive(state), None) * fire[:, None]
    after = after * alive_mask(state, 1)
    after[:, :2] = state[:, :2] if frozen else after[:, :2]
    return after


def tally(states, images):
    return count_votes(states, images, MNIST)


def reading_loss(states, images, labels):
    return vote_error(states[None], images, labels, MNIST)[0]


def beside(left, right, gap, above=0.1, margin=4):
    kept = []
    for picture in (left, right):
        columns = torch.where((picture > above).any(0))[0]
        kept.append(picture[:, columns.min() : columns.max() + 1])
    return torch.cat([F.pad(kept[0], (margin, gap)), F.pad(kept[1], (0, margin))], 1)


def centred(small, target=14):
    field = torch.zeros(28, 28)
    field[: len(small), : small.shape[1]] = small
    grid = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
    middle = [float((field * each).sum() / field.sum()) for each in grid]
    return np.roll(field.numpy(), [round(target - each) for each in middle], (0, 1))


def premultiplied(pixels):
    pixels[:, :3] *= pixels[:, 3:]
    return pixels


def paper_loss(frames, images, labels):
    off = [f[:, :3] - images[:, :3] - (f[:, 3:4] - images[:, 3:4]) for f in frames]
    return sum((each**2).mean() for each in off) / len(off)


def from_the_ground(images, labels, row=torch.amax):
    b, _, h, w = images.shape
    opaque = (images[:, 3] > 0.5).any(2) * torch.arange(h)  # [B, H]
    states = torch.zeros(b, 16, h, w)
    states[torch.arange(b), 4:, row(opaque, 1), w // 2] = 1
    return states


ANSWERS += [
    ("7 kl", "Right", kl),
    ("7 kl", "shape", lambda mean, log: kl(mean, log).mean()),
    ("7 kl", "you took their mean", lambda mean, log: kl(mean, log) / 5),
    ("7 kl", "-1 times", lambda mean, log: -kl(mean, log)),
    ("7 kl", "*variance*", lambda mean, log: kl(mean, 2 * log)),
    ("7 gaussian", "Right", gaussian),
    ("7 gaussian", "That is the covariance", lambda codes: (codes.mean(0), codes.T.cov())),
    ("7 gaussian", "transposed", partial(gaussian, upper=True)),
    ("7 gaussian", "Not yet: the mean", lambda codes: (codes.mean(0) + 0.01, gaussian(codes)[1])),
    ("7 gaussian", "two things", lambda codes: codes.mean(0)),
    ("7 draw", "Right", lambda mean, root, noise: torch.stack([mean + root @ u for u in noise])),
    ("7 draw", "mean is missing", lambda mean, root, noise: noise @ root.T),
    ("7 draw", "root @ u", lambda mean, root, noise: mean + noise @ root),
    ("7 draw", "shape", lambda mean, root, noise: (mean + noise @ root.T).squeeze(0)),
    ("7 length", "Right", 32**0.5),
    ("7 length", "squared", 32),
    ("7 length", "mean style", 0.0),
    ("7 length", "Not 4", 4.0),
    ("7 arc", "Right", arc),
    ("7 arc", "straight line", lambda a, b, share: a + share * (b - a)),
    ("7 arc", "from b to a", lambda a, b, share: arc(b, a, share)),
    ("7 arc", "Not yet", lambda a, b, share: 1.01 * arc(a, b, share)),
    ("8 step", "Right", reading_step),
    ("8 step", "Right", lambda model, state, fire: model.step(state, None, fire)),
    ("8 step", "both are frozen", partial(reading_step, frozen=False)),
    ("8 step", "that fire", lambda model, state, fire: reading_step(model, state, ~fire | fire)),
    ("8 step", "changes its inputs", lambda model, state, fire: state.copy_(state + 1)),
    ("8 step", "faint ink", lambda *given: reading_step(*given) * alive_mask(given[1], 1)),
    ("8 tally", "Right", tally),
    ("8 tally", "All cells", lambda states, images: tally(states, torch.ones_like(images))),
    ("8 tally", "Haze", lambda states, images: tally(states, (images > 0).float())),
    ("8 tally", "channels 2 to 11", lambda states, images: tally(states[:, 2:12], images)),
    ("8 reading_loss", "Right", reading_loss),
    ("8 reading_loss", "Right", lambda *given: reading_loss(*given)[None]),
    ("8 reading_loss", "cells with ink", lambda s, i, y: reading_loss(s, torch.ones_like(i), y)),
    ("8 reading_loss", "4 times", lambda *given: reading_loss(*given) * len(given[0])),
    ("8 reading_loss", "no gradient", lambda *given: reading_loss(*given).item()),
    ("8 beside", "Right", beside),
    ("8 beside", "changed places", lambda left, right, gap: beside(right, left, gap)),
    ("8 beside", "Haze", partial(beside, above=0.0)),
    ("8 beside", "four empty columns", partial(beside, margin=0)),
    ("9 centred", "Right", centred),
    ("9 centred", "not 13", partial(centred, target=13)),
    ("9 centred", "2 times", lambda small: 2 * centred(small)),
    ("9 premultiplied", "Right", premultiplied),
    ("9 premultiplied", "Nothing has changed", lambda pixels: pixels),
    ("9 premultiplied", "with itself", lambda pixels: pixels * pixels[:, 3:]),
    ("9 paper_loss", "Right", paper_loss),
    ("9 paper_loss", "usual loss", lambda x, y, _: (x[:, :, :4] - y).square().mean()),
    ("9 paper_loss", "last loss step", lambda x, y, z: paper_loss(x[-1:], y, z)),
    ("9 paper_loss", "3 times", lambda *given: 3 * paper_loss(*given)),
    ("9 paper_loss", "no gradient", lambda x, *given: paper_loss(x.detach(), *given)),
    ("9 ground", "Right", from_the_ground),
    ("9 ground", "shadow", lambda images, _: from_the_ground((images > 0).float(), _)),
    ("9 ground", "own ground", lambda images, _: from_the_ground(images[:1].expand_as(images), _)),
    ("9 ground", "Not yet", lambda images, _: state_from_image(images, 16)),
]
RIGHT = {name: given for name, words, given in reversed(ANSWERS) if words == "Right"}

# ---- all chapters --------------------------------------------------------------------------------

TABLES = {
    name: check
    for chapter in CHAPTERS
    for name, check in vars(chapter).items()
    if isinstance(check, Check)
}
NOTHING = [None, ..., "text", [1, 2], object(), lambda: 0, lambda *given: None, lambda *given: ...]
NOTHING += [lambda *given: 1 / 0, lambda *given: "a", lambda *given: [0.0, 1.0], lambda *given: {}]
NOTHING += [lambda *given: torch.full((), math.nan), lambda *given: given, lambda *given: given[:2]]
NOTHING += [lambda *given, k=k: given[k] for k in (0, 1, 2, 3, 4, -1)]  # an input, as it came in


def test_every_check_has_a_right_answer_and_two_near_misses_here():
    assert len(CHECKS) == 43
    counts = Counter((name, words == "Right") for name, words, _ in ANSWERS)
    assert all(counts[name, True] >= 1 and counts[name, False] >= 2 for name in CHECKS)


@pytest.mark.parametrize(("name", "words", "given"), ANSWERS)
def test_answers_are_told_apart(capsys, name, words, given):
    text = said(capsys, name, given)
    assert words in text
    assert text.startswith("Right") == (words == "Right")


@pytest.mark.parametrize("name", CHECKS)
def test_stubs_nonsense_and_unchanged_inputs_are_refused(capsys, name):
    for nothing in NOTHING:
        right = RIGHT[name]
        several = [(nothing, right[1]), (right[0], nothing)] if name in PAIRS else [nothing]
        for given in several:
            assert not said(capsys, name, given).startswith("Right")


@pytest.mark.parametrize("name", TABLES)
def test_each_sentence_of_a_table_belongs_to_its_near_miss(capsys, name):
    check = TABLES[name]
    for sentence, miss in check.sentences.items():
        check(partial(check.solution, **miss) if isinstance(miss, dict) else miss)
        assert capsys.readouterr().out == f"{sentence}\n"


def test_checks_leave_the_readers_random_numbers_alone(capsys):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    for name, right in RIGHT.items():
        said(capsys, name, right)
    assert torch.equal(torch.rand(3), wanted)


def test_what_goes_wrong_in_a_function_is_one_sentence():
    for function, sentence in (
        (3, "grow is not a function yet: write it with def."),
        (lambda: None, "grow returns nothing yet: replace the ... and end with return."),
        (lambda: 1 / 0, "grow stopped with ZeroDivisionError: division by zero"),
        (lambda: torch.zeros(2) @ torch.zeros(3), "grow stopped with RuntimeError: "),
    ):
        with pytest.raises(Wrong, match=f"^{re.escape(sentence)}[^\n]*$"):
            call(function, "grow")


def test_whatever_holds_real_numbers_is_a_tensor():
    ones = torch.ones(2, 3)
    for given in (ones.double().requires_grad_(), np.ones((2, 3)), [[1, 1, 1], [1.0, 1, 1]]):
        assert same(as_tensor(given, "it"), ones)
    for given in (..., "ones", {1: 2}, [[1, 2], [3]], len, ones + 1j, ones.to_sparse()):
        with pytest.raises(Wrong):
            as_tensor(given, "it")


def test_the_diagram_names_its_parts():
    words = " ".join(text.get_text() for text in step_diagram().axes[0].texts)
    for part in ("perceive", "hidden layer", "condition", "change", "fire mask", "alive mask"):
        assert part in words
