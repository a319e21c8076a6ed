"""Scores that finished trials lack, because a metric came or changed after them, from their stored predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import pandas as pd

from mcsr_bench.data.store import open_store
from mcsr_bench.engines.base import Emit, Engine, Job, Watcher, follow, registered
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.trial import score_tables
from mcsr_bench.metrics import revisions
from mcsr_bench.results.bundle import Bundle, BundleFiles
from mcsr_bench.system import files
from mcsr_bench.system.progress import Listener

_KEYS = ["volume_id", "role", "slice_index"]


def complete_scores(places: Sequence[BundleFiles], engine: Engine, listener: Listener) -> None:
    """Bring the scores of finished trials up to the metrics of today. What cannot be computed stays empty, with a warning."""
    found = [Bundle(place.folder, record) for place in places if (record := place.read_record()) is not None]
    behind = [bundle for bundle in found if bundle.record.status == "done" and bundle.record.outdated()]
    jobs = [Job(complete_job, str(bundle.folder), label=bundle.record.label) for bundle in behind]
    for bundle, outcome in zip(behind, follow(engine, jobs, Watcher()), strict=True):
        reason = outcome.value if outcome.done else outcome.reason
        if reason:
            metrics = ", ".join(bundle.record.outdated())
            listener.warning(f"{bundle.record.label}: {metrics} stays empty, because {reason}")


@registered
def complete_job(payload: str, emit: Emit) -> str:
    """A job: `complete` the bundle in a folder; its result is why that could not be, or ""."""
    place = BundleFiles(Path(payload))
    record = place.read_record()
    return "" if record is None else complete(Bundle(place.folder, record))


def complete(bundle: Bundle) -> str:
    """Compute the outdated scores of a bundle from its predictions; the others keep their bytes. Why that could not be, or ""."""
    if not bundle.predictions.is_file():
        return "its predictions are gone"
    try:
        store = open_store(bundle.record.data.store)
        with h5py.File(bundle.predictions, "r") as file:
            volumes = [store.volumes[volume_id] for volume_id in file]
        fresh = score_tables(bundle, volumes)
    except (UserError, OSError, KeyError) as error:
        return str(error)
    outdated = bundle.record.outdated()
    for path, table in zip((bundle.volumes, bundle.slices), fresh, strict=True):
        files.write_table(path, _updated(path, table, outdated))
        bundle.record.files[path.name] = files.file_digest(path)
    bundle.record.metrics = revisions()
    bundle.write()
    return ""


def _updated(path: Path, fresh: pd.DataFrame, outdated: Sequence[str]) -> pd.DataFrame:
    """The table in a file with some columns from a fresh one, in the order of today's metrics."""
    keys = [key for key in _KEYS if key in fresh]
    kept = files.read_table(path, ("patient_id", *_KEYS[:2], "contrast")).drop(columns=list(outdated), errors="ignore")
    joined = kept.merge(fresh[[*keys, *outdated]], on=keys, how="left", validate="one_to_one")
    head = [column for column in kept if column not in revisions()]
    return joined[[*head, *revisions()]]
