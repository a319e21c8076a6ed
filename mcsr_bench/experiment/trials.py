"""The trials of a grid as jobs of an engine, and what becomes of those that do not end by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mcsr_bench.data.prepare import Prepared
from mcsr_bench.data.spec import DataSpec
from mcsr_bench.engines.base import Engine, Job, Needs, Outcome, Steps, follow
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.grid import Point
from mcsr_bench.experiment.trial import INTERRUPTED, TrialSpec, trial_job
from mcsr_bench.results.bundle import Bundle, TrialRecord
from mcsr_bench.system.progress import Listener


def trial_spec(
    point: Point,
    prepared: Prepared,
    data: DataSpec,
    *,
    out: Path,
    seed: int,
    preset: str,
    device: str,
) -> TrialSpec:
    """A point of a grid on prepared data with a seed; data: as asked, for the protocol and plugins."""
    return TrialSpec(
        out=out,
        method=point.method,
        variant=point.variant,
        settings=point.settings,
        dataset_variant=prepared.variant,
        dataset_settings=prepared.dataset.settings.model_dump(mode="json"),
        scale=prepared.store.scale,
        seed=seed,
        preset=preset,
        protocol=data.protocol,
        data=prepared.data,
        split=asdict(prepared.split),
        device=device,
        plugins=data.plugins,
    )


def run_trials(specs: Sequence[TrialSpec], engine: Engine, listener: Listener) -> list[TrialRecord]:
    """Run the trials and return their records in the order of the specs.

    A trial that fails, or whose process is killed, is recorded as failed and the others go on. Those at work when the caller is
    interrupted are recorded as interrupted.
    """
    for spec in specs:
        spec.place.folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        Job(
            trial_job,
            spec.model_dump(mode="json"),
            label=spec.label,
            log=spec.place.log,
            needs=Needs(cores=spec.threads, gpus=int(spec.device.startswith("cuda"))),
        )
        for spec in specs
    ]
    watcher = _Trials(specs, jobs, listener)
    try:
        follow(engine, jobs, watcher)
    except BaseException:  # also Ctrl-C: the workers are gone, and only this can record their trials
        for i in watcher.at_work:
            watcher.record(i, "interrupted", INTERRUPTED)
        raise
    return [watcher.records[i] for i in range(len(specs))]


class _Trials(Steps):
    """Keeps the records that jobs end with, and writes those of jobs that could not."""

    def __init__(self, specs: Sequence[TrialSpec], jobs: Sequence[Job], listener: Listener) -> None:
        super().__init__(jobs, listener)
        self.records: dict[int, TrialRecord] = {}
        self.at_work: set[int] = set()
        self._specs = specs

    def started(self, job: int) -> None:
        self.at_work.add(job)
        super().started(job)

    def ended(self, job: int, outcome: Outcome) -> None:
        self.at_work.discard(job)
        if outcome.done:
            self.records[job] = TrialRecord.model_validate(outcome.value)
        else:
            self.record(job, "failed", f"{outcome.reason}; see {self._specs[job].place.log}")
        record = self.records[job]
        self._listener.trial_ended(self._labels[job], record.status, record.reason)

    def record(self, job: int, status: Any, reason: str) -> None:
        """Write the record of a trial that did not end by itself."""
        spec = self._specs[job]
        try:
            left = spec.place.read_record() or spec.record()
        except UserError:  # damaged: what it held is of no use any more
            left = spec.record()
        self.records[job] = left.model_copy(update={"status": status, "reason": reason})
        Bundle(spec.place.folder, self.records[job]).write()
