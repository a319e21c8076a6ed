"""Trials as single-thread worker processes on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from mcsr_bench.processes import Job, run_jobs
from mcsr_bench.progress import Listener
from mcsr_bench.results import TrialRecord, write_trial
from mcsr_bench.trial import TrialSpec

WORKER_LOG = "worker.log"


def run_trials(specs: Sequence[TrialSpec], jobs: int, listener: Listener) -> list[TrialRecord]:
    """Run the trials, ``jobs`` at a time, and return their records in the order of the specs.

    A trial that fails, or whose process is killed, is recorded as failed and the others go on.
    """
    folders = [spec.folder for spec in specs]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    work = [
        Job("mcsr_bench.trial:run_in_worker", spec.model_dump(mode="json"), folder / WORKER_LOG)
        for spec, folder in zip(specs, folders, strict=True)
    ]
    records: dict[int, TrialRecord] = {}
    for message in run_jobs(work, jobs):
        spec = specs[message.job]
        if message.kind == "started":
            listener.trial_started(spec.label)
        elif message.kind == "event":
            stage, done, total, detail = message.value
            listener.trial_step(spec.label, stage, done, total, detail)
        else:
            if message.kind == "result":
                record = TrialRecord.model_validate(message.value)
            else:
                log = folders[message.job] / WORKER_LOG
                record = spec.record().model_copy(update={"status": "failed", "reason": f"{message.value}; see {log}"})
                write_trial(folders[message.job], record)
            records[message.job] = record
            listener.trial_ended(spec.label, record.status, record.reason)
    return [records[i] for i in range(len(specs))]
