"""Drawings of digits, as a learner might bring them: one digit, by many pens, on many papers.

`ink` draws a few strokes through given points; each of the `WAYS` makes a picture of them: a scan,
a photograph, a drawing on glass. `SCENES`, at the end, are drawn at random: handwriting of MNIST on
photographed papers, several digits, and pictures without any.
"""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path

from nca_lib.data import mnist
from nca_lib.data.handwriting import prepare
from nca_lib.inputs import InputError

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
VECTORS = Path(__file__).parent / "handwriting_vectors.json"
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


# ---- random scenes: each is a function of random numbers and handwritten digits [N, 28, 28] ------


def written(image: np.ndarray, height: float, rng: np.random.Generator) -> np.ndarray:
    """A digit of MNIST `[28, 28]`, so many pixels high with smooth strokes, a little turned."""
    scale = height / 20
    side = round(28 * scale)
    large = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    large = large.rotate(rng.uniform(-6, 6), Image.Resampling.BICUBIC)
    large = gaussian_filter(np.asarray(large), 0.35 * scale)
    large = ((large - rng.uniform(0.3, 0.5)) * min(8, 1.5 * scale) + 0.5).clip(0, 1)
    rows, columns = (np.flatnonzero(large.max(side) > 0.2) for side in (1, 0))
    return large[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def thinly_written(digit: int, height: float, rng: np.random.Generator) -> np.ndarray:
    """Our own strokes, by a pen of any width, sheared and turned."""
    side = round(1.6 * height)
    pen = max(rng.uniform(0.03, 0.12), 1.2 / height)
    page = grey(ink(digit, height, pen, (side, side))).rotate(
        rng.uniform(-8, 8), Image.Resampling.BICUBIC
    )
    lean = rng.uniform(-0.2, 0.3)
    shape = (1 / rng.uniform(0.9, 1.2), lean, -lean * side / 2, 0, 1, 0)
    page = page.transform(page.size, Image.Transform.AFFINE, shape, Image.Resampling.BICUBIC)
    page = np.asarray(page) / 255
    rows, columns = (np.flatnonzero(page.max(side) > 0.2) for side in (1, 0))
    return page[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def put(page: np.ndarray, piece: np.ndarray, y: float, x: float) -> None:
    """Lay ink into a page `[H, W]`, its middle at shares y and x, as far inside as it must be."""
    room = [whole - side for whole, side in zip(page.shape, piece.shape, strict=True)]
    top, left = (
        min(max(round(at * whole - side / 2), 0), max(spare, 0))
        for at, whole, side, spare in zip((y, x), page.shape, piece.shape, room, strict=True)
    )
    spot = page[top : top + piece.shape[0], left : left + piece.shape[1]]
    np.maximum(spot, piece[: spot.shape[0], : spot.shape[1]], out=spot)


def one_digit(rng, digits, size, share=(0.35, 0.75)) -> tuple[np.ndarray, int]:
    """A page with one digit `[H, W]`, and its label; `share`: of its height in the shorter side."""
    index = int(rng.integers(len(digits.labels)))
    label, page = int(digits.labels[index]), np.zeros(size)
    height = rng.uniform(*share) * min(size)
    if rng.random() < 0.3:
        piece = thinly_written(label, height, rng)
    else:
        piece = written(digits.images[index, 0].numpy(), height, rng)
    put(page, piece, *rng.uniform(0.35, 0.65, 2))
    return page, label


def shaded(size, rng, strength=0.5) -> np.ndarray:
    """Light on a page `[H, W]`: from a side, with the soft edge of a shadow, and a dark rim."""
    light = 1 - rng.uniform(0, strength) * slope(size, rng.uniform(0, 360))
    edge, soft = slope(size, rng.uniform(0, 360)), rng.uniform(10, 60)
    light *= 1 - rng.uniform(0, 0.6 * strength) / (
        1 + np.exp((edge - rng.uniform(0.2, 0.8)) * soft)
    )
    y, x = (2 * slope(size, way) - 1 for way in (90, 0))
    return light * (1 - rng.uniform(0, 0.5 * strength) * (x**2 + y**2) / 2)


def taken(reflects: np.ndarray, rng, light=None, blur=1.0, colour=None) -> Image.Image:
    """A photograph of what reflects light, `[H, W]` or `[H, W, 3]`: askew, blurred, noisy, JPEG."""
    size = reflects.shape[:2]
    light = shaded(size, rng) if light is None else light
    colour = rng.uniform(0.88, 1, 3) if colour is None else colour
    page = reflects if reflects.ndim == 3 else reflects[:, :, None]
    page = gaussian_filter(page * light[:, :, None] * colour, (blur, blur, 0))
    image = grey(page + rng.normal(0, rng.uniform(0.005, 0.025), page.shape))
    inset = np.array(image.size) * rng.uniform(0, 0.05, (4, 2))
    corners = np.array([[0, 0], [0, size[0]], [size[1], size[0]], [size[1], 0]])
    corners = corners + inset * [[1, 1], [1, -1], [-1, -1], [-1, 1]]
    image = image.transform(
        image.size, Image.Transform.QUAD, tuple(corners.ravel()), Image.Resampling.BICUBIC
    )
    return reopened(image, "JPEG", quality=int(rng.integers(50, 95)))


def rough(size, rng) -> np.ndarray:
    return rng.uniform(0.8, 0.95) + gaussian_filter(rng.normal(0, rng.uniform(0, 0.15), size), 1.5)


def any_size(rng, low=240, high=700) -> tuple[int, int]:
    return tuple(int(side) for side in rng.integers(low, high, 2))


def rules(size, rng, squared: bool) -> np.ndarray:
    """Ruled or squared paper, 0 to 3 degrees askew, here and there interrupted or faded: ink."""
    y, x = np.mgrid[: size[0], : size[1]]
    turn, apart = math.radians(rng.uniform(-3, 3)), rng.uniform(0.07, 0.16) * max(size)
    apart = apart * 0.5 if squared else apart
    wide, ink = rng.uniform(0.8, 2.5), np.zeros(size)
    for angle in (turn, turn + math.pi / 2)[: 1 + squared]:
        way = (y * math.cos(angle) - x * math.sin(angle)) % apart
        ink = np.maximum(ink, (wide - np.minimum(way, apart - way)).clip(0, 1))
    fade = gaussian_filter(rng.normal(0, 1, size), max(size) / 15)
    return ink * (0.75 + 0.25 * (fade / fade.std()).clip(-3, 1)) * rng.uniform(0.2, 0.6)


def hand(size, rng) -> np.ndarray:
    """Fingers that reach into the picture from a side: covered share `[H, W]`."""
    page, side = Image.new("L", size[::-1]), min(size)
    brush, thick = ImageDraw.Draw(page), rng.uniform(0.06, 0.12) * side
    start, apart = rng.uniform(0.2, 0.6) * size[0], thick * rng.uniform(1.3, 2)
    for finger in range(rng.integers(1, 5)):
        y, length = start + finger * apart, rng.uniform(0.12, 0.28) * size[1]
        ends = [(-thick, y), (length, y + rng.uniform(-0.5, 0.5) * thick)]
        brush.line(ends, fill=255, width=round(thick))
        brush.ellipse([v + d * thick / 2 for d in (-1, 1) for v in ends[1]], fill=255)
    turns = Image.Transpose
    page = page if rng.random() < 0.5 else page.transpose(turns.FLIP_LEFT_RIGHT)
    return np.asarray(page) / 255


def plain_photo(rng, digits):
    size = any_size(rng)
    page, label = one_digit(rng, digits, size)
    return taken(rough(size, rng) * (1 - rng.uniform(0.5, 0.85) * page), rng), label


def pencil_photo(rng, digits):
    size = any_size(rng)
    page, label = one_digit(rng, digits, size, (0.4, 0.8))
    page *= 0.8 + gaussian_filter(rng.normal(0, 1, size), 1.5)
    return taken(rough(size, rng) * (1 - rng.uniform(0.2, 0.35) * page), rng), label


def blurred_photo(rng, digits):
    size = any_size(rng)
    page, label = one_digit(rng, digits, size, (0.4, 0.8))
    page = rough(size, rng) * (1 - rng.uniform(0.5, 0.85) * page)
    return taken(page, rng, blur=rng.uniform(0.006, 0.014) * min(size)), label


def lined_photo(rng, digits, squared=False):
    size = any_size(rng, 360, 700)
    page, label = one_digit(rng, digits, size, (0.4, 0.75))
    paper = rough(size, rng) * (1 - rules(size, rng, squared))
    return taken(paper * (1 - rng.uniform(0.6, 0.85) * page), rng), label


def glare_photo(rng, digits):
    """A lamp is mirrored: part of the page is burnt out, beside the digit for the most part."""
    size = any_size(rng)
    page, label = one_digit(rng, digits, size)
    page = rng.uniform(0.5, 0.7) * (1 - rng.uniform(0.6, 0.85) * page) * shaded(size, rng)
    y, x = np.mgrid[: size[0], : size[1]]
    at, wide = rng.uniform(0, 1, 2) * size, rng.uniform(0.05, 0.15) * min(size)
    lamp = rng.uniform(0.3, 0.7) * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * wide**2))
    return taken(page + lamp, rng, np.ones(size)), label


