"""The trials of a grid: which of them are finished, and the others as jobs, also those that do not end by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mcsr_bench.data.prepare import Prepared
from mcsr_bench.data.spec import DataSpec
from mcsr_bench.engines.base import Engine, Job, Outcome, Steps, Watcher, follow, follow_here
from mcsr_bench.errors import DamagedFileError, InterruptedWorkError, UnreadFileError
from mcsr_bench.experiment.grid import Point
from mcsr_bench.experiment.planned import TrialSpec
from mcsr_bench.experiment.trial import DAMAGED, TAKEN, interrupted, trial_job
from mcsr_bench.plugin.registry import methods
from mcsr_bench.results.bundle import Bundle, BundleFiles, TrialRecord
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files
from mcsr_bench.system.computing import PLAIN, Computing
from mcsr_bench.system.locks import TakenError
from mcsr_bench.system.owners import Owner
from mcsr_bench.system.progress import Listener

_BETWEEN_LOOKS = 1.0
"""Seconds, while all that is left is run by other processes."""


def trial_spec(
    point: Point,
    prepared: Prepared,
    data: DataSpec,
    *,
    out: Path,
    seed: int,
    preset: str,
    device: str,
    computing: Computing = PLAIN,
) -> TrialSpec:
    """A point of a grid on prepared data with a seed; data: as asked, for the protocol and plugins."""
    return TrialSpec(
        out=out,
        method=point.method,
        variant=point.variant,
        code=methods().code(point.method),
        settings=point.settings,
        changes=point.changes,
        shipped=point.shipped,
        dataset_variant=prepared.variant,
        dataset_changes=prepared.changes,
        dataset_settings=prepared.dataset.settings.model_dump(mode="json"),
        scale=prepared.store.scale,
        seed=seed,
        preset=preset,
        protocol=data.protocol,
        data=prepared.data,
        split=asdict(prepared.split),
        device=device,
        computing=computing if methods().card(point.method).trains and not point.shipped else PLAIN,
        plugins=data.plugins,
    )


def finished(trial: TrialSpec, listener: Listener, *, fresh: bool = False) -> TrialRecord | None:
    """The record of a trial that need not run again, from its record alone; what must not be resumed is cleared away.

    A finished trial of another key (its plugin's code has changed) is moved aside, and one whose record is damaged loses that;
    the listener is told of both. None also for one whose record cannot be read at the moment: its own job says so. fresh: begin in
    any case. TakenError where another process is writing what is to be cleared away.
    """
    place = trial.place
    if fresh:
        with place.claimed():
            files.remove_folder(place.folder)
    try:
        record = RunFolder(trial.out).read(place)
    except DamagedFileError as error:
        mend(place, error, listener)
        return None
    except UnreadFileError:  # its own job will say so
        return None
    if record is not None and record.key != trial.key:
        with place.claimed():
            if record.status == "done":
                replace(place, record, listener)
            else:
                files.remove_folder(place.folder)
        return None
    return record if record is not None and record.status == "done" else None


def mend(place: BundleFiles, error: DamagedFileError, listener: Listener) -> None:
    """Set a damaged file of a bundle aside, so that the next run of the trial redoes the stage that wrote it, and say so.

    Nothing is done while another process is writing there.
    """
    with suppress(TakenError), place.claimed():
        listener.warning(f"{error}; it was set aside, and what wrote it runs again")
        record = place.sound_record()
        if record is None:
            files.set_aside(error.path)
        else:
            Bundle(place.folder, record).set_aside(error.path)


def replace_others(trials: Sequence[TrialSpec], listener: Listener) -> None:
    """Move aside what other code computed in the same rows of tables: finished trials of a method with seeds not asked for."""
    mine = {trial.place.folder for trial in trials}
    code = {trial.place.folder.parent: trial.code for trial in trials}
    for folder in {trial.out for trial in trials}:
        for place in RunFolder(folder).trials():
            if place.folder in mine or place.folder.parent not in code:
                continue
            with suppress(UnreadFileError):  # it is left out of the results
                record = place.sound_record()
            if record is not None and record.status == "done" and record.code != code[place.folder.parent]:
                with place.claimed():
                    replace(place, record, listener)


def replace(place: BundleFiles, record: TrialRecord, listener: Listener) -> None:
    """Move a finished trial aside, and say so."""
    place.replace(record.key)
    listener.warning(
        f"{record.label}: was computed by other code or settings than today's; its bundle is now {place.replaced(record.key).name}"
    )


def run_trials(specs: Sequence[TrialSpec], engine: Engine, listener: Listener) -> list[TrialRecord]:
    """Run the trials and return their records in the order of the specs.

    A trial that fails, or whose process is killed, is recorded as failed and the others go on. Those at work when the caller is
    interrupted are recorded as interrupted. Trials that another process is running come last: they are waited for, and run where
    that process did not finish them.
    """
    records: dict[int, TrialRecord] = {}
    told: set[int] = set()

    def tell(taken: Mapping[int, Owner | str]) -> None:
        for i in sorted(taken.keys() - told):
            told.add(i)
            listener.warning(f"{specs[i].label}: {taken[i]} is running it: waiting for it")

    while left := [i for i in range(len(specs)) if i not in records]:
        owners = {i: owner for i in left if (owner := specs[i].place.owner()) is not None}
        tell(owners)
        free = [i for i in left if i not in owners]
        for i in told & set(free):
            with suppress(UnreadFileError):  # its own job will say so
                if (record := specs[i].done()) is not None:
                    records[i] = record
                    listener.trial_ended(specs[i].label, record.status, "by the other process")
        free = [i for i in free if i not in records]
        ran = _run_free([specs[i] for i in free], engine, listener)
        records |= {i: record for i, (record, _) in zip(free, ran, strict=True) if record is not None}
        tell({i: by for i, (record, by) in zip(free, ran, strict=True) if record is None})
        if not records.keys() & set(left):
            time.sleep(_BETWEEN_LOOKS)
    return [records[i] for i in range(len(specs))]


_Ran = list[tuple[TrialRecord | None, str]]


def _run_free(specs: Sequence[TrialSpec], engine: Engine, listener: Listener) -> _Ran:
    """Run trials: their records, or which process was faster.

    Those of methods that were given as classes run in this process, after the others.
    """
    given = [methods().plugins()[spec.method].given is not None for spec in specs]
    apart, here = ([spec for spec, own in zip(specs, given, strict=True) if own == kind] for kind in (False, True))
    with _as_it_was():
        others = iter(_run(apart, partial(follow, engine), listener))
        mine = iter(_run(here, follow_here, listener))
    return [next(mine if own else others) for own in given]


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Torch's random state and number of threads are the caller's again after the block."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _run(
    specs: Sequence[TrialSpec], follow_jobs: Callable[[Sequence[Job], Watcher], object], listener: Listener
) -> _Ran:
    folders = [spec.place.folder for spec in specs]
    for folder in folders:
        with suppress(OSError):  # the trial itself says what is wrong
            folder.mkdir(parents=True, exist_ok=True)
    for parent in {folder.parent for folder in folders}:
        with suppress(OSError):
            files.clear_removed(parent)
    jobs = [
        Job(
            trial_job,
            spec.model_dump(mode="json"),
            label=spec.label,
            log=spec.place.log,
            needs=spec.needs,
        )
        for spec in specs
    ]
    watcher = _Trials(specs, jobs, listener)
    try:
        follow_jobs(jobs, watcher)
    except (
        BaseException
    ) as error:  # also a signal: the workers are gone, and only this can record trials that they did not
        for i in watcher.at_work:
            watcher.record(i, "interrupted", interrupted(error))
        raise
    return [(watcher.records.get(i), watcher.taken.get(i, "")) for i in range(len(specs))]


class _Trials(Steps):
    """Keeps the records that jobs end with, and writes those of jobs that could not."""

    def __init__(self, specs: Sequence[TrialSpec], jobs: Sequence[Job], listener: Listener) -> None:
        super().__init__(jobs, listener)
        self.records: dict[int, TrialRecord] = {}
        self.taken: dict[int, str] = {}
        """By which process."""
        self.at_work: set[int] = set()
        self._specs = specs

    def started(self, job: int) -> None:
        self.at_work.add(job)
        super().started(job)

    def event(self, job: int, value: Any) -> None:
        stage, *_, detail = value
        if stage == DAMAGED:
            self._listener.warning(f"{self._labels[job]}: {detail}")
        else:
            super().event(job, value)

    def ended(self, job: int, outcome: Outcome) -> None:
        self.at_work.discard(job)
        if outcome.done and TAKEN in outcome.value:
            self.taken[job] = outcome.value[TAKEN]
            self._listener.trial_waits(self._labels[job])
            return
        if outcome.done:
            self.records[job] = TrialRecord.model_validate(outcome.value)
        elif outcome.kind == "stopped":
            self.record(job, "interrupted", f"{outcome.reason}; the same command goes on with it")
        else:
            self.record(job, "failed", f"{outcome.reason}; see {self._specs[job].place.log}")
        record = self.records[job]
        self._listener.trial_ended(self._labels[job], record.status, record.reason)

    def record(self, job: int, status: Any, reason: str) -> None:
        """Write the record of a trial that did not end by itself, unless its worker did or another process runs it by now.

        Where the disk takes none, it is told all the same.
        """
        spec = self._specs[job]
        changes = {"status": status, "reason": reason}
        self.records[job] = spec.record().model_copy(update=changes)
        with suppress(OSError, InterruptedWorkError, TakenError):
            if left := spec.place.sound_record():
                if status == "interrupted" and left.status in ("interrupted", "done"):
                    self.records[job] = left
                    return
                self.records[job] = left.model_copy(update=changes)
            with spec.place.claimed():
                Bundle(spec.place.folder, self.records[job]).write()
