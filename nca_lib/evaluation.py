"""Evaluation: how good are the digits, and compared with what?

Pixel accuracy is flattered by the background, so ink IoU, SSIM and the judge stand beside it, and
the trivial baselines beside them all. The digits measured are never those trained on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from nca_lib import baselines
from nca_lib.blurs import BLURS, blurred, box, with_noise
from nca_lib.cells import (
    SIZE,
    disc,
    erase,
    half_plane,
    inked_state,
    scattered,
    square,
    starts,
    stripes,
)
from nca_lib.dataset import Dataset, Pictures
from nca_lib.errors import InputError
from nca_lib.inputs import as_whole
from nca_lib.judge import FEATURES, Judge, judge_for
from nca_lib.kinds import MNIST
from nca_lib.reading import measure_reading
from nca_lib.rival import load_rival
from nca_lib.rollout.fire import check_seed, streams
from nca_lib.rule import NCA

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio as psnr
from torchmetrics.functional.image import structural_similarity_index_measure as ssim
from torchmetrics.image.fid import FrechetInceptionDistance

BATCH = 250
REPEATED = 8  # growths, at least, that a mean over time is taken of
SUBSET = 1000  # persistence uses the first pictures only,
WOUNDED = 400  # and regeneration fewer: there are many wounds
HEALING_STEPS = 64, 256
SWITCH_STEPS = 96
NEIGHBOURS = 5  # of coverage and density (Naeem et al., 2020)
MAIN, SWITCHING, SAMPLES = range(3)  # streams: what draws them from a seed


@torch.inference_mode()
def roll_out(
    rule: NCA,
    states: Tensor,
    labels: Tensor,
    styles: Tensor | None,
    record: tuple[int, ...],
    seeds: Tensor,
    first_step: int = 0,
) -> Tensor:
    """Frames `[R, N, C, H, W]` on the CPU, grown on the rule's device a batch at a time."""
    frames = []
    for first in range(0, len(labels), BATCH):
        part = slice(first, first + BATCH)
        genome = rule.genome(labels[part], None if styles is None else styles[part])
        state = states[part].to(rule.kernels)
        frames.append(rule.rollout(state, genome, record[-1], seeds[part], record, first_step))
    return torch.cat([frame.cpu() for frame in frames], 1)


@torch.inference_mode()
def styles_of(rule: NCA, digits: Pictures) -> Tensor | None:
    """The style of each picture, `[N, S]` on the CPU; None for a rule without styles."""
    if rule.encoder is None:
        return None
    parts = zip(digits.images.split(BATCH), digits.labels.split(BATCH), strict=True)
    return torch.cat([rule.infer_style(images, labels).cpu() for images, labels in parts])


def redraw(
    rule: NCA,
    digits: Pictures,
    record: tuple[int, ...],
    seed: int = 0,
    styles: Tensor | None = None,
    seeds: Tensor | None = None,
) -> Tensor:
    """Each picture from its label and inferred style (or `styles`), `[R, N, C, H, W]` on the CPU.

    A picture's fire masks follow from `seed` and its place (or are those of the streams `seeds`),
    so the batch size changes nothing.
    """
    styles = styles_of(rule, digits) if styles is None else styles
    seeds = streams(len(digits), seed, MAIN) if seeds is None else seeds
    state = starts(rule.task, digits.images, rule.config.channels)
    return roll_out(rule, state, digits.labels, styles, record, seeds)


def pixel_accuracy(grown: Tensor, images: Tensor) -> float:
    """Share of pixels (of each channel) on the right side of 0.5. Both `[N, I, H, W]`."""
    return ((grown > 0.5) == (images > 0.5)).double().mean().item()


def ink_iou(grown: Tensor, images: Tensor) -> float:
    """Ink in both, over ink in either; mean over the pictures. Two empty pictures agree: 1."""
    a, b = (grown > 0.5).flatten(1), (images > 0.5).flatten(1)
    either = (a | b).sum(1)
    shares = torch.where(either > 0, (a & b).sum(1).double() / either.clamp(min=1), 1.0)
    return shares.mean().item()


def squared_error(grown: Tensor, images: Tensor) -> float:
    """Mean over all pixels and channels. Both `[N, I, H, W]`."""
    return (grown.clamp(0, 1) - images).square().double().mean().item()


