"""The live rule: the rule running in the reader's browser, in a notebook or on a page.

`rule.js` computes a step, `flow.js` bends styles, `encoder.js` infers them; `world.js` holds digits
that live together, `stage.js` draws them and listens to the pointer, `pad.js` is written on, and
`live.js` is the page.
`player.js` shows growths that were recorded.
"""

from __future__ import annotations

import re
from importlib.resources import files

from nca_lib.cells import INK, seed_state
from nca_lib.rule import NCA

import torch
from torch import Tensor

OWN_IMPORT = re.compile(r'^import [^;]*? from "\./([\w.]+)";\n', re.M)
FEATURES = ("slant", "weight", "width")


def module(*parts: str) -> str:
    """The parts (default: the live rule) and what they import, as one ES module without imports.

    A notebook's widget and a page opened as a file can't import a second file.
    """
    texts: dict[str, str] = {}

    def take(part: str) -> None:
        text = (files(__name__) / part).read_text(encoding="utf-8")
        for other in OWN_IMPORT.findall(text):
            if other not in texts:
                take(other)
        texts[part] = OWN_IMPORT.sub("", text)

    for part in parts or ("live.js",):
        take(part)
    return "\n".join(texts.values())


def features(ink: Tensor) -> Tensor:
    """Slant, weight and width of pictures `[N, H, W]`: `[N, 3]`, from the moments of their ink."""
    y, x = (torch.arange(float(side)) for side in ink.shape[1:])
    mass = ink.sum((1, 2)).clamp(min=1)
    rows, columns = ink.sum(2), ink.sum(1)  # [N, H], [N, W]
    middle_y, middle_x = (rows @ y) / mass, (columns @ x) / mass
    var_y = ((rows @ y.square()) / mass - middle_y.square()).clamp(min=1e-3)
    var_x = (columns @ x.square()) / mass - middle_x.square()
    both = (ink @ x @ y) / mass - middle_y * middle_x
    slant = -both / var_y
    width = (var_x - both.square() / var_y).clamp(min=1e-3).sqrt()  # of the picture put upright
    return torch.stack([slant, mass, width], 1)


def directions(rule: NCA) -> list[dict]:
    """Unit vectors in the space of styles along which one feature changes most: `name`, `axis`.

    They are the gradients of the features of digits in the average hand, one of each label, with
    respect to the style; averaged, and made orthogonal one after another. None for rules whose
    pictures are not handwriting: without styles, or in colour.
    """
    size, labels = rule.config.style_dim, list(rule.known)
    if size < len(FEATURES) or rule.kind.ink > 1 or rule.task != "grow":
        return []
    with torch.enable_grad():
        style = torch.zeros(len(labels), size, requires_grad=True)
        start = seed_state(len(labels), rule.config.channels, rule.kind.size, rule.kind.life)
        frames = rule.rollout(start, rule.genome(labels, style), rule.trained_steps, 0)
        drawn = features(frames[0, :, INK].clamp(0, 1)).sum(0)  # [3]
        slopes = [torch.autograd.grad(f, style, retain_graph=True)[0].mean(0) for f in drawn]
    axes, signs = torch.linalg.qr(torch.stack(slopes, 1))
    axes = axes * (1 - 2.0 * (signs.diagonal() < 0))  # [S, 3]; a step along one adds to its feature
    return [
        {"name": name, "axis": [round(v, 3) for v in axis.tolist()]}
        for name, axis in zip(FEATURES, axes.T, strict=True)
    ]
