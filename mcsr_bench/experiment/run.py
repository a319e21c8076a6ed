"""The grid of trials: validate all that was asked, prepare the data, run what is missing, report.

Nothing is trained before every name, setting and file was checked and the prepared data are on disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from mcsr_bench.data.manifest import write_manifest
from mcsr_bench.data.prepare import prepare_all, write_registrations
from mcsr_bench.engines.base import Engine
from mcsr_bench.engines.processes import Processes
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.grid import ExperimentSpec, method_names, points, smoke_standards
from mcsr_bench.experiment.kept import merged
from mcsr_bench.experiment.rescoring import complete_scores
from mcsr_bench.experiment.trial import TrialSpec
from mcsr_bench.experiment.trials import run_trials, trial_spec
from mcsr_bench.plugin.registry import methods
from mcsr_bench.results.bundle import RunFolder, TrialRecord, check_version
from mcsr_bench.results.load import Results, load_results
from mcsr_bench.system import files
from mcsr_bench.system.devices import chosen_device
from mcsr_bench.system.progress import Listener


def run_experiment(spec: ExperimentSpec, listener: Listener | None = None) -> tuple[Results, list[TrialRecord]]:
    """Run what is missing of a grid. Returns all results in its folder, and the records of the trials asked for.

    Raises UserError for anything asked that cannot be had, before the first trial starts.
    """
    listener = listener or Listener()
    engine = Processes(spec.jobs)
    trials = plan(spec, engine, listener)
    records: dict[int, TrialRecord] = {}
    for i, trial in enumerate(trials):
        if (record := _finished(trial, spec.fresh)) is not None:
            records[i] = record
    listener.trials(len(trials), len(records))
    complete_scores([trials[i].place for i in records], engine, listener)
    missing = [i for i in range(len(trials)) if i not in records]
    # Long trials first, so that interpolation fills the gaps at the end.
    missing.sort(key=lambda i: not methods().card(trials[i].method).trains)
    ran = run_trials([trials[i] for i in missing], engine, listener)
    records |= dict(zip(missing, ran, strict=True))
    return load_results(spec.out), [records[i] for i in range(len(trials))]


def plan(spec: ExperimentSpec, engine: Engine, listener: Listener) -> list[TrialSpec]:
    """Check everything, build the stores, write the grid and the splits into the run's folder; the trials of the grid in order."""
    spec.data.add_plugins()
    grid = points(spec)
    data = spec.data.at(tuple(sorted({point.scale for point in grid})))
    data = data.model_copy(update={"standards": smoke_standards(data, method_names(spec), spec.preset)})
    device = chosen_device(spec.device)
    _check_folder(spec)
    kept = merged(spec)
    with files.claimed(spec.out):
        ready = prepare_all(data, engine, listener)
        trials = [
            trial_spec(point, prepared, spec.data, out=spec.out, seed=seed, preset=spec.preset, device=device)
            for prepared in ready
            for point in grid
            if point.scale == prepared.store.scale
            for seed in spec.seeds
        ]
        _check_results(spec, trials)
        _write_spec(kept)
        for prepared in ready:
            write_manifest(RunFolder(spec.out).split(prepared.label), prepared.manifest)
            write_registrations(RunFolder(spec.out).registrations(prepared.label), prepared.store)
    return trials


def _write_spec(spec: ExperimentSpec) -> None:
    left_out = {"fresh", "jobs", "device"}
    files.write_json(RunFolder(spec.out).experiment, spec.model_dump(mode="json", exclude=left_out))


def _check_folder(spec: ExperimentSpec) -> None:
    """UserError when the folder is a file, or holds results of another protocol or preset."""
    path = RunFolder(spec.out).experiment
    if spec.out.exists() and not spec.out.is_dir():
        raise UserError(f"--out {spec.out}: is a file, not a folder")
    if path.is_file():
        try:
            before = files.read_json(path)
            check_version(path, before, unsaid=1)
            same = {"protocol": before["data"]["protocol"], "preset": before["preset"]}
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: not a readable experiment; choose another --out") from None
        now = {"protocol": spec.data.protocol, "preset": spec.preset}
        for key, value in same.items():
            if value != now[key]:
                raise UserError(
                    f"--out {spec.out}: holds results of {key} {value}, this run has {now[key]}; "
                    f"choose another --out, because these are never mixed"
                )


def _check_results(spec: ExperimentSpec, trials: Sequence[TrialSpec]) -> None:
    """UserError where finished results that stay in the folder are of other data, another split or version than this run's.

    A table, and the ``split.json`` beside it, are about one split of one set of data.
    """
    mine = {trial.place.folder: trial for trial in trials}
    asked = {(trial.data.name, trial.dataset_variant): trial.data for trial in trials}
    for place in RunFolder(spec.out).trials():
        folder = place.folder
        if spec.fresh and folder in mine:
            continue
        record = place.read_record()
        if record is None or record.status != "done":
            continue
        if (trial := mine.get(folder)) is not None:
            if record.key != trial.key:
                raise UserError(
                    f"{folder}: holds a finished trial of other data or another version ({record.key}, now {trial.key}); "
                    f"choose another --out, or --fresh to start it over"
                )
        elif (data := asked.get((record.dataset, record.dataset_variant))) and (differs := data.differs(record.data)):
            raise UserError(
                f"{folder}: holds a finished trial with another {differs} than this run's; choose another --out, because "
                f"these are never mixed"
            )


def _finished(trial: TrialSpec, fresh: bool) -> TrialRecord | None:
    """The record of a trial that need not run again; clears away what must not be resumed."""
    place = trial.place
    if fresh and place.folder.exists():
        shutil.rmtree(place.folder)
    record = place.read_record()
    if record is None:
        return None
    same = record.key == trial.key
    if not same:
        shutil.rmtree(place.folder)
    return record if same and record.status == "done" else None