def webcam(rng, digits):
    """A page of a spiral notebook, held into a camera: spiral, hand, dark room, glare."""
    size = (480, 640)
    page, label = one_digit(rng, digits, size, (0.3, 0.5))
    paper = np.full(size, rng.uniform(0.5, 0.75)) * (1 - rng.uniform(0.6, 0.85) * page)
    inset = [round(rng.uniform(0, 0.12) * side) for side in (480, 480, 640, 640)]
    room = np.full(size, rng.uniform(0.1, 0.4)) + gaussian_filter(rng.normal(0, 2, size), 25)
    inside = np.zeros(size, bool)
    inside[inset[0] : 480 - inset[1], inset[2] : 640 - inset[3]] = True
    picture = np.where(inside, paper, room)
    if rng.random() < 0.6:  # the spiral: dark holes and light wire along a side
        for y in range(inset[0] + 10, 480 - inset[1] - 10, int(rng.integers(18, 30))):
            x = inset[2] + 12
            picture[y : y + 8, x : x + 8] = 0.1
            picture[y + 2 : y + 5, max(0, x - 20) : x + 4] = rng.uniform(0.3, 0.9)
    picture = picture[:, :, None].repeat(3, 2)
    if rng.random() < 0.6:
        fingers = gaussian_filter(hand(size, rng), 1.5)[:, :, None]
        fingers = fingers * (1 - page)[:, :, None]
        picture = picture * (1 - fingers) + fingers * np.array([0.75, 0.5, 0.4]) * 0.7
    if rng.random() < 0.5:
        y, x = np.mgrid[:480, :640]
        at, wide = rng.uniform(0, 1, 2) * size, rng.uniform(15, 60)
        lamp = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * wide**2))
        picture = picture + 0.6 * lamp[:, :, None]
    return taken(picture, rng, shaded(size, rng, 0.3), rng.uniform(0.5, 1.5)), label


