"""Training: settings, tasks, losses, and the loop. The usual names in one place."""

from nca_lib.interrupts import Stopped
from nca_lib.training.config import TrainingConfig
from nca_lib.training.loop import TrainingDiverged, train
from nca_lib.training.run import Outputs

__all__ = ["Outputs", "Stopped", "TrainingConfig", "TrainingDiverged", "train"]
