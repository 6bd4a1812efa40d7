"""The README's animation: ten digits grow at once. `python tools/make_readme_gif.py RULE`."""

from __future__ import annotations

import sys
from pathlib import Path

from nca_lib.checkpoints import load
from nca_lib.data import Digits
from nca_lib.evaluation import redraw
from nca_lib.plots import save_gif

import torch

rule, labels = load(sys.argv[1]), torch.arange(10)
styles = torch.zeros(10, rule.config.style_dim)  # the average hand
blank = Digits(torch.zeros(10, 1, 28, 28), labels)
frames = redraw(rule, blank, tuple(range(1, 65)), styles=styles)[:, :, 0]  # [64, 10, 28, 28]
rows = [torch.cat(list(half), 2) for half in frames.split(5, 1)[0:2] for half in [half.unbind(1)]]
save_gif(torch.cat(rows, 1), Path("docs/growing.gif"), scale=4)
