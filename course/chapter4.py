"""Checks for chapter 4: measures of a grown picture, and baselines."""

from collections.abc import Mapping

from course.checking import Check, as_tensor, reports, require

import torch


def picture_case(count):
    """Pictures `[N, 1, 9, 7]`: grown ones, which leave [0, 1], and originals."""
    ink = (torch.rand(2, count, 1, 9, 7) < 0.3) + 0.45 * torch.randn(2, count, 1, 9, 7)
    grown, images = ink[0], ink[1].clamp(0, 1)
    grown[0], grown[1:-2], images[1:-2] = images[0], 0.2, 0.0  # alike; both empty; the rest differ
    return grown, images


def accuracy(grown, images, agree=lambda a, b: (a > 0.5) == (b > 0.5)):
    return agree(grown, images).double().mean()


ACCURACY = {
    "Right: the share of pixels on the right side of 0.5.": {},
    "That is the share of wrong pixels.": {"agree": lambda a, b: (a > 0.5) != (b > 0.5)},
    "Background that is right counts as well.": {"agree": lambda a, b: (a > 0.5) & (b > 0.5)},
    "Put a threshold on both: ink is what is above 0.5.": {"agree": torch.eq},
    "Rounding is no threshold: 1.6 becomes 2.": {"agree": lambda a, b: a.round() == b.round()},
    "That is a distance: which pixels are right?": {"agree": lambda a, b: 1 - (a - b).abs()},
}
check_pixel_accuracy = Check(accuracy, lambda: [picture_case(4), picture_case(5)], ACCURACY)


def iou(grown, images, under=torch.bitwise_or, empty=1.0):
    a, b = (grown > 0.5).flatten(1), (images > 0.5).flatten(1)
    both, either = (a & b).sum(1), under(a, b).sum(1)
    return torch.where(either > 0, both / either, empty).mean()


IOU = {
    "Right: ink in both, over ink in either.": {},
    "That is pixel accuracy: leave out the pixels that are empty in both.": accuracy,
    "Divide picture by picture, then take the mean.": lambda a, b: iou(a[None], b[None]),
    "Two empty pictures give 0 / 0, not a number: let them count as 1.": {"empty": torch.nan},
    "Divide by the ink in either, not by that of the original.": {"under": lambda a, b: b},
}
check_iou = Check(iou, lambda: [picture_case(4), picture_case(5)], IOU)


def mean_picture(images, labels, wanted, of=lambda pictures: pictures.mean(0)):
    return torch.stack([of(images[labels == label]) for label in wanted])


def class_cases():
    labels = torch.tensor([7, 3, 9, 0]).repeat(8)[torch.randperm(32)]
    images, wanted = torch.rand(32, 1, 6, 5), torch.tensor([9, 3, 0, 7, 9])
    return [(images, labels, wanted), (images, labels, wanted[:2])]


CLASS = {
    "Right: this baseline knows the label, and nothing about the picture.": {},
    "That is the mean of all pictures.": lambda x, _, z: x.mean(0).expand(len(z), -1, -1, -1),
    "That is the label's first picture, not the mean of all.": {"of": lambda x: x[0]},
    "Give them in the order of `wanted`.": lambda x, y, z: mean_picture(x, y, z.sort()[0]),
}
check_class_mean = Check(mean_picture, class_cases, CLASS)


def confusion(labels, read, change=lambda table: table):
    return change(torch.bincount(10 * labels + read, minlength=100).view(10, 10).double())


def reading_case(count):
    labels, read = torch.randint(10, (2, count))
    read[: count // 2] = labels[: count // 2]
    return labels, read


CONFUSION = {
    "Right: what was meant, against what was read.": {},
    "Turn it: a row for each label, a column for each digit that was read.": {"change": torch.t},
    "A pair that comes twice counts once: += adds only one.": {"change": torch.sign},
    "These are shares of each row: give the counts.": {"change": lambda x: x / x.sum(1)[:, None]},
    "These are shares of all: give the counts.": {"change": lambda x: x / x.sum()},
}
check_confusion = Check(confusion, lambda: [reading_case(500), reading_case(12)], CONFUSION)


@reports
def check_numbers(my_numbers, length=32):
    """How many numbers about the picture each method gets; `length` of a style."""
    wanted = {
        "all black": (0, "it draws nothing, whatever the picture shows"),
        "class mean": (0, "the mean of the training pictures is the same for every test picture"),
        "PCA per class": (length, "it gets one coordinate along each of so many directions"),
        "convolutional decoder": (length, "its code is as long as the model's"),
        "grown": (length, "one cell and the label say nothing about the picture, the style does"),
        "restored": (784, "its initial state is a number for each pixel"),
    }
    names = ", ".join(wanted)
    require(isinstance(my_numbers, Mapping), f"Give a dictionary: my_numbers = ... Names: {names}.")
    for name, (count, reason) in wanted.items():
        require(name in my_numbers, f"{name!r} is missing.")
        given = as_tensor(my_numbers[name], name)
        right = given.numel() == 1 and given.item() == count
        require(right, f"{name}: not {my_numbers[name]}; {reason}.")
    return "Right: PCA and decoder are fair baselines; the restoration starts from the picture."
