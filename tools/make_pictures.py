"""Draw the example pictures of the package, of simple shapes: `python tools/make_pictures.py`.

Each picture is drawn 16 times too large and then reduced, so that its edges are smooth. Lengths are
in cells of the finished picture, angles in degrees.
"""

from __future__ import annotations

import argparse
import math
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

SIDE, FINE = 40, 16
TARGET = Path(__file__).parents[1] / "nca_lib" / "pictures"

Points = list[tuple[float, float]]


def oval(x: float, y: float, width: float, height: float, turn: float = 0) -> Points:
    """The outline of an ellipse about (x, y) with these radii, turned clockwise."""
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    circle = [
        (math.cos(step * math.tau / 96), math.sin(step * math.tau / 96)) for step in range(96)
    ]
    around = [(width * right, height * down) for right, down in circle]
    return [(x + cos * right - sin * down, y + sin * right + cos * down) for right, down in around]


def bend(*corners: tuple[float, float], closed: bool = False) -> Points:
    """A smooth curve through all these points (a Catmull-Rom spline)."""
    many = [corners[-1], *corners, *corners[:2]] if closed else [corners[0], *corners, corners[-1]]
    points = []
    for a, b, c, d in zip(many, many[1:], many[2:], many[3:], strict=False):
        for step in range(24):
            t = step / 24
            weights = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3,
                       t + 4 * t**2 - 3 * t**3, t**3 - t**2)  # fmt: skip
            near = list(zip(weights, (a, b, c, d), strict=True))
            points.append(tuple(sum(w * p[axis] for w, p in near) / 2 for axis in (0, 1)))
    return points if closed else [*points, corners[-1]]


class Canvas:
    """A large transparent picture that shapes are laid on."""

    def __init__(self):
        self.image = Image.new("RGBA", (SIDE * FINE, SIDE * FINE))

    def fill(self, shape: Points, colour: str, inside: Points | None = None) -> None:
        """Lay on a filled shape, or the part of it that lies inside another."""
        mask = self.mask(shape)
        if inside is not None:
            mask = ImageChops.multiply(mask, self.mask(inside))
        self.image.paste(Image.new("RGBA", self.image.size, colour), mask=mask)

    def stroke(self, line: Points, width: float, colour: str, inside: Points | None = None) -> None:
        """Lay on a line with round ends."""
        mask = Image.new("L", self.image.size)
        for x, y in thick(line):
            ImageDraw.Draw(mask).ellipse(box(x, y, width / 2), 255)
        if inside is not None:
            mask = ImageChops.multiply(mask, self.mask(inside))
        self.image.paste(Image.new("RGBA", self.image.size, colour), mask=mask)

    def mask(self, shape: Points) -> Image.Image:
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).polygon([(x * FINE, y * FINE) for x, y in shape], 255)
        return mask

    def reduced(self) -> Image.Image:
        """The finished picture. Colours are averaged by their opacity: none comes from nothing."""
        return self.image.convert("RGBa").reduce(FINE).convert("RGBA")


def thick(line: Points) -> Points:
    """The same line with its points close together."""
    close = []
    for (a, b), (c, d) in pairwise(line):
        steps = 1 + int(math.hypot(c - a, d - b) * FINE / 2)
        close += [(a + (c - a) * s / steps, b + (d - b) * s / steps) for s in range(steps + 1)]
    return close


