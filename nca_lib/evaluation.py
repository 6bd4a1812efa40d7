"""Evaluation: how good are the digits, and compared with what?

Pixel accuracy is flattered by the background, so ink IoU, SSIM and the judge stand beside it, and
the trivial baselines beside them all. The digits measured are never those trained on.
"""

from __future__ import annotations

import time

from nca_lib import baselines
from nca_lib.cells import INK, SIZE, blur, disc, erase, half_plane, square, starts
from nca_lib.data import Dataset, Digits
from nca_lib.errors import InputError
from nca_lib.inputs import DIGITS, as_whole
from nca_lib.judge import FEATURES, Judge, load_judge
from nca_lib.rollout.fire import check_seed, streams
from nca_lib.rule import NCA

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio as psnr
from torchmetrics.functional.image import structural_similarity_index_measure as ssim
from torchmetrics.image.fid import FrechetInceptionDistance

BATCH = 250
SUBSET = 1000  # persistence and regeneration use the first pictures only
HEALING_STEPS = 64
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
def styles_of(rule: NCA, digits: Digits) -> Tensor | None:
    """The style of each picture, `[N, S]` on the CPU; None for a rule without styles."""
    if rule.encoder is None:
        return None
    parts = zip(digits.images.split(BATCH), digits.labels.split(BATCH), strict=True)
    return torch.cat([rule.infer_style(images, labels).cpu() for images, labels in parts])


def redraw(
    rule: NCA,
    digits: Digits,
    record: tuple[int, ...],
    seed: int = 0,
    styles: Tensor | None = None,
    seeds: Tensor | None = None,
) -> Tensor:
    """Each picture from its label and inferred style (or `styles`), `[R, N, C, 28, 28]` on the CPU.

    A picture's fire masks follow from `seed` and its place (or are those of the streams `seeds`),
    so the batch size changes nothing.
    """
    styles = styles_of(rule, digits) if styles is None else styles
    seeds = streams(len(digits), seed, MAIN) if seeds is None else seeds
    state = starts(rule.task, digits.images, rule.config.channels)
    return roll_out(rule, state, digits.labels, styles, record, seeds)


def pixel_accuracy(grown: Tensor, images: Tensor) -> float:
    """Share of pixels on the right side of 0.5. Both `[N, 1, 28, 28]`."""
    return ((grown > 0.5) == (images > 0.5)).double().mean().item()


def ink_iou(grown: Tensor, images: Tensor) -> float:
    """Ink in both, over ink in either; mean over the pictures. Two empty pictures agree: 1."""
    a, b = (grown > 0.5).flatten(1), (images > 0.5).flatten(1)
    either = (a | b).sum(1)
    shares = torch.where(either > 0, (a & b).sum(1).double() / either.clamp(min=1), 1.0)
    return shares.mean().item()


