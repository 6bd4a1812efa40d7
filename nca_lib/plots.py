"""Pictures: one look for all. Dark ink on light paper, readable in grey and by the colour-blind.

A picture is `[H, W]` (ink of a digit) or `[I, H, W]`: grey, colour, or colour with opacity.
"""

from __future__ import annotations

import io
from pathlib import Path

from nca_lib.checkpoints import write_atomically
from nca_lib.kinds import MNIST, Kind
from nca_lib.reading import votes

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
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "lines.linewidth": 1.6,
}
DPI = 110  # of figures on the screen and in the README
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"  # Okabe and Ito (2008)
LINES = ("-", "--", ":", "-.")
RANGE = {"vmin": 0, "vmax": 1, "interpolation": "nearest"}  # cells stay cells


class Sheet(Figure):
    """A matplotlib figure whose axes have our look, whatever the settings of whoever draws."""

    def subplots(self, *args, **kwargs):
        with rc_context(LOOK):
            return super().subplots(*args, **kwargs)


def new_figure(width: float, height: float, title: str, caption: str = "") -> Figure:
    """An empty figure, in inches, with a title above and a caption below."""
    figure = Sheet(figsize=(width, height), layout="constrained", dpi=DPI)
    figure.suptitle(title, fontsize=11, fontweight="bold")
    if caption:
        figure.supxlabel(caption, fontsize=8, color=GREY)
    return figure


def legend(axes: Axes, **where) -> None:
    """A legend without a frame."""
    axes.legend(frameon=False, fontsize=8, **where)


def in_percent(axes: Axes, decimals: int = 0) -> None:
    """Label the y axis, which shows shares, in per cent."""
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals))


def on_paper(ink: Tensor) -> Tensor:
    """What is seen of ink `[..., I, H, W]` on white paper: `[..., H, W]` grey or `[..., H, W, 3]`.

    One channel is dark ink. Colours that come with opacity are premultiplied by it, so the paper
    shows through with what is left.
    """
    ink = ink.detach().clamp(0, 1).cpu()
    if ink.shape[-3] == 1:
        return 1 - ink[..., 0, :, :]
    colours = ink[..., :3, :, :]
    if ink.shape[-3] == 4:
        colours = (colours + 1 - ink[..., 3:, :, :]).clamp(0, 1)
    return colours.movedim(-3, -1)


def side_by_side(pictures: Tensor) -> Tensor:
    """A table of pictures `[R, K, I, H, W]` as one, on paper: `[R * H, K * W]`, or colours."""
    shown = on_paper(pictures)  # [R, K, H, W] or [R, K, H, W, 3]
    return shown.transpose(1, 2).flatten(2, 3).flatten(0, 1)


def show_digit(axes: Axes, picture: Tensor, title: str = "") -> None:
    """One picture, `[H, W]` or `[I, H, W]`, in a thin frame."""
    picture = picture if picture.dim() == 3 else picture[None]
    axes.imshow(on_paper(picture).numpy(), cmap="gray", **RANGE)
    axes.set_title(title, fontsize=7, fontweight="normal", pad=2)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(visible=True, color="#cccccc")


