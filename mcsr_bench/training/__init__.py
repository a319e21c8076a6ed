"""The one training loop, what it does in a step, and the weights that come out."""

from __future__ import annotations

from .budget import training_profile
from .collapse import collapse_notes
from .group import Group, joined
from .loop import Loop, schedule_factor
from .updates import Updater, checked_numbers
from .validation import validation_psnr

__all__ = [
    "Group",
    "Loop",
    "Updater",
    "checked_numbers",
    "collapse_notes",
    "joined",
    "schedule_factor",
    "training_profile",
    "validation_psnr",
]
