"""Widgets to play with: a digit that lives in the page, and recorded growths to scrub.

The browser alone draws them (nca_lib/live): they need no kernel once they are shown. Where nobody
runs them, as on a repository's page, the picture shows that each stores beside itself.
"""

from __future__ import annotations

import copy
import io
import math
from dataclasses import replace

from nca_lib import live
from nca_lib.cells import erase, half_plane, seed_state
from nca_lib.checkpoints import load, pack_rule, resolve
from nca_lib.errors import InputError
from nca_lib.inputs import as_labels, as_styles
from nca_lib.kinds import MNIST, Kind
from nca_lib.plots import on_paper
from nca_lib.rule import NCA

import anywidget
import torch
import traitlets
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SCALE = 10  # screen pixels a cell
CAPTION, GAP = 18, 4  # pixels below and between the pictures of a strip
WIDEST = 760  # pixels of a strip
VIEWS = {
    "ink": "what you see",
    "life": "tissue, which may carry ink",
    "hidden": "what cells tell each other, mean of all hidden channels",
}


def view_of(frames: Tensor, view: str, kind: Kind = MNIST) -> Tensor:
    """Cell states `[R, C, H, W]` as pictures `[R, I, H, W]` in [0, 1]; all but ink are grey."""
    if view == "ink":
        return frames[:, : kind.ink].clamp(0, 1)
    if view == "life":
        return frames[:, kind.life : kind.life + 1].clamp(0, 1)
    return (frames[:, kind.life + 1 :].abs().mean(1, keepdim=True) / 1.5).clamp(0, 1)


def image_of(levels: Tensor, scale: int = 1) -> Image.Image:
    """Levels in [0, 1], `[H, W]` or `[H, W, 3]`, as an image with squares for cells."""
    image = Image.fromarray((255 * levels).round().byte().numpy())
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def png_of(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=True)
    return content.getvalue()


def as_png(picture: Tensor, scale: int = SCALE) -> bytes:
    """One picture, `[H, W]` or `[I, H, W]` in [0, 1], on light paper."""
    return png_of(image_of(on_paper(picture if picture.dim() == 3 else picture[None]), scale))


