"""One step of the automaton as a diagram; chapter 1 and the README show the same one."""

from __future__ import annotations

from itertools import pairwise
from math import nan

from nca_lib.cells import alive
from nca_lib.plots import DPI, Sheet
from nca_lib.rollout.fire import fire_mask
from nca_lib.rule import perception_kernels

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from torch import Tensor

PAPER, EDGE, INK, SOFT, NETWORK = "#fffdf8", "#d9d4c7", "#22262b", "#62666c", "#e6eff6"
TILE, GRID, CELL = "#ffffff", "#d9d4c8", "#22262c"  # the same on dark pages
SEEN, GENOME, FIRE, LIFE = "#0067a3", "#9a3d82", "#b84a00", "#00745a"  # dark enough for words
WIDTH, HEIGHT, LINE, BELOW = 10.2, 4.55, 2.8, 1.55  # inches; heights of the step and of the masks
SIDE, MASK, BOX = 1.35, 0.9, 0.14  # of a state, of a mask, of a number
PLACES = (1.03, 3.3, 4.25, 5.2, 6.1, 6.9, 7.7, 9.17)  # from left to right
ROUND = "round,pad=0,rounding_size=0.15"
THREE = (
    ".........",
    "..####...",
    ".....##..",
    "......#..",
    "...###...",
    "......#..",
    "......##.",
    "..#####..",
    ".........",
)


def moment() -> dict[str, Tensor]:
    """A small 3 while it grows: what is there before and after a step, and its masks, `[9, 9]`."""
    target = torch.tensor([[float(cell == "#") for cell in row] for row in THREE])
    life = torch.zeros(9, 9)
    life[2:7, 3:7] = 1.0
    lives = alive(torch.stack([life, life])[None])[0, 0].float()
    fires = fire_mask(torch.tensor([18]), 0, 9, 9, 0.5)[0].float()
    state = target * life * 0.7
    after = lives * (state + fires * (target - state))
    return {"state": state, "fire": fires, "alive": lives, "next": after}


def lines(ax: Axes, ends: list[tuple], **look) -> None:
    """Many lines, each from `(x, y)` to `(x, y)`, as one."""
    x = [value for (x1, _), (x2, _) in ends for value in (x1, x2, nan)]
    y = [value for (_, y1), (_, y2) in ends for value in (y1, y2, nan)]
    ax.plot(x, y, **look)


def cells(ax: Axes, grid: Tensor, x: float, y: float, side: float, colour: str = CELL) -> None:
    """A square of cells around a point; of a filter, what is below 0 is grey."""
    count, left, top = len(grid), x - side / 2, y + side / 2
    size, right, bottom = side / count, left + side, top - side
    ax.add_patch(Rectangle((left, bottom), side, side, fc=TILE, ec="none"))
    for row, column in grid.nonzero().tolist():
        value, corner = float(grid[row, column]), (left + column * size, top - (row + 1) * size)
        shade = {"fc": colour if value > 0 else SOFT, "alpha": abs(value), "ec": "none"}
        ax.add_patch(Rectangle(corner, size, size, **shade))
    inner = [k * size for k in range(1, count)]
    ends = [((left + k, top), (left + k, bottom)) for k in inner]
    ends += [((left, top - k), (right, top - k)) for k in inner]
    lines(ax, ends, color=GRID, lw=0.5)
    ax.add_patch(Rectangle((left, bottom), side, side, fill=False, ec=SOFT, lw=0.9))


def box(ax: Axes, x: float, y: float, colour: str, strength: float) -> None:
    """One number of one cell."""
    corner = x - BOX / 2, y - BOX / 2
    ax.add_patch(Rectangle(corner, BOX, BOX, fc=TILE, ec="none"))
    ax.add_patch(Rectangle(corner, BOX, BOX, fc=colour, alpha=strength, ec="none"))
    ax.add_patch(Rectangle(corner, BOX, BOX, fill=False, ec=SOFT, lw=0.6))


