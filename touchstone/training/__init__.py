"""The one training loop: phases, optimisers, schedules, augmentation, history, checkpoints. See README.md."""

from touchstone.training.loop import Fit, accuracy, draw_seed, fit, fit_redrawn
from touchstone.training.phases import Phase, Rule

__all__ = ["Fit", "Phase", "Rule", "accuracy", "draw_seed", "fit", "fit_redrawn"]
