"""Four seeds on a grid four times as large as in training.

python experiments/canvas.py             # the shipped unified model; writes results/canvas.png
"""

from __future__ import annotations

from nca_lib import load
from nca_lib.classifier import load_classifier
from nca_lib.evaluation.metrics import classify
from nca_lib.model import NCA
from nca_lib.visual.plots import new_figure, save_figure, show_digit

import torch
from common import options, rounded, save_results
from torch import Tensor

STYLES = 100  # grids per label


@torch.inference_mode()
def grow_canvases(model: NCA, labels: Tensor, styles: Tensor, steps: int) -> Tensor:
    """Ink `[N, 1, 2 * H, 2 * W]`: a seed in the middle of each quarter, all of one condition."""
    state = model.seed(len(labels)).tile(1, 1, 2, 2)  # [N, C, 56, 56]
    condition = model.condition(labels, styles)
    return model(state, condition, steps, torch.arange(len(labels)))[:, : model.spec.channels]


def quarters(ink: Tensor) -> Tensor:
    """`[N, I, 2 * H, 2 * W]` -> `[4 * N, I, H, W]`"""
    rows = [row for half in ink.chunk(2, 2) for row in half.chunk(2, 3)]
    return torch.stack(rows, 1).flatten(0, 1)


def main() -> None:
    arguments = options(__doc__)
    model, classifier = load("unified"), load_classifier()
    labels = torch.arange(10).repeat_interleave(STYLES)
    generator = torch.Generator().manual_seed(0)
    styles = torch.randn(len(labels), model.config.style_dim, generator=generator)
    results = {"canvases": len(labels), "weights": model.metadata["sha256"]}
    for name, steps in (("trained", model.steps), ("twice", 2 * model.steps)):
        ink = grow_canvases(model, labels, styles, steps).clamp(0, 1)
        predicted, _ = classify(classifier, quarters(ink))
        right = (predicted.view(-1, 4) == labels[:, None]).double()
        results |= rounded({
            f"classifier_accuracy_{name}": right.mean().item(),
            f"all_four_{name}": right.all(1).double().mean().item(),
        })  # fmt: skip
    print(results)
    save_results(results, arguments.results / "canvas.json")
    caption = "One grid of 56 x 56 cells per label, with a seed cell in each quarter."
    figure = new_figure(8, 3.8, "Four seeds on a larger grid", caption)
    for axes, label in zip(figure.subplots(2, 5).flat, range(10), strict=True):
        show_digit(axes, ink[label * STYLES])
    save_figure(figure, arguments.results / "canvas.png")


if __name__ == "__main__":
    main()
