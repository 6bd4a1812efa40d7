"""The modules of nca_lib in reading order: no module imports one that stands after it."""

ORDER = [
    "inputs", "interrupts", "spec", "state", "masks",
    "rollout.fire", "rollout.plan", "rollout.dense", "rollout.sparse", "rollout.compiled",
    "rollout", "conditioning", "model", "checkpoint",
    "data.blur", "data.dataset", "data.torchvision_sets", "data.folder", "data.handwriting", "data",
    "classifier",
    "training.config", "training.losses", "training.optimisers", "training.distributed",
    "training.pool", "training.tasks", "training.run", "training.batch", "training.loop",
    "training", "training.presets", "training.pretrain",
    "evaluation.metrics", "evaluation.growth", "evaluation.baselines", "evaluation.decoder",
    "evaluation.classifying", "evaluation.behaviour", "evaluation.samples", "evaluation.evaluate",
    "evaluation", "visual.plots", "visual", "evaluation.report", "live", "visual.widgets", "cli",
    "__main__",
]  # fmt: skip
