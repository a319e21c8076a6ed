"""The grid of trials: validate all that was asked, prepare the data, run what is missing, report.

Nothing is trained before every name, setting and file was checked and the prepared data are on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from mcsr_bench.data.manifest import write_manifest
from mcsr_bench.data.prepare import prepare_all, write_registrations
from mcsr_bench.engines.base import Engine
from mcsr_bench.engines.processes import Processes
from mcsr_bench.errors import DamagedFileError, FileError, UnreadFileError, UserError
from mcsr_bench.experiment.grid import ExperimentSpec, method_names, points, smoke_standards
from mcsr_bench.experiment.kept import merged
from mcsr_bench.experiment.order import in_order
from mcsr_bench.experiment.planned import TrialSpec
from mcsr_bench.experiment.ranks import check_devices
from mcsr_bench.experiment.rescoring import complete_scores
from mcsr_bench.experiment.trials import finished, mend, replace_others, run_trials, trial_spec
from mcsr_bench.results.bundle import Bundle, BundleFiles, TrialRecord, check_version
from mcsr_bench.results.load import Results, use_results
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files
from mcsr_bench.system.devices import chosen_device
from mcsr_bench.system.locks import locked
from mcsr_bench.system.precision import kind_of
from mcsr_bench.system.progress import Listener
from mcsr_bench.weights.shipped import check_use

T = TypeVar("T")

_WEIGHTS = {False: "weights trained by a run", True: "weights that came with the methods"}


def run_experiment(spec: ExperimentSpec, listener: Listener | None = None) -> tuple[Results, list[TrialRecord]]:
    """Run what is missing of a grid. Returns all results in its folder, and the records of the trials asked for.

    Raises UserError for anything asked that cannot be had, before the first trial starts.
    """
    results, records, _ = run_then(spec, lambda _: None, listener)
    return results, records


def run_then(
    spec: ExperimentSpec, use: Callable[[Results], T], listener: Listener | None = None
) -> tuple[Results, list[TrialRecord], T]:
    """As `run_experiment`, and what ``use`` makes of the results.

    A file of a trial asked for that is found damaged, also by ``use``, is set aside, and the stage that wrote it runs again; other
    damaged bundles are left out, and so are those with a file that cannot be read at the moment. The listener is told of all.
    """
    listener = listener or Listener()
    engine = Processes(spec.jobs)
    trials = plan(spec, engine, listener)
    replace_others(trials, listener)
    records = _run_missing(trials, engine, listener, fresh=spec.fresh)
    mine = {trial.place.folder: trial for trial in trials}
    mended = set()

    def damaged(error: FileError) -> bool:
        folder = error.path.parent
        if isinstance(error, UnreadFileError):  # it may be sound: nothing is made again
            if folder in mine:
                records[folder] = records[folder].model_copy(update={"status": "failed", "reason": str(error)})
        elif folder in mine and folder not in mended:
            mended.add(folder)
            mend(mine[folder].place, error, listener)
            records.update(_run_missing([mine[folder]], engine, listener))
            return True
        listener.warning(f"{error}; the trial is left out of the results")
        return False

    folder = RunFolder(spec.out)
    with locked(
        folder.report_lock, lambda: listener.warning(f"another run is writing {folder.report}: waiting for it")
    ):
        results, used = use_results([spec.out], use, damaged)
    return results, [records[trial.place.folder] for trial in trials], used


def _run_missing(
    trials: Sequence[TrialSpec], engine: Engine, listener: Listener, *, fresh: bool = False
) -> dict[Path, TrialRecord]:
    """Run those of the trials that are not finished. Returns the records of all, by folder."""
    if fresh:
        for trial in trials:
            if (owner := trial.place.owner()) is not None:
                raise UserError(
                    f"--fresh: {owner} is running {trial.label} in {trial.out}; wait for its end, or choose another --out"
                )
    there = {
        trial.place.folder: record for trial in trials if (record := finished(trial, listener, fresh=fresh)) is not None
    }
    for folder in there:
        BundleFiles(folder).tidy()
    listener.trials(len(trials), len(there))
    changed = complete_scores([Bundle(folder, record) for folder, record in there.items()], engine, listener)
    again = {trial.place.folder: finished(trial, listener) for trial in trials if trial.place.folder in changed}
    records = {folder: record for folder, record in (there | again).items() if record is not None}
    missing = [trial for trial in trials if trial.place.folder not in records]
    missing = in_order(missing, min((engine.side_by_side(trial.needs) for trial in missing), default=1))
    ran = run_trials(missing, engine, listener)
    return records | {trial.place.folder: record for trial, record in zip(missing, ran, strict=True)}


def plan(spec: ExperimentSpec, engine: Engine, listener: Listener) -> list[TrialSpec]:
    """Check everything, build the stores, write the grid and the splits into the run's folder; the trials of the grid in order."""
    spec.data.add_plugins()
    grid = points(spec)
    data = spec.data.at(tuple(sorted({point.scale for point in grid})))
    data = data.model_copy(update={"standards": smoke_standards(data, method_names(spec), spec.preset)})
    device = chosen_device(spec.device)
    computing = spec.computing.on(device)
    _check_folder(spec)
    merged(spec)  # refuses what cannot be
    with files.claimed(spec.out):
        ready = prepare_all(data, engine, listener)
        trials = [
            trial_spec(
                point,
                prepared,
                spec.data,
                out=spec.out,
                seed=seed,
                preset=spec.preset,
                device=device,
                computing=computing,
            )
            for prepared in ready
            for point in grid
            if point.scale == prepared.store.scale
            for seed in spec.seeds
        ]
        check_devices(trials)
        for trial in trials:
            if trial.shipped:
                check_use(trial.method, trial.scale, trial.protocol, trial.data)
        _check_results(spec, trials)
        folder = RunFolder(spec.out)
        with locked(folder.grid_lock, lambda: None) as held:
            _check_folder(spec)  # again, as the next: another run may have written since
            _write_spec(merged(spec))
            for prepared in ready:
                write_manifest(folder.split(prepared.label), prepared.manifest)
                write_registrations(folder.registrations(prepared.label), prepared.store)
        if not held:
            listener.warning(
                f"{spec.out}: its file system has no locks, so a file claims each trial for one process; a trial that is killed on "
                "another machine can be taken up after ten minutes"
            )
    return trials


