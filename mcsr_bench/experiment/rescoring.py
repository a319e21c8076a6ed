"""Scores that finished trials lack, because a metric came or changed after them, from their stored predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mcsr_bench.data.store import open_store
from mcsr_bench.engines.base import Emit, Engine, Job, Watcher, follow, registered
from mcsr_bench.errors import DamagedFileError, UserError
from mcsr_bench.experiment.trial import score_tables
from mcsr_bench.metrics import COMPANIONS, revisions
from mcsr_bench.results.bundle import Bundle, BundleFiles
from mcsr_bench.results.predictions import stored_predictions
from mcsr_bench.system import frames
from mcsr_bench.system.digests import digest_once
from mcsr_bench.system.locks import TakenError
from mcsr_bench.system.progress import Listener

_KEYS = ["volume_id", "role", "slice_index"]
_DAMAGED = "damaged: "
"""How the result of a job begins whose bundle is damaged."""


def complete_scores(bundles: Sequence[Bundle], engine: Engine, listener: Listener) -> set[Path]:
    """Bring the scores of finished trials up to the metrics of today. What cannot be computed stays empty, with a warning.

    A trial one of whose files turns out damaged is not finished any more, with a warning. Returns the folders of those whose record
    may be another one now.
    """
    behind = [bundle for bundle in bundles if bundle.record.outdated()]
    jobs = [Job(complete_job, str(bundle.folder), label=bundle.record.label) for bundle in behind]
    for bundle, outcome in zip(behind, follow(engine, jobs, Watcher()), strict=True):
        reason = outcome.value if outcome.done else outcome.reason
        if outcome.done and reason.startswith(_DAMAGED):
            listener.warning(f"{bundle.record.label}: {reason.removeprefix(_DAMAGED)}")
        elif reason:
            metrics = ", ".join(bundle.record.outdated())
            listener.warning(f"{bundle.record.label}: {metrics} stays empty, because {reason}")
    return {bundle.folder for bundle in behind}


@registered
def complete_job(payload: str, emit: Emit) -> str:
    """A job: `complete` the bundle in a folder; its result is why that could not be, or ""."""
    place = BundleFiles(Path(payload))
    record = place.read_record()
    if record is None:
        return ""
    bundle = Bundle(place.folder, record)
    try:
        with place.claimed():
            return complete(bundle)
    except TakenError as error:
        return str(error)
    except DamagedFileError as error:
        bundle.set_aside(error.path)
        return f"{_DAMAGED}{error}; it was set aside, and what wrote it runs again"


def complete(bundle: Bundle) -> str:
    """Compute the outdated scores of a bundle from its predictions; the others keep their bytes. Why that could not be, or "".

    DamagedFileError when predictions or scores are not what was written. While the tables are written the trial is not done: after
    a kill it is resumed, and scored again from its predictions.
    """
    if not bundle.predictions.is_file():
        return "its predictions are gone"
    try:
        store = open_store(bundle.record.data.store)
        with stored_predictions(bundle) as predictions:
            volumes = [store.volumes[volume_id] for volume_id in predictions]
        store.compare(volume.volume_id for volume in volumes)
        fresh = score_tables(bundle, volumes)
    except DamagedFileError:
        raise
    except (UserError, OSError, KeyError) as error:
        return str(error)
    record, outdated = bundle.record, bundle.record.outdated()
    paths = (bundle.volumes, bundle.slices)
    tables = [_updated(bundle.checked(path), table, outdated) for path, table in zip(paths, fresh, strict=True)]
    record.status, record.reason = "interrupted", "its scores were being completed; the same command goes on with it"
    bundle.write()
    for path, table in zip(paths, tables, strict=True):
        frames.write_csv(path, table)
        record.files[path.name] = digest_once(path)
    record.status, record.reason, record.metrics = "done", "", revisions()
    bundle.write()
    return ""


def _updated(path: Path, fresh: pd.DataFrame, outdated: Sequence[str]) -> pd.DataFrame:
    """The table in a file with some columns from a fresh one, in the order of today's metrics."""
    keys = [key for key in _KEYS if key in fresh]
    beside = [column for column in COMPANIONS if column in fresh]
    new = [*outdated, *beside]
    kept = frames.read_csv(path, ("patient_id", *_KEYS[:2], "contrast")).drop(columns=new, errors="ignore")
    joined = kept.merge(fresh[[*keys, *new]], on=keys, how="left", validate="one_to_one")
    head = [column for column in kept if column not in revisions()]
    return joined[[*head, *revisions(), *beside]]
