"""A picture of a handwritten digit, prepared as the pictures of MNIST were.

MNIST's digits were scaled to fit a box of 20 x 20 pixels, with their proportions, and placed in a
field of 28 x 28 with the ink's centre of mass in the middle (LeCun et al., 1998, "Gradient-based
learning applied to document recognition"). Ink is 1, paper is 0. The style encoder has seen nothing
else, so `prepare` brings a photograph into this form first.

`nca_lib/live/photo.js` does the same in a browser, step by step;
`tests/handwriting_vectors.json` holds pictures and results for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

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
WORK_SIDE = 640  # a picture is averaged down until no side has more pixels
COARSE_SIDE = 64  # large structures are found in a picture of at most this many pixels a side
CONTRAST = 0.04  # ink that takes a smaller share of the paper's light looks like paper
CLEAR = 7  # the least difference of ink and paper, in standard deviations of the paper
SHARP = 0.7  # the least share of a digit's edge where the light changes at once
SOLID = 0.62  # of the square of its longer side: what covers more is a thing, no strokes
DUST = 0.05  # pieces of ink with a smaller share of the largest piece's pixels are dust
STROKE = 1.75  # pixels in the box: a tenth of MNIST's digits have thinner strokes
THICK = 6.5  # the strokes of MNIST's boldest digit have 6.3
FINE = 16  # how much finer than the box a digit is drawn to measure and thicken its strokes
UNLIKELY, UNSURE = 0.02, 0.6  # warn below these probabilities: of the label, of the likeliest one
POLARITIES = "dark ink on light paper", "light ink on dark ground"
NO_INK = "no digit found: draw one with a strong pen on plain paper, alone in the picture"
SEVERAL = "several things: keep one digit in the picture, alone on plain paper"


class Reading(NamedTuple):
    """What was found in a picture, taken as dark ink on light paper."""

    score: float  # of several readings the one with the highest counts
    ink: np.ndarray | None = None  # of the digit, cropped, `[h, w]`
    notes: tuple[str, ...] = ()
    refusal: str = ""


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

    The picture is read as dark ink and as light ink; the clearer one counts. Thin strokes are
    thickened: the encoder has seen few of them, and redraws them better this way. Raises
    InputError for a picture that is too small, unreadable, without a digit or with several things.
    """
    with pillow_errors("it"):
        colours, factor = as_colours(ImageOps.exif_transpose(image))
    brightness = along_main_colour(colours)
    sheet, ways = find_sheet(brightness), {"": brightness}
    if sheet is not None:
        ways = {"cut out the sheet": only_the_sheet(brightness, sheet)} | ways
    readings = [
        read_ink(light, (name, note), edge)
        for note, picture in ways.items()
        for name, light in zip(POLARITIES, (picture, 1 - picture), strict=True)
        for edge in (False, True)
    ]
    best = max(readings, key=lambda reading: reading.score)
    if best.refusal:
        raise InputError(best.refusal)
    height, width = (factor * side for side in best.ink.shape)  # height first, as in shapes
    if width > 1.8 * height:
        raise InputError(SEVERAL)
    ink, thickened = with_firm_strokes(best.ink)
    notes = [
        best.notes[0],
        f"the digit was {height} x {width} pixels",
        "it is wider than high, is it one digit?" if width > 1.3 * height else "",
        *best.notes[1:],
        "thickened thin strokes" if thickened else "",
    ]
    return torch.from_numpy(into_the_field(ink))[None], "; ".join(filter(None, notes))


