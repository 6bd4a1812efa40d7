"""Drawings of digits, as a learner might bring them: one digit, by many pens, on many papers.

`ink` draws a few strokes through given points; each of the `WAYS` makes a picture of them: a scan,
a photograph, a drawing on glass.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter

STROKES = {  # digit: strokes, each through these points (x, y), y downwards; the height is 1
    0: [[(0.42, 0.0), (0.12, 0.2), (0.0, 0.6), (0.16, 0.97), (0.45, 0.9), (0.62, 0.5),
         (0.56, 0.1), (0.42, 0.0)]],
    1: [[(0.2, 0.0), (0.14, 0.35), (0.07, 0.7), (0.0, 1.0)]],
    2: [[(0.05, 0.22), (0.25, 0.0), (0.52, 0.1), (0.5, 0.4), (0.25, 0.72), (0.05, 0.93),
         (0.14, 0.9), (0.38, 0.95), (0.68, 0.98)]],
    3: [[(0.05, 0.12), (0.3, 0.0), (0.52, 0.14), (0.42, 0.36), (0.2, 0.46)],
        [(0.2, 0.46), (0.48, 0.52), (0.58, 0.74), (0.38, 0.96), (0.0, 0.9)]],
    4: [[(0.12, 0.05), (0.04, 0.3), (0.02, 0.48), (0.25, 0.52), (0.6, 0.46)],
        [(0.6, 0.0), (0.56, 0.4), (0.5, 0.7), (0.46, 1.0)]],
    5: [[(0.66, 0.02), (0.4, 0.03), (0.17, 0.05)],
        [(0.17, 0.05), (0.14, 0.25), (0.1, 0.44)],
        [(0.1, 0.44), (0.35, 0.38), (0.54, 0.55), (0.46, 0.84), (0.22, 0.98), (0.0, 0.9)]],
    6: [[(0.48, 0.0), (0.2, 0.25), (0.02, 0.62), (0.1, 0.92), (0.34, 0.98), (0.5, 0.78),
         (0.4, 0.58), (0.2, 0.62), (0.06, 0.8)]],
    7: [[(0.0, 0.08), (0.3, 0.06), (0.6, 0.04)],
        [(0.6, 0.04), (0.46, 0.34), (0.34, 0.65), (0.26, 1.0)]],
    8: [[(0.5, 0.1), (0.28, 0.0), (0.1, 0.16), (0.24, 0.4), (0.44, 0.64), (0.4, 0.9),
         (0.18, 0.99), (0.04, 0.8), (0.2, 0.54), (0.46, 0.32), (0.5, 0.1)]],
    9: [[(0.5, 0.14), (0.28, 0.0), (0.06, 0.16), (0.12, 0.42), (0.34, 0.4), (0.5, 0.14)],
        [(0.5, 0.14), (0.48, 0.4), (0.42, 0.7), (0.36, 1.0)]],
}  # fmt: skip
PEN = 0.11  # width of the usual pen; MNIST's is 0.13 of a digit's height in the mean


def curve(points: list[tuple[float, float]]) -> np.ndarray:
    """A smooth line through the points, `[60, 2]`."""
    given = np.array(points)
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(given, axis=0).T))])
    closed = "periodic" if points[0] == points[-1] else "natural"
    return CubicSpline(way, given, bc_type=closed)(np.linspace(0, way[-1], 60))


def ink(
    digit: int,
    height: float = 260,
    pen: float = PEN,
    canvas: tuple[int, int] = (400, 400),
    place: tuple[float, float] = (0.5, 0.5),
) -> np.ndarray:
    """The share of each pixel that is covered, float `[H, W]`.

    The height is that of the strokes' middle line; pen is their width, as a share of the height;
    `place` is the middle of the digit, as shares of height and width.
    """
    fine = 4 if max(canvas) <= 800 else 1  # drawn four times as large, for smooth edges
    paper = Image.new("L", (canvas[1] * fine, canvas[0] * fine))
    lines = [curve(points) for points in STROKES[digit]]
    low, high = (f([f(line, axis=0) for line in lines], axis=0) for f in (np.min, np.max))
    middle = np.array([place[1] * canvas[1], place[0] * canvas[0]])
    radius, brush = pen * height * fine / 2, ImageDraw.Draw(paper)
    for line in lines:
        line = ((line - (low + high) / 2) * height + middle) * fine
        brush.line([tuple(point) for point in line], fill=255, width=max(1, round(2 * radius)))
        for x, y in line:  # round joints and ends
            brush.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)
    return np.asarray(paper.reduce(fine) if fine > 1 else paper, dtype=float) / 255


def grey(picture: np.ndarray) -> Image.Image:
    """Numbers in [0, 1], `[H, W]` or `[H, W, 3]`, as a picture of bytes."""
    return Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8))


def reopened(image: Image.Image, file_type: str, **options) -> Image.Image:
    """Saved and opened again."""
    file = io.BytesIO()
    image.save(file, file_type, **options)
    return Image.open(file)


def slope(canvas: tuple[int, int], direction: float) -> np.ndarray:
    """From 0 to 1 across the picture, in the direction given in degrees."""
    y, x = np.mgrid[: canvas[0], : canvas[1]] / np.reshape(canvas, (2, 1, 1))
    way = x * math.cos(math.radians(direction)) + y * math.sin(math.radians(direction))
    return (way - way.min()) / (way.max() - way.min())


def noise(canvas: tuple[int, ...], size: float, seed: int = 0) -> np.ndarray:
    return size * np.random.default_rng(seed).standard_normal(canvas)


def clean(digit: int) -> Image.Image:
    return grey(1 - ink(digit))


def pencil(digit: int) -> Image.Image:
    """Faint: a third of the way from paper to black, on rough paper."""
    size = (500, 400)
    covered = ink(digit, 300, 0.06, size) * (0.8 + gaussian_filter(noise(size, 1), 1.5))
    return grey(0.9 - 0.3 * covered + noise(size, 0.015, 1))


def photo(digit: int) -> Image.Image:
    """Light from one side, a soft shadow across, rough greyish paper, noise, and a blurred lens."""
    size = (600, 800)
    light = 0.95 - 0.5 * slope(size, 30)
    light = light * (1 - 0.35 / (1 + np.exp((slope(size, 115) - 0.5) * 30)))
    paper = 0.85 + gaussian_filter(noise(size, 0.2), 2)
    picture = light * paper * (1 - 0.75 * gaussian_filter(ink(digit, 260, 0.07, size), 1.2))
    colours = picture[:, :, None] * [1.0, 0.95, 0.85] + noise((*size, 3), 0.02, 1)
    return reopened(grey(colours), "JPEG", quality=80)


def blackboard(digit: int) -> Image.Image:
    """Chalk on a green board, in uneven light."""
    size = (400, 500)
    chalk = ink(digit, 250, 0.07, size) * (0.75 + gaussian_filter(noise(size, 0.6), 1))
    light = (1 - 0.5 * slope(size, 200))[:, :, None]
    board = np.array([0.18, 0.3, 0.24])
    return grey(light * (board + chalk[:, :, None] * 0.55) + noise((*size, 3), 0.015, 1))


def on_glass(digit: int, light: int = 0) -> Image.Image:
    """Ink on nothing, black or white; the colour of what can't be seen is the same."""
    alpha = np.asarray(grey(ink(digit)))
    channels = 1 if light else 3  # LA or RGBA
    return Image.fromarray(np.dstack([np.full((*alpha.shape, channels), light, np.uint8), alpha]))


