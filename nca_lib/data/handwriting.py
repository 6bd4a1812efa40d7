"""A picture of a handwritten digit, prepared as the pictures of MNIST were.

MNIST's digits were scaled to fit a box of 20 x 20 pixels, with their proportions, and placed in a
field of 28 x 28 with the ink's centre of mass in the middle (LeCun et al., 1998, "Gradient-based
learning applied to document recognition"). Ink is 1, paper is 0. The style encoder has seen nothing
else, so `prepare` brings a photograph into this form first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from nca_lib.data.folder import pillow_errors
from nca_lib.inputs import InputError
from nca_lib.spec import MNIST

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy import ndimage
from torch import Tensor

BOX = 20  # pixels of the longer side of a digit, in MNIST
MIN_SIDE = 5  # pixels of a side of a picture, and of the longer side of a digit in it
WORK_SIDE = 1024  # a picture is averaged down until no side has more pixels
COARSE_SIDE = 64  # large structures are found in a picture of at most this many pixels a side
CONTRAST = 0.04  # ink that takes a smaller share of the paper's light can't be told from it
CLEAR = 7  # the least difference of ink and paper, in standard deviations of the paper
GRAIN = 0.3  # the least correlation of a pixel with its neighbours: strokes are no noise
DUST = 0.05  # pieces of ink with a smaller share of the largest piece's pixels are dust
STROKE = 1.75  # pixels in the box: a tenth of MNIST's digits have thinner strokes
FINE = 16  # how much finer than the box a digit is drawn to measure and thicken its strokes
FAR = 3.3  # times the root of its length: styles of 99 of 100 digits are shorter (18.7 of 32)
NO_INK = "no digit found: draw one with a strong pen on plain paper, alone in the picture"
EIGHT = np.ones((3, 3), bool)  # a pixel and its eight neighbours


def read_digit(file: str | Path | Image.Image, log: Callable[[str], None] = print) -> Tensor:
    """The digit in a picture, as MNIST would have it: `[1, 28, 28]` in [0, 1], ink is 1.

    Args:
        file: whatever Pillow reads (PNG, JPG, ...), of any size and colours; or an open picture.
        log: called with one line about what was found.

    Raises:
        InputError: no such file, not a picture, too large, too small, or no digit in it.
    """
    is_open = isinstance(file, Image.Image)
    name = "the picture" if is_open else str(file)
    try:
        picture, found = prepare(file if is_open else open_picture(Path(file).expanduser()))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    log(f"{name}: {found}")
    return picture


def open_picture(path: Path) -> Image.Image:
    """The picture in a file, upright."""
    if not path.is_file():
        raise InputError("there is no such file: give a picture, PNG or JPG")
    with pillow_errors("it"), Image.open(path) as image:
        return ImageOps.exif_transpose(image)


def prepare(image: Image.Image) -> tuple[Tensor, str]:
    """Bring the digit in a picture into MNIST's form, `[1, 28, 28]`, and say what was found.

    Thin strokes are thickened: the encoder has seen few of them, and redraws them better this way.
    Raises InputError for a picture that is too small, unreadable or without a digit.
    """
    with pillow_errors("it"):
        colours, factor = as_colours(ImageOps.exif_transpose(image))
    brightness = along_main_colour(colours)
    dark = ink_is_dark(brightness)
    sheet = None if dark else find_sheet(brightness)
    if sheet is not None:
        brightness, dark = only_the_sheet(brightness, sheet), True
    ink, uneven = ink_on_paper(brightness if dark else 1 - brightness)
    if grain(ink) < GRAIN:
        raise InputError(NO_INK)
    ink, ruled = without_rules(ink)
    ink = only_the_digit(ink)
    height, width = (factor * side for side in ink.shape)
    ink, thickened = with_firm_strokes(ink)
    notes = [
        "dark ink on light paper" if dark else "light ink on dark ground",
        f"the digit was {height} x {width} pixels",  # height first, as in shapes
        "it is wider than high, is it one digit?" if width > 1.3 * height else "",
        "cut out the sheet" if sheet is not None else "",
        "evened out the paper's brightness" if uneven else "",
        "removed ruled lines" if ruled else "",
        "thickened thin strokes" if thickened else "",
    ]
    return torch.from_numpy(into_the_field(ink))[None], "; ".join(filter(None, notes))


def as_colours(image: Image.Image) -> tuple[np.ndarray, int]:
    """Red, green and blue in [0, 1], float32 `[H, W, 3]`, and by how much they were reduced."""
    factor = math.ceil(max(image.size) / WORK_SIDE)
    if min(image.size) < MIN_SIDE * factor:
        raise InputError(f"too small or too narrow: give at least {MIN_SIDE} x {MIN_SIDE} pixels")
    if image.mode[0] in "IF":  # 16 or 32 bits: the lightest pixel is white, the darkest black
        values = np.asarray(image, np.float64)
        values = np.where(np.isfinite(values), values, 0)
        values = (values - values.min()) / (np.ptp(values) or 1)
        image = Image.fromarray(values.astype(np.float32)).reduce(factor)
        return np.asarray(image)[:, :, None].repeat(3, 2), factor
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA").reduce(factor), np.float32) / 255
        return on_paper(pixels[:, :, :3], pixels[:, :, 3:]), factor
    return np.asarray(image.convert("RGB").reduce(factor), np.float32) / 255, factor


def on_paper(colours: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Colours `[H, W, 3]` with opacity `[H, W, 1]` on opaque paper, `[H, W, 3]`.

    Where little shows, or all of one colour, the opacity is the ink: white if that colour is light,
    else black. Otherwise the median of what shows is the paper.
    """
    shown = colours[opacity[:, :, 0] >= opacity.max() / 2]  # [N, 3]
    if np.median(opacity) < 0.1 or np.ptp(shown, 0).max() < 0.1:
        return (opacity if shown.mean() > 0.5 else 1 - opacity).repeat(3, 2)
    paper = np.median(shown, 0)
    return paper + opacity * (colours - paper)