def desk_photo(rng, digits):
    """A sheet on a darker desk."""
    size = any_size(rng, 300, 500)
    page, label = one_digit(rng, digits, size, (0.35, 0.7))
    sheet = grey(rough(size, rng) * (1 - rng.uniform(0.6, 0.85) * page)).convert("RGBA")
    sheet = sheet.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC, expand=True)
    room = rng.uniform(0.05, 0.3, 2)
    whole = tuple(round(side * (1 + 2 * more)) for side, more in zip(sheet.size, room, strict=True))
    dark = rng.integers(20, 110)
    colour = (dark * rng.uniform(0.6, 1, 3)).astype(int).tolist()
    desk = Image.new("RGBA", whole, (*colour, 255))
    at = [round(side * more) for side, more in zip(sheet.size, room, strict=True)]
    desk.alpha_composite(sheet, tuple(at))
    scene = np.asarray(desk.convert("RGB")) / 255
    return taken(scene, rng, shaded(scene.shape[:2], rng, 0.3), colour=np.ones(3)), label


def board_photo(rng, digits):
    size = any_size(rng)
    page, label = one_digit(rng, digits, size)
    page *= (0.85 + gaussian_filter(rng.normal(0, 0.6, size), 1)).clip(0, 1)
    board = rng.uniform(0.05, 0.3, 3)
    picture = board + page[:, :, None] * rng.uniform(0.4, 0.65)
    return taken(picture, rng, shaded(size, rng, 0.6), colour=np.ones(3)), label


def drawing(rng, digits):
    """By a program: clean, of any two colours that differ, small or large, dark or light."""
    side = int(rng.integers(40, 400))
    page, label = one_digit(rng, digits, (side, side), (0.4, 0.8))
    paper, pen = rng.uniform(0.8, 1, 3), rng.uniform(0, 0.5, 3)
    paper, pen = (pen, paper) if rng.random() < 0.4 else (paper, pen)
    return grey(paper + page[:, :, None] * (pen - paper)), label


def small_picture(rng, digits):
    index = int(rng.integers(len(digits.labels)))
    picture = digits.images[index, 0].numpy()
    picture = np.pad(picture, int(rng.integers(0, 6)))
    picture = picture if rng.random() < 0.5 else 1 - picture
    return grey(picture), int(digits.labels[index])


