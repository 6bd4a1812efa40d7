"""Claims about the shipped unified rule, each with its control; nothing is trained.

hold     How much of a picture is left after 10 and 100 times the steps of the training?
anchor   The mark in the cell where growth began, and the places that cells know: are they what
         holds a picture? They are wiped every 32 steps, and as a control, hidden channels are, as
         many of them, that nothing was taught to.
prior    What is drawn with styles from the flow and from the Gaussians alone, at full width and
         narrowed, and, as the most that any prior can reach, with codes of real pictures.
leakage  Cells are told the label. Told a wrong one, in the style of the picture: which of the two
         does the judge read?

python experiments/controls.py --data-root DIR
"""

from __future__ import annotations

import copy
import json

from nca_lib import load
from nca_lib.cells import INK
from nca_lib.dataset import Dataset, Pictures
from nca_lib.evaluation import (
    SAMPLES,
    blank,
    compare_sets,
    pixel_accuracy,
    read_by_judge,
    redraw,
    roll_out,
    styles_of,
)
from nca_lib.judge import load_judge
from nca_lib.rollout.fire import streams
from nca_lib.rule import NCA

import torch
from common import open_digits, options, rounded, save_results
from figures import draw_controls
from torch import Tensor

TIMES = (1, 10, 100)
WIPED_EVERY, ROUNDS = 32, 10


def channels_of(rule: NCA) -> dict[str, list[int]]:
    """Which channels are wiped: those taught, and as many that are not."""
    place = list(range(*rule.kind.place.indices(rule.config.channels)))
    free = list(range(rule.kind.place.stop, rule.config.channels))
    return {
        "nothing": [],
        "the anchor": [rule.kind.anchor],
        "one hidden channel": free[:1],
        "anchor and places": [rule.kind.anchor, *place],
        "seven hidden channels": free[: 1 + len(place)],
    }


def hold(rule: NCA, data: Dataset, seed: int) -> dict:
    """Pixel accuracy at 1, 10 and 100 times the training steps."""
    digits, steps = data.test.limit(400), rule.trained_steps
    frames = redraw(rule, digits, tuple(steps * many for many in TIMES), seed)
    return rounded({
        f"{many}x": pixel_accuracy(frame[:, INK : INK + 1], digits.images)
        for many, frame in zip(TIMES, frames, strict=True)
    })  # fmt: skip


def anchor(rule: NCA, data: Dataset, seed: int) -> dict:
    """Pixel accuracy at 10x the training steps, with channels wiped every 32 steps."""
    exact = copy.deepcopy(rule).double()  # growths that fall apart magnify roundings
    digits = data.test.limit(500)
    styles, seeds = styles_of(exact, digits), streams(len(digits), seed, 0)
    results = {}
    for name, wiped in channels_of(rule).items():
        state = redraw(exact, digits, (WIPED_EVERY,), seed)[-1].clone()
        for turn in range(1, ROUNDS):
            state[:, wiped] = 0
            first = turn * WIPED_EVERY
            state = roll_out(
                exact, state, digits.labels, styles, (WIPED_EVERY,), seeds, first
            )[-1].clone()  # fmt: skip
        results[name] = pixel_accuracy(state[:, INK : INK + 1], digits.images)
    return rounded(results)


def from_gaussians(rule: NCA, labels: Tensor, drawn: Tensor) -> Tensor:
    """The styles that the flow bends into the codes of the Gaussians alone, `[N, S]`."""
    genome = rule.genome
    codes = genome.average[labels] + (genome.spread[labels] @ drawn[:, :, None])[:, :, 0]
    with torch.no_grad():
        return genome.style_of(codes, labels)


def prior(rule: NCA, data: Dataset, seed: int) -> dict:
    """Judge, FID, coverage and density of drawn digits, by where their styles are from."""
    judge, test, width = load_judge(), data.test, rule.genome.flow.width.item()
    generator = torch.Generator().manual_seed(seed)
    labels = test.labels[torch.randperm(len(test), generator=generator)]
    drawn = torch.randn(len(labels), rule.config.style_dim, generator=generator)
    pick = torch.cat([
        (data.train.labels == label).nonzero()[:, 0][: int((labels == label).sum())]
        for label in range(10)
    ])  # fmt: skip
    real = data.train.select(pick)
    _, wanted = read_by_judge(judge, test.images)
    results = {}
    for name, (styles, of) in {
        "flow, narrowed": (drawn, labels),  # as the library draws
        "flow": (drawn / width, labels),
        "Gaussians, narrowed": (from_gaussians(rule, labels, width * drawn), labels),
        "Gaussians": (from_gaussians(rule, labels, drawn), labels),
        "training digits": (styles_of(rule, real), real.labels),
    }.items():
        empty, seeds = Pictures(blank(rule, len(of)), of), streams(len(of), seed, SAMPLES)
        grown = redraw(rule, empty, (rule.trained_steps,), styles=styles, seeds=seeds)[-1]
        read, features = read_by_judge(judge, grown[:, INK : INK + 1].clamp(0, 1))
        results[name] = rounded(
            {"judge": (read == of).double().mean().item()} | compare_sets(features, wanted)
        )
    return results


def leakage(rule: NCA, data: Dataset, seed: int) -> dict:
    """What the judge reads when cells are told another label than the picture's."""
    digits, judge = data.test.limit(2000), load_judge()
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randint(1, 10, (len(digits),), generator=generator)
    told = (digits.labels + shift) % 10
    styles = styles_of(rule, digits)  # of the picture, read with its own label
    results = {}
    for name, labels in {"right": digits.labels, "wrong": told}.items():
        given = Pictures(digits.images, labels)
        grown = redraw(rule, given, (rule.trained_steps,), seed, styles)[-1]
        read, _ = read_by_judge(judge, grown[:, INK : INK + 1].clamp(0, 1))
        results[f"told the {name} label"] = rounded({
            "judge reads the told label": (read == labels).double().mean().item(),
            "judge reads the picture's label": (read == digits.labels).double().mean().item(),
        })  # fmt: skip
    return results


def main() -> None:
    arguments = options(__doc__)
    data, rule = open_digits(arguments.data_root), load("unified")
    found = {}
    for measure in (hold, anchor, prior, leakage):
        name = measure.__name__
        found[name] = rows = [measure(rule, data, seed) for seed in range(arguments.seeds)]
        results = {"weights": rule.record["sha256"], "seeds": rows}
        print(name, json.dumps(rows, indent=1), flush=True)
        save_results(results, arguments.results / f"{name}.json")
    draw_controls(found, arguments.results / "controls.png")


if __name__ == "__main__":
    main()
