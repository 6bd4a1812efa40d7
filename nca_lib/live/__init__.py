"""The live model: a model running in the reader's browser, in a notebook or on a page.

`model.js` and `grid.js` compute a step, `encoder.js` infers styles, `world.js` holds digits that
live together, `stage.js` draws them. `pad.js` is written on, `upload.js` takes pictures, and
`photo.js`, `filters.js` and `prepare.js` bring both into MNIST's form. `panel.js` has the
controls, `live.js` is the whole. `player.js` shows growths that were recorded.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files

from nca_lib.model import NCA

import torch
from torch import Tensor

IMPORT = re.compile(r'^import [^;]*? from "\./([\w.]+)";\n', re.M)
FEATURES = ("slant", "weight", "width")


def module(*parts: str) -> str:
    """The parts (default: the live model) and what they import, as one ES module without imports.

    A notebook's widget and a page opened as a file can't import a second file.
    """
    texts: dict[str, str] = {}

    def take(part: str) -> None:
        text = (files(__name__) / part).read_text(encoding="utf-8")
        for imported in IMPORT.findall(text):
            if imported not in texts:
                take(imported)
        css = part.endswith(".css")
        texts[part] = f"const CSS = {json.dumps(text)};" if css else IMPORT.sub("", text)

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


def directions(model: NCA) -> list[dict]:
    """Unit vectors in the space of styles along which one feature changes most: `name`, `axis`.

    They are the gradients of the features with respect to the style, at the mean style, averaged
    over the labels and made orthogonal one after another. None for models whose pictures are not
    handwriting: without styles, or in colour.
    """
    size, labels = model.config.style_dim, model.trained_labels
    if size < len(FEATURES) or model.spec.channels > 1:
        return []
    with torch.enable_grad():
        style = torch.zeros(len(labels), size, requires_grad=True)
        state = model(model.seed(len(labels)), model.condition(labels, style))
        drawn = features(state[:, 0].clamp(0, 1).cpu()).sum(0)  # [3]
        slopes = [torch.autograd.grad(f, style, retain_graph=True)[0].mean(0) for f in drawn]
    axes, signs = torch.linalg.qr(torch.stack(slopes, 1))
    axes = axes * (1 - 2.0 * (signs.diagonal() < 0))  # [S, 3]; a step along one adds to its feature
    rounded = [[round(value, 3) for value in axis] for axis in axes.T.tolist()]
    return [{"name": name, "axis": axis} for name, axis in zip(FEATURES, rounded, strict=True)]