def page_of(rng, digits, rows, columns) -> np.ndarray:
    """So many digits in rows, not quite regular: `[H, W]`."""
    height = rng.uniform(50, 110)
    page = np.zeros((round((rows + 1) * height * 1.7), round((columns + 1) * height * 1.2)))
    for row in range(rows):
        for column in range(columns):
            image = digits.images[int(rng.integers(len(digits.images))), 0].numpy()
            piece = written(image, height * rng.uniform(0.85, 1.1), rng)
            y, x = rng.uniform(-0.06, 0.06, 2)
            put(page, piece, (row + 1 + y) / (rows + 1), (column + 1 + x) / (columns + 1))
    return page


def several_in_a_row(rng, digits):
    page = page_of(rng, digits, 1, int(rng.integers(2, 7)))
    return several(rng, page)


def several_rows(rng, digits):
    page = page_of(rng, digits, int(rng.integers(2, 8)), int(rng.integers(2, 8)))
    return several(rng, page)


def several(rng, page):
    look = rng.integers(4)
    if look == 0:  # a scan
        return grey(rng.uniform(0.9, 1) - 0.8 * page), None
    if look == 1:
        return taken(0.15 + 0.6 * page, rng, colour=np.ones(3)), None
    paper = rough(page.shape, rng)
    paper = paper * (1 - rules(page.shape, rng, rng.random() < 0.5)) if look == 2 else paper
    return taken(paper * (1 - rng.uniform(0.6, 0.85) * page), rng), None


def blob(rng, digits):
    """One or two round things: fruit, cups, coins."""
    size = any_size(rng)
    y, x = np.mgrid[: size[0], : size[1]]
    page = np.zeros(size)
    for _ in range(rng.integers(1, 3)):
        at, wide = rng.uniform(0.3, 0.7, 2) * size, rng.uniform(0.08, 0.3, 2) * min(size)
        way = np.arctan2(y - at[0], x - at[1])
        edge = 1 + rng.uniform(0, 0.15) * np.sin(rng.integers(2, 6) * way + rng.uniform(0, 6))
        far = np.hypot((y - at[0]) / wide[0], (x - at[1]) / wide[1])
        page = np.maximum(page, ((edge - far) * 20).clip(0, 1))
    dark = rng.random() < 0.7
    return taken(rough(size, rng) * (1 - 0.7 * (page if dark else 0.95 - page)), rng), None


def hands_only(rng, digits):
    size = any_size(rng)
    skin = np.array([0.75, 0.5, 0.4])
    cover = np.maximum(hand(size, rng), hand(size, rng))[:, :, None]
    return taken(rng.uniform(0.2, 0.9) * (1 - cover) + cover * skin, rng, colour=np.ones(3)), None


