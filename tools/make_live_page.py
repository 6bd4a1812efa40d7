"""The live rule as one page that needs nothing else: `python tools/make_live_page.py`.

It writes docs/live.html: page.html with the live rule's module and the unified rule's file inside,
and the directions in the space of styles that change slant, weight and width.
"""

from __future__ import annotations

import base64
import json
import sys
from importlib.resources import files
from pathlib import Path

import nca_lib
from nca_lib import live
from nca_lib.cells import INK, seed_state
from nca_lib.checkpoints import resolve, write_atomically
from nca_lib.rule import NCA

import torch
from torch import Tensor

PAGE = Path(__file__).resolve().parents[1] / "docs" / "live.html"
MOST = 500_000  # bytes of the page
FEATURES = ("slant", "weight", "width")
DRAWN = 256  # styles of each label that the directions are found from


def features(ink: Tensor) -> Tensor:
    """Slant, weight and width of pictures `[N, H, W]`: `[N, 3]`, from the moments of their ink."""
    y, x = (torch.arange(float(side)) for side in ink.shape[1:])
    mass = ink.sum((1, 2))
    rows, columns = ink.sum(2), ink.sum(1)  # [N, H], [N, W]
    middle_y, middle_x = (rows @ y) / mass, (columns @ x) / mass
    var_y = (rows @ y.square()) / mass - middle_y.square()
    var_x = (columns @ x.square()) / mass - middle_x.square()
    both = (ink @ x @ y) / mass - middle_y * middle_x
    slant = -both / var_y
    width = (var_x - both.square() / var_y).clamp(min=0).sqrt()  # of the picture put upright
    return torch.stack([slant, mass, width], 1)


@torch.inference_mode()
def directions(rule: NCA) -> list[dict]:
    """Unit vectors in the space of styles, along which one feature changes most: `name`, `axis`.

    For each label the features of digits in random styles are regressed on the styles; the slopes
    are averaged, and made orthogonal one after another.
    """
    size, labels = rule.config.style_dim, range(10)
    slopes = torch.zeros(size, len(FEATURES))
    for label in labels:
        generator = torch.Generator().manual_seed(label)
        styles = torch.randn(DRAWN, size, generator=generator)
        genome = rule.genome([label] * DRAWN, styles)
        start = seed_state(DRAWN, rule.config.channels)
        ink = rule.rollout(start, genome, rule.trained_steps, label)[0][:, INK].clamp(0, 1)
        values = features(ink)
        values = (values - values.mean(0)) / values.std(0)
        slopes += torch.linalg.lstsq(styles, values).solution / len(labels)
    axes, signs = torch.linalg.qr(slopes)
    axes = axes * signs.diagonal().sign()  # [S, 3]; a step along an axis adds to its feature
    return [
        {"name": name, "axis": [round(v, 4) for v in axis.tolist()]}
        for name, axis in zip(FEATURES, axes.T, strict=True)
    ]


def make_page(rule_name: str = "unified") -> str:
    """The text of the page."""
    content, rule = resolve(rule_name).read_bytes(), nca_lib.load(rule_name)
    fills = {
        "size": f"{rule.rule_parameters:,}",
        "rule": base64.b64encode(content).decode(),
        "directions": json.dumps(directions(rule)),
        "module": live.module(),
    }
    text = (files("nca_lib") / "live" / "page.html").read_text(encoding="utf-8")
    for name, fill in fills.items():
        assert "</script" not in fill, f"{name} would end its script"
        text = text.replace(f"{{{{{name}}}}}", fill)
    return text


if __name__ == "__main__":
    page = make_page(*sys.argv[1:]).encode()
    if len(page) > MOST:
        sys.exit(f"the page has {len(page):,} bytes, more than {MOST:,}: it was not written")
    write_atomically(PAGE, page)
    print(f"{PAGE}: {len(page):,} bytes")
