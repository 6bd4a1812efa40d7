"""The checks of chapter 4 accept what is right, name near misses, and never raise."""

from nca_lib.evaluation import ink_iou, pixel_accuracy
from nca_lib.exercises import chapter4

import numpy as np
import pytest
import torch


def ink(grown, images):
    return (grown > 0.5).flatten(1), (images > 0.5).flatten(1)


def iou(grown, images, empty=1.0):
    a, b = ink(grown, images)
    both, either = (a & b).sum(1), (a | b).sum(1)
    return torch.where(either > 0, both / either, empty).mean()


def with_loops(grown, images):
    """As a beginner may write it."""
    shares = []
    for a, b in zip(grown.numpy() > 0.5, images.numpy() > 0.5, strict=True):
        either = np.logical_or(a, b).sum()
        shares.append(np.logical_and(a, b).sum() / either if either else 1.0)
    return sum(shares) / len(shares)


def in_one_pot(grown, images):
    a, b = ink(grown, images)
    return (a & b).sum() / (a | b).sum().clamp(min=1)


def dice(grown, images):
    a, b = ink(grown, images)
    total = a.sum(1) + b.sum(1)
    return torch.where(total > 0, 2 * (a & b).sum(1) / total, 1.0).mean()


def of_the_original(grown, images):
    a, b = ink(grown, images)
    return torch.where(b.sum(1) > 0, (a & b).sum(1) / b.sum(1), 1.0).mean()


def means(images, labels, wanted):
    return torch.stack([images[labels == label].mean(0) for label in wanted])


def means_by_table(images, labels, wanted):
    table = torch.zeros(10, *images.shape[1:])
    for label in labels.unique():
        table[label] = images[labels == label].mean(0)
    return table[wanted].double()


def of_positions(images, labels, wanted):
    """Labels are taken for places in the list of those that occur."""
    table = torch.stack([images[labels == label].mean(0) for label in labels.unique()])
    return table[wanted % len(table)]


def confusion(labels, read):
    table = torch.zeros(10, 10, dtype=torch.int64)
    for label, digit in zip(labels, read, strict=True):
        table[label, digit] += 1
    return table


def added_once(labels, read):
    table = torch.zeros(10, 10)
    table[labels, read] += 1
    return table


