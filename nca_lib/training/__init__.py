"""Training: settings, what is learned, how, from what, and the loop. The usual names in one place.

`pretraining` (ten rules, and their merger) and `presets` stand on top of it.
"""

from nca_lib.stopping import Stopped
from nca_lib.training.loop import TrainingDiverged, train
from nca_lib.training.losses import anchor_target, growth_losses, life_target
from nca_lib.training.run import Outputs
from nca_lib.training.settings import TrainingConfig, second_half

__all__ = [
    "Outputs",
    "Stopped",
    "TrainingConfig",
    "TrainingDiverged",
    "anchor_target",
    "growth_losses",
    "life_target",
    "second_half",
    "train",
]
