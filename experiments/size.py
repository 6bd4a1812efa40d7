"""How large must a model be? The same training for 3,000 to 66,000 parameters.

Each size gets the best of three learning rates (`rows.try_rates`).

python experiments/size.py               # 3 seeds on the embedded sample
"""

from __future__ import annotations

from dataclasses import replace

from nca_lib.data import Dataset
from nca_lib.spec import MNIST
from nca_lib.training.presets import PRESETS
from nca_lib.training.pretrain import initial_model

from common import learn, open_digits, options
from figures import draw_sizes
from rows import Results, try_rates

WIDTHS = (24, 48, 96, 192, 384, 512)  # of the hidden layer


def run(width: int, data: Dataset, seed: int, rate: float, iterations: int) -> dict:
    model = initial_model(MNIST, replace(PRESETS["quick"].model, hidden=width), seed)
    return learn(model, data, seed, rate, iterations)


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
