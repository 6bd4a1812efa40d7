"""Widgets that the browser draws alone (nca_lib/live): once shown, they need no kernel."""

from __future__ import annotations

import math

from nca_lib import live
from nca_lib.checkpoint import load, pack_model, resolve
from nca_lib.inputs import InputError, as_labels, as_styles
from nca_lib.model import NCA
from nca_lib.spec import ImageSpec
from nca_lib.training.tasks import task_of
from nca_lib.visual.plots import growth_strip, ink_of, png_of, progress_picture

import anywidget
import torch
import traitlets
from torch import Tensor

VIEWS = {
    "ink": "what you see",
    "alive": "the alive channel: cells live where it exceeds 0.1",
    "hidden": "the hidden channels: mean of their absolute values",
}


def as_png(picture: Tensor, scale: int = 10) -> bytes:
    """One picture, `[H, W]` or `[I, H, W]` in [0, 1], as a PNG with `scale` pixels a cell."""
    return png_of(progress_picture(picture.reshape(1, -1, *picture.shape[-2:]), 1, scale))


def films_of(states: Tensor, ink: int) -> dict[str, bytes]:
    """A PNG for each view of a growth `[T + 1, C, H, W]`: its steps row by row, a pixel a cell."""
    films = {"ink": states[:, :ink]}
    if states.shape[1] > ink:  # pictures have nothing else
        films["alive"] = states[:, ink : ink + 1]
        films["hidden"] = states[:, ink + 1 :].abs().mean(1, keepdim=True) / 1.5
    columns = math.ceil(math.sqrt(len(states)))
    return {view: png_of(progress_picture(film, columns, 1)) for view, film in films.items()}


class Pictured(anywidget.AnyWidget):
    """A widget with a picture of its `growths()`, for pages where nobody runs it."""

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        return data | {"image/png": png_of(growth_strip(*self.growths()))}, metadata


class GrowthPlayer(Pictured):
    """Recorded growths side by side: a slider over the steps, play, and a choice of channels.

    Args:
        growths: states or pictures `[T + 1, C, H, W]`, or several of one shape.
        names: one for each growth.
        spec: not needed for what `NCA.grow` returns; see `plots.ink_of`.

    Raises:
        InputError: growths of different shapes, not as many names, states without a spec.
    """

    _esm = live.module("player.js")
    recorded = traitlets.Dict().tag(sync=True)  # what is played: see `Player` in live/player.js
    step = traitlets.Int(0).tag(sync=True)  # which one is shown

    def __init__(self, growths, names: list[str] | None = None, spec: ImageSpec | None = None):
        growths = [growths] if isinstance(growths, Tensor) else list(growths)
        names, shapes = list(names or [""] * len(growths)), {growth.shape for growth in growths}
        if len(shapes) != 1 or len(names) != len(growths):
            raise InputError(
                f"{len(names)} names for growths of the shapes {sorted(map(list, shapes))}: give "
                "growths [T + 1, C, H, W] of one shape and a name for each"
            )
        self.ink = torch.stack([ink_of(growth, spec) for growth in growths], 1)
        films = [films_of(growth, self.ink.shape[2]) for growth in growths]
        recorded = {
            "names": names, "size": list(self.ink.shape[3:]), "steps": len(self.ink) - 1,
            "films": {view: [film[view] for film in films] for view in films[0]}, "views": VIEWS,
        }  # fmt: skip
        super().__init__(recorded=recorded)

    def __repr__(self) -> str:
        names = ", ".join(name or "a growth" for name in self.recorded["names"])
        return f"GrowthPlayer({names}: {self.recorded['steps']} steps)"

    def growths(self) -> tuple[Tensor, list[str]]:
        return self.ink, self.recorded["names"]


class LiveDigit(Pictured):
    """A digit that lives in the page: cut it, and it heals; give it another label; write for it.

    The browser computes the model (nca_lib/live). While the pointer cuts, time stands still, so
    that the damage can be seen. `label`, `style` and `state` follow what lives there; the first two
    can be set, `show` sets the third.

    Args:
        model: a model that grows pictures, or its name or file as `load` takes it.
        label: what grows first, a number or the name of a class; None: its first trained label.
        style: `[S]`; None: the mean style.

    Raises:
        InputError: a model that doesn't grow pictures, a label or a style that it doesn't have.
    """

    _esm = live.module()
    file = traitlets.Bytes(b"").tag(sync=True)  # of the model
    directions = traitlets.List().tag(sync=True)  # of style, for sliders: {"name", "axis"}
    label = traitlets.Int(0).tag(sync=True)  # of the selected digit
    style_values = traitlets.List(traitlets.Float()).tag(sync=True)  # of all digits
    from_python = traitlets.Dict().tag(sync=True)  # a state for the browser
    from_browser = traitlets.Dict().tag(sync=True)  # the state there

    def __init__(self, model: NCA | str = "unified", label=None, style: Tensor | None = None):
        self.model = model if isinstance(model, NCA) else load(model)
        task = task_of(self.model)
        if not task.from_seed:
            raise InputError(f"this model {task.does}: give one that grows pictures")
        first = self.model.trained_labels[0] if label is None else label
        super().__init__(
            file=pack_model(model) if self.model is model else resolve(model).read_bytes(),
            label=int(as_labels(first, self.model.spec.classes)[0]),
            directions=live.directions(self.model),
        )
        self.style = style

    @traitlets.validate("label")
    def _check_label(self, proposal) -> int:
        label, trained = proposal["value"], self.model.trained_labels
        if label not in trained:
            raise InputError(f"label {label}: this model was trained on {trained}")
        return label

    @property
    def style(self) -> Tensor:
        """The style of all digits, `[S]`; they change when it is set. None sets the mean style."""
        return torch.tensor(self.style_values)

    @style.setter
    def style(self, style: Tensor | None) -> None:
        length = self.model.config.style_dim
        style = torch.zeros(length) if style is None else style
        self.style_values = as_styles(style, 1, length, torch.empty(0))[0].tolist()

    @property
    def state(self) -> Tensor:
        """The cell state, `[1, C, H, W]`, at most two seconds old; a seed before it is shown."""
        if not self.from_browser:
            return self.model.seed()
        cells = torch.frombuffer(bytearray(self.from_browser["cells"]), dtype=torch.float32)
        return cells.view(1, -1, *self.from_browser["size"])

    def show(self, state: Tensor) -> None:
        """Put a cell state into the browser, `[1, C, H, W]` or `[C, H, W]`; it lives on there.

        Raises:
            InputError: a different shape.
        """
        state, channels = state if state.dim() == 4 else state[None], self.model.config.channels
        if state.dim() != 4 or state.shape[:2] != (1, channels):
            raise InputError(f"a state of shape {list(state.shape)}: want [1, {channels}, H, W]")
        cells = state.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
        number = self.from_python.get("number", 0) + 1  # the same state twice is shown twice
        self.from_browser = {"size": list(state.shape[2:]), "cells": cells}
        self.from_python = self.from_browser | {"number": number}

    def __repr__(self) -> str:
        return f"LiveDigit({self.model.spec.classes[self.label]})"

    def growths(self) -> tuple[Tensor, list[str]]:
        return ink_of(self.model.grow(self.label, self.style[None])), [""]
