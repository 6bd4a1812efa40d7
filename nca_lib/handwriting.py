"""A picture of a handwritten digit, prepared as the pictures of MNIST were.

MNIST's digits were scaled to fit a box of 20 x 20 pixels, their proportions kept, and laid into a
field of 28 x 28 with the centre of mass of the ink in its middle (LeCun et al., 1998, "Gradient-
based learning applied to document recognition"). Ink is 1, paper is 0. The style encoder has seen
nothing else, so a photograph is brought into this form first:

    colours     averaged down to a size that is quick to work with, transparency laid on paper
    brightness  one number a pixel, along the direction in which a pen changes the colours most
    polarity    is the ink darker or lighter than what is around it?
    ink         how bright would the paper be without ink? Dividing by it evens the light out
    digit       the ink without the rules of the paper, without dust, cropped
    field       scaled into the box, moved until its centre of mass is in the middle
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nca_lib.errors import InputError
from nca_lib.kinds import MNIST
from nca_lib.rule import NCA

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy import ndimage
from torch import Tensor

BOX = 20  # pixels of the longer side of a digit, in MNIST
LEAST = 5  # pixels of a side of a picture, and of the longer side of a digit in it
WORK = 1024  # a picture is averaged down until no side has more pixels than this
ROUGH = 64  # what is large is looked for in a picture of at most this many pixels a side
CONTRAST = 0.04  # ink that takes away a smaller share of the paper's light can't be told from it
CLEAR = 7  # ink differs from paper by so many times the deviation of the paper
GRAIN = 0.3  # a pixel of a stroke is like those around it: their correlation is at least this
DUST = 0.05  # a piece of ink with less than this share of the largest piece's pixels
STROKE = 1.75  # pixels in the box: a tenth of MNIST's digits have thinner strokes
FINE = 16  # times finer than the box, to measure and thicken strokes
FAR = 1.9  # styles further out than this, times the square root of their size, are few
NO_INK = "no digit found: draw one with a strong pen on plain paper, alone in the picture"
EIGHT = np.ones((3, 3), bool)  # a pixel and its eight neighbours


class Prepared(NamedTuple):
    """A picture as MNIST has them, and what was found on the way."""

    picture: Tensor  # float32 [1, 28, 28] in [0, 1], ink is light
    dark_ink: bool  # dark ink on light paper was found
    said: str  # one line for people


def read_picture(file: str | Path | Image.Image, say: Callable[[str], None] = print) -> Tensor:
    """The digit in a picture, as MNIST would have it: `[1, 28, 28]` in [0, 1], ink is light.

    Args:
        file: whatever Pillow reads (PNG, JPG, ...), of any size and colours; or an open picture.
        say: is told in one line what was found.

    Raises:
        InputError: no such file, not a picture, too large, too small, or no digit in it.
    """
    is_open = isinstance(file, Image.Image)
    name = "the picture" if is_open else str(file)
    try:
        found = prepare(file if is_open else open_picture(Path(file)))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    say(f"{name}: {found.said}")
    return found.picture


def prepare(image: Image.Image) -> Prepared:
    """Find the digit in a picture and bring it into MNIST's form.

    Strokes thinner than `STROKE` pixels are made as wide: the encoder has seen few thinner ones,
    and redraws a thin pen better for it (`tests/test_handwriting.py` compares).

    Raises:
        InputError: too small, unreadable, or no digit in it.
    """
    with pillow_at_work():
        colours, factor = as_colours(ImageOps.exif_transpose(image))
    brightness = along_main_colour(colours)
    dark = ink_is_dark(brightness)
    sheet = None if dark else find_sheet(brightness)
    if sheet is not None:
        brightness, dark = only_the_sheet(brightness, sheet), True
    ink, evened = ink_on_paper(brightness if dark else 1 - brightness)
    if grain(ink) < GRAIN:
        raise InputError(NO_INK)
    ink, ruled = without_rules(ink)
    ink = only_the_digit(ink)
    height, width = (factor * side for side in ink.shape)
    ink, thickened = with_firm_strokes(ink)
    said = [
        "dark ink on light paper" if dark else "light ink on dark ground",
        f"the digit was {height} x {width} pixels",  # height first, as shapes have it
        *["that is wider than high, is it one digit?"] * (width > 1.3 * height),
        *["the sheet cut out"] * (sheet is not None),
        *["brightness of the paper evened out"] * evened,
        *["rules of the paper taken away"] * ruled,
        *["thin strokes thickened"] * thickened,
    ]
    return Prepared(torch.from_numpy(into_the_field(ink))[None], dark, "; ".join(said))


@contextmanager
def pillow_at_work() -> Iterator[None]:
    """Whatever Pillow makes of broken bytes becomes an InputError, and it warns of nothing else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise InputError(f"more than {most} million pixels: make the picture smaller") from error
    except Exception as error:  # each decoder fails in its own way: OSError, struct.error, ...
        raise InputError("can't be read as a picture: save it as PNG or JPG") from error