def _write_spec(spec: ExperimentSpec) -> None:
    """Paths are written as absolute ones: whoever reads them may be in another folder."""
    data = spec.data.model_copy(
        update={
            "root": None if spec.data.root is None else files.absolute(spec.data.root),
            "split": None if spec.data.split is None else files.absolute(spec.data.split),
            "plugins": tuple(map(files.absolute, spec.data.plugins)),
        }
    )
    kept = spec.model_copy(update={"data": data, "out": files.absolute(spec.out)})
    files.write_json(RunFolder(spec.out).experiment, kept.asked())


def _check_folder(spec: ExperimentSpec) -> None:
    """UserError when the folder is a file, or holds results of another protocol or preset."""
    path = RunFolder(spec.out).experiment
    if spec.out.exists() and not spec.out.is_dir():
        raise UserError(f"--out {spec.out}: is a file, not a folder")
    if path.is_file():
        try:
            before = files.read_json(path)
            check_version(path, before, unsaid=1)
            there = _kinds(
                before["data"]["protocol"],
                before["preset"],
                before.get("pretrained", False),
                before.get("computing", {"precision": None})["precision"],
            )
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: not a readable experiment; choose another --out") from None
        for before_run, now in zip(
            there, _kinds(spec.data.protocol, spec.preset, spec.pretrained, spec.computing.precision), strict=True
        ):
            if before_run != now:
                raise UserError(
                    f"--out {spec.out}: holds results of {before_run}, this run has {now}; choose another --out, because these "
                    "are never mixed"
                )


def _kinds(protocol: str, preset: str, pretrained: bool, precision: str | None) -> tuple[str, ...]:
    """What one folder has one of, in words. KeyError for a ``pretrained`` that is not a truth value."""
    return (
        f"protocol {protocol}",
        f"preset {preset}",
        _WEIGHTS[pretrained],
        f"{kind_of(precision or '32')} precision",
    )


def _check_results(spec: ExperimentSpec, trials: Sequence[TrialSpec]) -> None:
    """UserError where finished results that stay in the folder are of other data, another split or version than this run's.

    A table, and the ``split.json`` beside it, are about one split of one set of data. Where only the code of a plugin differs the
    trial asked for is moved aside.
    """
    mine = {trial.place.folder: trial for trial in trials}
    asked = {(trial.data.name, trial.dataset_variant): trial.data for trial in trials}
    for place in RunFolder(spec.out).trials():
        folder = place.folder
        if RunFolder(spec.out).linked(place):
            raise UserError(f"{folder}: is a link to {folder.resolve()}, outside --out; move that folder here")
        if spec.fresh and folder in mine:
            continue
        try:
            record = RunFolder(spec.out).read(place)
        except (DamagedFileError, UnreadFileError):  # the trial runs again, or is left out
            continue
        if record is None or record.status != "done":
            continue
        if (trial := mine.get(folder)) is not None:
            if record.key != trial.key and record.key != trial.key_of((record.code, record.data.code)):
                raise UserError(
                    f"{folder}: holds a finished trial of other data or another version ({record.key}, now {trial.key}); "
                    f"choose another --out, or --fresh to start it over"
                )
        elif (data := asked.get((record.dataset, record.dataset_variant))) and (differs := data.differs(record.data)):
            raise UserError(
                f"{folder}: holds a finished trial with another {differs} than this run's; choose another --out, because "
                f"these are never mixed"
            )
