"""Do the scores of bundles follow from their predictions, and is every file the one that was written?

Everything in a bundle is somebody else's word. What is taken from it is compared: files with the hashes in the record, the record
with the key that is computed from it, the data with what is made again here, the scores with what the predictions give. No code is
loaded that the run names; only the caller's ``plugins`` are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mcsr_bench.audit.basis import trains
from mcsr_bench.audit.comparing import DECIBEL, RELATIVE, compared, differences
from mcsr_bench.audit.targets import NoTargetsError, Targets, targets
from mcsr_bench.data.sampler import REVISION as BATCHES_REVISION
from mcsr_bench.data.store import open_store
from mcsr_bench.engines.base import Emit, Engine, Job, Outcome, Watcher, follow, registered
from mcsr_bench.engines.processes import Processes
from mcsr_bench.errors import UserError, one_line
from mcsr_bench.experiment.trial import score_tables
from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.results.bundle import Bundle, BundleFiles, TrialRecord
from mcsr_bench.results.identity import trial_key
from mcsr_bench.results.predictions import stored_predictions
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.results.verdict import Verdict
from mcsr_bench.system import files
from mcsr_bench.system.progress import Listener, Warnings
from mcsr_bench.weights.tensors import read_info


def verify(
    run: str | Path,
    *,
    data_root: str | Path | None = None,
    plugins: str | Path | Iterable[str | Path] = (),
    jobs: int = 0,
    listener: Listener | None = None,
) -> list[Verdict]:
    """Compare every file of a run with its hash, and compute every score again from the stored predictions and the targets.

    data_root: the folder with the files of real data; without it their bundles are "scores only". Generated data are made again.
    plugins: folders whose sub-folders are plugins, such as a third party's data set; what the run names is never loaded. jobs:
    worker processes; 0: one per core. Scores agree within 1e-6, relative, where the prepared data are equal to the byte, and within
    1e-3 dB elsewhere. Returns a `Verdict` per bundle, in the order of folders. Raises UserError for a folder without bundles, a
    missing ``data_root`` or plugin folder: what is wrong with a bundle is its verdict.
    """
    folders = (plugins,) if isinstance(plugins, (str, Path)) else plugins
    with scoped_plugins(paths := [Path(path) for path in folders]):
        root = None if data_root is None else Path(data_root).expanduser()
        if root is not None and not root.is_dir():
            raise UserError(f"--data-root {root}: no such folder")
        return verdicts(Path(run), root, Processes(jobs), listener or Warnings(), paths)


def verdicts(
    run: Path,
    root: Path | None,
    engine: Engine,
    listener: Listener,
    plugins: Sequence[Path],
    *,
    scores_alone: bool = False,
) -> list[Verdict]:
    """`verify` with the plugins that are known now.

    scores_alone: a bundle without predictions is "scores only", as long as what it has is right: its scores are claimed.
    """
    if not run.is_dir():
        raise UserError(f"{run}: no such folder of results")
    places = list(RunFolder(run).trials())
    if not places:
        raise UserError(f"{run}: holds no trial (no trial.json below it)")
    by_folder: dict[Path, Verdict] = {}
    sealed: list[Bundle] = []
    for place in places:
        try:
            record = RunFolder(run).read(place)
            assert record is not None
            claimed = scores_alone and not place.predictions.exists()
            wrong = unsealed(Bundle(place.folder, record), scores_alone=claimed)
            name = record.label
        except (UserError, ValueError) as error:  # ValueError: of values that no trial writes, such as NaN in a setting
            said = str(error) if isinstance(error, UserError) else one_line(f"{place.trial}: {error}")
            wrong, name = [said], str(place.folder.relative_to(run))
        if wrong:
            by_folder[place.folder] = Verdict(name, place.folder, "failed", tuple(wrong))
        elif claimed:
            by_folder[place.folder] = Verdict(name, place.folder, "scores only", ("there are no predictions here",))
        else:
            assert record is not None
            sealed.append(Bundle(place.folder, record))
    found: dict[str, Targets | Verdict] = {}
    work: list[tuple[Bundle, Targets]] = []
    for bundle in sealed:
        data = files.digest([bundle.record.model_dump(mode="json", include=_OF_DATA)])
        if data not in found:
            found[data] = _targets(run, bundle, root, engine, listener, plugins)
        one = found[data]
        if isinstance(one, Targets):
            work.append((bundle, one))
        else:
            by_folder[bundle.folder] = Verdict(bundle.record.label, bundle.folder, one.outcome, one.reasons)
    jobs = [
        Job(
            score_job,
            {"folder": str(bundle.folder), "store": one.store, "same": one.same, "test": one.test},
            label=bundle.record.label,
        )
        for bundle, one in work
    ]
    for (bundle, one), outcome in zip(work, follow(engine, jobs, _Told(len(jobs), listener)), strict=True):
        wrong = outcome.value if outcome.done else [outcome.reason]
        by_folder[bundle.folder] = Verdict(
            bundle.record.label,
            bundle.folder,
            "failed" if wrong else "verified",
            tuple(wrong or (_agreement(bundle.record, one),)),
        )
    return [by_folder[place.folder] for place in places]


_OF_DATA = {"data", "dataset", "dataset_variant", "dataset_settings", "scale", "protocol", "protocol_hash", "versions"}
"""What a trial's targets depend on, or what is said of them."""