def open_picture(path: Path) -> Image.Image:
    """The picture in a file, the right way up."""
    with pillow_at_work():
        if not path.is_file():
            raise InputError("there is no such file: give a picture, PNG or JPG")
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image)


def as_colours(image: Image.Image) -> tuple[np.ndarray, int]:
    """Red, green and blue in [0, 1], float32 `[H, W, 3]`, and by how much it was averaged down."""
    factor = math.ceil(max(image.size) / WORK)
    if min(image.size) < LEAST * factor:
        raise InputError(
            f"{image.width} x {image.height} pixels are too small or too narrow: "
            f"give a picture of at least {LEAST} x {LEAST}"
        )
    if image.mode[0] in "IF":  # 16 or 32 bits: what is white has to be found out
        numbers = np.asarray(image, np.float64)
        numbers = np.where(np.isfinite(numbers), numbers, 0)
        numbers = (numbers - numbers.min()) / (np.ptp(numbers) or 1)
        image = Image.fromarray(numbers.astype(np.float32)).reduce(factor)
        return np.asarray(image)[:, :, None].repeat(3, 2), factor
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA").reduce(factor), np.float32) / 255
        return laid_on_paper(pixels[:, :, :3], pixels[:, :, 3:]), factor
    return np.asarray(image.convert("RGB").reduce(factor), np.float32) / 255, factor