def compare(originals: Tensor, grown: Tensor, title: str, caption: str = "") -> Figure:
    """Originals above grown pictures, both `[N, H, W]` or `[N, I, H, W]`, with the accuracy."""
    right = ((originals > 0.5) == (grown > 0.5)).flatten(1).float().mean(1)
    columns = min(10, len(originals))
    rows = -(-len(originals) // columns)
    width = max(columns * 0.78 + 0.3, 4.5 if caption else 0)
    figure = new_figure(width, rows * 1.75 + 0.6, title, caption)
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for ax in axes.flat[2 * len(originals) :]:
        ax.axis("off")
    for i in range(len(originals)):
        row, column = 2 * (i // columns), i % columns
        show_digit(axes[row, column], originals[i])
        show_digit(axes[row + 1, column], grown[i], f"{right[i]:.1%}")
    for row in range(rows):
        axes[2 * row, 0].set_ylabel("original", fontsize=8)
        axes[2 * row + 1, 0].set_ylabel("grown", fontsize=8)
    return figure


def mosaic(
    pictures: Tensor,
    title: str,
    caption: str = "",
    rows: list | None = None,
    columns: list | None = None,
    down: str = "",
    across: str = "",
) -> Figure:
    """Many pictures, `[R, K, H, W]` or `[R, K, I, H, W]`, side by side and one below the other.

    Args:
        rows: a name for each row, on the left.
        columns: a name for each column, on top.
        down: what the rows are.
        across: what the columns are.
    """
    r, k, *_, height, width = pictures.shape
    pictures = pictures if pictures.dim() == 5 else pictures[:, :, None]
    figure = new_figure(0.5 * k + 0.5, 0.5 * r + 0.9, title, caption)
    ax = figure.subplots()
    ax.imshow(side_by_side(pictures).numpy(), cmap="gray", **RANGE)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set_xticks(range(width // 2, k * width, width) if columns else [], columns)
    ax.set_yticks(range(height // 2, r * height, height) if rows else [], rows)
    ax.tick_params(length=0)
    ax.set(xlabel=across, ylabel=down)
    for spine in ax.spines.values():
        spine.set(visible=True, color="#cccccc")
    return figure


def film_strip(frames: Tensor, steps: list, title: str, caption: str = "") -> Figure:
    """The growth, `[R, H, W]` or `[R, I, H, W]`, one for each of `steps` (or names)."""
    return film_strips({"": frames}, steps, title, caption)


def film_strips(rows: dict[str, Tensor], steps: list, title: str, caption: str = "") -> Figure:
    """Several growths, each `[R, H, W]` or `[R, I, H, W]`, one below the other, with names."""
    height = 0.5 + 0.95 * len(rows) + (0.2 if caption else 0)
    figure = new_figure(max(3.2, len(steps) * 0.85), height, title, caption)
    axes = figure.subplots(len(rows), len(steps), squeeze=False)
    for first, (line, (name, frames)) in enumerate(zip(axes, rows.items(), strict=True)):
        for ax, frame, step in zip(line, frames, steps, strict=True):
            above = step if isinstance(step, str) else f"step {step}"
            show_digit(ax, frame, "" if first else above)
        line[0].set_ylabel(name, fontsize=8)
    return figure


def smooth(values: list[float], width: int = 5) -> np.ndarray:
    """Mean over a sliding window that shrinks at the ends."""
    width = min(width, len(values))
    padded = np.convolve(values, np.ones(width), "same")
    return padded / np.convolve(np.ones(len(values)), np.ones(width), "same")


def learning_curves(logs: dict[str, list[dict]]) -> Figure:
    """Error of the ink against the iteration, a line for each training."""
    figure = new_figure(
        6.5, 3.6, "Learning curves", "Lower is better. Log scale, smoothed a little."
    )
    ax = figure.subplots()
    digits = [name for name in logs if name.startswith(("digit-", "class-"))]
    for name in digits:
        x = [e["iteration"] for e in logs[name]]
        label = f"{len(digits)} rules" if name == digits[0] else None
        ax.plot(x, smooth([e["ink"] for e in logs[name]]), color=GREY, lw=0.7, label=label)
    for name, colour, line in (
        ("unified", BLUE, "-"), ("restore", ORANGE, "--"), ("paint", BLUE, "-")
    ):  # fmt: skip
        if logs.get(name):
            x = [e["iteration"] for e in logs[name]]
            ax.plot(x, smooth([e["ink"] for e in logs[name]]), line, color=colour, label=name)
    ax.set(yscale="log", xlabel="training iteration", ylabel="squared error of the ink")
    legend(ax)
    return figure


def accuracy_by_step(results: dict) -> Figure:
    """Pixel accuracy along the growth, the training horizon marked, baselines beside it."""
    caption = "Right of the dotted line the rule runs longer than in a rollout of its training."
    figure = new_figure(6.5, 3.6, "Accuracy against step", caption)
    ax = figure.subplots()
    steps, values = zip(*results["accuracy_by_step"], strict=True)
    ax.plot(steps, values, color=BLUE, label="this rule")
    ax.axvline(results["steps"], color=GREY, ls=":", label="steps in training")
    rows = results["baselines"]
    for name, line in zip(("class_pca", "class_mean", "black"), ("--", "-.", ":"), strict=True):
        label = name.replace("_", " ")
        ax.axhline(rows[name]["pixel_accuracy"], color=ORANGE, ls=line, lw=1, label=label)
    ax.set(xlabel="step of the growth", ylabel="pixel accuracy")
    in_percent(ax)
    legend(ax, loc="center right", bbox_to_anchor=(1, 0.6))
    return figure


def per_digit_bars(results: dict) -> Figure:
    """Ink IoU and judge accuracy of each class; without a judge the ink IoU alone."""
    caption = "Ink IoU: ink in both pictures over ink in either. The judge learned from real ones."
    figure = new_figure(6.5, 3.2, "Class by class", caption)
    ax, rows = figure.subplots(), results["per_digit"]
    x = np.arange(len(rows))
    for shift, key, colour, hatch in (
        (-0.2, "ink_iou", BLUE, ""), (0.2, "judge_accuracy", ORANGE, "//"),
    ):  # fmt: skip
        values = [row[key] or 0.0 for row in rows.values()]  # no judge, no bar
        label = key.replace("_", " ").replace("iou", "IoU")
        ax.bar(x + shift, values, 0.38, color=colour, hatch=hatch, edgecolor="white", label=label)
    ax.set(xticks=x, xticklabels=list(rows), xlabel="class", ylim=(0, 1.05))
    legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(path, content.getvalue())
    return path


def progress_picture(ink: Tensor, columns: int = 10, scale: int = 3) -> Image.Image:
    """A mosaic of pictures `[N, I, H, W]`, small and quick to draw."""
    columns = min(columns, len(ink))
    lacking = ink.new_zeros(-len(ink) % columns, *ink.shape[1:])
    table = torch.cat([ink, lacking]).unflatten(0, (-1, columns))  # [R, K, I, H, W]
    image = Image.fromarray((255 * side_by_side(table)).byte().numpy())
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


# Ten colours that also people who see few colours can tell apart (Petroff, 2021), in another order.
VOTES = (
    "#717581", "#ffa90e", "#7fd1d8", "#bd1f01", "#832db6",
    "#a96b59", "#b9ac70", "#000000", "#3f90da", "#e76300",
)  # fmt: skip


def vote_colours(states: Tensor, kind: Kind = MNIST) -> Tensor:
    """What cells that read vote for, `[N, C, H, W]` -> red, green, blue, opacity `[N, 4, H, W]`.

    Each class has a colour of `VOTES`; a cell is as opaque as its ink.
    """
    table = states.new_tensor(to_rgba_array(VOTES)[:, :3])  # [10, 3]
    chosen = votes(states, kind).argmax(1) % len(table)  # [N, H, W]
    opacity = states[:, : kind.ink].amax(1, keepdim=True).clamp(0, 1)
    return torch.cat([table[chosen].movedim(-1, 1), opacity], 1)


def save_picture(image: Image.Image, path: Path) -> None:
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=True)
    write_atomically(path, content.getvalue())


def save_gif(frames: Tensor, path: Path, scale: int = 8, milliseconds: int = 80) -> None:
    """An endless animation of `[R, I, H, W]`, or `[R, N, I, H, W]` side by side; rests at last."""
    table = frames if frames.dim() == 5 else frames[:, None]
    colours = 16 if table.shape[2] == 1 else 128
    pictures = [progress_picture(row, 10, scale).quantize(colours) for row in table]
    content = io.BytesIO()
    durations = [milliseconds] * (len(pictures) - 1) + [1500]
    pictures[0].save(
        content, format="GIF", save_all=True, append_images=pictures[1:], duration=durations,
        loop=0, optimize=True,
    )  # fmt: skip
    write_atomically(path, content.getvalue())


def save_strip(frames: Tensor, path: Path, names: list[str], title: str) -> None:
    """A film strip of `[R, N, I, H, W]`, a row for each name, twelve frames of it at most."""
    steps = np.unique(np.linspace(0, len(frames) - 1, 12).round().astype(int)).tolist()
    rows = {name: frames[steps, place] for place, name in enumerate(names)}
    save_figure(film_strips(rows, steps, title), path)
