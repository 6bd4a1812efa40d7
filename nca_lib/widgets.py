"""Widgets to play with: scrub a growth, explore it, damage a digit and watch it heal.

All pictures of a growth are rendered once, when it is shown; moving the slider only picks one.
"""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from html import escape
from pathlib import Path

from nca_lib.cells import ALIVE_ABOVE, disc, erase
from nca_lib.kinds import MNIST, Kind
from nca_lib.plots import on_paper
from nca_lib.rule import NCA

import anywidget
import ipywidgets as w
import torch
import traitlets
from PIL import Image
from torch import Tensor

SCALE = 10  # screen pixels a cell
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


def as_png(picture: Tensor, scale: int = SCALE) -> bytes:
    """One picture, `[H, W]` or `[I, H, W]` in [0, 1], on light paper."""
    shown = on_paper(picture if picture.dim() == 3 else picture[None])
    levels = (255 * shown).byte().numpy()
    image = Image.fromarray(levels).resize((levels.shape[1] * scale, levels.shape[0] * scale), 0)
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()


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


class Picture(w.Image):
    """An Image with a tooltip, which is what a screen reader reads: it has no `alt`."""

    description = traitlets.Unicode("").tag(sync=True)  # ipywidgets 8 shows no tooltip without


class GrowthPlayer(w.VBox):
    """A slider over recorded frames, with a play button and a choice of channels.

    Args:
        growths: states `[R, C, H, W]` of a growth, or several of the same length, side by side.
        names: what stands above each.
        kind: of the pictures that grow; it says which channels are ink.
    """

    def __init__(
        self,
        growths: Tensor | list[Tensor],
        names: list[str] | None = None,
        kind: Kind = MNIST,
    ):
        self.kind = kind
        self.step = w.IntSlider(description="step", layout=w.Layout(width="420px"))
        self.step.tooltip = "Which step is shown; arrow keys move it"
        self.play = w.Play(interval=80, description="play", tooltip="Play, stop, repeat")
        self.view = w.ToggleButtons(
            options=list(VIEWS), description="show", style={"button_width": "80px"}
        )
        self.view.layout = w.Layout(display="flex", flex_flow="row nowrap", width="420px")
        self.view.tooltips = [f"{view}: {what}" for view, what in VIEWS.items()]
        w.jslink((self.play, "value"), (self.step, "value"))
        self.names: list[w.HTML] = []
        self.images: list[Picture] = []
        self.row = w.HBox()
        self.step.observe(self._pick, "value")
        self.view.observe(lambda change: self._render(), "value")
        super().__init__([self.row, w.HBox([self.play, self.step]), self.view])
        self.show(growths, names)

    def show(self, growths: Tensor | list[Tensor], names: list[str] | None = None) -> None:
        """Show other growths; the slider keeps its place if it can."""
        self.growths = [growths] if isinstance(growths, Tensor) else list(growths)
        names = names or [""] * len(self.growths)
        if len(self.images) != len(self.growths):
            self.names = [w.HTML() for _ in self.growths]
            self.images = [Picture(format="png") for _ in self.growths]
            for image in self.images:
                image.add_class("nca-growth")
                image.layout.border = "1px solid #bbb"
            pairs = zip(self.names, self.images, strict=True)
            self.row.children = [w.VBox(list(pair)) for pair in pairs]
        for heading, image, name in zip(self.names, self.images, names, strict=True):
            heading.value = f"<b>{escape(name)}</b>"
            image.tooltip = f"The growth of {name or 'a digit'} at the step of the slider"
        self._render()
        self.step.max = self.play.max = len(self.growths[0]) - 1

    def _render(self) -> None:
        """Every frame of the chosen view becomes a PNG, once."""
        self.pictures = [
            [as_png(picture) for picture in view_of(growth, self.view.value, self.kind)]
            for growth in self.growths
        ]
        self._pick()

    def _pick(self, change=None) -> None:
        for image, pictures in zip(self.images, self.pictures, strict=True):
            image.value = pictures[min(self.step.value, len(pictures) - 1)]


