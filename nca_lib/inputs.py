"""What users give: natural forms are accepted, and what is wrong is refused in one sentence."""

from __future__ import annotations

import operator

from nca_lib.spec import ImageSpec

import numpy as np
import torch
from torch import Tensor

LARGEST = 2**31 - 1  # of whole numbers: more than anybody counts here


class InputError(ValueError):
    """What was given can't be used: the message says what was wrong and what to do.

    The command line prints it in one line and exits with code 2.
    """


def as_tensor(values, name: str) -> Tensor:
    """A number, a list, a NumPy array or a tensor, as a tensor."""
    try:
        return values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name}: want numbers, got {type(values).__name__} ({error})") from error


def as_whole(value, name: str, least: int = 0) -> int:
    """A whole number from `least` to `LARGEST`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}: give a whole number") from None
    if number > LARGEST:
        raise InputError(f"{name} is too large: give a whole number up to {LARGEST}")
    if isinstance(value, bool) or number < least:
        shown = repr(value) if number > -LARGEST else "too small"
        raise InputError(f"{name} is {shown}: give a whole number of at least {least}")
    return number


def label_of(name: str, classes: tuple[str, ...]) -> int:
    """The label of the class with this name."""
    if name not in classes:
        shown = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
        raise InputError(f"label {name[:40]!r}: choose one of {shown}")
    return classes.index(name)


def as_labels(labels, classes: tuple[str, ...], device: torch.device | None = None) -> Tensor:
    """Labels as int64 `[B]`: one number or name, a list, an array or a tensor of integers.

    Raises:
        InputError: other types or shapes, or a label that no class has.
    """
    if isinstance(labels, str):
        labels = label_of(labels, classes)
    elif isinstance(labels, (list, tuple)) and labels and all(isinstance(x, str) for x in labels):
        labels = [label_of(name, classes) for name in labels]
    tensor = as_tensor(labels, "labels")
    inexact = tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool
    if inexact or tensor.dim() > 1:
        raise InputError(f"labels: want integers [N], got {tensor.dtype} {list(tensor.shape)}")
    tensor = tensor.to(device, torch.int64).reshape(-1)
    wrong = tensor[(tensor < 0) | (tensor >= len(classes))]
    if len(wrong):
        raise InputError(f"label {wrong[0].item()}: labels go from 0 to {len(classes) - 1}")
    return tensor


def as_styles(style, count: int, length: int, like: Tensor) -> Tensor:
    """Styles `[count, length]` of the type and device of `like`; one style may come as `[length]`.

    Raises:
        InputError: another shape.
    """
    tensor = as_tensor(style, "styles").to(like.device, like.dtype)
    if tensor.dim() == 1 and count == 1:
        tensor = tensor[None]
    if tensor.shape != (count, length):
        raise InputError(
            f"styles have shape {list(tensor.shape)}, this model wants {[count, length]}: "
            f"one style of {length} numbers per label"
        )
    return tensor


def check_images(images, spec: ImageSpec) -> Tensor:
    """The images, if they are float `[N, I, H, W]` in [0, 1] of this spec; else an InputError."""
    images, wanted = as_tensor(images, "images"), (spec.channels, *spec.size)
    if images.dim() != 4 or tuple(images.shape[1:]) != wanted:
        shape = ", ".join(str(number) for number in wanted)
        raise InputError(f"images have shape {list(images.shape)}: want [N, {shape}]")
    if not images.is_floating_point():
        raise InputError(f"images are {images.dtype}: want float32 in [0, 1] (divide bytes by 255)")
    if len(images) and not (images.min() >= 0 and images.max() <= 1):  # NaN fails both
        raise InputError("images hold values outside [0, 1] or NaN: divide bytes by 255")
    return images