def scale(rng, digits):
    """A ruler or a dial: ticks, long and short."""
    size = any_size(rng)
    page = Image.new("L", size[::-1])
    brush, side, round_ = ImageDraw.Draw(page), min(size), rng.random() < 0.5
    middle = np.array(size[::-1]) / 2
    count = int(rng.integers(20, 60))
    for k in range(count):
        long = 0.09 if k % 5 == 0 else 0.04
        if round_:
            way = np.array([math.cos(k / count * 6.283), math.sin(k / count * 6.283)])
            ends = [tuple(middle + way * side * far) for far in (0.42 - long, 0.42)]
        else:
            at = (0.05 + 0.9 * k / count) * size[1]
            ends = [(at, 0.4 * size[0]), (at, (0.4 + 2 * long) * size[0])]
        brush.line(ends, fill=255, width=max(2, side // 150))
    return taken(rough(size, rng) * (1 - 0.7 * np.asarray(page) / 255), rng), None


def scribble(rng, digits):
    """Lines of something like joined-up writing."""
    size = any_size(rng, 360, 700)
    page = Image.new("L", size[::-1])
    brush, high = ImageDraw.Draw(page), rng.uniform(0.05, 0.1) * size[0]
    for row in range(int(rng.integers(1, 6))):
        x = np.linspace(0.08, 0.92, 300) * size[1]
        bends = np.cumsum(rng.normal(0.5, 0.25, 300))
        y = (0.2 + 0.13 * row) * size[0] + high * np.sin(bends) * rng.uniform(0.4, 1, 300)
        for a, b in zip(range(0, 280, 40), range(rng.integers(20, 38), 300, 40), strict=False):
            brush.line(
                list(zip(x[a:b], y[a:b], strict=True)), fill=255, width=max(2, size[0] // 200)
            )
    return taken(rough(size, rng) * (1 - 0.7 * np.asarray(page) / 255), rng), None


def shadow_only(rng, digits):
    size = any_size(rng)
    return taken(rough(size, rng), rng, shaded(size, rng, 0.9), blur=rng.uniform(0.5, 3)), None


def pattern(rng, digits):
    """Cloth, tiles, leaves: a rough texture all over."""
    size = any_size(rng)
    coarse = rng.uniform(2, 25)
    page = gaussian_filter(rng.normal(0, 1, size), coarse)
    page = page / page.std()
    page = page > 0.5 if rng.random() < 0.5 else 0.5 + 0.3 * page
    return taken(0.2 + 0.6 * page, rng), None


SCENES = {
    "digit": [
        plain_photo, pencil_photo, blurred_photo, lined_photo,
        lambda rng, digits: lined_photo(rng, digits, squared=True), glare_photo, webcam, desk_photo,
        board_photo, drawing, small_picture,
    ],
    "several": [several_in_a_row, several_rows],
    "none": [blob, hands_only, scale, scribble, shadow_only, pattern],
}  # fmt: skip


# ---- test vectors: what Python's and the page's preparation agree on -----------------------------


def vectors(digits) -> list[dict]:
    """Small pictures, and what `prepare` makes of them: `handwriting_vectors.json`."""
    rng, side = np.random.default_rng(0), (48, 40)
    light = 0.95 - 0.4 * slope(side, 30)
    pair = [ink(digit, 22, 0.15, (30, 48), (0.5, x)) for digit, x in ((4, 0.25), (2, 0.75))]
    lines = rules((48, 48), rng, False)
    yellow = 1 - ink(3, 22, 0.12, (34, 30))[:, :, None] * [0.0, 0.1, 0.9]
    desk = np.full((48, 48), 0.2)
    desk[6:42, 5:43] = 0.9 - 0.7 * ink(5, 20, 0.12, (36, 38))
    pictures = {  # name: (picture, how many times each pixel is repeated)
        "mnist": (digits.test.images[0, 0].numpy(), 1),
        "mnist_negative": (1 - digits.test.images[4, 0].numpy(), 1),
        "photo": (light * (1 - 0.6 * ink(6, 26, 0.1, side)) + rng.normal(0, 0.01, side), 1),
        "chalk": (0.1 + light * 0.6 * ink(8, 30, 0.1, side) + rng.normal(0, 0.01, side), 1),
        "yellow": (yellow, 1),
        "thin": (0.9 - 0.6 * ink(9, 32, 0.04, side), 3),
        "lines": (1 - np.maximum(0.8 * ink(2, 28, 0.12, (48, 48)), lines), 1),
        "desk": (desk, 3),
        "large": (light * (1 - 0.6 * ink(7, 28, 0.1, side)), 16),
        "two_pieces": (1 - ink(5, 26, 0.1, side) * (np.mgrid[:48, :40][0] != 13), 1),
        "several": (1 - np.maximum(*pair), 1),
        "blob": (disc(side), 4),
        "empty": (light, 1),
    }
    return [vector(name, picture, times) for name, (picture, times) in pictures.items()]


def disc(size) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return 0.9 - 0.7 * (np.hypot(y - 25, x - 20) < 9)


def vector(name: str, picture: np.ndarray, times: int) -> dict:
    pixels = np.asarray(grey(picture))
    row = {"name": name, "height": pixels.shape[0], "width": pixels.shape[1],
           "channels": 1 if pixels.ndim == 2 else 3, "times": times,
           "pixels": base64.b64encode(pixels.tobytes()).decode()}  # fmt: skip
    try:
        result = prepare(image_of(row))[0]
        return row | {"result": (1000 * result).round().int().flatten().tolist()}
    except InputError as error:
        return row | {"refusal": str(error)[:14]}


def image_of(row: dict) -> Image.Image:
    """The picture of a vector."""
    shape = (row["height"], row["width"], row["channels"])
    pixels = np.frombuffer(base64.b64decode(row["pixels"]), np.uint8).reshape(shape)
    pixels = pixels.repeat(row["times"], 0).repeat(row["times"], 1)
    return Image.fromarray(pixels[:, :, 0] if row["channels"] == 1 else pixels)


if __name__ == "__main__":  # python tests/drawings.py writes the vectors anew
    rows = [json.dumps(row, separators=(",", ":")) for row in vectors(mnist("embedded"))]
    VECTORS.write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")