@torch.inference_mode()
def read_by_judge(judge: Judge, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the judge reads, `[N]`, and its features, `[N, 64]`."""
    features = torch.cat([judge.features(part) for part in images.split(BATCH)])
    return judge.classes(features).argmax(1), features


def measure(grown: Tensor, digits: Digits, judge: Judge) -> dict[str, float]:
    """All measures that compare a picture with its target, one to one."""
    grown = grown.clamp(0, 1)
    mse = (grown - digits.images).square().double().mean().item()
    similar = [
        ssim(a, b, data_range=1.0, reduction="none").reshape(-1)
        for a, b in zip(grown.split(BATCH), digits.images.split(BATCH), strict=True)
    ]
    read, _ = read_by_judge(judge, grown)
    return {
        "pixel_accuracy": pixel_accuracy(grown, digits.images),
        "ink_iou": ink_iou(grown, digits.images),
        "mse": mse,
        "psnr": min(psnr(grown, digits.images, data_range=1.0).item(), 100.0),  # finite in JSON
        "ssim": torch.cat(similar).double().mean().item(),
        "judge_accuracy": (read == digits.labels).double().mean().item(),
    }


def baseline_pictures(train: Digits, test: Digits, length: int) -> dict[str, Tensor]:
    """What every trivial baseline makes of the test digits, `[N, 1, 28, 28]` each."""
    return {
        "black": baselines.black(test),
        "class_mean": baselines.class_mean(train, test),
        "blur_threshold": blur(test.images),
        "linear_deblur": baselines.linear_deblur(train, test),
        "class_pca": baselines.class_pca(train, length).redraw(test),
    }


def per_digit(grown: Tensor, digits: Digits, judge: Judge, rivals: dict[str, Tensor]) -> dict:
    """The main measures for each label on its own, beside the baselines' pixel accuracy."""
    table = {}
    for label in digits.labels.unique().tolist():
        chosen = digits.labels == label
        of = digits.select(chosen)
        table[str(label)] = {"n": len(of), **measure(grown[chosen], of, judge)}
        table[str(label)]["baselines"] = {
            name: pixel_accuracy(pictures[chosen], of.images) for name, pictures in rivals.items()
        }
    return table


def damages(count: int, seed: int) -> dict[str, Tensor]:
    """Three kinds of damage: a 10x10 square, the left half, a disc somewhere in the middle."""
    generator = torch.Generator().manual_seed(seed)
    centre = 9 + 10 * torch.rand(2, count, generator=generator)
    return {
        "square": square(9, 9, 10),
        "half_plane": half_plane("left"),
        "disc": disc(centre[0], centre[1], torch.full((count,), 6.0)),
    }


def regeneration(rule: NCA, digits: Digits, grown: Tensor, steps: int, seed: int) -> dict:
    """Pixel accuracy before damage, just after, and 64 steps later; `grown`: `[N, C, 28, 28]`."""
    styles, seeds = styles_of(rule, digits), streams(len(digits), seed, MAIN)
    before = pixel_accuracy(grown[:, :1], digits.images)
    results = {}
    for name, region in damages(len(digits), seed).items():
        state = erase(grown, region)
        healed = roll_out(rule, state, digits.labels, styles, (HEALING_STEPS,), seeds, steps)[-1]
        results[name] = {
            "before": before,
            "after_damage": pixel_accuracy(state[:, :1], digits.images),
            "after_64_steps": pixel_accuracy(healed[:, :1], digits.images),
        }
    return results


def switching(rule: NCA, steps: int, seed: int, judge: Judge, styles: int = 10) -> dict:
    """Each digit, once grown, is told to become each other digit in the same style, 90 pairs.

    Returns the share that the judge reads as the new label 96 steps later: of all, and of the pair
    that does worst.
    """
    pairs = torch.where(~torch.eye(DIGITS, dtype=torch.bool))
    old, new = (part.flatten().repeat(styles) for part in pairs)  # [90 * styles]
    generator = torch.Generator().manual_seed(seed)
    style = torch.randn(len(old), rule.config.style_dim, generator=generator)
    seeds = streams(len(old), seed, SWITCHING)
    state = starts("grow", torch.zeros(len(old), 1, SIZE, SIZE), rule.config.channels)
    state = roll_out(rule, state, old, style, (steps,), seeds)[-1]
    state = roll_out(rule, state, new, style, (SWITCH_STEPS,), seeds, steps)[-1]
    read, _ = read_by_judge(judge, state[:, INK : INK + 1].clamp(0, 1))
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


def samples(rule: NCA, data: Dataset, test: Digits, seed: int, judge: Judge) -> dict:
    """Digits grown with styles from the prior, beside two points of reference."""
    generator = torch.Generator().manual_seed(seed)
    labels = test.labels[torch.randperm(len(test), generator=generator)]
    styles = torch.randn(len(labels), rule.config.style_dim, generator=generator)
    blank = Digits(torch.zeros(len(labels), 1, SIZE, SIZE), labels)
    seeds = streams(len(labels), seed, SAMPLES)
    grown = redraw(rule, blank, (rule.trained_steps,), styles=styles, seeds=seeds)[-1, :, :1]
    train = data.train.select(torch.isin(data.train.labels, test.labels.unique()))
    pca = baselines.class_pca(train, rule.config.style_dim)
    drawn = pca.sample(labels, generator).clamp(0, 1)
    pick = torch.randperm(len(train), generator=generator)[: len(test)]
    _, real = read_by_judge(judge, test.images)
    results = {}
    for name, (images, wanted) in {
        "rule": (grown.clamp(0, 1), labels),
        "real_training_digits": (train.images[pick], train.labels[pick]),
        "class_pca_gaussian": (drawn, labels),
    }.items():
        read, features = read_by_judge(judge, images)
        results[name] = {"judge_accuracy": (read == wanted).double().mean().item()}
        results[name] |= compare_sets(features, real)
    return results.pop("rule") | {"n": len(labels), "references": results}


def digits_for(rule: NCA, data: Dataset, split: str = "test", limit: int | None = None) -> Digits:
    """The digits that a rule is measured on: those of its labels, the first `limit` of them.

    Raises:
        InputError: another split, a limit below 1, no digits left.
    """
    if split not in ("test", "validation"):
        raise InputError(f"--split {split}: choose test or validation")
    if limit is not None and as_whole(limit, "--limit") < 1:
        raise InputError(f"--limit {limit}: evaluate at least 1 picture")
    digits: Digits = getattr(data, split)
    known = torch.tensor(rule.record.get("digits", range(DIGITS)))
    digits = digits.select(torch.isin(digits.labels, known)).limit(limit or len(digits))
    if not len(digits):
        raise InputError(f"{data.source} has no {split} digits with the labels {known.tolist()}")
    return digits


def behaviour(rule: NCA, digits: Digits, seed: int) -> dict:
    """How long a picture stays, whether it heals, and how it comes about; of the first digits."""
    few, steps = digits.limit(SUBSET), rule.trained_steps
    long = redraw(rule, few, (steps, 4 * steps, 10 * steps), seed)
    horizon = tuple(range(2, 4 * steps + 1, 2))
    path = redraw(rule, few.limit(BATCH), horizon, seed)[:, :, :1]
    return {
        "persistence": {
            name: pixel_accuracy(frame[:, :1], few.images)
            for name, frame in zip(("1x", "4x", "10x"), long, strict=True)
        },
        "regeneration": regeneration(rule, few, long[0], steps, seed),
        "accuracy_by_step": [
            [step, pixel_accuracy(frame, few.limit(BATCH).images)]
            for step, frame in zip(horizon, path, strict=True)
        ],
    }


def worst_of(ink: Tensor, digits: Digits, count: int = 10) -> list[int]:
    """The places of the pictures with the most wrong pixels, the worst first."""
    wrong = ((ink > 0.5) != (digits.images > 0.5)).double().mean((1, 2, 3))
    return wrong.argsort(descending=True, stable=True)[:count].tolist()


def evaluate(
    rule: NCA, data: Dataset, *, split: str = "test", seed: int = 0, limit: int | None = None
) -> dict:
    """Everything that is measured of a rule, as plain values for JSON; fractions in [0, 1].

    Args:
        rule: from `checkpoints.load`; its record says what it was trained for.
        data: its training digits serve the baselines, the split's digits are measured.
        split: "test" or "validation".
        seed: of fire masks, damage and prior styles.
        limit: only the first pictures.

    Raises:
        InputError: another split, a limit below 1, no digits left, a seed out of range.
    """
    started, digits = time.perf_counter(), digits_for(rule, data, split, limit)
    judge, steps, seed = load_judge(), rule.trained_steps, check_seed(seed)
    ink = redraw(rule, digits, (steps,), seed)[-1, :, INK : INK + 1]  # [N, 1, 28, 28]
    length = rule.config.style_dim or 16
    rivals = baseline_pictures(data.train, digits, length)
    beside = {name: measure(images, digits, judge) for name, images in rivals.items()}
    beside["class_pca"]["numbers"] = length
    results = {
        "n": len(digits), "split": split, "seed": seed, "task": rule.task, "steps": steps,
        "weights": rule.record.get("sha256"), "data": data.name,
        "parameters": rule.rule_parameters, "fitted": rule.fitted_numbers,
        **measure(ink, digits, judge),
        "per_digit": per_digit(ink, digits, judge, rivals),
        "worst": worst_of(ink, digits),
        "baselines": beside,
        **behaviour(rule, digits, seed),
    }  # fmt: skip
    if len(rule.record.get("digits", range(DIGITS))) == DIGITS and rule.task == "grow":
        results["switching"] = switching(rule, steps, seed, judge)
    if rule.encoder is not None:
        enough = len(digits) > FEATURES
        results["samples"] = samples(rule, data, digits, seed, judge) if enough else None
    results["seconds"] = round(time.perf_counter() - started, 1)
    return results