def cropped(digit: int) -> Image.Image:
    """No margin is left at all."""
    picture = clean(digit)
    return picture.crop(Image.eval(picture, lambda value: 255 * (value < 128)).getbbox())


def far_away(digit: int) -> Image.Image:
    """A digit 110 pixels high on a page of 1200 x 1600."""
    size = (1200, 1600)
    return grey(0.9 - 0.7 * ink(digit, 110, 0.06, size, (0.3, 0.6)) + noise(size, 0.02))


def pen(digit: int, *colour: float) -> Image.Image:
    """A pen of this colour on white paper."""
    covered = ink(digit)[:, :, None]
    return grey(1 - covered + covered * np.array(colour))


def turned(digit: int) -> Image.Image:
    """The camera was held sideways and says so, EXIF orientation 6."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = clean(digit).transpose(Image.Transpose.ROTATE_90)
    return reopened(lying, "JPEG", quality=90, exif=exif)


def squared_paper(digit: int) -> Image.Image:
    """Squares, photographed a little askew: dark rules, and a pencil hardly darker."""
    picture = np.ones((700, 700))
    for line in range(12, 700, 50):
        picture[line : line + 2] = picture[:, line : line + 2] = 0.5
    page = Image.fromarray((picture * 255).astype(np.uint8))
    page = page.rotate(0.7, Image.Resampling.BICUBIC).crop((100, 100, 600, 600))
    return grey(np.asarray(page) / 255 * (1 - 0.8 * ink(digit, canvas=(500, 500))))


def specks(digit: int) -> Image.Image:
    """Dust, the largest speck as wide as the pen."""
    picture, draw = clean(digit), np.random.default_rng(digit)
    brush = ImageDraw.Draw(picture)
    for x, y, radius in zip(*draw.integers(5, 395, (2, 40)), draw.uniform(0.5, 6, 40), strict=True):
        brush.ellipse([x - radius, y - radius, x + radius, y + radius], fill=0)
    return picture


def on_a_desk(digit: int) -> Image.Image:
    """A sheet of paper, lying askew on a dark desk."""
    sheet = grey(0.9 - 0.8 * ink(digit)).convert("RGBA").rotate(2, expand=True)
    desk = Image.new("RGBA", (800, 640), (60, 40, 30, 255))
    desk.alpha_composite(sheet, (180, 90))
    return desk.convert("RGB")


WAYS = {
    "clean": clean,
    "thick_pen": lambda d: grey(1 - ink(d, pen=0.19)),
    "thin_pen": lambda d: grey(1 - 0.8 * ink(d, pen=0.02)),
    "pencil": pencil,
    "photo": photo,
    "inverted": lambda d: grey(0.05 + 0.9 * ink(d)),
    "blackboard": blackboard,
    "on_glass": on_glass,
    "white_on_glass": lambda d: on_glass(d, 255),
    "opaque": lambda d: clean(d).convert("RGBA"),  # as in a screenshot
    "off_centre": lambda d: grey(1 - ink(d, 120, canvas=(500, 640), place=(0.82, 0.14))),
    "cropped": cropped,
    "tiny": lambda d: grey(1 - ink(d, 13, canvas=(18, 18))),
    "huge": lambda d: grey(1 - ink(d, 2000, canvas=(3000, 2600))),
    "far_away": far_away,
    "blue_pen": lambda d: pen(d, 0.1, 0.2, 0.8),
    "red_pen": lambda d: pen(d, 0.95, 0.25, 0.2),
    "yellow_pen": lambda d: pen(d, 1.0, 0.9, 0.1),
    "strong_jpeg": lambda d: reopened(pen(d, 0.2, 0.2, 0.5), "JPEG", quality=8),
    "turned": turned,
    "squared_paper": squared_paper,
    "specks": specks,
    "on_a_desk": on_a_desk,
    "sixteen_bits": lambda d: Image.fromarray((3900 - 3000 * ink(d)).astype(np.uint16)),
    "palette": lambda d: pen(d, 0.1, 0.2, 0.8).quantize(8),
    "bilevel": lambda d: clean(d).convert("1", dither=Image.Dither.NONE),
}
