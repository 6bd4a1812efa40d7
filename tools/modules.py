"""The modules of nca_lib in reading order: no module imports one that stands later."""

ORDER = [
    *("spec", "inputs", "interrupts", "state", "masks", "rollout.fire", "rollout.plan"),
    *(
        "rollout.dense",
        "rollout.sparse",
        "rollout.kept",
        "rollout.compiled",
        "rollout",
        "conditioning",
        "model",
    ),
    *("checkpoint", "data.blur", "data.dataset", "data.folder", "data.torchvision_sets"),
    *("data.handwriting", "data", "classifier", "training.config", "training.losses"),
    *("training.distributed", "training.optimisers", "training.pool", "training.tasks"),
    *("training.run", "training.batch", "training.loop", "training", "training.presets"),
    *("training.pretrain", "evaluation.metrics", "evaluation.baselines", "evaluation.decoder"),
    *("evaluation.behaviour", "evaluation.classifying", "evaluation.samples"),
    *("evaluation.evaluate", "evaluation", "visual.plots", "evaluation.report", "live"),
    *("visual.widgets", "visual", "cli", "__main__"),
]
