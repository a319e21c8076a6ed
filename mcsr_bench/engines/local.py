"""Trials as single-thread worker processes on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from mcsr_bench.processes import Job, run_jobs
from mcsr_bench.progress import Listener
from mcsr_bench.results.bundle import Bundle, TrialRecord
from mcsr_bench.trial import TrialSpec


def run_trials(specs: Sequence[TrialSpec], jobs: int, listener: Listener) -> list[TrialRecord]:
    """Run the trials, ``jobs`` at a time, and return their records in the order of the specs.

    A trial that fails, or whose process is killed, is recorded as failed and the others go on.
    """
    places = [spec.place for spec in specs]
    for place in places:
        place.folder.mkdir(parents=True, exist_ok=True)
    work = [
        Job("mcsr_bench.trial:run_in_worker", spec.model_dump(mode="json"), place.log)
        for spec, place in zip(specs, places, strict=True)
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
                place = places[message.job]
                reason = f"{message.value}; see {place.log}"
                record = spec.record().model_copy(update={"status": "failed", "reason": reason})
                Bundle(place.folder, record).write()
            records[message.job] = record
            listener.trial_ended(spec.label, record.status, record.reason)
    return [records[i] for i in range(len(specs))]
