"""How large must a rule be? The same training for rules of 3,000 to 60,000 numbers.

Each size has the best of three learning rates (`common.try_rates`).

python experiments/size.py               # 3 seeds on the embedded sample
"""

from __future__ import annotations

from dataclasses import replace

from nca_lib.dataset import Dataset
from nca_lib.training.presets import PRESETS
from nca_lib.training.pretraining import initial_rule

from common import Results, learn, open_digits, options, try_rates
from figures import draw_sizes

WIDTHS = (24, 48, 96, 192, 384, 512)  # of the hidden layer


def run(width: int, data: Dataset, seed: int, rate: float, iterations: int) -> dict:
    rule = initial_rule(replace(PRESETS["quick"].rule, hidden=width), seed)
    return learn(rule, data, seed, rate, iterations)


def main() -> None:
    arguments = options(__doc__, iterations=1500)
    data, count = open_digits(arguments.data_root), arguments.iterations
    results = Results(arguments.results / "size.jsonl")
    for width in WIDTHS:
        try_rates(
            results, f"hidden {width}", arguments.seeds,
            lambda seed, rate, width=width: run(width, data, seed, rate, count),
        )  # fmt: skip
    names = [f"hidden {width}" for width in WIDTHS]
    draw_sizes(results, names, arguments.results / "size.png")


if __name__ == "__main__":
    main()