def film_of(pictures: Tensor) -> bytes:
    """Pictures `[R, I, H, W]` row by row in one PNG, a pixel a cell; as many rows as columns."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    blank = pictures.new_zeros(rows * columns - len(pictures), *pictures.shape[1:])
    shown = on_paper(torch.cat([pictures, blank]))  # [rows * columns, H, W] or [..., H, W, 3]
    sheet = shown.unflatten(0, (rows, columns)).transpose(1, 2)  # [rows, H, columns, W]
    return png_of(image_of(sheet.flatten(2, 3).flatten(0, 1)))


def strip_of(pictures: Tensor, captions: list[str]) -> bytes:
    """Rows of pictures `[K, N, I, H, W]` with a caption below each column: a PNG for a page."""
    rows, columns, _, height, width = pictures.shape
    scale = max(1, min(4, (WIDEST // columns - GAP) // width))
    across, down = width * scale + GAP, height * scale + GAP
    strip = Image.new("RGB", (columns * across - GAP, rows * down + CAPTION), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(12)
    for k, caption in enumerate(captions):
        left, right = k * across, (k + 1) * across - GAP - 1
        for row in range(rows):
            top, bottom = row * down, (row + 1) * down - GAP - 1
            strip.paste(image_of(on_paper(pictures[row, k]), scale), (left, top))
            draw.rectangle((left, top, right, bottom), outline="#cccccc")
        draw.text(((left + right) // 2, rows * down), caption, "#555555", font, anchor="ma")
    return png_of(strip.quantize(32))


@torch.inference_mode()
def grow_frames(
    rule: NCA,
    digit: int | str,
    style: Tensor | None = None,
    steps: int | None = None,
    at: tuple[int, int] | None = None,
    fire_rate: float | None = None,
    seed: int = 0,
) -> Tensor:
    """The states of a growth, seed included, `[steps + 1, C, H, W]`.

    Args:
        style: `[S]`; None: the average hand.
        steps: default: three times the steps of the training.
        at: row and column of the seed; default: the middle.
        fire_rate: default: the rule's own.
        seed: of the fire masks.
    """
    if fire_rate is not None:
        rule = copy.copy(rule)  # the weights are shared, the configuration is not
        rule.config = replace(rule.config, fire_rate=fire_rate)
    steps = 3 * rule.trained_steps if steps is None else steps
    style = None if style is None else style[None]
    return rule.grow(digit, style, steps, torch.tensor([seed]), at)[:, 0]


class Pictured(anywidget.AnyWidget):
    """A widget that stores a picture beside itself, for pages where nobody runs it.

    Its class has a method `picture`, which gives a PNG of at most 60 kB.
    """

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return data | {"image/png": self.picture()}, metadata


class GrowthPlayer(Pictured):
    """Recorded growths side by side: a slider over the steps, play, and a choice of channels.

    All pictures travel to the browser once. From then on it asks nobody: it also plays when the
    kernel is gone, and on a page that was made of the notebook.

    Args:
        growths: states `[R, C, H, W]` of a growth, or several of the same length.
        names: what stands above each.
        kind: of the pictures that grow; it says which channels are ink.
    """

    _esm = live.module("controls.js", "style.js", "scheme.js", "player.js")
    recorded = traitlets.Dict().tag(sync=True)  # what is played: see `Player` in live/player.js
    step = traitlets.Int(0).tag(sync=True)  # which one is shown

    def __init__(
        self,
        growths: Tensor | list[Tensor],
        names: list[str] | None = None,
        kind: Kind = MNIST,
    ):
        self.kind = kind
        super().__init__()
        self.show(growths, names)

    def show(self, growths: Tensor | list[Tensor], names: list[str] | None = None) -> None:
        """Play other growths; the slider keeps its place if it can.

        Raises:
            InputError: no growth, growths of different shapes, or not as many names.
        """
        self.growths = [growths] if isinstance(growths, Tensor) else list(growths)
        names = list(names or [""] * len(self.growths))
        shapes = {tuple(growth.shape) for growth in self.growths}
        if len(shapes) != 1 or len(names) != len(self.growths):
            raise InputError(
                f"{len(names)} names for growths of the shapes {sorted(shapes)}: give growths "
                "[R, C, H, W] of one shape and a name for each"
            )
        films = {
            view: [film_of(view_of(growth, view, self.kind)) for growth in self.growths]
            for view in VIEWS
        }
        steps = len(self.growths[0]) - 1
        size = list(self.growths[0].shape[2:])
        with self.hold_sync():
            self.step = min(self.step, steps)
            self.recorded = {
                "names": names, "films": films, "views": VIEWS, "size": size, "steps": steps,
            }  # fmt: skip

    def __repr__(self) -> str:
        names = ", ".join(name or "a growth" for name in self.recorded["names"])
        return f"GrowthPlayer({names}: {self.recorded['steps']} steps)"

    def picture(self) -> bytes:
        """Eight steps of each growth, closer together where it begins."""
        last = len(self.growths[0]) - 1
        steps = (last * torch.linspace(0, 1, 8) ** 1.5).round().long().unique()
        shown = torch.stack([view_of(growth[steps], "ink", self.kind) for growth in self.growths])
        return strip_of(shown, [f"step {step}" for step in steps.tolist()])


class LiveDigit(Pictured):
    """A digit that lives in the page: cut it, and it heals; tell it another label; write for it.

    The rule is computed by the browser (nca_lib/live), as soon as the widget is shown. While the
    pointer cuts, time stands still, so that the wound can be seen. Python hears of it: `label`,
    `style` and `state` are those of what lives there; the first two can be set, `show` sets the
    third.

    Args:
        rule: a rule that grows, or its name or file as `load` takes it.
        label: what grows first, a number or the name of a class; None: the first one it knows.
        style: `[S]`; None: the average hand.

    Raises:
        InputError: a rule that restores, a label or a style that it doesn't know.
    """

    _esm = live.module()
    file = traitlets.Bytes(b"").tag(sync=True)  # the rule
    directions = traitlets.List().tag(sync=True)  # of style, for sliders: {"name", "axis"}
    label = traitlets.Int(0).tag(sync=True)  # of the digit that is spoken to
    code = traitlets.List(traitlets.Float()).tag(sync=True)  # of the style that all are written in
    told = traitlets.Dict().tag(sync=True)  # a state from Python
    seen = traitlets.Dict().tag(sync=True)  # the state in the browser

    def __init__(
        self,
        rule: NCA | str = "unified",
        label: int | str | None = None,
        style: Tensor | None = None,
    ):
        self.rule = rule if isinstance(rule, NCA) else load(rule)
        if self.rule.task != "grow":
            raise InputError("this rule restores blurred pictures: give one that grows")
        own = isinstance(rule, NCA)
        super().__init__(
            file=pack_rule(rule, rule.record) if own else resolve(rule).read_bytes(),
            label=self._known(self.rule.known[0] if label is None else label),
            code=self._code_of(style),
            directions=live.directions(self.rule),
        )

    def _known(self, label: int | str) -> int:
        """The number of a label, if this rule knows it."""
        number = int(as_labels(label, self.rule.kind.classes)[0])
        if number not in self.rule.known:
            raise InputError(f"label {number}: this rule knows {self.rule.known}")
        return number

    def _code_of(self, style: Tensor | None) -> list[float]:
        length = self.rule.config.style_dim
        style = torch.zeros(length) if style is None else style
        return as_styles(style, 1, length, self.rule.kernels)[0].tolist()

    @property
    def style(self) -> Tensor:
        """The style that all digits are written in, `[S]`; set it, and they change their hand."""
        return torch.tensor(self.code)

    @style.setter
    def style(self, style: Tensor | None) -> None:
        self.code = self._code_of(style)

    @traitlets.validate("label")
    def _check_label(self, proposal) -> int:
        return self._known(proposal["value"])

    @property
    def state(self) -> Tensor:
        """The cell state, `[1, C, H, W]`, as the browser sent it last.

        It sends it as soon as time stands still, and every two seconds while it runs. Before the
        widget is shown: a seed.
        """
        channels, kind = self.rule.config.channels, self.rule.kind
        if not self.seen:
            return seed_state(1, channels, kind.size, kind.life)
        cells = torch.frombuffer(bytearray(self.seen["cells"]), dtype=torch.float32)
        return cells.view(1, channels, *self.seen["size"])

    def show(self, state: Tensor) -> None:
        """Put a cell state into the browser, `[1, C, H, W]` or `[C, H, W]`; it lives on from there.

        Raises:
            InputError: another shape.
        """
        state = state if state.dim() == 4 else state[None]
        channels = self.rule.config.channels
        if state.dim() != 4 or state.shape[:2] != (1, channels):
            raise InputError(f"a state of shape {list(state.shape)}: want [1, {channels}, H, W]")
        cells = state.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
        told = {"number": self.told.get("number", 0) + 1, "size": list(state.shape[2:])}
        self.seen = {"size": told["size"], "cells": cells}
        self.told = told | {"cells": cells}

    def __repr__(self) -> str:
        return f"LiveDigit({self.rule.kind.classes[self.label]})"

    @torch.inference_mode()
    def picture(self) -> bytes:
        """A life in eight pictures: it grows, is cut, heals, and is told to become another."""
        rule, known, style = self.rule, list(self.rule.known), self.style[None]
        other = known[(known.index(self.label) + len(known) // 2) % len(known)]
        steps = [rule.trained_steps // 4, rule.trained_steps // 2, rule.trained_steps]
        grown = rule.grow(self.label, style, steps[-1])[steps, 0]  # [3, C, H, W]
        hurt = erase(grown[-1:], half_plane("left", rule.kind.size))
        healed = rule.rollout(hurt, rule.genome(self.label, style), 64, 0, (8, 64))[:, 0]
        switched = rule.rollout(healed[-1:], rule.genome(other, style), 96, 0, (6, 96))[:, 0]
        shown = view_of(torch.cat([grown, hurt, healed, switched]), "ink", rule.kind)
        captions = [f"step {step}" for step in steps]
        captions += ["cut", "8 steps later", "64 later", f"told: {rule.kind.classes[other]}"]
        return strip_of(shown[None], [*captions, "96 later"])