def numbers(ax: Axes, x: float, count: int, colour: str, groups: int = 1) -> list[float]:
    """Numbers of one cell, one above the other; the heights of each."""
    heights = [-k * BOX - k // (count // groups) * 0.09 for k in range(count)]
    middle = (heights[0] + heights[-1]) / 2
    heights = [LINE + y - middle for y in heights]
    for k, y in enumerate(heights):
        box(ax, x, y, colour, (0.2, 0.65, 0.45, 0.85)[k % 4])
    return heights


def arrow(ax: Axes, start: tuple, end: tuple, colour: str = INK) -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 9, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(start, end, color=colour, **look))


def words(ax: Axes, x: float, y: float, text: str, colour: str = SOFT, bold: bool = False) -> None:
    size, weight = (9.5, "bold") if bold else (8, "normal")
    ax.text(x, y, text, ha="center", va="center", color=colour, fontsize=size, fontweight=weight)


def operation(ax: Axes, x: float, sign: str, colour: str = INK) -> None:
    """A circle with a sign: what is done with all numbers of all cells."""
    ax.add_patch(Circle((x, LINE), 0.14, fc=PAPER, ec=colour, lw=1.4, zorder=3))
    across, down = ((0.07, 0), (0, 0.07)) if sign == "+" else ((0.05, 0.05), (0.05, -0.05))
    ends = [((x - dx, LINE - dy), (x + dx, LINE + dy)) for dx, dy in (across, down)]
    lines(ax, ends, color=colour, lw=1.6, zorder=4, solid_capstyle="round")


def draw_perception(ax: Axes, state: float, x: float) -> list[float]:
    """From the block around a cell through three filters to `3C` numbers; their heights."""
    seen, block = numbers(ax, x, 12, SEEN, groups=3), SIDE / 3
    left, right = state - SIDE / 18, state - SIDE / 18 + block
    look = {"fill": False, "ec": SEEN, "lw": 1.8, "zorder": 3}
    ax.add_patch(Rectangle((left, LINE - block / 2), block, block, **look))
    for k, kernel in enumerate(perception_kernels("sobel")[:, 0]):
        y = sum(seen[4 * k : 4 * k + 4]) / 4
        ax.plot([right, x - 1.02], [LINE, y], color=SEEN, lw=0.9)
        cells(ax, kernel / kernel.abs().max(), x - 0.82, y, 0.4, SEEN)
        arrow(ax, (x - 0.58, y), (x - 0.12, y), SEEN)
        words(ax, x - 0.82, y - 0.29, ("itself", "slope east", "slope south")[k], SEEN)
    words(ax, x - 0.82, LINE + 1.13, "perceive", SEEN, bold=True)
    words(ax, x, LINE - 1.13, "$3C$ numbers", SEEN)
    return seen


def draw_network(ax: Axes, seen: list[float], left: float, middle: float, right: float) -> None:
    """The hidden layer between what is seen and the change."""
    hidden = [LINE + 0.19 * (3.5 - k) - 0.06 for k in range(8)]
    panel = (left + 0.14, LINE - 1.0), right - left + 0.12, 2.0
    ax.add_patch(FancyBboxPatch(*panel, boxstyle=ROUND, fc=NETWORK, ec="none"))
    change = numbers(ax, right, 4, CELL)
    for starts, ends, x, to in ((seen, hidden, left, middle), (hidden, change, middle, right)):
        both = [((x + 0.07, start), (to - 0.07, end)) for start in starts for end in ends]
        lines(ax, both, color=SEEN, lw=0.45, alpha=0.4)
    for y in hidden:
        ax.add_patch(Circle((middle, y), 0.07, fc=TILE, ec=SEEN, lw=1, zorder=3))
    words(ax, middle, LINE + 1.13, "network $f$", SEEN, bold=True)
    words(ax, middle, LINE + 0.86, "hidden layer", SEEN)
    words(ax, right - 0.08, LINE - 0.42, "change", SEEN)


