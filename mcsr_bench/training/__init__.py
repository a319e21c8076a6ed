"""Floor 2: the one training loop, what it does in a step, and the weights that come out."""

from __future__ import annotations

from .loop import CHECKPOINT, LOG, Loop, schedule_factor
from .updates import Updater, checked_numbers
from .validation import predicted_magnitude, validation_psnr
from .weights import load_weights, save_weights

__all__ = [
    "CHECKPOINT",
    "LOG",
    "Loop",
    "Updater",
    "checked_numbers",
    "load_weights",
    "predicted_magnitude",
    "save_weights",
    "schedule_factor",
    "validation_psnr",
]
