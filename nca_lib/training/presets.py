"""What `--preset quick` and `--preset full` mean, all numbers in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nca_lib.model import ModelConfig
from nca_lib.training.config import TrainingConfig


@dataclass(frozen=True)
class Preset:
    """Three models and their four training runs."""

    model: ModelConfig  # that grows digits
    restorer: ModelConfig  # that sharpens a blur
    pretrain: TrainingConfig  # of each digit
    finetune: TrainingConfig
    restore: TrainingConfig
    self_classifier: ModelConfig
    classify: TrainingConfig


# To undo a blur a cell needs each neighbour, not gradients alone: after 400 iterations it has
# 98.9 % of the pixels right, with Sobel filters 98.5.
RESTORER = ModelConfig(style_dim=0, perception="patch", hidden=192)

# A blur is local: sixteen steps do as well as thirty-two, and in the same time one can have twice
# as many iterations (98.6 % after 800 of them, 98.4 after 400 of thirty-two).
SOON = (8, 12, 16)

# Ink and alive channel are given and stay; of the 32 channels the last ten are votes. More channels
# with fewer hidden units, or fewer with more, do worse with as many parameters (22, 280; 48, 120).
SELF_CLASSIFIER = ModelConfig(channels=32, hidden=188, label_dim=0, style_dim=0, frozen=(0, 1))
CLASSIFY = TrainingConfig(
    task="classify",
    loss_steps=(16, 24, 32),
    pool_start=0.05,
    pool_share=0.625,
    pool_renewal=0.25,
    damage=0.1,
    switch_share=0.2,
    kl_weight=0.0,
)

# Cells that know their position hold a picture and heal it; a perceptual loss makes it crisp.
LASTING = TrainingConfig(
    origin_weight=20.0, position_weight=0.3, perceptual_weight=0.02, kl_weight=0.08
)
# All digits: damage, new labels, no edge to lean on. Small batches and cheap styles: on the
# embedded sample both gave more right pixels and better drawn styles.
VERSATILE = replace(LASTING, batch_size=8, margin=4, damage=0.35, switch_share=0.2, kl_weight=0.02)
BRIEF = (12, 16, 20, 24)  # loss steps: more iterations in the same few minutes

PRESETS = {
    # The embedded sample, two CPU cores, under ten minutes from start to table.
    "quick": Preset(
        model=ModelConfig(channels=20, style_dim=32),
        restorer=RESTORER,
        pretrain=replace(LASTING, iterations=60, batch_size=8, loss_steps=BRIEF, kl_weight=0.02),
        finetune=replace(VERSATILE, iterations=4500, loss_steps=BRIEF, pool_share=0.375),
        restore=TrainingConfig(task="restore", iterations=400, loss_steps=SOON, damage=0.0),
        self_classifier=SELF_CLASSIFIER,
        classify=replace(CLASSIFY, iterations=600),
    ),
    # Full MNIST, hours on a CPU.
    "full": Preset(
        model=ModelConfig(channels=20, hidden=384, style_dim=32),
        restorer=replace(RESTORER, hidden=256),
        pretrain=replace(LASTING, iterations=1500),
        # Samples stay in the pool for long: pictures learn to keep their place.
        finetune=replace(VERSATILE, iterations=60_000, pool_start=0.2, pool_renewal=0.1),
        restore=TrainingConfig(
            task="restore",
            iterations=30_000,
            loss_steps=SOON,
            damage=0.0,
            # A ninth of other blurs keeps them above the picture left alone; a quarter of them, and
            # noise upon a quarter, cost a third of a point where there is neither.
            blurs=(*["box5"] * 24, "box3", "box7", "gauss"),
            noise=0.03,
        ),
        self_classifier=SELF_CLASSIFIER,
        classify=replace(CLASSIFY, iterations=30_000),
    ),
}


# Growing NCA's own feat (Mordvintsev et al., 2020), on a laptop: a few pictures, each a class. See
# README, "Your own pictures".
PAINT = (
    ModelConfig(hidden=144, label_dim=4, style_dim=0),  # fewer than 10,000 parameters
    TrainingConfig(
        iterations=4000,
        batch_size=8,
        loss_steps=(36, 44, 52, 60),
        learning_rate=1.6e-3,  # three pictures; one alone learns better at 2e-3, README says how
        pool_start=0.25,
        damage=0.5,
        damage_kinds=("half", "half", "disc"),
        switch_share=0.2,
    ),
)