def laid_on_paper(colours: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Colours `[H, W, 3]` with opacity `[H, W, 1]`, laid on an opaque paper: `[H, W, 3]`.

    Where most of the picture can be seen through, or all that shows has one colour, the opacity is
    the ink: black on white, or white on black if it is light. Else the paper is in the picture, and
    its usual colour fills the holes.
    """
    shown = colours[opacity[:, :, 0] >= opacity.max() / 2]  # [N, 3]
    if np.median(opacity) < 0.1 or np.ptp(shown, 0).max() < 0.1:
        light = shown.mean() > 0.5
        return (opacity if light else 1 - opacity).repeat(3, 2)
    paper = np.median(shown, 0)
    return paper + opacity * (colours - paper)


def along_main_colour(colours: np.ndarray) -> np.ndarray:
    """One number a pixel, `[H, W, 3]` to `[H, W]` in [0, 1]: what a pen changes most.

    That is the first principal component of how colours differ from those around them. Yellow ink,
    for one, is hardly darker than paper, but far less blue.
    """
    around = [max(3, side // 4) for side in colours.shape[:2]]
    differ = (colours - ndimage.uniform_filter(colours, (*around, 0))).reshape(-1, 3)
    _, directions = np.linalg.eigh(differ.T @ differ)  # the main direction comes last
    direction = directions[:, -1] * (1 if directions[:, -1].sum() >= 0 else -1)
    direction = direction / np.abs(direction).sum()
    return (colours @ direction - np.minimum(direction, 0).sum()).astype(np.float32)


def roughly(brightness: np.ndarray) -> np.ndarray:
    """Averaged down to at most `ROUGH` pixels a side."""
    return np.asarray(Image.fromarray(brightness).reduce(math.ceil(max(brightness.shape) / ROUGH)))


def scaled(picture: np.ndarray, shape: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    """Floats `[H, W]` scaled to another shape."""
    picture = Image.fromarray(np.ascontiguousarray(picture, np.float32))
    return np.asarray(picture.resize(shape[::-1], how))


def ink_is_dark(brightness: np.ndarray) -> bool:
    """Whether the few pixels that are unlike what is usual around them are darker. `[H, W]`.

    Usual is the median of a window larger than most digits: it keeps the edges of shadows.
    """
    small = roughly(brightness)
    usual = ndimage.median_filter(small, 3 * max(small.shape) // 4, mode="nearest")
    return bool(((small - usual) ** 3).sum() <= 0)


def threshold(values: np.ndarray) -> float:
    """Half-way between the mean of what is above it and the mean of what is below.

    The intermeans of Ridler and Calvard (1978), begun from above, so that little ink is found too.
    """
    level = (values.max() + values.min()) / 2
    for _ in range(20):
        above = values > level
        if above.all() or not above.any():
            break
        level = (values[above].mean() + values[~above].mean()) / 2
    return float(level)


def find_sheet(brightness: np.ndarray) -> np.ndarray | None:
    """A light sheet on a larger dark ground, bool `[h, w]` of the rough picture, or None.

    It is a piece of light that, its holes filled, covers nearly all of the smallest rectangle
    around it; and what fills the holes, the digit, is little. No digit is such a piece: a 1 is
    longer, a 0 has a larger hole.
    """
    small = roughly(brightness)
    light = small > threshold(small)
    pieces, _ = ndimage.label(light)
    areas = np.bincount(pieces.ravel(), minlength=2)[1:]
    sheet = ndimage.binary_fill_holes(pieces == areas.argmax() + 1)
    area = sheet.sum()
    if area < 0.1 * sheet.size or (light & sheet).sum() < 0.8 * area:
        return None
    turns = np.linspace(0, np.pi / 2, 31)
    axes = np.stack([np.cos(turns), np.sin(turns)])  # [2, 31]
    points = np.argwhere(sheet)  # [N, 2]
    sides = np.stack([np.ptp(points @ axes, 0), np.ptp(points @ (axes[::-1] * [[-1], [1]]), 0)]) + 1
    short, long = np.sort(sides[:, sides.prod(0).argmin()])
    oblong = area > 0.85 * short * long and long < 2.5 * short
    return sheet if oblong and short > 2 * LEAST else None


def only_the_sheet(brightness: np.ndarray, sheet: np.ndarray) -> np.ndarray:
    """Cropped to the sheet; what is left of the ground gets the paper's usual brightness."""
    inside = scaled(ndimage.binary_erosion(sheet), brightness.shape, Image.Resampling.BILINEAR)
    inside = inside > 0.5
    brightness = np.where(inside, brightness, np.median(brightness[inside]))
    return brightness[ndimage.find_objects(inside.astype(int))[0]]


def clearness(ink: np.ndarray, inside: np.ndarray) -> float:
    """How far the mean of the ink is from that of the paper, in standard deviations of the paper.

    Where all is paper or all is ink it is 0.
    """
    if inside.all() or not inside.any():
        return 0.0
    paper = ink[~inside]
    return float((ink[inside].mean() - paper.mean()) / max(paper.std(), 1e-3))


def ink_on_paper(brightness: np.ndarray) -> tuple[np.ndarray, bool]:
    """Which share of the paper's light dark ink takes away, `[H, W]` in [0, 1].

    And whether the paper was unevenly bright. How bright it would be without ink is found by a
    closing: what is dark and narrow, as strokes are, is filled; what is dark and wide, as shadows
    are, stays. Outside the picture the paper is as bright as it gets, or else the borders go on;
    that guess is taken which ink stands out from more clearly.
    """
    small = ndimage.median_filter(roughly(brightness), 3)
    window = max(3, max(small.shape) // 3)
    clearest, paper = -1.0, small
    for wide in (
        np.pad(small, window, constant_values=small.max()),
        np.pad(small, window, mode="edge"),
    ):
        guess = ndimage.grey_closing(wide, (window, window))[window:-window, window:-window]
        guess = guess.clip(0.01, None)
        ink = (1 - small / guess).clip(0, 1)
        clear = clearness(ink, ink > threshold(ink))
        if clear > clearest:
            clearest, paper = clear, guess
    paper = scaled(paper, brightness.shape, Image.Resampling.BILINEAR)
    return (1 - brightness / paper).clip(0, 1), bool(np.ptp(paper) > 0.1 * paper.max())


def smoothed(ink: np.ndarray) -> np.ndarray:
    """With less of the noise of large pictures."""
    return ndimage.gaussian_filter(ink, max(ink.shape) / WORK)


def grain(ink: np.ndarray) -> float:
    """How far pixels are like the eight around them: near 1 for strokes, 0 for noise."""
    ink = smoothed(ink) - ink.mean()
    around = (9 * ndimage.uniform_filter(ink, 3) - ink) / 8
    return float(np.mean(ink * around) / max(ink.std() * around.std(), 1e-9))


def rules_across(ink: np.ndarray) -> np.ndarray:
    """How strong a rule there is in each row, `[H]`: 0 everywhere on plain paper.

    A rule goes on across the whole picture, as no stroke does, at a slope of up to about a degree.
    A single one might be a stroke that fills the picture.
    """
    wide = ndimage.maximum_filter1d(ink, 2 * round(0.015 * len(ink)) + 1, 0)
    strength = np.quantile(wide, 0.05, axis=1)
    several = ndimage.label(strength > threshold(ink))[1] > 1  # fainter ones are no ink anyway
    return strength if several else np.zeros(len(ink))


def without_rules(ink: np.ndarray) -> tuple[np.ndarray, bool]:
    """The ink `[H, W]` without lines or squares printed on the paper, and if there were any."""
    rules = np.maximum(rules_across(ink)[:, None], rules_across(ink.T))  # [H, 1], [W] -> [H, W]
    ink = ((ink - rules) / (1 - rules).clip(0.1, None)).clip(0, 1)
    return ink, bool(rules.any())


def only_the_digit(ink: np.ndarray) -> np.ndarray:
    """The ink of the digit, 0 to 1, cropped. Raises InputError if there is none."""
    smooth = smoothed(ink)
    inside = smooth > threshold(smooth)
    clear = clearness(smooth, inside)
    if clear < CLEAR or smooth[inside].mean() < CONTRAST:
        raise InputError(NO_INK)
    paper = ink[~ndimage.binary_dilation(inside, EIGHT, 2)]
    inside = largest_pieces(inside)
    low = paper.mean() + 2 * paper.std() if paper.size else 0.0
    high = np.quantile(ink[inside], 0.8)
    near = ndimage.binary_dilation(inside, EIGHT, 1 + max(ink.shape) // 200)
    ink = ((ink - low) / max(high - low, 1e-3)).clip(0, 1) * near
    box = ndimage.find_objects((inside | (ink > 0.3)).astype(int))[0]
    if max(side.stop - side.start for side in box) < LEAST:
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


def stroke_width(inside: np.ndarray) -> float:
    """The mean width of strokes in pixels: on average a pixel is a quarter of it from the edge."""
    away = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    return 4 * (away[inside].mean() - 0.5)


def with_firm_strokes(ink: np.ndarray) -> tuple[np.ndarray, bool]:
    """Strokes made `STROKE` wide where they are thinner, `[h, w]`, and if they were."""
    fine = max(FINE, max(ink.shape) / BOX)
    inside = scaled(ink, in_a_box(ink.shape, fine * BOX), Image.Resampling.BILINEAR) > 0.5
    more = (STROKE * fine - stroke_width(inside)) / 2 if inside.any() else 0
    if more <= 0:
        return ink, False
    away = ndimage.distance_transform_edt(~np.pad(inside, math.ceil(more)))
    return (more + 1 - away).clip(0, 1), True


def in_a_box(shape: tuple[int, int], side: float) -> tuple[int, int]:
    """Height and width, scaled so that the longer one is `side`."""
    height, width = (max(1, round(part * side / max(shape))) for part in shape)
    return height, width


def into_the_field(ink: np.ndarray) -> np.ndarray:
    """Scaled into the box, moved until the centre of mass is in the middle: float32 `[28, 28]`.

    It is moved by whole pixels, as in MNIST.
    """
    small = scaled(ink, in_a_box(ink.shape, BOX), Image.Resampling.BICUBIC).clip(0, 1)
    small = small / small.max()
    field = np.zeros(MNIST.size, np.float32)
    top, left = (
        min(max(round(whole / 2 - centre), 0), whole - side)
        for whole, centre, side in zip(
            MNIST.size, ndimage.center_of_mass(small), small.shape, strict=True
        )
    )
    field[top : top + small.shape[0], left : left + small.shape[1]] = small
    return field


def style_warning(rule: NCA, style: Tensor | None) -> str | None:
    """A sentence for people if a style is further out than those of real digits, else None.

    Drawn styles follow N(0, I): their length is near the root of their size, 5.7 for 32 numbers.
    Real hands reach further, because drawing keeps to the middle of what people write
    (`flow.WIDTH`): of the embedded sample's test digits 5 of 1,000 exceed the limit, 10.7, and 4 of
    1,000 of its training digits (`tests/test_handwriting.py` counts them).

    Args:
        rule: whose style it is.
        style: `[S]`, as `rule.infer_style` finds it; None, of a rule without styles, is fine.
    """
    if style is None:
        return None
    length, limit = style.norm().item(), FAR * math.sqrt(rule.config.style_dim)
    if length <= limit:
        return None
    return (
        f"this style has length {length:.1f}, and 99 of 100 real digits stay below {limit:.1f}: "
        "the picture is not like those of this label that the encoder knows"
    )