def box(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return tuple(FINE * side for side in (x - radius, y - radius, x + radius, y + radius))


def fish() -> Canvas:
    """Swims to the left: orange with white bands, as clownfish are."""
    canvas, dark = Canvas(), "#5a2415"
    body = bend((4.6, 20.8), (8.2, 14.6), (15, 11.4), (22.5, 13.4), (28.6, 18.4), (28.8, 22.6),
                (23, 27.4), (15, 29.2), (8, 26.6), closed=True)  # fmt: skip
    tail = bend((27.6, 20.4), (31.2, 15.6), (35, 12.6), (35.2, 17), (33.4, 20.6), (35.4, 24.6),
                (34.6, 28.4), (31, 25.6), closed=True)  # fmt: skip
    back = bend((11.6, 13.4), (14.4, 8.2), (19.6, 6.4), (24.6, 9.2), (26.2, 15.6), closed=True)
    belly = bend((15.6, 28), (16.8, 31.8), (20.6, 34), (22.6, 31.8), (22.6, 26.8), closed=True)
    for fin in (tail, back, belly):
        canvas.fill(fin, "#f2701d")
        canvas.stroke([*fin, fin[0]], 0.9, dark)
    canvas.fill(body, "#ff8c2b")
    shade = bend((3, 24), (12, 26.4), (22, 25), (30, 20.5), (30, 32), (4, 32), closed=True)
    canvas.fill(shade, "#f2701d", inside=body)
    for left, right in ((12.2, 15.8), (22.2, 25.0)):
        band = bend((left + 0.6, 9), (left - 0.6, 20), (left + 1, 31), (right + 1, 31),
                    (right + 0.4, 20), (right + 0.6, 9), closed=True)  # fmt: skip
        canvas.fill(band, "#fffaf0", inside=body)
        canvas.stroke([*band, band[0]], 0.7, dark, inside=body)
    canvas.stroke([*body, body[0]], 1.0, dark)
    canvas.fill(oval(9.0, 18.5, 2.5, 2.5), "#ffffff")
    canvas.fill(oval(8.6, 18.7, 1.5, 1.6), "#20242c")
    canvas.fill(oval(8.0, 18.0, 0.8, 0.8), "#ffffff")
    canvas.stroke(bend((5.6, 23), (7.2, 24.2), (9, 23.6)), 0.8, dark)
    fin = bend((16.4, 21), (19.6, 19.2), (23.4, 20.4), (22.4, 24.8), (18.8, 23.8), closed=True)
    canvas.fill(fin, "#ffc46b")
    canvas.stroke([*fin, fin[0]], 0.8, dark)
    return canvas


def snail() -> Canvas:
    """Creeps to the right under a shell that is wound from outside to inside."""
    canvas, dark = Canvas(), "#3f2b45"
    for tip in ((30.2, 9.8), (34.2, 12.2)):
        canvas.stroke(bend((31, 22), (tip[0] + 0.2, 16), tip), 2.2, dark)
        canvas.stroke(bend((31, 22), (tip[0] + 0.2, 16), tip), 1.1, "#a9d066")
        canvas.fill(oval(*tip, 1.5, 1.5), dark)
    body = bend((4.6, 33.6), (9, 29.6), (16, 28.6), (24, 29.2), (27.6, 24), (29.4, 19.6),
                (33.4, 18.8), (35.2, 22), (34, 27), (31.4, 32.2), (28, 34.6), (16, 35.2),
                closed=True)  # fmt: skip
    canvas.fill(body, "#a9d066")
    shade = bend((2, 34), (14, 33), (27, 32), (35, 24), (38, 38), (3, 38), closed=True)
    canvas.fill(shade, "#86b548", inside=body)
    canvas.stroke([*body, body[0]], 1.0, dark)
    canvas.stroke(bend((30.8, 24.8), (32.2, 25.8), (33.8, 24.6)), 0.9, dark)
    shell = oval(16.2, 19.4, 11.3, 11.0)
    canvas.fill(shell, "#9b6fd0")
    canvas.fill(oval(14.4, 17.4, 10.4, 10.2), "#b994e6", inside=shell)
    spiral = []
    for step in range(24 * 2 + 9):
        angle, wide = math.tau * step / 24 + 1.1, 1 - step / 61.2
        spiral.append((16.6 + 10.6 * wide * math.cos(angle), 19.8 + 10.2 * wide * math.sin(angle)))
    canvas.stroke(spiral, 1.4, "#63409a", inside=shell)
    canvas.stroke([*shell, shell[0]], 1.1, dark)
    canvas.fill(oval(10.6, 12.8, 2.3, 1.3, -40), "#f0e2ff")
    return canvas


def toadstool() -> Canvas:
    """Leans a little, with grass at one side of its foot."""
    canvas, dark = Canvas(), "#54262a"
    stem = bend((15.4, 21), (16.4, 27), (14.4, 32.6), (16.6, 34.9), (22.6, 34.9), (25.2, 32.8),
                (23.2, 27), (23, 21), closed=True)  # fmt: skip
    canvas.fill(stem, "#fff3dc")
    shade = bend((20.6, 20), (20.8, 28), (22, 36), (28, 36), (28, 20), closed=True)
    canvas.fill(shade, "#e8d2ae", inside=stem)
    canvas.stroke([*stem, stem[0]], 1.0, dark)
    for tip, left, right in (((28.2, 27), 25, 28.4), ((32.8, 28.6), 26.6, 31.2)):
        middle = (left + right) / 2
        blade = [*bend((left, 35), ((left + middle) / 2, 31.6), tip),
                 *bend(tip, ((middle + right) / 2 + 1, 32), (right, 35))]  # fmt: skip
        canvas.fill(blade, "#6fb544")
        canvas.stroke([*blade, blade[0]], 0.7, "#2f5a2c")
    cap = bend((4.8, 21.6), (6.0, 14), (11.6, 7.2), (19.4, 4.9), (27.6, 7.2), (33.6, 13.6),
               (35.2, 20.6), (28, 23.6), (19, 24.2), (9, 24.4), closed=True)  # fmt: skip
    canvas.fill(cap, "#e3342b")
    shade = bend((3, 19), (12, 22), (24, 21.2), (36, 15), (37, 28), (3, 28), closed=True)
    canvas.fill(shade, "#c22527", inside=cap)
    for x, y, wide, high, turn in ((13.0, 12.8, 3.2, 2.7, -30), (23.4, 10.4, 2.6, 2.1, 20),
                                   (19.6, 17.9, 3.0, 2.4, 0), (29.8, 16.6, 2.3, 2.7, 10),
                                   (8.6, 19.4, 2.0, 1.8, 0)):  # fmt: skip
        canvas.fill(oval(x, y, wide, high, turn), "#fffaf0", inside=cap)
    canvas.stroke([*cap, cap[0]], 1.0, dark)
    return canvas


PICTURES = {"fish": fish, "snail": snail, "toadstool": toadstool}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET)
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        draw().reduced().save(folder / f"{name}.png", optimize=True)
        print(f"{folder / name}.png: {(folder / name).with_suffix('.png').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
