"""One step of the automaton as a diagram; chapter 1 and the README show the same one."""

from nca_lib.model import perception_kernels
from nca_lib.rollout.fire import fire_mask
from nca_lib.state import alive_mask

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

PAPER, EDGE, INK, SOFT, NETWORK = "#fffdf8", "#d9d4c7", "#22262b", "#62666c", "#e6eff6"
TILE, GRID, CELL = "#ffffff", "#d9d4c8", "#22262c"  # the same on dark pages
SEEN, CONDITION, FIRE, ALIVE = "#0067a3", "#9a3d82", "#b84a00", "#00745a"  # dark enough for text
WIDTH, HEIGHT, LINE, BELOW = 10.2, 4.55, 2.8, 1.55  # inches; heights of the step and of the masks
SIDE, BOX = 1.35, 0.14  # inches, of a grid and of one number
ROUND = "round,pad=0,rounding_size=0.15"
THREE = "......... ..####... .....##.. ......#.. ...###... ......#.. ......##. ..#####.. ........."


def grids():
    """A small 3 while it grows: its state, the two masks of a step, and the next state."""
    target = torch.tensor([[float(cell == "#") for cell in row] for row in THREE.split()])
    alive = torch.zeros(1, 1, 9, 9)
    alive[..., 2:7, 3:7] = 1.0
    fire = fire_mask(torch.tensor([18]), 0, 9, 9, 0.5)[0].float()
    state, alive = target * alive[0, 0] * 0.7, alive_mask(alive, 0)[0, 0].float()
    return state, fire, alive, alive * (state + fire * (target - state))


def text(ax, x, y, words, colour=SOFT, bold=False):
    look = {"ha": "center", "va": "center", "fontsize": 9.5 if bold else 8}
    ax.text(x, y, words, color=colour, fontweight="bold" if bold else "normal", **look)


def arrow(ax, start, end, colour=INK):
    look = {"arrowstyle": "-|>", "color": colour, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=look | {"mutation_scale": 9})


def cells(ax, grid, x, y, side, colour=CELL):
    """A square of cells around a point; of a filter, what is below 0 is grey."""
    edges = np.linspace(-side / 2, side / 2, len(grid) + 1)
    corner = x - side / 2, y - side / 2
    ax.add_patch(Rectangle(corner, side, side, fc=TILE, ec="none"))
    mesh = ax.pcolormesh(
        x + edges, y - edges, grid.numpy(), edgecolor=GRID, linewidth=0.5, zorder=1.5
    )
    colours = [colour if value > 0 else SOFT for value in grid.flatten()]
    mesh.set(array=None, facecolor=to_rgba_array(colours, grid.abs().flatten().numpy()))
    ax.add_patch(Rectangle(corner, side, side, fill=False, ec=SOFT, lw=0.9, zorder=2))


def boxes(ax, centres, colour):
    """Numbers of one cell, as boxes around these points."""
    for k, (x, y) in enumerate(centres):
        corner, strength = (x - BOX / 2, y - BOX / 2), (0.2, 0.65, 0.45, 0.85)[k % 4]
        ax.add_patch(Rectangle(corner, BOX, BOX, fc=TILE, ec="none"))
        ax.add_patch(Rectangle(corner, BOX, BOX, fc=(colour, strength), ec=SOFT, lw=0.6))