def draw_genome(ax: Axes, x: float) -> None:
    for k, strength in enumerate((0.8, 0.3, 0.55, 0.2, 0.9, 0.45, 0.7, 0.35)):
        box(ax, x + BOX * (k - 3.5), BELOW, GENOME, strength)
    arrow(ax, (x, BELOW + 0.1), (x, LINE - 0.82), GENOME)
    words(ax, x, BELOW - 0.24, "genome $g$", GENOME, bold=True)
    words(ax, x, BELOW - 0.44, "label and style, the same for all")


def draw_mask(ax: Axes, x: float, grid: Tensor, name: str, below: str, colour: str) -> None:
    """A mask, and the place where the numbers are multiplied by it."""
    operation(ax, x, "x", colour)
    cells(ax, grid, x, BELOW, MASK, colour)
    arrow(ax, (x, BELOW + MASK / 2 + 0.02), (x, LINE - 0.16), colour)
    words(ax, x, BELOW - MASK / 2 - 0.15, name, colour, bold=True)
    words(ax, x, BELOW - MASK / 2 - 0.35, below)


def draw_state(ax: Axes, x: float, grid: Tensor, name: str) -> None:
    cells(ax, grid, x, LINE, SIDE)
    words(ax, x, LINE - SIDE / 2 - 0.17, name, INK, bold=True)
    words(ax, x, LINE - SIDE / 2 - 0.37, "$C$ numbers a cell")


def write_equation(ax: Axes) -> None:
    """The step in symbols, in the colours of the drawing."""
    parts = [
        ("$s' \\;=\\; $", INK), ("$\\mathrm{alive}$", LIFE), ("$\\;\\cdot\\;(\\,s \\;+\\; $", INK),
        ("$\\mathrm{fire}$", FIRE), ("$\\;\\cdot\\; f\\,(\\,$", INK), ("$K * s$", SEEN),
        ("$,\\; $", INK), ("$g$", GENOME), ("$\\,)\\,)$", INK),
    ]  # fmt: skip
    look = {"fontsize": 15, "math_fontfamily": "stix"}
    areas = [TextArea(text, textprops=look | {"color": colour}) for text, colour in parts]
    row = HPacker(children=areas, align="baseline", pad=0, sep=1)
    ax.add_artist(AnnotationBbox(row, (WIDTH / 2, 0.38), frameon=False))


def step_diagram() -> Figure:
    """Perceive, hidden layer, change, fire mask, alive mask, and the equation of it."""
    figure, shown = Sheet(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor="none"), moment()
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
    ax.axis("off")
    card = (0.04, 0.04), WIDTH - 0.08, HEIGHT - 0.08
    ax.add_patch(FancyBboxPatch(*card, boxstyle=ROUND, fc=PAPER, ec=EDGE, lw=1))
    before, seen, hidden, change, fire, add, lives, after = PLACES
    draw_state(ax, before, shown["state"], "state $s$")
    draw_network(ax, draw_perception(ax, before, seen), seen, hidden, change)
    draw_genome(ax, hidden)
    draw_mask(ax, fire, shown["fire"], "fire mask", "half of the cells", FIRE)
    operation(ax, add, "+")
    draw_mask(ax, lives, shown["alive"], "alive mask", "where life is near", LIFE)
    draw_state(ax, after, shown["next"], "next state $s'$")
    ends = [change - 0.04, fire, add, lives, after - SIDE / 2 + 0.11]
    for start, end in pairwise(ends):
        arrow(ax, (start + 0.14, LINE), (end - 0.15, LINE))
    top = HEIGHT - 0.4
    ax.plot([before, before, add], [LINE + SIDE / 2, top, top], color=INK, lw=1.2)
    arrow(ax, (add, top), (add, LINE + 0.15))
    write_equation(ax)
    return figure
