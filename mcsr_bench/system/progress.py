"""How commands report what they are doing, without printing."""

from __future__ import annotations

import warnings


class Listener:
    """Receives progress; this one keeps silent, the command line's prints."""

    def preparing(self, message: str, done: int, total: int) -> None:
        """``done`` of ``total`` volumes of a store are built."""

    def warning(self, message: str) -> None:
        """Something the user should know, in a sentence."""

    def trials(self, total: int, finished: int) -> None:
        """An experiment of ``total`` trials begins, ``finished`` of which are there from an earlier run."""

    def trial_started(self, trial: str) -> None:
        """A trial, by its label, begins."""

    def trial_step(self, trial: str, stage: str, done: int, total: int, detail: str) -> None:
        """A trial has done so much of a stage ("train", "predict"); ``detail``: the loss, for example."""

    def trial_waits(self, trial: str) -> None:
        """A trial that began is run by another process: it begins again later, or is there then."""

    def trial_ended(self, trial: str, status: str, detail: str) -> None:
        """A trial is "done" or "failed"; ``detail`` is its score or its reason."""


class Warnings(Listener):
    """Silent but for warnings, which a program gets as Python's."""

    def warning(self, message: str) -> None:
        warnings.warn(message, stacklevel=2)