FUNCTIONS = [  # check, right answers, wrong answers with what is said of them
    (
        chapter4.check_pixel_accuracy,
        [
            pixel_accuracy,
            lambda grown, images: ((grown > 0.5) == (images > 0.5)).float().mean(),
            lambda grown, images: 1 - ((grown > 0.5) ^ (images > 0.5)).double().mean().numpy(),
        ],
        [
            (lambda grown, images: 1 - pixel_accuracy(grown, images), "wrong pixels"),
            (lambda grown, images: 100 * pixel_accuracy(grown, images), "per cent"),
            (lambda grown, images: ((grown > 0.5) == (images > 0.5)).sum(), "divide"),
            (lambda grown, images: ((grown > 0.5) & (images > 0.5)).double().mean(), "background"),
            (lambda grown, images: (grown == images).double().mean(), "threshold on both"),
            (lambda grown, images: ((grown > 0.5) == images).double().mean(), "Only the grown"),
            (lambda grown, images: (grown == (images > 0.5)).double().mean(), "threshold on both"),
            (lambda grown, images: (grown.round() == images.round()).double().mean(), "Rounding"),
            (lambda grown, images: 1 - (grown - images).abs().double().mean(), "mean distance"),
            (lambda grown, images: ((grown > 0.4) == (images > 0.4)).double().mean(), "Not yet"),
            (lambda grown, images: (grown > 0.5) == (images > 0.5), "one number"),
            (lambda grown, images: ((grown > 0.5) == (images > 0.5)).mean(), "stopped with"),
            (lambda grown, images: float("nan"), "Not yet"),
        ],
    ),
    (
        chapter4.check_iou,
        [ink_iou, iou, with_loops],
        [
            (lambda grown, images: iou(grown, images, 0.0), "Two empty pictures agree"),
            (lambda grown, images: iou(grown, images, float("nan")), "0 / 0"),
            (in_one_pot, "one pot"),
            (dice, "Dice"),
            (of_the_original, "in either picture"),
            (pixel_accuracy, "pixel accuracy"),
            (lambda grown, images: len(images) * iou(grown, images), "the sum"),
            (lambda grown, images: 100 * iou(grown, images), "per cent"),
            (lambda grown, images: ink(grown, images)[0].sum(1), "one number"),
            (lambda grown, images: 1 / 0, "stopped with"),
        ],
    ),
    (
        chapter4.check_class_mean,
        [means, means_by_table, lambda *given: means(*given).tolist()],
        [
            (lambda images, labels, wanted: images.mean(0).expand(len(wanted), -1, -1, -1), "all"),
            (
                lambda images, labels, wanted: torch.stack(
                    [images[labels == label].sum(0) for label in wanted]
                ),
                "the sum",
            ),
            (
                lambda images, labels, wanted: torch.stack(
                    [images[labels == label][0] for label in wanted]
                ),
                "first picture",
            ),
            (
                lambda images, labels, wanted: means(images, labels, wanted.sort()[0]),
                "Not the mean",
            ),
            (of_positions, "Not the mean"),
            (lambda images, labels, wanted: means(images, labels, range(3)), "shape"),
            (lambda images, labels, wanted: means(images, labels, wanted)[:, 0], "shape"),
            (lambda images, labels, wanted: images[: len(wanted)], "Not the mean"),
            (lambda images, labels, wanted: "means", "give a tensor"),
        ],
    ),
    (
        chapter4.check_confusion,
        [
            confusion,
            lambda labels, read: torch.bincount(10 * labels + read, minlength=100).view(10, 10),
            lambda labels, read: confusion(labels, read).double().tolist(),
        ],
        [
            (lambda labels, read: confusion(read, labels), "Turn it"),
            (added_once, "counts once"),
            (lambda labels, read: confusion(labels, read).diag().diag(), "Only the digits"),
            (
                lambda labels, read: (
                    confusion(labels, read) / confusion(labels, read).sum(1, keepdim=True)
                ),
                "shares of each row",
            ),
            (lambda labels, read: confusion(labels, read) / len(labels), "shares of all"),
            (lambda labels, read: confusion(labels, read) + 1, "your table says"),
            (lambda labels, read: torch.bincount(10 * labels + read, minlength=100), "shape"),
        ],
    ),
]
NO_FUNCTIONS = [None, ..., 3, [1], lambda: None, lambda *given: ..., lambda *given: 1 / 0]


def said(capsys, check, *answer):
    check(*answer)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "right", "wrong"), FUNCTIONS, ids=lambda x: getattr(x, "__name__", "")
)
def test_of_a_function(check, right, wrong, capsys):
    for function in right:
        assert said(capsys, check, function).startswith("Right: ")
    for function, what in wrong:
        message = said(capsys, check, function)
        assert what in message
        assert not message.startswith("Right")
    for function in NO_FUNCTIONS:
        message = said(capsys, check, function)
        assert message.strip()
        assert not message.startswith("Right")


def test_how_much_each_method_knows(capsys):
    right = {name: true for name, (true, _) in chapter4.known(32).items()}
    assert said(capsys, chapter4.check_known, right).startswith("Right: ")
    assert said(capsys, chapter4.check_known, right | {"more": 1}, 32).startswith("Right: ")
    longer = right | dict.fromkeys(("grown", "PCA per class", "convolutional decoder"), 48)
    assert said(capsys, chapter4.check_known, longer, 48).startswith("Right: ")
    for wrong, what in (
        (None, "Give a dictionary"),
        (..., "Give a dictionary"),
        ([0, 0, 32], "Give a dictionary"),
        ({}, "'all black' is missing"),
        (right | {"class mean": 32}, "class mean: not 32"),
        (right | {"restored": 32}, "restored: not 32"),
        (right | {"grown": None}, "empty"),
        (right | {"grown": "many"}, "give a tensor"),
        (right | {"grown": [32, 32]}, "grown: not"),
        (longer, "not 48"),
    ):
        message = said(capsys, chapter4.check_known, wrong)
        assert what in message
        assert not message.startswith("Right")
