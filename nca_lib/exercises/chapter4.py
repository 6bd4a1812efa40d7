"""Checks for chapter 4, evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nca_lib.baselines import class_mean
from nca_lib.dataset import Pictures
from nca_lib.evaluation import ink_iou, pixel_accuracy
from nca_lib.exercises.trying import as_tensor, attempt

import torch
from torch import Tensor


def number(given, name: str) -> float | None:
    """The reader's number; None, and a sentence, otherwise."""
    given = as_tensor(given, name)
    if given is None:
        return None
    if given.numel() != 1 or given.is_complex():
        print(f"{name} is one number, yours has the shape {list(given.shape)}: take the mean.")
        return None
    return given.double().item()


def strokes(draw: torch.Generator, count: int) -> Tensor:
    """Pictures `[N, 1, 9, 7]` with ink on some 30 %; like states, they leave [0, 1]."""
    ink = torch.rand(count, 1, 9, 7, generator=draw) < 0.3
    return ink + 0.45 * torch.randn(ink.shape, generator=draw)


def compared(function: Callable | None, name: str, wanted: Callable, mistakes: Callable) -> bool:
    """Whether a function of two batches gives what `wanted` gives; else says which mistake it is.

    `mistakes(grown, images)` gives what typical mistakes would give: `{sentence: number}`.
    """
    draw = torch.Generator().manual_seed(0)
    for case in range(4):
        grown, images = strokes(draw, 2 + case), strokes(draw, 2 + case).clamp(0, 1)
        if case % 2:
            grown[0] = images[0]
        if case > 1:
            images[1] = 0.0
        if case == 3:
            grown[1] = 0.2 * images[0]  # empty, both of them
        given = attempt(function, grown, images, name=name)
        if given is None or (given := number(given, "the result")) is None:
            return False
        true = wanted(grown, images)
        if abs(given - true) < 1e-5:
            continue
        if abs(given - 100 * true) < 1e-3:
            print("That is in per cent: a share lies between 0 and 1.")
            return False
        for what, mistake in mistakes(grown, images).items():
            if abs(given - mistake) < 1e-5:
                print(what)
                return False
        print(f"Not yet: for {len(images)} random pictures it gives {given:.4f}, not {true:.4f}.")
        return False
    return True


def check_pixel_accuracy(accuracy: Callable | None) -> None:
    """`(grown [N, 1, H, W], images [N, 1, H, W]) -> share` on the right side of 0.5."""

    def mistakes(grown: Tensor, images: Tensor) -> dict[str, float]:
        a, b = grown > 0.5, images > 0.5
        return {
            "That is the share of wrong pixels.": (a != b).double().mean().item(),
            "That counts the right pixels: divide by the number of pixels.": float((a == b).sum()),
            "That looks at ink alone: background that is right counts as well.": (
                (a & b).double().mean().item()
            ),
            "That counts ink pixels only.": (a & b).sum().item() / max(1, b.sum().item()),
            "Only the grown pictures have met the threshold: the originals need it, too.": (
                (a == images).double().mean().item()
            ),
            "Put a threshold on both: ink is what is above 0.5.": (
                (grown == images).double().mean().item()
            ),
            "Put the threshold on both: the grown pictures need it, too.": (
                (grown == b).double().mean().item()
            ),
            "Rounding is no threshold: states leave [0, 1], and 1.6 becomes 2.": (
                (grown.round() == images.round()).double().mean().item()
            ),
            "That is a mean distance: ask of each pixel only on which side of 0.5 it is.": (
                1 - (grown - images).abs().double().mean().item()
            ),
        }

    if compared(accuracy, "accuracy", pixel_accuracy, mistakes):
        print("Right: the share of pixels on the right side of 0.5.")


def check_iou(iou: Callable | None) -> None:
    """`(grown [N, 1, H, W], images [N, 1, H, W]) -> ink IoU`, mean over the pictures."""

    def mistakes(grown: Tensor, images: Tensor) -> dict[str, float]:
        a, b = (grown > 0.5).flatten(1), (images > 0.5).flatten(1)
        both, either = (a & b).sum(1).double(), (a | b).sum(1).double()
        each = torch.where(either > 0, both / either, 1.0)
        halves = a.sum(1) + b.sum(1)
        return {
            "That is pixel accuracy: leave out the pixels that are empty in both.": (
                pixel_accuracy(grown, images)
            ),
            "All pictures in one pot: divide picture by picture, then take the mean.": (
                both.sum() / either.sum().clamp(min=1)
            ).item(),
            "Two empty pictures agree: that is 1, not 0.": (
                (both / either.clamp(min=1)).mean().item()
            ),
            "Divide by the ink in *either*; this is the overlap counted twice (Dice).": (
                torch.where(halves > 0, 2 * both / halves, 1.0).mean().item()
            ),
            "Divide by the ink in either picture, not by that of one of them.": (
                torch.where(b.sum(1) > 0, both / b.sum(1), 1.0).mean().item()
            ),
            "That is the sum over the pictures, not the mean.": each.sum().item(),
        }

    draw = torch.Generator().manual_seed(9)
    empty, full = torch.zeros(3, 1, 9, 7), strokes(draw, 3)
    empty[1] = full[1]
    given = attempt(iou, empty, torch.zeros(3, 1, 9, 7), name="iou")
    if given is None or (given := number(given, "the result")) is None:
        return
    if given != given:
        print("Two empty pictures give 0 / 0, which is not a number: let them count as 1.")
    elif compared(iou, "iou", ink_iou, mistakes):
        print("Right: ink in both, over ink in either.")


