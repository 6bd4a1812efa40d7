"""Figures in one look: dark ink on light paper, readable in grey and by the colour-blind.

A picture is `[H, W]` (the ink of a digit) or `[I, H, W]`: grey, colour, or colour with opacity.
"""

from __future__ import annotations

import io
from pathlib import Path

from nca_lib.checkpoint import write_atomically
from nca_lib.inputs import InputError
from nca_lib.spec import ImageSpec
from nca_lib.training.tasks import votes

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image
from torch import Tensor

LOOK = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
    "axes.titleweight": "bold", "lines.linewidth": 1.6,
}  # fmt: skip
DPI = 110  # of figures on the screen and in the README
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"  # Okabe and Ito (2008)
LINES = ("-", "--", ":", "-.")
# Ten colours that also people who see few colours can tell apart (Petroff, 2021), reordered.
VOTES = (
    "#717581", "#ffa90e", "#7fd1d8", "#bd1f01", "#832db6",
    "#a96b59", "#b9ac70", "#000000", "#3f90da", "#e76300",
)  # fmt: skip


class Sheet(Figure):
    """A figure whose axes have our look, whatever the reader's settings are."""

    def subplots(self, *args, **kwargs):
        with rc_context(LOOK):
            return super().subplots(*args, **kwargs)


def plain(text: str) -> str:
    """Text that matplotlib takes for no formula, whatever a class or a file is called."""
    return text.replace("$", r"\$")


def new_figure(width: float, height: float, title: str, caption: str = "") -> Figure:
    """An empty figure, in inches, with a title above and a caption below."""
    figure = Sheet(figsize=(width, height), layout="constrained", dpi=DPI)
    figure.suptitle(plain(title), fontsize=11, fontweight="bold")
    if caption:
        figure.supxlabel(caption, fontsize=8, color=GREY)
    return figure


def legend(axes: Axes, **where) -> None:
    """A legend without a frame."""
    axes.legend(frameon=False, fontsize=8, **where)


def in_percent(axes: Axes, decimals: int = 0) -> None:
    """Label the y axis, which shows fractions, in per cent."""
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals))


def ink_of(frames: Tensor, spec: ImageSpec | None = None) -> Tensor:
    """The ink in [0, 1] of cell states or pictures: `[..., C, H, W]` -> `[..., I, H, W]`.

    `NCA.grow` sets `frames.spec`. Without a spec, frames of 1, 3 or 4 channels are pictures, and
    all others an InputError.
    """
    spec, channels = spec or getattr(frames, "spec", None), frames.shape[-3]
    if spec is None and channels not in (1, 3, 4):
        raise InputError(f"these are cell states of {channels} channels: pass spec=model.spec")
    ink = channels if spec is None else spec.channels
    return frames[..., :ink, :, :].detach().clamp(0, 1).cpu()


def vote_colours(states: Tensor, spec: ImageSpec) -> Tensor:
    """Votes of self-classifying cells `[N, C, H, W]` as colours, opaque as ink: `[N, 4, H, W]`."""
    table = states.new_tensor(to_rgba_array(VOTES)[:, :3])  # [10, 3]
    chosen = votes(states, spec).argmax(1) % len(table)  # [N, H, W]
    opacity = states[:, : spec.channels].amax(1, keepdim=True).clamp(0, 1)
    return torch.cat([table[chosen].movedim(-1, 1), opacity], 1)


def on_paper(ink: Tensor) -> Tensor:
    """Ink `[..., I, H, W]` as it looks on white paper: `[..., H, W]` grey or `[..., H, W, 3]`.

    One channel is dark ink. Colours with opacity are premultiplied by it: paper shows through.
    """
    ink = ink.detach().clamp(0, 1).cpu()
    if ink.shape[-3] not in (1, 3, 4):
        raise InputError(f"pictures of {ink.shape[-3]} channels can't be drawn: 1, 3 or 4 can")
    if ink.shape[-3] == 1:
        return 1 - ink[..., 0, :, :]
    colours = ink[..., :3, :, :]
    if ink.shape[-3] == 4:
        colours = (colours + 1 - ink[..., 3:, :, :]).clamp(0, 1)
    return colours.movedim(-3, -1)


