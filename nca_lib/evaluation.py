"""Evaluation: how good are the digits, and compared with what?

Pixel accuracy is flattered by the background, so ink IoU, SSIM and the judge stand beside it, and
the trivial baselines beside them all. The digits measured are never those trained on.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio as psnr
from torchmetrics.functional.image import structural_similarity_index_measure as ssim
from torchmetrics.image.fid import FrechetInceptionDistance

from nca_lib import baselines
from nca_lib.data import Dataset, Digits
from nca_lib.errors import InputError
from nca_lib.judge import FEATURES, Judge, load_judge
from nca_lib.rule import INK, NCA
from nca_lib.seeds import SIZE, blur, disc, erase, half_plane, square
from nca_lib.training import starts

BATCH = 250
SUBSET = 1000  # persistence and regeneration use the first pictures only
HEALING_STEPS = 64
SWITCH_STEPS = 96
NEIGHBOURS = 5  # of coverage and density (Naeem et al., 2020)


def trained_for(rule: NCA) -> tuple[str, int]:
    """The task of a rule and the length of its rollouts in training, from its record."""
    training = rule.record.get("training", {})
    return training.get("task", "grow"), max(training.get("loss_steps", [32]))


@torch.inference_mode()
def redraw(
    rule: NCA, digits: Digits, record: tuple[int, ...], seed: int = 0, styles: Tensor | None = None
) -> Tensor:
    """Each picture from its label and inferred style (or `styles`), `[R, N, C, 28, 28]` on the CPU.

    A picture's fire masks follow from `seed` and its place, so the batch size changes nothing.
    """
    task, _ = trained_for(rule)
    device, frames = rule.kernels.device, []
    for first in range(0, len(digits), BATCH):
        part = digits.select(slice(first, first + BATCH))
        images, labels = part.images.to(device), part.labels.to(device)
        if styles is None:
            style = rule.infer_style(images, labels)
        else:
            style = styles[first : first + BATCH].to(device)
        seeds = torch.arange(first, first + len(part), device=device) + seed * 2**32
        state = starts(task, images, rule.config.channels)
        genome = rule.genome(labels, style)
        frames.append(rule.rollout(state, genome, record[-1], seeds, record).cpu())
    return torch.cat(frames, 1)


def pixel_accuracy(grown: Tensor, images: Tensor) -> float:
    """Share of pixels on the right side of 0.5. Both `[N, 1, 28, 28]`."""
    return ((grown > 0.5) == (images > 0.5)).double().mean().item()


def ink_iou(grown: Tensor, images: Tensor) -> float:
    """Ink in both, over ink in either; mean over the pictures."""
    a, b = (grown > 0.5).flatten(1), (images > 0.5).flatten(1)
    either = (a | b).sum(1).clamp(min=1)
    return ((a & b).sum(1) / either).double().mean().item()


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


@torch.inference_mode()
def regeneration(rule: NCA, digits: Digits, grown: Tensor, steps: int, seed: int) -> dict:
    """Pixel accuracy before damage, just after, and 64 steps later; `grown`: `[N, C, 28, 28]`."""
    styles = rule.infer_style(digits.images, digits.labels)
    genome, seeds = rule.genome(digits.labels, styles), torch.arange(len(digits)) + seed * 2**32
    before = pixel_accuracy(grown[:, :1], digits.images)
    results = {}
    for name, region in damages(len(digits), seed).items():
        state = erase(grown, region)
        healed = rule.rollout(state, genome, HEALING_STEPS, seeds, first_step=steps)[-1]
        results[name] = {
            "before": before,
            "after_damage": pixel_accuracy(state[:, :1], digits.images),
            "after_64_steps": pixel_accuracy(healed[:, :1], digits.images),
        }
    return results


@torch.inference_mode()
def switching(rule: NCA, steps: int, seed: int, judge: Judge, styles: int = 10) -> dict:
    """Each digit, once grown, is told to become each other digit in the same style, 90 pairs.

    Returns the share that the judge reads as the new label 96 steps later: of all, and of the pair
    that does worst.
    """
    old, new = (part.flatten() for part in torch.where(~torch.eye(10, dtype=torch.bool)))  # [90]
    old, new = old.repeat(styles), new.repeat(styles)
    generator = torch.Generator().manual_seed(seed)
    style = torch.randn(len(old), rule.config.style_dim, generator=generator)
    seeds = torch.arange(len(old)) + seed * 2**32
    state = starts("grow", torch.zeros(len(old), 1, SIZE, SIZE), rule.config.channels)
    state = rule.rollout(state, rule.genome(old, style), steps, seeds)[-1]
    state = rule.rollout(state, rule.genome(new, style), SWITCH_STEPS, seeds, first_step=steps)[-1]
    read, _ = read_by_judge(judge, state[:, INK : INK + 1].clamp(0, 1))
    right = (read == new).double().view(styles, 90).mean(0)  # [90]
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
    _, steps = trained_for(rule)
    blank = Digits(torch.zeros(len(labels), 1, 28, 28), labels)
    grown = redraw(rule, blank, (steps,), seed + 1, styles)[-1, :, :1].clamp(0, 1)
    train = data.train.select(torch.isin(data.train.labels, test.labels.unique()))
    pca = baselines.class_pca(train, rule.config.style_dim)
    drawn = pca.sample(labels, generator).clamp(0, 1)
    pick = torch.randperm(len(train), generator=generator)[: len(test)]
    _, real = read_by_judge(judge, test.images)
    results = {}
    for name, (images, wanted) in {
        "rule": (grown, labels),
        "real_training_digits": (train.images[pick], train.labels[pick]),
        "class_pca_gaussian": (drawn, labels),
    }.items():
        read, features = read_by_judge(judge, images)
        results[name] = {"judge_accuracy": (read == wanted).double().mean().item()}
        results[name] |= compare_sets(features, real)
    return results.pop("rule") | {"n": len(labels), "references": results}


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
        InputError: another split, a limit below 1, no digits left.
    """
    started = time.perf_counter()
    if split not in ("test", "validation"):
        raise InputError(f"--split {split}: choose test or validation")
    if limit is not None and limit < 1:
        raise InputError(f"--limit {limit}: evaluate at least 1 picture")
    digits: Digits = getattr(data, split)
    known = torch.tensor(rule.record.get("digits", range(10)))
    digits = digits.select(torch.isin(digits.labels, known))
    digits = digits.limit(limit or len(digits))
    judge, (task, steps) = load_judge(), trained_for(rule)
    device, rule = rule.kernels.device, rule.cpu()
    few, horizon = digits.limit(SUBSET), tuple(range(2, 4 * steps + 1, 2))
    main = redraw(rule, digits, (steps,), seed)[-1]  # [N, C, 28, 28]
    ink = main[:, INK : INK + 1]
    long = redraw(rule, few, (steps, 4 * steps, 10 * steps), seed)
    path = redraw(rule, few.limit(BATCH), horizon, seed)[:, :, :1]
    length = rule.config.style_dim or 16
    rivals = baseline_pictures(data.train, digits, length)
    beside = {name: measure(images, digits, judge) for name, images in rivals.items()}
    beside["class_pca"]["numbers"] = length
    results = {
        "n": len(digits), "split": split, "seed": seed, "task": task, "steps": steps,
        "weights": rule.record.get("sha256"), "data": data.source,
        "parameters": rule.rule_parameters,
        **measure(ink, digits, judge),
        "per_digit": per_digit(ink, digits, judge, rivals),
        "baselines": beside,
        "persistence": {
            name: pixel_accuracy(frame[:, :1], few.images)
            for name, frame in zip(("1x", "4x", "10x"), long, strict=True)
        },
        "regeneration": regeneration(rule, few, long[0], steps, seed),
        "accuracy_by_step": [
            [step, pixel_accuracy(frame, few.limit(BATCH).images)]
            for step, frame in zip(horizon, path, strict=True)
        ],
    }  # fmt: skip
    if len(known) == 10 and task == "grow":
        results["switching"] = switching(rule, steps, seed, judge)
    if rule.encoder is not None:
        enough = len(digits) > FEATURES
        results["samples"] = samples(rule, data, digits, seed, judge) if enough else None
    results["seconds"] = round(time.perf_counter() - started, 1)
    rule.to(device)
    return results