@torch.inference_mode()
def read_by_judge(judge: Judge, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the judge reads, `[N]`, and its features, `[N, 64]`."""
    features = torch.cat([judge.features(part) for part in images.split(BATCH)])
    return judge.classes(features).argmax(1), features


def judged(judge: Judge | None, images: Tensor, labels: Tensor) -> float | None:
    """Share of pictures that the judge reads as their label; None if it does not know them."""
    if judge is None:
        return None
    read, _ = read_by_judge(judge, images)
    return (read == labels).double().mean().item()


def measure(grown: Tensor, digits: Pictures, judge: Judge | None) -> dict[str, float | None]:
    """All measures that compare a picture with its target, one to one."""
    grown = grown.clamp(0, 1)
    similar = [
        ssim(a, b, data_range=1.0, reduction="none").reshape(-1)
        for a, b in zip(grown.split(BATCH), digits.images.split(BATCH), strict=True)
    ]
    return {
        "pixel_accuracy": pixel_accuracy(grown, digits.images),
        "ink_iou": ink_iou(grown, digits.images),
        "mse": squared_error(grown, digits.images),
        "psnr": min(psnr(grown, digits.images, data_range=1.0).item(), 100.0),  # finite in JSON
        "ssim": torch.cat(similar).double().mean().item(),
        "judge_accuracy": judged(judge, grown, digits.labels),
    }


def baseline_pictures(train: Pictures, test: Pictures, length: int, rival=None) -> dict:
    """What every baseline makes of the test pictures, `[N, I, H, W]` each."""
    drawn = {
        "black": baselines.black(test),
        "class_mean": baselines.class_mean(train, test),
        "blur_threshold": box(test.images),
        "linear_deblur": baselines.linear_deblur(train, test),
        "class_pca": baselines.class_pca(train, length).redraw(test),
    }
    return drawn if rival is None else drawn | {"conv_decoder": rival.redraw(test)}


def per_class(
    grown: Tensor,
    digits: Pictures,
    judge: Judge | None,
    rivals: dict[str, Tensor],
    classes: tuple[str, ...],
) -> dict:
    """The main measures for each class on its own, beside the baselines' pixel accuracy."""
    table = {}
    for label in digits.labels.unique().tolist():
        chosen = digits.labels == label
        of = digits.select(chosen)
        name = classes[label]
        table[name] = {"n": len(of), **measure(grown[chosen], of, judge)}
        table[name]["baselines"] = {
            rival: pixel_accuracy(pictures[chosen], of.images) for rival, pictures in rivals.items()
        }
    return table


def damages(count: int, seed: int, size: tuple[int, int] = MNIST.size) -> dict[str, Tensor]:
    """Ten wounds, bool `[H, W]` or one for each sample, `[count, H, W]`.

    In a picture of 28 x 28 the square in the middle has a side of 10 cells, a disc near the middle
    a radius of 6. Then each half of the grid, half of the cells at random, level stripes of three
    cells, the cell of the anchor with all within 3 cells of it, and everything but that.
    """
    generator = torch.Generator().manual_seed(seed)
    scale, (height, width) = min(size) / SIZE, size
    side, corners = round(10 * scale), torch.tensor(size)[:, None] / 2 - 5 * scale
    centre = corners + 10 * scale * torch.rand(2, count, generator=generator)
    cell = torch.tensor([[height // 2], [width // 2], [3.0 * scale]])
    return {
        "square": square((height - side) // 2, (width - side) // 2, side, size),
        "disc": disc(*centre, torch.full((count,), 6.0 * scale), size),
        **{f"{half}_half": half_plane(half, size) for half in ("left", "right", "top", "bottom")},
        "random_half": scattered(count, 0.5, generator, size),
        "stripes": stripes(*torch.tensor([[math.pi / 2], [3.0 * scale], [0.0]]), size)[0],
        "middle": disc(*cell, size)[0],
        "all_but_middle": ~disc(*cell, size)[0],
    }


def healing(
    rule: NCA, digits: Pictures, grown: Tensor, steps: int, seed: int, only: tuple[str, ...] = ()
) -> dict:
    """How wounds heal: of each, the ink `[N, I, H, W]` before, after it, 64 and 256 steps later.

    The last row, `none`, is the control: the same digits at the same steps, without a wound.

    Args:
        grown: states `[N, C, H, W]` after `steps` steps.
        only: these of the wounds; none: all.
    """
    styles, seeds = styles_of(rule, digits), streams(len(digits), seed, MAIN)
    ink, results = rule.kind.ink, {}
    wounds = damages(len(digits), seed, rule.kind.size)
    wounds["none"] = torch.zeros(rule.kind.size, dtype=torch.bool)
    for name, region in wounds.items():
        if only and name not in only:
            continue
        state = erase(grown, region)
        later = roll_out(rule, state, digits.labels, styles, HEALING_STEPS, seeds, steps)
        results[name] = {"before": grown[:, :ink], "after_damage": state[:, :ink]}
        for after, healed in zip(HEALING_STEPS, later, strict=True):
            results[name][f"after_{after}_steps"] = healed[:, :ink]
    return results


def regeneration(
    rule: NCA, digits: Pictures, grown: Tensor, steps: int, seed: int, only: tuple[str, ...] = ()
) -> dict:
    """Pixel accuracy before each wound, just after it, 64 and 256 steps later; as `healing`."""
    return measured(healing(rule, digits, grown, steps, seed, only), digits, pixel_accuracy)


def measured(shown: dict, digits: Pictures, by: Callable[[Tensor, Tensor], float]) -> dict:
    """Pictures by two names each, compared with their targets."""
    return {
        name: {when: by(ink, digits.images[: len(ink)]) for when, ink in row.items()}
        for name, row in shown.items()
    }


def other_blurs(rule: NCA, digits: Pictures, seed: int) -> dict[str, dict[str, float]]:
    """Pixel accuracy of pictures that were blurred in other ways: left alone, and restored.

    `noise`: normal noise of 0.02 upon the usual blur.
    """
    generator, seeds = torch.Generator().manual_seed(seed), streams(len(digits), seed, MAIN)
    soft = {name: blurred(digits.images, name) for name in BLURS[1:]}
    soft["noise"] = with_noise(box(digits.images), 0.02, generator)
    results = {}
    for name, images in soft.items():
        state = inked_state(images, rule.config.channels, above=0)
        grown = roll_out(rule, state, digits.labels, None, (rule.trained_steps,), seeds)[-1]
        results[name] = {
            "left_alone": pixel_accuracy(images, digits.images),
            "restored": pixel_accuracy(grown[:, : rule.kind.ink], digits.images),
        }
    return results


def blank(rule: NCA, count: int) -> Tensor:
    """Pictures without ink, of the rule's kind, `[count, I, H, W]`."""
    return torch.zeros(count, rule.kind.ink, *rule.kind.size)


def switching(rule: NCA, steps: int, seed: int, judge: Judge, styles: int = 40) -> dict:
    """Each class, once grown, is told to become each other in the same style: 90 pairs of digits.

    Returns the share that the judge reads as the new label 96 steps later: of all, and of the pair
    that does worst. With ten styles a pair, luck would choose the worst: of ninety pairs that all
    succeed in 97 of 100 cases, three would be expected to fail in two of ten.
    """
    pairs = torch.where(~torch.eye(len(rule.kind.classes), dtype=torch.bool))
    old, new = (part.flatten().repeat(styles) for part in pairs)  # [90 * styles] for digits
    generator = torch.Generator().manual_seed(seed)
    style = torch.randn(len(old), rule.config.style_dim, generator=generator)
    seeds = streams(len(old), seed, SWITCHING)
    state = starts("grow", blank(rule, len(old)), rule.config.channels)
    state = roll_out(rule, state, old, style, (steps,), seeds)[-1]
    state = roll_out(rule, state, new, style, (SWITCH_STEPS,), seeds, steps)[-1]
    read, _ = read_by_judge(judge, state[:, : rule.kind.ink].clamp(0, 1))
    right = (read == new).double().view(styles, -1).mean(0)  # [90]
    worst = int(right.argmin())
    return {
        "judge_accuracy": right.mean().item(),
        "worst_pair": [int(old[worst]), int(new[worst])],
        "worst_pair_judge_accuracy": right[worst].item(),
    }


class Features(torch.nn.Module):
    """What torchmetrics wants of a feature extractor: ours come ready, so it passes them on."""

    num_features = FEATURES

    def forward(self, features: Tensor) -> Tensor:
        return features


def compare_sets(drawn: Tensor, real: Tensor) -> dict[str, float]:
    """FID, coverage and density of features `[N, F]` against those of real digits `[M, F]`."""
    fid = FrechetInceptionDistance(feature=Features(), normalize=True)
    fid.update(real, real=True)
    fid.update(drawn, real=False)
    radius = torch.cdist(real, real).kthvalue(NEIGHBOURS + 1, 1).values  # itself is the nearest
    inside = torch.cdist(real, drawn) < radius[:, None]  # [M, N]
    return {
        "fid": fid.compute().item(),
        "coverage": inside.any(1).double().mean().item(),
        "density": inside.double().sum(0).mean().item() / NEIGHBOURS,
    }


def samples(rule: NCA, data: Dataset, test: Pictures, seed: int, judge: Judge) -> dict:
    """Pictures grown with styles from the prior, beside two points of reference."""
    generator = torch.Generator().manual_seed(seed)
    labels = test.labels[torch.randperm(len(test), generator=generator)]
    styles = torch.randn(len(labels), rule.config.style_dim, generator=generator)
    empty, seeds = Pictures(blank(rule, len(labels)), labels), streams(len(labels), seed, SAMPLES)
    grown = redraw(rule, empty, (rule.trained_steps,), styles=styles, seeds=seeds)[-1]
    train = data.train.select(torch.isin(data.train.labels, test.labels.unique()))
    pca = baselines.class_pca(train, rule.config.style_dim)
    drawn = pca.sample(labels, generator).clamp(0, 1)
    pick = torch.randperm(len(train), generator=generator)[: len(test)]
    _, real = read_by_judge(judge, test.images)
    results = {}
    for name, (images, wanted) in {
        "rule": (grown[:, : rule.kind.ink].clamp(0, 1), labels),
        "real_training_digits": (train.images[pick], train.labels[pick]),
        "class_pca_gaussian": (drawn, labels),
    }.items():
        read, features = read_by_judge(judge, images)
        results[name] = {"judge_accuracy": (read == wanted).double().mean().item()}
        results[name] |= compare_sets(features, real)
    return results.pop("rule") | {"n": len(labels), "references": results}


def digits_for(rule: NCA, data: Dataset, split: str = "test", limit: int | None = None) -> Pictures:
    """The digits that a rule is measured on: those of its labels, the first `limit` of them.

    Raises:
        InputError: another kind of pictures, another split, a limit below 1, no pictures left.
    """
    if rule.kind != data.kind:
        raise InputError(
            f"the rule grows {', '.join(rule.kind.classes[:3])}, ... of {rule.kind.size}; "
            f"{data.source} has {', '.join(data.kind.classes[:3])}, ... of {data.kind.size}: "
            "choose the --data that it was trained on"
        )
    if split not in ("test", "validation"):
        raise InputError(f"--split {split}: choose test or validation")
    if limit is not None and as_whole(limit, "--limit") < 1:
        raise InputError(f"--limit {limit}: evaluate at least 1 picture")
    digits: Pictures = getattr(data, split)
    known = torch.tensor(rule.known)
    digits = digits.select(torch.isin(digits.labels, known)).limit(limit or len(digits))
    if not len(digits):
        raise InputError(f"{data.source} has no {split} digits with the labels {known.tolist()}")
    return digits


def behaviour(rule: NCA, digits: Pictures, seed: int) -> dict:
    """How long a picture stays, whether it heals, and how it comes about; of the first pictures.

    Where there are fewer than `REPEATED`, each is grown several times, with other fire masks. Who
    restores has no plan of the picture, and can't know what was erased: one wound is enough.
    """
    only = ("square", "none") if rule.task == "restore" else ()
    few, steps, ink = digits.limit(SUBSET), rule.trained_steps, rule.kind.ink
    few = few.select(torch.arange(len(few)).repeat(math.ceil(REPEATED / len(few))))
    long = redraw(rule, few, (steps, 4 * steps, 10 * steps), seed)
    shown = {
        "persistence": dict(zip(("1x", "4x", "10x"), long[:, :, :ink], strict=True)),
        **healing(rule, few.limit(WOUNDED), long[0, :WOUNDED], steps, seed, only),
    }
    accuracy, error = (measured(shown, few, by) for by in (pixel_accuracy, squared_error))
    horizon = tuple(range(2, 4 * steps + 1, 2))
    path = redraw(rule, few.limit(BATCH), horizon, seed)[:, :, :ink]
    return {
        "persistence": accuracy.pop("persistence"),
        "unwounded": accuracy.pop("none"),
        "regeneration": accuracy,
        "mse_over_time": {
            "persistence": error.pop("persistence"),
            "unwounded": error.pop("none"),
            "regeneration": error,
        },
        "accuracy_by_step": [
            [step, pixel_accuracy(frame, few.limit(BATCH).images)]
            for step, frame in zip(horizon, path, strict=True)
        ],
    }


def worst_of(ink: Tensor, digits: Pictures, count: int = 10) -> list[int]:
    """The places of the pictures with the most wrong pixels, the worst first."""
    wrong = ((ink > 0.5) != (digits.images > 0.5)).double().mean((1, 2, 3))
    return wrong.argsort(descending=True, stable=True)[:count].tolist()


def evaluate(
    rule: NCA,
    data: Dataset,
    *,
    split: str = "test",
    seed: int = 0,
    limit: int | None = None,
    judge: Judge | None = None,
) -> dict:
    """Everything that is measured of a rule, as plain values for JSON; fractions in [0, 1].

    Args:
        rule: from `checkpoints.load`; its record says what it was trained for.
        data: its training digits serve the baselines, the split's digits are measured.
        split: "test" or "validation".
        seed: of fire masks, damage and prior styles.
        limit: only the first pictures.
        judge: reads the pictures; None: the shipped one where it knows the classes, else nobody.

    Raises:
        InputError: another kind of pictures, another split, a limit below 1, no pictures left, a
            seed out of range, a rule that was trained from starts of its own.
    """
    if rule.record.get("hooks", {}).get("start"):
        raise InputError("this rule was trained from starts of its own: measure it from those")
    if rule.task == "read":
        raise InputError("this rule reads pictures: measure it by evaluate_reading")
    started, digits = time.perf_counter(), digits_for(rule, data, split, limit)
    judge, steps, seed = judge or judge_for(rule.kind), rule.trained_steps, check_seed(seed)
    ink = redraw(rule, digits, (steps,), seed)[-1, :, : rule.kind.ink]  # [N, I, H, W]
    length = rule.config.style_dim or 16
    rival = load_rival() if rule.kind == MNIST else None
    rivals = baseline_pictures(data.train, digits, length, rival)
    beside = {name: measure(images, digits, judge) for name, images in rivals.items()}
    beside["class_pca"]["numbers"] = length
    if rival is not None:
        beside["conv_decoder"]["numbers"] = rival.record["style_dim"]
        beside["conv_decoder"]["trained_on"] = rival.record["source"]
    results = {
        "n": len(digits), "split": split, "seed": seed, "task": rule.task, "steps": steps,
        "weights": rule.record.get("sha256"), "data": data.name,
        "held_out": data.held_out,
        "parameters": rule.rule_parameters, "fitted": rule.fitted_numbers,
        **measure(ink, digits, judge),
        "per_digit": per_class(ink, digits, judge, rivals, rule.kind.classes),
        "worst": worst_of(ink, digits),
        "baselines": beside,
        **behaviour(rule, digits, seed),
    }  # fmt: skip
    if rule.task == "restore":
        results["other_blurs"] = other_blurs(rule, digits.limit(SUBSET), seed)
    every = len(rule.known) == len(rule.kind.classes) > 1
    if judge is not None and every and rule.task == "grow":
        results["switching"] = switching(rule, steps, seed, judge)
    if rule.encoder is not None:
        enough = judge is not None and len(digits) > FEATURES
        results["samples"] = samples(rule, data, digits, seed, judge) if enough else None
    results["seconds"] = round(time.perf_counter() - started, 1)
    return results


def evaluate_reading(
    rule: NCA, data: Dataset, *, split: str = "test", seed: int = 0, limit: int | None = None
) -> dict:
    """Everything that is measured of cells that read (`reading.measure_reading`), for JSON.

    Raises:
        InputError: as `evaluate`, and for a rule that reads nothing.
    """
    started, digits = time.perf_counter(), digits_for(rule, data, split, limit)
    return {
        "n": len(digits), "split": split, "seed": check_seed(seed), "task": rule.task,
        "weights": rule.record.get("sha256"), "data": data.name, "held_out": data.held_out,
        "parameters": rule.rule_parameters, **measure_reading(rule, digits, seed),
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip
