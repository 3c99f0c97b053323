"""The one training loop: phases, optimisers, schedules, augmentation, history, checkpoints. See README.md."""

from touchstone.recipe import OptimizerSettings, Phase
from touchstone.training.checkpoint import Checkpoint
from touchstone.training.loop import Monitor, accuracy, fit, fit_redrawn
from touchstone.training.state import Fit

__all__ = ["Checkpoint", "Fit", "Monitor", "OptimizerSettings", "Phase", "accuracy", "fit", "fit_redrawn"]