def read_ink(brightness: np.ndarray, names: tuple = (), edge: bool = False) -> Reading:
    """The dark ink in a picture `[H, W]`; `edge`: see `ink_on_paper`."""
    ink, uneven = ink_on_paper(brightness, edge)
    ink, ruled = without_rules(ink)
    smooth = smoothed(ink)
    every = smooth > threshold(smooth)
    if not every.any():
        return Reading(0.0, refusal=NO_INK)
    inside, alone = pieces_of_digit(every)
    score, sharp = distinctness(smoothed(brightness), every, inside)
    digit, clear = only_the_digit(ink, every, inside)
    if not (sharp and clear):
        return Reading(score / 10, refusal=NO_INK)
    if not alone:
        return Reading(score, refusal=SEVERAL)
    notes = (*names, "evened out the paper's brightness" if uneven else "",
             "removed ruled lines" if ruled else "")  # fmt: skip
    return Reading(score, digit, notes)


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
    small = np.stack([coarse(colours[:, :, k]) for k in range(3)], 2)
    around = ndimage.uniform_filter(
        small, (2 * (max(small.shape) // 8) + 1,) * 2 + (0,), mode="nearest"
    )
    differ = (small - around).reshape(-1, 3)
    _, directions = np.linalg.eigh(differ.T @ differ)  # the main direction comes last
    direction = directions[:, -1] * (1 if directions[:, -1].sum() >= 0 else -1)
    direction = direction / np.abs(direction).sum()
    return (colours @ direction - np.minimum(direction, 0).sum()).astype(np.float32)


def coarse(brightness: np.ndarray) -> np.ndarray:
    """Averaged down to at most `COARSE_SIDE` pixels a side."""
    factor = math.ceil(max(brightness.shape) / COARSE_SIDE)
    return np.asarray(Image.fromarray(np.ascontiguousarray(brightness)).reduce(factor))


def scaled(picture: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Floats `[H, W]` scaled to a given shape, with a triangle as wide as the larger pixels."""
    picture = Image.fromarray(np.ascontiguousarray(picture, np.float32))
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR))


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
    """A light sheet on a darker ground, bool `[h, w]` of the coarse picture, or None.

    With its holes filled it can nearly all be covered by squares four tenths as wide as itself, and
    the holes are small. No digit is like that: a 1 is narrower, a 0 has a larger hole.
    """
    small = coarse(brightness)
    light = small > threshold(small)
    pieces, _ = ndimage.label(light)
    areas = np.bincount(pieces.ravel(), minlength=2)[1:]
    sheet = ndimage.binary_fill_holes(pieces == areas.argmax() + 1)
    area, border = sheet.sum(), np.concatenate([sheet[[0, -1]].ravel(), sheet[:, [0, -1]].ravel()])
    if area < 0.1 * sheet.size or (light & sheet).sum() < 0.8 * area or border.mean() > 0.25:
        return None
    side = 2 * int(0.2 * math.sqrt(area)) + 1
    core = ndimage.minimum_filter(sheet, side, mode="constant")
    covered = ndimage.maximum_filter(core, side, mode="constant")
    return sheet if covered.sum() > 0.9 * area and side > MIN_SIDE else None


def only_the_sheet(brightness: np.ndarray, sheet: np.ndarray) -> np.ndarray:
    """Cropped to the sheet; what is left of the ground gets the paper's median brightness."""
    inside = scaled(ndimage.binary_erosion(sheet), brightness.shape)
    inside = inside > 0.5
    brightness = np.where(inside, brightness, np.median(brightness[inside]))
    return brightness[ndimage.find_objects(inside.astype(int))[0]]


def ink_on_paper(brightness: np.ndarray, edge: bool = False) -> tuple[np.ndarray, bool]:
    """The share of the paper's light that dark ink takes, `[H, W]`, and if the light was uneven.

    A closing tells how bright the paper would be without ink: it fills what is dark and narrow, as
    strokes are, and leaves shadows, which are wide. Beyond the border all is as bright as the
    brightest tenth of the picture, or else the `edge` continues.
    """
    small = ndimage.median_filter(coarse(brightness), 3, mode="nearest")
    window = 2 * (max(small.shape) // 6) + 1
    beyond = {"mode": "edge"} if edge else {"constant_values": np.quantile(small, 0.9)}
    wide = ndimage.grey_closing(np.pad(small, window, **beyond), (window, window))
    paper = scaled(wide[window:-window, window:-window].clip(0.01, None), brightness.shape)
    return (1 - brightness / paper).clip(0, 1), bool(np.ptp(paper) > 0.1 * paper.max())


def smoothed(ink: np.ndarray) -> np.ndarray:
    """Large pictures are noisy: averaged over 3 x 3 pixels, or 5 x 5."""
    return ndimage.uniform_filter(ink, 1 + 2 * (max(ink.shape) // 256), mode="nearest")


def rules_across(dark: np.ndarray) -> np.ndarray:
    """Where ruled lines run from left to right, at a slope of up to 6 %, bool `[H, W]`.

    Three or more lines are asked for, dark in three quarters of their length.
    """
    (height, width), found, lines = dark.shape, np.zeros_like(dark), np.zeros(len(dark), bool)
    wide, columns = ndimage.maximum_filter1d(dark, 3, 0), np.arange(dark.shape[1])
    for slope in np.linspace(-0.06, 0.06, 13):
        rows = np.arange(height)[:, None] + np.floor(slope * (columns - width / 2) + 0.5).astype(
            int
        )
        level = wide[rows.clip(0, height - 1), columns].mean(1) > 0.75
        lines |= level
        found |= level[(2 * np.arange(height)[:, None] - rows).clip(0, height - 1)]
    few = lines.mean() < 0.4 and ndimage.label(lines)[1] > 2
    return ndimage.maximum_filter1d(found, 3, 0) & few


def without_rules(ink: np.ndarray) -> tuple[np.ndarray, bool]:
    """The ink `[H, W]` without ruled lines or squares, and if there were any.

    Where rules are, only what is thicker than a rule stays: an opening across them.
    """
    smooth = smoothed(ink)
    dark, window = smooth > 0.5 * threshold(smooth), 2 * round(0.006 * max(ink.shape)) + 3
    down, across = rules_across(dark.T).T, rules_across(dark)
    for rules, axis in ((across, 0), (down, 1)):
        low = ndimage.minimum_filter1d(ink, window, axis)
        ink = np.where(rules, ndimage.maximum_filter1d(low, window, axis), ink)
    return ink, bool(down.any() or across.any())


def box_around(inside: np.ndarray, more: int = 0) -> tuple[slice, slice]:
    """The smallest box around what is true, so many pixels wider on each side."""
    box = ndimage.find_objects(inside.astype(int))[0]
    return tuple(slice(max(0, side.start - more), side.stop + more) for side in box)


def longer_side(inside: np.ndarray) -> int:
    return max(side.stop - side.start for side in box_around(inside))


def distinctness(light: np.ndarray, every: np.ndarray, inside: np.ndarray) -> tuple[float, bool]:
    """How much the ink `inside` looks like strokes, and if its edges are sharp enough for ink.

    Strokes differ from all around them, they are thin, and their edges are sharper than those of
    shadows, or of what a wrong reading takes for ink.
    """
    long = longer_side(inside)
    near = box_around(inside, long // 2)
    around = light[near][~every[near]]
    if not around.size:
        return 0.0, False
    change = around.mean() - light[inside].mean()
    window = 3 + 2 * (max(light.shape) // 60)
    contrast = ndimage.maximum_filter(light, window) - ndimage.minimum_filter(light, window)
    edge = inside & ~ndimage.minimum_filter(inside, 3)
    sharp = (contrast[edge] > 0.5 * change + np.quantile(contrast, 0.1)).mean()
    score = change / max(around.std(), 0.01) * sharp**2 * long / math.sqrt(inside.sum())
    return float(score), bool(sharp >= SHARP)


def only_the_digit(
    ink: np.ndarray, every: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, bool]:
    """The ink of the digit, 0 to 1, cropped, and if it is clear: ink, and not paper or a blob.

    Args:
        ink: `[H, W]`, on paper.
        every: where there is any, bool `[H, W]`.
        inside: where the digit's is.
    """
    long, smooth = longer_side(inside), smoothed(ink)
    near = box_around(inside, long // 2)
    for rim in (1 + long // 10, 1):  # the halo of a blurred stroke is no paper
        beside = ~ndimage.maximum_filter(every[near], 2 * rim + 1)
        if beside.mean() > 0.1:
            break
    paper, level = (
        picture[near][beside] if beside.any() else np.zeros(1) for picture in (ink, smooth)
    )
    contrast = smooth[inside].mean() - level.mean()
    clear = contrast > max(CONTRAST, CLEAR * level.std(), CLEAR * 0.001)
    clear = clear and long >= MIN_SIDE and inside.sum() <= SOLID * long**2
    low, high = paper.mean() + 2 * paper.std(), np.quantile(ink[inside], 0.8)
    close = ndimage.maximum_filter(inside, 3 + 2 * (max(ink.shape) // 200))
    ink = ((ink - low) / max(high - low, 1e-3)).clip(0, 1) * close
    return ink[box_around(inside | (ink > 0.3))], bool(clear)


def pieces_of_digit(inside: np.ndarray) -> tuple[np.ndarray, bool]:
    """The pieces of ink that make up the digit, bool `[H, W]`, and whether it is alone.

    The largest piece counts that keeps off the border, unless it's dust. Pieces less than a seventh
    of its length away belong to it if the whole has a digit's shape; smaller ones further off are
    dropped, larger ones are a second thing.
    """
    pieces, _ = ndimage.label(inside, np.ones((3, 3)))
    area = np.bincount(pieces.ravel())[1:]
    boxes = ndimage.find_objects(pieces)
    low, high = (np.array([[getattr(side, end) for side in box] for box in boxes])
                 for end in ("start", "stop"))  # [N, 2], rows and columns  # fmt: skip
    size = np.array(pieces.shape)
    margin = np.where(size > 40, size // 8, 0)
    hugs = (low == 0) | (high == size) | (high < margin) | (low > size - margin)
    within = area * ~hugs.any(1)
    area = within if within.max() > DUST * area.max() else area
    main, long = area.argmax(), (high - low).max(1)
    digit, alone, top, bottom = pieces == main + 1, True, low[main], high[main]
    around = ndimage.maximum_filter(digit, 3 + 2 * (long[main] // 7))
    near = np.bincount(pieces[around], minlength=len(area) + 1)[1:] > 0
    for piece in np.argsort(-area, kind="stable")[1:]:
        if area[piece] <= DUST * area[main]:
            break
        first, last = np.minimum(top, low[piece]), np.maximum(bottom, high[piece])
        height, width = last - first
        if near[piece] and max(height, width) <= 2 * long[main] and width <= 1.3 * height:
            digit, top, bottom = digit | (pieces == piece + 1), first, last
        elif long[piece] > 0.5 * long[main]:
            alone = False
    return digit, alone


def with_firm_strokes(ink: np.ndarray) -> tuple[np.ndarray, bool]:
    """Strokes thickened to `STROKE` where they are thinner, `[h, w]`, and if they were."""
    fine = max(FINE, max(ink.shape) / BOX)
    inside = scaled(ink, in_a_box(ink.shape, fine * BOX)) > 0.5
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    width = 4 * (depth[inside].mean() - 0.5) if inside.any() else np.inf  # four mean depths
    if THICK * fine < width < np.inf:
        raise InputError(NO_INK)
    more = (STROKE * fine - width) / 2
    if more <= 0:
        return ink, False
    away = ndimage.distance_transform_edt(~np.pad(inside, math.ceil(more)))
    return (more + 1 - away).clip(0, 1), True


def in_a_box(shape: tuple[int, int], side: float) -> tuple[int, int]:
    """Height and width, scaled so that the longer one is `side`."""
    return tuple(max(1, math.floor(part * side / max(shape) + 0.5)) for part in shape)


def into_the_field(ink: np.ndarray) -> np.ndarray:
    """Scaled into the box, moved by whole pixels to the centre of mass: float32 `[28, 28]`."""
    small = scaled(ink, in_a_box(ink.shape, BOX)).clip(0, 1)
    small, field = small / small.max(), np.zeros(MNIST.size, np.float32)
    centre = ndimage.center_of_mass(small)
    top, left = (
        min(max(math.floor(whole / 2 - middle + 0.5), 0), whole - side)
        for whole, middle, side in zip(MNIST.size, centre, small.shape, strict=True)
    )
    field[top : top + small.shape[0], left : left + small.shape[1]] = small
    return field


def label_warning(classifier, picture: Tensor, label: int) -> str | None:
    """A sentence if a prepared picture `[1, 28, 28]` isn't read as its label, or hardly as a digit.

    A label counts as wrong only if the classifier all but excludes it: real digits are ambiguous.
    """
    likely = classifier(picture[None]).softmax(1)[0]
    best = int(likely.argmax())
    if likely[label] < UNLIKELY:
        return f"this reads as a {best}, not as a {label}: look at the picture, or change the label"
    if likely[best] < UNSURE:
        return f"this hardly reads as a digit, most like a {best}: look at the picture"
    return None