def table(results: dict) -> str:
    """The results as text: the rule beside its baselines, then how it holds, heals and invents."""
    columns = ("pixel_accuracy", "ink_iou", "ssim", "psnr", "judge_accuracy")
    lines = ["".join(f"{c.replace('_', ' '):>16}" for c in ("", *columns))]
    for name, row in {"this rule": results, **results["baselines"]}.items():
        cells = [f"{row[c]:.2f} dB" if c == "psnr" else f"{row[c]:.2%}" for c in columns]
        lines.append(f"{name.replace('_', ' '):>16}" + "".join(f"{c:>16}" for c in cells))
    held = ", ".join(f"{value:.2%} at {name}" for name, value in results["persistence"].items())
    lines += ["", f"holds:  {held} the training steps"]
    for name, row in results["regeneration"].items():
        path = f"{row['before']:.2%} -> {row['after_damage']:.2%} -> {row['after_64_steps']:.2%}"
        lines.append(f"heals:  {name.replace('_', ' ')}: {path} after 64 steps")
    if "switching" in results:
        row = results["switching"]
        pair = " to ".join(str(label) for label in row["worst_pair"])
        lines.append(
            f"told to become another digit: judge reads {row['judge_accuracy']:.2%} as that digit "
            f"96 steps later, {row['worst_pair_judge_accuracy']:.0%} of the worst pair ({pair})"
        )
    if results.get("samples"):
        row = results["samples"]
        lines.append(
            f"styles from the prior: judge reads {row['judge_accuracy']:.2%} as their label, "
            f"FID {row['fid']:.1f}, coverage {row['coverage']:.1%}"
        )
    return "\n".join(lines)