def check_class_mean(mean_picture: Callable | None) -> None:
    """`(images [M, 1, H, W], labels [M], wanted [N]) -> [N, 1, H, W]`, the mean of each label."""
    draw = torch.Generator().manual_seed(0)
    for known, wanted in (([0, 1, 2], [2, 0, 0, 1]), ([7, 3, 9, 0], [9, 3, 0, 7, 9]), ([5], [5])):
        labels = torch.tensor(known)[torch.randint(len(known), (30,), generator=draw)]
        labels[: len(known)] = torch.tensor(known)
        images = torch.rand(30, 1, 6, 5, generator=draw)
        told = torch.tensor(wanted)
        true = class_mean(Pictures(images, labels), Pictures(images[: len(told)], told))
        given = attempt(mean_picture, images, labels, told, name="mean_picture")
        if given is None or (given := as_tensor(given, "the result")) is None:
            return
        if given.shape != true.shape:
            hint = "one picture for each of `wanted`, in its order"
            print(f"It has the shape {list(given.shape)}, expected {list(true.shape)}: {hint}.")
            return
        given = given.double()
        if torch.allclose(given, true.double(), atol=1e-5):
            continue
        mean = images.mean(0).double()
        order = sorted(known)
        means = torch.stack([images[labels == label].mean(0) for label in order]).double()
        sums = torch.stack([images[labels == label].sum(0) for label in wanted]).double()
        first = torch.stack([images[labels == label][0] for label in wanted]).double()
        if torch.allclose(given, mean.expand_as(given), atol=1e-5):
            print("That is the mean of all pictures: take those of the label alone.")
        elif torch.allclose(given, sums, atol=1e-4):
            print("That is the sum of the label's pictures, not their mean.")
        elif torch.allclose(given, first):
            print("That is the label's first picture, not the mean of all of them.")
        elif len(wanted) <= len(order) and torch.allclose(given, means[: len(wanted)], atol=1e-5):
            print("These are the labels in rising order: give them in the order of `wanted`.")
        else:
            wrong = int((given - true).abs().flatten(1).amax(1).argmax())
            print(f"Not the mean picture of the {wanted[wrong]}, at place {wrong} of `wanted`.")
        return
    print("Right: that rival knows the label, and nothing about the picture.")


def check_confusion(confusion: Callable | None) -> None:
    """`(labels [N], read [N]) -> counts [10, 10]`: row the label, column what was read."""
    draw = torch.Generator().manual_seed(0)
    for count in (500, 12):
        labels, read = torch.randint(10, (2, count), generator=draw)
        read[: count // 2] = labels[: count // 2]
        true = torch.zeros(10, 10)
        true.index_put_((labels, read), torch.ones(count), accumulate=True)
        given = attempt(confusion, labels, read, name="confusion")
        if given is None or (given := as_tensor(given, "the table")) is None:
            return
        if given.shape != true.shape:
            print(f"The table has the shape {list(given.shape)}, expected [10, 10].")
            return
        given = given.double()
        if torch.equal(given, true.double()):
            continue
        if torch.equal(given, true.T.double()):
            print("Turn it: a row for each label, a column for each digit that was read.")
        elif torch.equal(given, true.clamp(max=1).double()):
            print("A pair that comes twice counts once: table[labels, read] += 1 adds only one.")
        elif torch.equal(given, true.diag().diag().double()):
            print("Only the digits that were read rightly are counted.")
        elif torch.allclose(given * true.sum(1, keepdim=True), true.double(), atol=1e-4):
            print("These are shares of each row: give the counts.")
        elif torch.allclose(given, true.double() / count, atol=1e-5):
            print("These are shares of all: give the counts.")
        else:
            row, column = (given != true).nonzero()[0].tolist()
            print(
                f"{int(true[row, column])} digits with the label {row} were read as {column}, "
                f"your table says {given[row, column]:g}."
            )
        return
    print("Right: what was meant, against what was read.")


def known(length: int) -> dict[str, tuple[int, str]]:
    """How many numbers about the one picture each method is given, its label apart, and why."""
    return {
        "all black": (0, "it draws nothing, whatever it is shown"),
        "class mean": (0, "the mean of the training pictures is the same for every test picture"),
        "PCA per class": (length, "it is given its place along so many directions"),
        "convolutional decoder": (length, "its code is as long as the rule's"),
        "grown": (length, "one cell and the label say nothing about the picture, the style does"),
        "restored": (784, "its start is a number for each pixel"),
    }


def check_known(my_numbers, length: int = 32) -> None:
    """How many numbers, read off the picture itself, each method is given; `length` of a style."""
    wanted = known(length)
    if not isinstance(my_numbers, Mapping):
        print(f"Give a dictionary: my_numbers = ... Its names: {', '.join(wanted)}.")
        return
    for name, (true, reason) in wanted.items():
        if name not in my_numbers:
            print(f"{name!r} is missing.")
            return
        given = as_tensor(my_numbers[name], name)
        if given is None:
            return
        if given.numel() != 1 or given.item() != true:
            print(f"{name}: not {my_numbers[name]}; {reason}.")
            return
    print("Right: PCA and decoder are fair rivals; the restoration plays another game.")
