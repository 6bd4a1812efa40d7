"""A canvas four times as large, four seeds: the rule was never told how large its world is.

python experiments/canvas.py             # the shipped unified rule; writes results/canvas.png
"""

from __future__ import annotations

from nca_lib import load
from nca_lib.cells import INK, SIZE, seed_state
from nca_lib.evaluation import read_by_judge
from nca_lib.judge import load_judge
from nca_lib.plots import new_figure, save_figure, show_digit
from nca_lib.rule import NCA

import torch
from common import options, rounded, save_results

STYLES = 100  # canvases of each label


def grow_canvases(rule: NCA, labels: torch.Tensor, styles: torch.Tensor, steps: int):
    """Ink `[N, 56, 56]`: a seed in the middle of each quarter, all told the same genome."""
    seed = seed_state(1, rule.config.channels)  # [1, C, 28, 28]
    state = seed.tile(len(labels), 1, 2, 2)  # [N, C, 56, 56]
    genome = rule.genome(labels, styles)
    with torch.inference_mode():
        return rule.rollout(state, genome, steps, torch.arange(len(labels)))[-1, :, INK]


def quarters(ink: torch.Tensor) -> torch.Tensor:
    """`[N, 56, 56]` -> `[4N, 1, 28, 28]`"""
    return ink.unfold(1, SIZE, SIZE).unfold(2, SIZE, SIZE).reshape(-1, 1, SIZE, SIZE)


def main() -> None:
    arguments = options(__doc__)
    rule, judge = load("unified"), load_judge()
    steps = rule.trained_steps
    labels = torch.arange(10).repeat_interleave(STYLES)
    generator = torch.Generator().manual_seed(0)
    styles = torch.randn(len(labels), rule.config.style_dim, generator=generator)
    results = {"canvases": len(labels), "weights": rule.record["sha256"]}
    for name, count in (("trained", steps), ("twice", 2 * steps)):
        ink = grow_canvases(rule, labels, styles, count).clamp(0, 1)
        read, _ = read_by_judge(judge, quarters(ink))
        right = (read.view(-1, 4) == labels[:, None]).double()
        results |= rounded(
            {
                f"judge_accuracy_{name}": right.mean().item(),
                f"all_four_{name}": right.all(1).double().mean().item(),
            }
        )
    print(results)
    save_results(results, arguments.results / "canvas.json")
    caption = "One canvas of 56 x 56 cells a label; every quarter starts from one cell of its own."
    figure = new_figure(8, 3.8, "Four seeds on a larger canvas", caption)
    for axes, label in zip(figure.subplots(2, 5).flat, range(10), strict=True):
        show_digit(axes, ink[label * STYLES])
    save_figure(figure, arguments.results / "canvas.png")


if __name__ == "__main__":
    main()