def column(x, count, gap=0.0):
    """Centres of boxes above each other, with a gap after every four."""
    down = [k * BOX + k // 4 * gap for k in range(count)]
    return [(x, LINE + down[-1] / 2 - offset) for offset in down]


def operation(ax, x, sign, colour=INK):
    ax.add_patch(Circle((x, LINE), 0.14, fc=PAPER, ec=colour, lw=1.4, zorder=3))
    look = {"marker": sign, "markersize": 10 if sign == "+" else 7, "mew": 1.6}
    ax.plot(x, LINE, color=colour, zorder=4, **look)


def draw_network(ax):
    """From the neighbourhood of a cell, through filters and a hidden layer, to its change."""
    seen, change = column(3.3, 12, 0.09), column(5.2, 4)
    hidden = [(4.25, LINE + 0.19 * (3.5 - k) - 0.06) for k in range(8)]
    ax.add_patch(FancyBboxPatch((3.44, LINE - 1), 2.02, 2, boxstyle=ROUND, fc=NETWORK, ec="none"))
    corner, block = (1.03 - SIDE / 18, LINE - SIDE / 6), SIDE / 3
    ax.add_patch(Rectangle(corner, block, block, fill=False, ec=SEEN, lw=1.8, zorder=3))
    for k, kernel in enumerate(perception_kernels("sobel")[:, 0]):
        y = LINE + (1 - k) * (4 * BOX + 0.09)
        ax.plot([corner[0] + block, 2.28], [LINE, y], color=SEEN, lw=0.9)
        cells(ax, kernel / kernel.abs().max(), 2.48, y, 0.4, SEEN)
        arrow(ax, (2.72, y), (3.18, y), SEEN)
        text(ax, 2.48, y - 0.29, ("itself", "slope east", "slope south")[k], SEEN)
    for before, after in ((seen, hidden), (hidden, change)):
        pairs = [((x1 + 0.07, y1), (x2 - 0.07, y2)) for x1, y1 in before for x2, y2 in after]
        ax.add_collection(LineCollection(pairs, color=SEEN, lw=0.45, alpha=0.4))
    boxes(ax, seen, SEEN)
    boxes(ax, change, CELL)
    for centre in hidden:
        ax.add_patch(Circle(centre, 0.07, fc=TILE, ec=SEEN, lw=1, zorder=3))
    boxes(ax, [(4.25 + BOX * (k - 3.5), BELOW) for k in range(8)], CONDITION)
    arrow(ax, (4.25, BELOW + 0.1), (4.25, LINE - 0.82), CONDITION)


def write(ax):
    """The words and the equation, in the colours of the drawing."""
    for bold, x, y, words, colour in (
        (True, 2.48, 3.93, "perceive", SEEN), (True, 4.25, 3.93, "network $f$", SEEN),
        (True, 4.25, 1.31, "condition $c$", CONDITION), (True, 1.03, 1.955, "state $s$", INK),
        (True, 6.1, 0.95, "fire mask", FIRE), (True, 7.7, 0.95, "alive mask", ALIVE),
        (True, 9.17, 1.955, "next state $s'$", INK), (False, 3.3, 1.67, "$3C$ numbers", SEEN),
        (False, 4.25, 3.66, "hidden layer", SEEN), (False, 7.7, 0.75, "near a living cell", SOFT),
        (False, 5.12, 2.38, "change", SEEN), (False, 6.1, 0.75, "half of the cells", SOFT),
        (False, 4.25, 1.11, "label and style, the same for all", SOFT),
    ):  # fmt: skip
        text(ax, x, y, words, colour, bold)
    parts = [
        ("$s' \\;=\\; $", INK), ("$\\mathrm{alive}$", ALIVE), ("$\\;\\cdot\\;(\\,s \\;+\\; $", INK),
        ("$\\mathrm{fire}$", FIRE), ("$\\;\\cdot\\; f\\,(\\,$", INK), ("$K * s$", SEEN),
        ("$,\\; $", INK), ("$c$", CONDITION), ("$\\,)\\,)$", INK),
    ]  # fmt: skip
    look = {"fontsize": 15, "math_fontfamily": "stix"}
    areas = [TextArea(words, textprops=look | {"color": colour}) for words, colour in parts]
    row = HPacker(children=areas, align="baseline", pad=0, sep=1)
    ax.add_artist(AnnotationBbox(row, (WIDTH / 2, 0.38), frameon=False))


def step_diagram():
    """Perceive, hidden layer, change, fire mask, alive mask, and the equation of it: a figure."""
    figure, (state, fire, alive, after) = Figure((WIDTH, HEIGHT), 110, facecolor="none"), grids()
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
    ax.axis("off")
    card = {"boxstyle": ROUND, "fc": PAPER, "ec": EDGE, "lw": 1}
    ax.add_patch(FancyBboxPatch((0.04, 0.04), WIDTH - 0.08, HEIGHT - 0.08, **card))
    for x, grid in ((1.03, state), (9.17, after)):
        cells(ax, grid, x, LINE, SIDE)
        text(ax, x, 1.755, "$C$ numbers a cell")
    draw_network(ax)
    for x, grid, colour in ((6.1, fire, FIRE), (7.7, alive, ALIVE)):
        operation(ax, x, "x", colour)
        cells(ax, grid, x, BELOW, 0.9, colour)
        arrow(ax, (x, BELOW + 0.47), (x, LINE - 0.16), colour)
    operation(ax, 6.9, "+")
    for start, end in ((5.3, 5.95), (6.24, 6.75), (7.04, 7.55), (7.84, 8.46)):
        arrow(ax, (start, LINE), (end, LINE))
    ax.plot([1.03, 1.03, 6.9], [LINE + SIDE / 2, HEIGHT - 0.4, HEIGHT - 0.4], color=INK, lw=1.2)
    arrow(ax, (6.9, HEIGHT - 0.4), (6.9, LINE + 0.15))
    write(ax)
    return figure
