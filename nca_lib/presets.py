"""What `--preset quick` and `--preset full` mean, all numbers in one place."""

from __future__ import annotations

from dataclasses import dataclass

from nca_lib.rule import RuleConfig
from nca_lib.training import TrainingConfig


@dataclass(frozen=True)
class Preset:
    """A rule and its three trainings."""

    rule: RuleConfig
    pretrain: TrainingConfig  # of each digit
    finetune: TrainingConfig
    restore: TrainingConfig


PRESETS = {
    # The embedded sample, two CPU cores, under ten minutes from start to table.
    "quick": Preset(
        rule=RuleConfig(),
        pretrain=TrainingConfig(iterations=60),
        # Too short to learn to change digits as well: that costs stability (README, "Results").
        finetune=TrainingConfig(iterations=1000, pool_renewal=1.0, switch_share=0.0),
        restore=TrainingConfig(task="restore", iterations=200, damage_share=0.0),
    ),
    # Full MNIST, hours on a CPU.
    "full": Preset(
        rule=RuleConfig(),
        pretrain=TrainingConfig(iterations=2000),
        finetune=TrainingConfig(iterations=40_000),
        restore=TrainingConfig(task="restore", iterations=10_000, damage_share=0.0),
    ),
}
