"""The batches of a training, each prepared by a thread while the step before it runs."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

import torch

from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TrainingData, TrainingSettings

from .group import Group


class Ahead:
    """Batches on the device, for the steps of a ``with`` block in their order.

    A batch depends on its step alone, so it does not matter when it is drawn. For a GPU it waits in page-locked memory, from where
    it is copied without the processor's help.
    """

    def __init__(
        self,
        data: TrainingData,
        settings: TrainingSettings,
        device: torch.device,
        first: int,
        steps: int,
        group: Group | None = None,
    ) -> None:
        """first: the step (from 0) that is asked for first. steps: of the whole training: none is drawn beyond it.

        group: of whose batches these are a process's share.
        """
        self._group = group or Group()
        self._data = data
        self._settings = settings
        self._device = device
        self._steps = steps
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._at = first
        self._next = self._drawing(first)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def batch(self, step: int) -> Batch:
        """The batch of a step. Whatever drawing it raised is raised here; ValueError for a step out of order."""
        if step != self._at or self._next is None:
            raise ValueError(f"step {step} is not the next, which is {self._at} of {self._steps}")
        batch = self._next.result()
        self._at += 1
        self._next = self._drawing(self._at)
        return batch.to(self._device)

    def _drawing(self, step: int) -> Future[Batch] | None:
        return self._thread.submit(self._draw, step) if step < self._steps else None

    def _draw(self, step: int) -> Batch:
        s = self._settings
        whole = self._data.batch(step, batch_size=s.batch_size, patch=s.patch, augment=s.augment)
        batch = self._group.share(whole)
        return batch.pinned() if self._device.type == "cuda" else batch
