"""What is each part of training worth? One change at a time, a small budget, a few seeds.

Each variant gets the best of three learning rates (`rows.try_rates`).

python experiments/ablations.py          # 3 seeds on the embedded sample
"""

from __future__ import annotations

from dataclasses import replace

from nca_lib.data import Dataset
from nca_lib.spec import MNIST
from nca_lib.training.presets import PRESETS
from nca_lib.training.pretrain import initial_model

from common import learn, open_digits, options
from figures import draw_ablations
from rows import Results, try_rates

BASE = "everything"
MODEL = replace(PRESETS["quick"].model, hidden=128)
VARIANTS = {  # changes of the model, changes of the training
    BASE: ({}, {}),
    "loss at the last step only": ({}, {"loss_steps": (32,)}),
    "no pool": ({}, {"pool_share": 0.0}),
    "no damage": ({}, {"damage": 0.0}),
    "no positional channels": ({}, {"position_weight": 0.0}),
    "neither origin nor positional channels": (
        {},
        {"position_weight": 0.0, "origin_weight": 0.0},
    ),
    "no perceptual loss": ({}, {"perceptual_weight": 0.0}),
    "no label": ({}, {}),
    "no style": ({"style_dim": 0}, {}),
    "all nine neighbours": ({"perception": "patch"}, {}),
    "fire rate 1": ({"fire_rate": 1.0}, {}),
}


def run(variant: str, data: Dataset, seed: int, rate: float, iterations: int) -> dict:
    changed_model, changed_training = VARIANTS[variant]
    model = initial_model(MNIST, replace(MODEL, **changed_model), seed)
    if variant == "no label":  # the label tables of conditioning and encoder stay zero
        for table in (model.conditioning.labels, model.encoder.label):
            table.weight.requires_grad_(False).zero_()
    return learn(model, data, seed, rate, iterations, **changed_training)


def main() -> None:
    arguments = options(__doc__)
    data, count = open_digits(arguments.data_root), arguments.iterations
    results = Results(arguments.results / "ablations.jsonl")
    for variant in VARIANTS:
        try_rates(
            results, variant, arguments.seeds,
            lambda seed, rate, variant=variant: run(variant, data, seed, rate, count),
        )  # fmt: skip
    draw_ablations(results, list(VARIANTS), arguments.results / "ablations.png")


if __name__ == "__main__":
    main()