def progress_picture(ink: Tensor, columns: int = 10, scale: int = 3) -> Image.Image:
    """Pictures `[N, I, H, W]` in rows, quick to draw, with `scale` screen pixels a cell."""
    columns = min(columns, len(ink))
    lacking = ink.new_zeros(-len(ink) % columns, *ink.shape[1:])
    shown = on_paper(torch.cat([ink, lacking]))  # [R * K, H, W] or [R * K, H, W, 3]
    rows = shown.unflatten(0, (-1, columns)).transpose(1, 2)  # [R, H, K, W] or [..., 3]
    table = rows.flatten(2, 3).flatten(0, 1)  # [R * H, K * W]
    image = Image.fromarray((255 * table).round().byte().numpy())
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def show_digit(axes: Axes, picture: Tensor, title: str = "") -> None:
    """One picture, `[H, W]` or `[I, H, W]`, in a thin frame."""
    shown = on_paper(picture.reshape(-1, *picture.shape[-2:]))
    axes.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(plain(title), fontsize=7, fontweight="normal", pad=2)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="#cccccc")


def draw_rows(rows: list[tuple], title: str, caption: str = "") -> Figure:
    """Rows of pictures: each has a name, pictures `[N, H, W]` or `[N, I, H, W]`, and N headings."""
    columns = max(len(pictures) for _, pictures, _ in rows)
    height = 0.5 + 0.95 * len(rows) + (0.2 if caption else 0)
    figure = new_figure(max(4.5 if caption else 3.2, columns * 0.85), height, title, caption)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, pictures, headings) in zip(axes, rows, strict=True):
        for ax, picture, heading in zip(line, pictures, headings, strict=False):
            show_digit(ax, picture, heading)
        for ax in line[len(pictures) :]:
            ax.axis("off")
        line[0].set_ylabel(plain(name), fontsize=8)
    return figure


def compare(originals: Tensor, grown: Tensor, title: str, caption: str = "") -> Figure:
    """Originals above grown pictures, both `[N, H, W]` or `[N, I, H, W]`, with pixel accuracy."""
    right = ((originals > 0.5) == (grown > 0.5)).flatten(1).float().mean(1)
    rows = []
    for first, second, share in zip(*(x.split(10) for x in (originals, grown, right)), strict=True):
        rows.append(("original", first, [""] * len(first)))
        rows.append(("grown", second, [f"{value:.1%}" for value in share]))
    return draw_rows(rows, title, caption)


def film_strip(frames: Tensor, steps: list, title: str, caption: str = "") -> Figure:
    """One growth, `[R, H, W]` or `[R, I, H, W]`; `steps` has the step or name of each picture."""
    return film_strips({"": frames}, steps, title, caption)


def film_strips(rows: dict[str, Tensor], steps: list, title: str, caption: str = "") -> Figure:
    """Several growths with their names, each as in `film_strip`, one below the other."""
    headings = [step if isinstance(step, str) else f"step {step}" for step in steps]
    lines = [(name, frames, [""] * len(steps)) for name, frames in rows.items()]
    return draw_rows([(*lines[0][:2], headings), *lines[1:]], title, caption)


def growth_strip(ink: Tensor, names: list[str], title: str = "") -> Figure:
    """Growths `[T + 1, N, I, H, W]`, a row for each name, at up to nine steps."""
    if len(names) != ink.shape[1]:
        raise InputError(f"{len(names)} names for {ink.shape[1]} growths: give one for each")
    steps = np.unique(np.linspace(0, len(ink) - 1, 9).round().astype(int)).tolist()
    headings = [f"step {step}" for step in steps]
    rows = zip(names, ink[steps].unbind(1), [headings] * len(names), strict=True)
    return draw_rows(list(rows), title)


def smooth(values: list[float], width: int = 5) -> np.ndarray:
    """Mean over a sliding window that shrinks at the ends."""
    width = min(width, len(values))
    padded = np.convolve(values, np.ones(width), "same")
    return padded / np.convolve(np.ones(len(values)), np.ones(width), "same")