def along_main_colour(colours: np.ndarray) -> np.ndarray:
    """One number per pixel, `[H, W, 3]` to `[H, W]` in [0, 1]: what a pen changes most.

    It is the first principal component of how colours differ from those around them: yellow ink is
    hardly darker than paper, but far less blue.
    """
    window = [max(3, side // 4) for side in colours.shape[:2]]
    differ = (colours - ndimage.uniform_filter(colours, (*window, 0))).reshape(-1, 3)
    _, directions = np.linalg.eigh(differ.T @ differ)  # the main direction comes last
    direction = directions[:, -1] * (1 if directions[:, -1].sum() >= 0 else -1)
    direction = direction / np.abs(direction).sum()
    return (colours @ direction - np.minimum(direction, 0).sum()).astype(np.float32)


def coarse(brightness: np.ndarray) -> np.ndarray:
    """Averaged down to at most `COARSE_SIDE` pixels a side."""
    factor = math.ceil(max(brightness.shape) / COARSE_SIDE)
    return np.asarray(Image.fromarray(brightness).reduce(factor))


def scaled(picture: np.ndarray, shape: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    """Floats `[H, W]` scaled to a given shape."""
    picture = Image.fromarray(np.ascontiguousarray(picture, np.float32))
    return np.asarray(picture.resize(shape[::-1], how))


def ink_is_dark(brightness: np.ndarray) -> bool:
    """Whether the few pixels that differ from their surroundings (a wide median) are darker."""
    small = coarse(brightness)
    usual = ndimage.median_filter(small, 3 * max(small.shape) // 4, mode="nearest")
    return bool(((small - usual) ** 3).sum() <= 0)


def threshold(values: np.ndarray) -> float:
    """Half-way between the mean of the values above it and the mean of those below.

    The intermeans of Ridler and Calvard (1978), started high, so that little ink is found too.
    """
    level = (values.max() + values.min()) / 2
    for _ in range(20):
        above = values > level
        if above.all() or not above.any():
            break
        level = (values[above].mean() + values[~above].mean()) / 2
    return float(level)


def find_sheet(brightness: np.ndarray) -> np.ndarray | None:
    """A light sheet on a larger dark ground, bool `[h, w]` of the coarse picture, or None.

    With its holes filled it covers nearly all of the smallest rectangle around it, and the holes
    are small. No digit is like that: a 1 is longer, a 0 has a larger hole.
    """
    small = coarse(brightness)
    light = small > threshold(small)
    pieces, _ = ndimage.label(light)
    areas = np.bincount(pieces.ravel(), minlength=2)[1:]
    sheet = ndimage.binary_fill_holes(pieces == areas.argmax() + 1)
    area = sheet.sum()
    if area < 0.1 * sheet.size or (light & sheet).sum() < 0.8 * area:
        return None
    angles = np.linspace(0, np.pi / 2, 31)
    axes = np.stack([np.cos(angles), np.sin(angles)])  # [2, 31]
    points = np.argwhere(sheet)  # [N, 2]
    sides = np.stack([np.ptp(points @ axes, 0), np.ptp(points @ (axes[::-1] * [[-1], [1]]), 0)]) + 1
    short, long = np.sort(sides[:, sides.prod(0).argmin()])
    oblong = area > 0.85 * short * long and long < 2.5 * short
    return sheet if oblong and short > 2 * MIN_SIDE else None


def only_the_sheet(brightness: np.ndarray, sheet: np.ndarray) -> np.ndarray:
    """Cropped to the sheet; what is left of the ground gets the paper's median brightness."""
    inside = scaled(ndimage.binary_erosion(sheet), brightness.shape, Image.Resampling.BILINEAR)
    inside = inside > 0.5
    brightness = np.where(inside, brightness, np.median(brightness[inside]))
    return brightness[ndimage.find_objects(inside.astype(int))[0]]


def clearness(ink: np.ndarray, inside: np.ndarray) -> float:
    """Distance of the mean ink from the mean paper, in standard deviations of the paper."""
    if inside.all() or not inside.any():
        return 0.0
    paper = ink[~inside]
    return float((ink[inside].mean() - paper.mean()) / max(paper.std(), 1e-3))


def ink_on_paper(brightness: np.ndarray) -> tuple[np.ndarray, bool]:
    """The share of the paper's light that dark ink takes, `[H, W]`, and if the light was uneven.

    A closing tells how bright the paper would be without ink: it fills what is dark and narrow, as
    strokes are, and leaves shadows, which are wide. Beyond the border the paper is as bright as it
    gets, or else the border continues: whichever makes the ink clearer.
    """
    small = ndimage.median_filter(coarse(brightness), 3)
    window = max(3, max(small.shape) // 3)
    bright = np.pad(small, window, constant_values=small.max())
    clearest, paper = -1.0, small
    for wide in (bright, np.pad(small, window, mode="edge")):
        guess = ndimage.grey_closing(wide, (window, window))[window:-window, window:-window]
        guess = guess.clip(0.01, None)
        ink = (1 - small / guess).clip(0, 1)
        clear = clearness(ink, ink > threshold(ink))
        if clear > clearest:
            clearest, paper = clear, guess
    paper = scaled(paper, brightness.shape, Image.Resampling.BILINEAR)
    return (1 - brightness / paper).clip(0, 1), bool(np.ptp(paper) > 0.1 * paper.max())


def grain(ink: np.ndarray) -> float:
    """Correlation of pixels with their eight neighbours: near 1 for strokes, 0 for noise."""
    ink = ndimage.gaussian_filter(ink, max(ink.shape) / WORK_SIDE) - ink.mean()
    around = (9 * ndimage.uniform_filter(ink, 3) - ink) / 8
    return float(np.mean(ink * around) / max(ink.std() * around.std(), 1e-9))


def rules_across(ink: np.ndarray) -> np.ndarray:
    """How strong a ruled line is in each row, `[H]`: 0 everywhere on plain paper.

    Ruled lines are several and cross the whole picture, at slopes up to about a degree.
    """
    wide = ndimage.maximum_filter1d(ink, 2 * round(0.015 * len(ink)) + 1, 0)
    strength = np.quantile(wide, 0.05, axis=1)
    several = ndimage.label(strength > threshold(ink))[1] > 1
    return strength if several else np.zeros(len(ink))


def without_rules(ink: np.ndarray) -> tuple[np.ndarray, bool]:
    """The ink `[H, W]` without ruled lines or squares, and if there were any."""
    rules = np.maximum(rules_across(ink)[:, None], rules_across(ink.T))  # [H, 1], [W] -> [H, W]
    ink = ((ink - rules) / (1 - rules).clip(0.1, None)).clip(0, 1)
    return ink, bool(rules.any())


def only_the_digit(ink: np.ndarray) -> np.ndarray:
    """The ink of the digit, 0 to 1, cropped. Raises InputError if there is none."""
    smooth = ndimage.gaussian_filter(ink, max(ink.shape) / WORK_SIDE)  # large pictures are noisy
    inside = smooth > threshold(smooth)
    if clearness(smooth, inside) < CLEAR or smooth[inside].mean() < CONTRAST:
        raise InputError(NO_INK)
    paper = ink[~ndimage.binary_dilation(inside, EIGHT, 2)]
    inside = largest_pieces(inside)
    low = paper.mean() + 2 * paper.std() if paper.size else 0.0
    high = np.quantile(ink[inside], 0.8)
    near = ndimage.binary_dilation(inside, EIGHT, 1 + max(ink.shape) // 200)
    ink = ((ink - low) / max(high - low, 1e-3)).clip(0, 1) * near
    box = ndimage.find_objects((inside | (ink > 0.3)).astype(int))[0]
    if max(side.stop - side.start for side in box) < MIN_SIDE:
        raise InputError(NO_INK)
    return ink[box]


def largest_pieces(inside: np.ndarray) -> np.ndarray:
    """Without dust, bool `[H, W]`; and without what touches the border, unless all else is dust."""
    pieces, _ = ndimage.label(inside, EIGHT)
    area = np.bincount(pieces.ravel())
    area[0] = 0  # the paper
    within = area.copy()
    within[np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])] = 0
    if within.max() > DUST * area.max():
        area = within
    return (area > DUST * area.max())[pieces]


def with_firm_strokes(ink: np.ndarray) -> tuple[np.ndarray, bool]:
    """Strokes thickened to `STROKE` where they are thinner, `[h, w]`, and if they were."""
    fine = max(FINE, max(ink.shape) / BOX)
    inside = scaled(ink, in_a_box(ink.shape, fine * BOX), Image.Resampling.BILINEAR) > 0.5
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    width = 4 * (depth[inside].mean() - 0.5) if inside.any() else np.inf  # four mean depths
    more = (STROKE * fine - width) / 2
    if more <= 0:
        return ink, False
    away = ndimage.distance_transform_edt(~np.pad(inside, math.ceil(more)))
    return (more + 1 - away).clip(0, 1), True


def in_a_box(shape: tuple[int, int], side: float) -> tuple[int, int]:
    """Height and width, scaled so that the longer one is `side`."""
    return tuple(max(1, round(part * side / max(shape))) for part in shape)


def into_the_field(ink: np.ndarray) -> np.ndarray:
    """Scaled into the box, moved by whole pixels to the centre of mass: float32 `[28, 28]`."""
    small = scaled(ink, in_a_box(ink.shape, BOX), Image.Resampling.BICUBIC).clip(0, 1)
    small, field = small / small.max(), np.zeros(MNIST.size, np.float32)
    centre = ndimage.center_of_mass(small)
    top, left = (
        min(max(round(whole / 2 - middle), 0), whole - side)
        for whole, middle, side in zip(MNIST.size, centre, small.shape, strict=True)
    )
    field[top : top + small.shape[0], left : left + small.shape[1]] = small
    return field


def style_warning(model, style: Tensor | None) -> str | None:
    """A sentence about a style `[S]` that is longer than nearly all real digits', else None."""
    limit = FAR * math.sqrt(model.config.style_dim)
    if style is None or style.norm() <= limit:
        return None
    return (
        f"this style has length {style.norm():.1f}, and 99 of 100 real digits stay below "
        f"{limit:.1f}: the picture is unlike those of this label that the encoder has seen"
    )