class GrowthExplorer(w.VBox):
    """Two digits side by side, and all that can be told to them: style, seed's place, fire rate."""

    def __init__(self, rule: NCA, digits: tuple[int, int] = (3, 8)):
        self.rule = rule
        choices = [(name, label) for label, name in enumerate(rule.kind.classes)]
        self.digits = [
            w.Dropdown(options=choices, value=digit, description=name)
            for name, digit in zip(("left digit", "right digit"), digits, strict=True)
        ]
        slider = {"continuous_update": False, "style": {"description_width": "90px"}}
        height, width = rule.kind.size
        rows, columns = ((s // 2, s // 4 - 1, s - s // 4) for s in (height, width))
        self.row = w.IntSlider(*rows, description="seed row", **slider)
        self.column = w.IntSlider(*columns, description="seed column", **slider)
        self.fire_rate = w.FloatSlider(
            rule.config.fire_rate, min=0.1, max=1, step=0.1, description="fire rate", **slider
        )
        self.style = w.IntSlider(0, 0, 50, description="style no.", **slider)
        self.style.tooltip = "0 is the average hand, each other number another handwriting"
        self.row.tooltip, self.column.tooltip = "Row of the seed", "Column of the seed"
        self.fire_rate.tooltip = "Probability that a cell updates in a step; trained at 0.5"
        controls = [*self.digits, self.style, self.row, self.column, self.fire_rate]
        for control in controls:
            control.observe(lambda change: self.grow(), "value")
        self.player = GrowthPlayer(*self._growths(), rule.kind)
        super().__init__([w.HBox([w.VBox(controls[:3]), w.VBox(controls[3:])]), self.player])

    def _growths(self) -> tuple[list[Tensor], list[str]]:
        generator = torch.Generator().manual_seed(self.style.value)
        style = torch.randn(self.rule.config.style_dim, generator=generator)
        style *= self.style.value > 0
        at = (self.row.value, self.column.value)
        growths = [
            grow_frames(self.rule, digit.value, style, at=at, fire_rate=self.fire_rate.value)
            for digit in self.digits
        ]
        return growths, [self.rule.kind.classes[digit.value] for digit in self.digits]

    def grow(self) -> None:
        self.player.show(*self._growths())


class Brush(anywidget.AnyWidget):
    """A canvas that shows a picture and tells where it was erased, by pointer or by keys."""

    _esm = Path(__file__).with_name("brush.js")
    size = traitlets.List([28, 28]).tag(sync=True)  # height and width
    x = traitlets.Int(0).tag(sync=True)  # column and row of the ring, in cells
    y = traitlets.Int(0).tag(sync=True)
    radius = traitlets.Float(2.5).tag(sync=True)
    picture = traitlets.Bytes(b"").tag(sync=True)  # red, green, blue a cell; only to the browser
    rounds = traitlets.Int(0).tag(sync=True)  # the kernel has answered: draw anew
    stroke = traitlets.Dict({}).tag(sync=True)  # number; points [[x, y], ...] in cells
    label = traitlets.Unicode(
        "A digit: drag over it to erase. Or move the ring by arrow keys, and erase by Enter."
    ).tag(sync=True)


class DamageBrush(w.VBox):
    """Erase a grown digit by pointer or sliders; the rule regrows it, and its healing is played.

    Args:
        rule: what grows and heals.
        digit: the label.
        style: `[S]`; None: the average hand.
        steps: of healing.
    """

    def __init__(self, rule: NCA, digit: int = 3, style: Tensor | None = None, steps: int = 64):
        self.rule, self.steps, self.trained = rule, steps, rule.trained_steps
        self.genome = rule.genome(digit, None if style is None else style[None])
        self.grown = grow_frames(rule, digit, style, self.trained)[-1:]  # [1, C, H, W]
        height, width = rule.kind.size
        self.brush = Brush(size=[height, width])
        self.sliders = [
            w.IntSlider(height // 2, 0, height - 1, description="row"),
            w.IntSlider(width // 2, 0, width - 1, description="column"),
            w.FloatSlider(
                2.5, min=0.5, max=8, step=0.5, description="radius", readout_format=".1f"
            ),
        ]
        for slider, trait in zip(self.sliders, ("y", "x", "radius"), strict=True):
            slider.tooltip = f"{slider.description} of the ring, in cells"
            slider.layout.width = "282px"
            traitlets.link((slider, "value"), (self.brush, trait))
        self.erase = w.Button(description="erase", tooltip="Erase what is in the ring")
        self.again = w.Button(description="a fresh digit", tooltip="Undo all damage")
        for button in (self.erase, self.again):
            button.layout.width = "136px"
        self.status = w.HTML()
        self.player = GrowthPlayer(self.grown, ["its healing"], rule.kind)
        self.brush.observe(lambda change: self._erase_at(change["new"]["points"]), "stroke")
        self.erase.on_click(lambda _: self._erase_at([[self.brush.x + 0.5, self.brush.y + 0.5]]))
        self.again.on_click(lambda _: self._start())
        buttons = w.HBox([self.erase, self.again])
        left = w.VBox([w.HTML("<b>erase here</b>"), self.brush, *self.sliders, buttons])
        left.layout.margin = "0 24px 0 0"
        left.layout.min_width = "290px"
        super().__init__([w.HBox([left, self.player]), self.status])
        self._start()

    def _start(self) -> None:
        self.age = self.trained
        self._show(self.grown, "Drag over the digit to erase a part of it.")

    def _show(self, frames: Tensor, status: str) -> None:
        """The healing in the player, what came of it under the brush."""
        self.state = frames[-1:]
        self.player.step.value = 0
        self.player.show(frames, ["its healing"])
        shown = on_paper(frames[-1, : self.rule.kind.ink])  # [H, W] or [H, W, 3]
        colours = shown if shown.dim() == 3 else shown[..., None].expand(-1, -1, 3)
        self.brush.picture = (255 * colours).byte().contiguous().numpy().tobytes()
        self.brush.rounds += 1
        self.status.value = f'<span role="status">{status}</span>'

    def _erase_at(self, points: list[list[float]]) -> None:
        x, y = torch.tensor(points, dtype=torch.float32).view(-1, 2).T - 0.5  # [P], cells' middles
        self.damage(disc(y, x, torch.full_like(x, self.brush.radius), self.rule.kind.size).any(0))

    @torch.inference_mode()
    def damage(self, region: Tensor) -> None:
        """Erase a region (bool `[H, W]`) and let the rule heal it."""
        alive_there = int((region & (self.state[0, self.rule.kind.life] > ALIVE_ABOVE)).sum())
        hurt = erase(self.state, region)
        frames = self.rule.rollout(
            hurt, self.genome, self.steps, torch.tensor([0]), range(1, self.steps + 1),
            first_step=self.age,
        )  # fmt: skip
        self.age += self.steps
        self._show(
            torch.cat([hurt, frames[:, 0]]),
            f"{int(region.sum())} cells were erased, {alive_there} of them were alive. "
            f"Scrub the {self.steps} steps of healing, or erase more.",
        )
        self.player.play.playing = True
