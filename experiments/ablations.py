"""What is each part of the training worth? One change at a time, a small budget, a few seeds.

python experiments/ablations.py          # 3 seeds on the embedded sample
"""

from __future__ import annotations

from dataclasses import replace

from nca_lib.dataset import Dataset
from nca_lib.rule import RuleConfig
from nca_lib.training.presets import PRESETS
from nca_lib.training.pretraining import initial_rule

from common import Results, open_digits, options, train_and_measure
from figures import draw_ablations

BASE = "everything, 12k numbers"
RULE = RuleConfig(hidden=128)
VARIANTS = {  # changes of the rule, changes of the training
    BASE: ({}, {}),
    "loss at the last step only": ({}, {"loss_steps": (32,), "loss_weights": (1.0,)}),
    "no pool": ({}, {"pool_share": 0.0}),
    "no damage": ({}, {"damage_share": 0.0}),
    "no label": ({}, {}),
    "no style": ({"style_dim": 0}, {}),
    "all nine neighbours": ({"perception": "patch"}, {}),
    "fire rate 1": ({"fire_rate": 1.0}, {}),
    "3k numbers": ({"hidden": 28}, {}),
    "50k numbers": ({"hidden": 512}, {}),
}


def run(variant: str, data: Dataset, seed: int, iterations: int) -> dict:
    changed_rule, changed_training = VARIANTS[variant]
    rule = initial_rule(replace(RULE, **changed_rule), seed)
    if variant == "no label":  # cells and encoder are told nothing: their tables stay zero
        for table in (rule.genome.labels, rule.encoder.label):
            table.weight.requires_grad_(False).zero_()
    # the pool early: a short training must find time for it
    config = replace(
        PRESETS["quick"].finetune, iterations=iterations, seed=seed, **changed_training
    )
    row = train_and_measure(rule, data, config)
    return {"numbers": rule.rule_parameters} | row


def main() -> None:
    arguments = options(__doc__)
    data = open_digits(arguments.data_root)
    results = Results(arguments.results / "ablations.jsonl")
    for seed in range(arguments.seeds):
        for variant in VARIANTS:
            if not results.has(variant, seed):
                row = run(variant, data, seed, arguments.iterations)
                results.add({"variant": variant, "seed": seed} | row)
    draw_ablations(results, list(VARIANTS), arguments.results / "ablations.png")


if __name__ == "__main__":
    main()