def learning_curves(logs: dict[str, list[dict]]) -> Figure:
    """Error of the ink against the iteration, one line per training run."""
    figure = new_figure(6.5, 3.6, "Learning curves", "Lower is better. Smoothed a little.")
    ax = figure.subplots()
    for name, log in logs.items():
        one = name.startswith(("digit-", "class-"))  # a model of one class
        options = {"color": GREY, "lw": 0.7} if one else {"label": plain(name)}
        error = smooth([entry["ink"] for entry in log])
        ax.plot([entry["iteration"] for entry in log], error, **options)
    ax.set(yscale="log", xlabel="training iteration", ylabel="squared error of the ink")
    legend(ax)
    return figure


def accuracy_by_step(results: dict) -> Figure:
    """Pixel accuracy along the growth, with the length of training rollouts and the baselines."""
    caption = "Right of the dotted line the model runs longer than in training."
    figure = new_figure(6.5, 3.6, "Accuracy against step", caption)
    ax = figure.subplots()
    steps, values = zip(*results["accuracy_by_step"], strict=True)
    ax.plot(steps, values, color=BLUE, label="this model")
    ax.axvline(results["steps"], color=GREY, ls=":", label="steps in training")
    for name, line in ("class_pca", "--"), ("class_mean", "-."), ("black", ":"):
        value, label = results["baselines"][name]["pixel_accuracy"], name.replace("_", " ")
        ax.axhline(value, color=ORANGE, ls=line, lw=1, label=label)
    ax.set(xlabel="step of the growth", ylabel="pixel accuracy")
    in_percent(ax)
    legend(ax, loc="center right", bbox_to_anchor=(1, 0.6))
    return figure


def per_digit_bars(results: dict) -> Figure:
    """Ink IoU and classifier accuracy of each class; without a classifier the ink IoU alone."""
    caption = "Ink IoU: ink in both pictures over ink in either. The classifier saw real ones only."
    figure = new_figure(6.5, 3.2, "Class by class", caption)
    ax, rows = figure.subplots(), results["per_digit"]
    x, bars = np.arange(len(rows)), {"width": 0.38, "edgecolor": "white"}
    ax.bar(x - 0.2, [row["ink_iou"] for row in rows.values()], color=BLUE, label="ink IoU", **bars)
    right = [row["classifier_accuracy"] or 0.0 for row in rows.values()]  # no classifier, no bar
    ax.bar(x + 0.2, right, color=ORANGE, hatch="//", label="classifier accuracy", **bars)
    ax.set(xticks=x, xticklabels=list(map(plain, rows)), xlabel="class", ylim=(0, 1.05))
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def png_of(picture: Figure | Image.Image) -> bytes:
    """A figure or an image as a PNG."""
    content = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(content, format="png")
    else:
        picture.save(content, format="PNG", optimize=True)
    return content.getvalue()


def save_figure(picture: Figure | Image.Image, path: Path) -> None:
    """Write a figure or an image as a PNG, whole or not at all."""
    write_atomically(path, png_of(picture))


def save_gif(
    frames: Tensor,
    path: Path | str,
    spec: ImageSpec | None = None,
    scale: int = 8,
    milliseconds: int = 80,
) -> None:
    """Write an endless animation of the ink, which rests on its last picture.

    Args:
        frames: states or pictures `[T + 1, C, H, W]`, or `[T + 1, B, C, H, W]` side by side.
        spec: not needed for what `NCA.grow` returns; see `ink_of`.
        scale: screen pixels a cell.

    Raises:
        InputError: cell states without a spec; a file that can't be written.
    """
    ink = ink_of(frames, spec)
    ink = ink if ink.dim() == 5 else ink[:, None]
    colours = 16 if ink.shape[2] == 1 else 128
    first, *rest = (progress_picture(row, scale=scale).quantize(colours) for row in ink)
    content, durations = io.BytesIO(), [milliseconds] * len(rest) + [1500]
    first.save(
        content, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0,
        optimize=True,
    )  # fmt: skip
    write_atomically(path, content.getvalue())
