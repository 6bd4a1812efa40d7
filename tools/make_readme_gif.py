"""The README's animations: digits grow, and coloured pictures heal.

python tools/make_readme_gif.py MODEL        ten digits at once
python tools/make_readme_gif.py MODEL heal   all classes grow, lose a half, and heal
"""

from __future__ import annotations

import sys

import nca_lib as nca
from nca_lib.masks import erase, half_plane

import torch
from torch import Tensor

GROWTH, HEALING, EVERY = 60, 96, 2  # steps; every second one is shown


def ten_digits(model: nca.NCA) -> Tensor:
    """Ink in the mean style, five digits above five, `[64, 1, 1, 2 * H, 5 * W]`."""
    ink = model.grow(range(10), steps=64)[1:, :, :1]  # [64, 10, 1, H, W]
    rows = [torch.cat(half.unbind(1), 3) for half in ink.split(5, 1)]
    return torch.cat(rows, 2)[:, None]


@torch.no_grad()
def healing(model: nca.NCA) -> Tensor:
    """States `[R, N, C, H, W]`: each class loses a different half."""
    labels = list(range(len(model.spec.classes)))
    grown, sides = model.grow(labels, steps=GROWTH), ["right", "left", "bottom", "top"]
    regions = torch.stack([half_plane(sides[n % 4], model.spec.size) for n in labels])
    damaged, record_steps = erase(grown[-1], regions), range(1, HEALING + 1)
    condition = model.condition(labels)
    healed = model.rollout(damaged, condition, HEALING, 0, record_steps, first_step=GROWTH)
    still = [grown[-1:].repeat(8, 1, 1, 1, 1), damaged[None].repeat(8, 1, 1, 1, 1)]
    return torch.cat([grown[::EVERY], *still, healed[::EVERY]])


if __name__ == "__main__":
    model = nca.load(sys.argv[1])
    if sys.argv[2:] == ["heal"]:
        frames = healing(model)
        nca.save_gif(frames, "docs/painting.gif", model.spec, scale=5, milliseconds=90)
    else:
        nca.save_gif(ten_digits(model), "docs/growing.gif", scale=4)
