"""The README's animations: digits grow, coloured pictures heal.

python tools/make_readme_gif.py RULE        ten digits at once
python tools/make_readme_gif.py RULE heal   all classes grow, lose a half, heal
"""

from __future__ import annotations

import sys
from pathlib import Path

from nca_lib.cells import erase, half_plane
from nca_lib.checkpoints import load
from nca_lib.plots import save_gif
from nca_lib.rule import NCA

import torch
from torch import Tensor

GROWS, HEALS, EVERY = 60, 96, 2  # steps; every second one is shown


def ten_digits(rule: NCA) -> Tensor:
    """In the average hand, five above five, `[64, 1, 1, 2 * H, 5 * W]`."""
    ink = rule.grow(list(range(10)), steps=64)[1:, :, :1]  # [64, 10, 1, H, W]
    rows = [torch.cat(half.unbind(1), 3) for half in ink.split(5, 1)]
    return torch.cat(rows, 2)[:, None]


@torch.inference_mode()
def healing(rule: NCA) -> Tensor:
    """Ink `[R, N, I, H, W]`: each class loses another half."""
    labels = range(len(rule.kind.classes))
    grown = rule.grow(list(labels), steps=GROWS)
    sides = ["right", "left", "bottom", "top"]
    regions = torch.stack([half_plane(sides[n % 4], rule.kind.size) for n in labels])
    hurt = erase(grown[-1], regions)
    record, genome = range(1, HEALS + 1), rule.genome(list(labels))
    healed = rule.rollout(hurt, genome, HEALS, 0, record, first_step=GROWS)
    still = [grown[-1:].repeat(8, 1, 1, 1, 1), hurt[None].repeat(8, 1, 1, 1, 1)]
    film = torch.cat([grown[::EVERY], *still, healed[::EVERY]])
    return film[:, :, : rule.kind.ink].clamp(0, 1)


rule = load(sys.argv[1])
if sys.argv[2:] == ["heal"]:
    save_gif(healing(rule), Path("docs/painting.gif"), scale=5, milliseconds=90)
else:
    save_gif(ten_digits(rule), Path("docs/growing.gif"), scale=4)