def _targets(
    run: Path, bundle: Bundle, root: Path | None, engine: Engine, listener: Listener, plugins: Sequence[Path]
) -> Targets | Verdict:
    try:
        return targets(run, bundle.record, root, engine=engine, listener=listener, plugins=plugins)
    except NoTargetsError as error:
        return Verdict(bundle.record.label, bundle.folder, "scores only", (str(error),))
    except UserError as error:
        return Verdict(bundle.record.label, bundle.folder, "failed", (str(error),))
    except OSError:  # a full disk is nobody's verdict
        raise
    except Exception as error:  # of a data set's own code, with settings that others wrote
        reason = one_line(f"the data cannot be made again: {type(error).__name__}: {error}")
        return Verdict(bundle.record.label, bundle.folder, "failed", (reason,))


def unsealed(bundle: Bundle, *, scores_alone: bool = False) -> list[str]:
    """What is wrong with a bundle by its own record: an unfinished trial, a file or key that is another; a sentence each.

    scores_alone: only the tables of scores must be there; other files may be missing.
    """
    record = bundle.record
    if record.status != "done":
        return [f"is not finished ({record.status}{': ' + record.reason if record.reason else ''})"]
    wrong = []
    known = {path.name: path for path in bundle.hashed()}
    for name in sorted(record.files.keys() - known.keys()):
        wrong.append(f"{bundle.trial}: has a hash of {name!r}, which is not a file of a trial")
    scores = [bundle.volumes, bundle.slices]
    needed = scores if scores_alone else [*scores, bundle.predictions, *([bundle.weights] if trains(record) else [])]
    for path in known.values():
        if scores_alone and path not in scores and not path.exists():
            continue
        if path.name not in record.files:
            if path in needed or path.exists():
                wrong.append(f"{bundle.trial}: has no hash of {path.name}")
            continue
        try:
            bundle.checked(path)
            if path == bundle.weights and not _own_weights(bundle):
                wrong.append(f"{path}: holds the weights of another trial")
        except UserError as error:
            wrong.append(str(error))
    return wrong + _misstated(bundle)


def _own_weights(bundle: Bundle) -> bool:
    """Whether its weights say that this trial trained them, or are the shipped ones that it names."""
    record = bundle.record
    if record.shipped:
        return record.files[bundle.weights.name] == record.shipped
    info = read_info(bundle.weights)
    return info is not None and info.key == record.key


def _misstated(bundle: Bundle) -> list[str]:
    """What a record says that its key contradicts."""
    record, revision = bundle.record, bundle.record.card.get("revision")
    if record.card.get("name") != record.method or not isinstance(revision, int):
        return [f"{bundle.trial}: has no card of {record.method} with its revision"]
    if record.data.name != record.dataset:
        return [f"{bundle.trial}: is of data set {record.dataset}, and its data of {record.data.name}"]
    key = trial_key(record, code=(record.code, record.data.code), revision=revision, batches=BATCHES_REVISION)
    if key != record.key:
        return [f"{bundle.trial}: has the key {record.key}, and what it says gives {key}"]
    return []


def _agreement(record: TrialRecord, data: Targets) -> str:
    """How close the scores of a bundle are that is right, and what could not be compared."""
    said = (
        f"scores agree within {RELATIVE:g}, on the same prepared data"
        if data.same
        else f"scores agree within {DECIBEL:g} dB, on data prepared again"
    )
    outdated = [metric for metric in record.outdated() if metric in record.metrics]
    return said + (f"; of another revision, and not compared: {', '.join(outdated)}" if outdated else "")


class _Told(Watcher):
    """Tells a listener how many bundles are scored."""

    def __init__(self, total: int, listener: Listener) -> None:
        self._done, self._total, self._listener = 0, total, listener

    def ended(self, job: int, outcome: Outcome) -> None:
        self._done += 1
        self._listener.preparing("scoring the predictions again", self._done, self._total)


@registered
def score_job(payload: dict[str, Any], emit: Emit) -> list[str]:
    """A job: score the predictions of a bundle, and compare. Its result is what differs, a sentence each."""
    place = BundleFiles(Path(payload["folder"]))
    record = place.read_record()
    assert record is not None
    bundle = Bundle(place.folder, record)
    if not compared(record.metrics, METRICS):
        return [f"{bundle.trial}: names no metric by a revision that this version computes"]
    store = open_store(payload["store"])
    with stored_predictions(bundle) as predictions:
        there = set(predictions)
    if odd := sorted(there ^ set(payload["test"])):
        verb = "holds" if odd[0] in there else "lacks"
        return [f"{bundle.predictions}: {verb} volume {odd[0]}, and the split tests {len(payload['test'])} volumes"]
    try:
        tables = score_tables(bundle, [store.volumes[volume_id] for volume_id in payload["test"]])
    except ValueError as error:  # of a volume of another shape, or of none
        return [f"{bundle.predictions}: cannot be scored: {error}"]
    return [
        sentence
        for path, fresh in zip((bundle.volumes, bundle.slices), tables, strict=True)
        for sentence in differences(path, fresh, record.metrics, same_data=payload["same"])
    ]
