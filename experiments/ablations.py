"""What is each part of the training worth? One change at a time, a small budget, a few seeds.

Each variant has the best of three learning rates (`common.try_rates`).

python experiments/ablations.py          # 3 seeds on the embedded sample
"""

from __future__ import annotations

from dataclasses import replace

from nca_lib.dataset import Dataset
from nca_lib.training.presets import PRESETS
from nca_lib.training.pretraining import initial_rule

from common import Results, learn, open_digits, options, try_rates
from figures import draw_ablations

BASE = "everything"
RULE = replace(PRESETS["quick"].rule, hidden=128)
VARIANTS = {  # changes of the rule, changes of the training
    BASE: ({}, {}),
    "loss at the last step only": ({}, {"loss_steps": (32,), "loss_weights": (1.0,)}),
    "no pool": ({}, {"pool_share": 0.0}),
    "no wounds": ({}, {"damage_share": 0.0}),
    "no places": ({}, {"place_weight": 0.0}),
    "neither places nor anchor": ({}, {"place_weight": 0.0, "anchor_weight": 0.0}),
    "no critic": ({}, {"critic_weight": 0.0}),
    "no label": ({}, {}),
    "no style": ({"style_dim": 0}, {}),
    "all nine neighbours": ({"perception": "patch"}, {}),
    "fire rate 1": ({"fire_rate": 1.0}, {}),
}


def run(variant: str, data: Dataset, seed: int, rate: float, iterations: int) -> dict:
    changed_rule, changed_training = VARIANTS[variant]
    rule = initial_rule(replace(RULE, **changed_rule), seed)
    if variant == "no label":  # cells and encoder are told nothing: their tables stay zero
        for table in (rule.genome.labels, rule.encoder.label):
            table.weight.requires_grad_(False).zero_()
    return learn(rule, data, seed, rate, iterations, **changed_training)


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
