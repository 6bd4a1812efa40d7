"""Pictures of what grows: `show` and `save_gif`; plots and widgets."""

from __future__ import annotations

import sys

from nca_lib.spec import ImageSpec
from nca_lib.visual.plots import growth_strip, ink_of, save_gif

from torch import Tensor

__all__ = ["save_gif", "show"]


def show(frames: Tensor, spec: ImageSpec | None = None, names: list[str] | None = None):
    """Growths `[T + 1, B, C, H, W]` or `[T + 1, C, H, W]`, states or pictures, with their names.

    In a notebook it is a player with a slider, elsewhere a film strip (a matplotlib `Figure`).
    What `NCA.grow` returns needs no spec; other cell states without one are an InputError.
    """
    spec = spec or getattr(frames, "spec", None)
    frames = frames if frames.dim() == 5 else frames[:, None]  # a view has no spec
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is None:
        return growth_strip(ink_of(frames, spec), names or [""] * frames.shape[1])
    from nca_lib.visual.widgets import GrowthPlayer  # elsewhere nobody needs ipywidgets

    return GrowthPlayer(frames.unbind(1), names, spec)
