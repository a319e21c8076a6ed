"""Floor 4: the grid of trials: validate all that was asked, prepare the data, run what is missing, report.

Nothing is trained before every name, setting and file was checked and the prepared data are on disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mcsr_bench import files
from mcsr_bench.dataset import Dataset
from mcsr_bench.engines.processes import Processes
from mcsr_bench.errors import UserError
from mcsr_bench.grid import ExperimentSpec, layouts, method_names, points, references, variant_of
from mcsr_bench.loading import SMOKE, load_dataset, smoke_settings
from mcsr_bench.prepared import Prepared, prepare, write_registrations
from mcsr_bench.progress import Listener
from mcsr_bench.protocol import get_protocol
from mcsr_bench.registry import add_plugins, datasets, methods, reports
from mcsr_bench.report import Report, Table
from mcsr_bench.results.bundle import RunFolder, TrialRecord, check_version, label
from mcsr_bench.results.load import Results, load_results
from mcsr_bench.splits import write_manifest
from mcsr_bench.system.devices import chosen_device
from mcsr_bench.trial import TrialSpec
from mcsr_bench.trials import run_trials


def run_experiment(spec: ExperimentSpec, listener: Listener | None = None) -> tuple[Results, list[TrialRecord]]:
    """Run what is missing of a grid. Returns all results in its folder, and the records of the trials asked for.

    Raises UserError for anything asked that cannot be had, before the first trial starts.
    """
    listener = listener or Listener()
    trials = plan(spec, listener)
    records: dict[int, TrialRecord] = {}
    for i, trial in enumerate(trials):
        if (record := _finished(trial, spec.fresh)) is not None:
            records[i] = record
    listener.trials(len(trials), len(records))
    missing = [i for i in range(len(trials)) if i not in records]
    # Long trials first, so that interpolation fills the gaps at the end.
    missing.sort(key=lambda i: not methods().card(trials[i].method).trains)
    ran = run_trials([trials[i] for i in missing], Processes(spec.jobs), listener)
    records |= dict(zip(missing, ran, strict=True))
    return load_results(spec.out), [records[i] for i in range(len(trials))]


def plan(spec: ExperimentSpec, listener: Listener) -> list[TrialSpec]:
    """Check everything, write ``experiment.json``, build the stores, and return the trials of the grid in order."""
    for path in spec.plugins:
        add_plugins(path)
    protocol = get_protocol(spec.protocol)
    grid = points(spec)
    scales = tuple(sorted({point.scale for point in grid}))
    device = chosen_device(spec.device)
    cards = [methods().card(name) for name in method_names(spec)]
    standards = {
        name: smoke_settings(datasets().card(name), cards, scales) if spec.preset == SMOKE else {}
        for name in spec.datasets
    }
    loaded = [
        load_dataset(name, spec.data_root, **standards[name] | spec.settings.get(name, {})) for name in spec.datasets
    ]
    _check_folder(spec)
    folder = RunFolder(spec.out)
    trials: list[TrialSpec] = []
    with _claimed(spec.out):
        ready = [
            prepared
            for dataset in loaded
            for prepared in prepare(
                dataset,
                protocol,
                scales,
                split_file=spec.split,
                preparation=spec.preparation,
                engine=Processes(spec.jobs),
                listener=listener,
                plugins=spec.plugins,
            )
        ]
        for prepared in ready:
            trials += [
                TrialSpec(
                    out=spec.out,
                    method=point.method,
                    variant=point.variant,
                    settings=point.settings,
                    dataset_variant=_dataset_variant(prepared.dataset, standards[prepared.dataset.name]),
                    dataset_settings=prepared.dataset.settings.model_dump(mode="json"),
                    scale=prepared.store.scale,
                    seed=seed,
                    preset=spec.preset,
                    protocol=spec.protocol,
                    data=prepared.data,
                    split=asdict(prepared.split),
                    device=device,
                    plugins=spec.plugins,
                )
                for point in grid
                if point.scale == prepared.store.scale
                for seed in spec.seeds
            ]
        _check_results(spec, trials)
        _write_spec(spec)
        for prepared in ready:
            where = dataset_folder(prepared, standards[prepared.dataset.name])
            write_manifest(folder.split(where), prepared.manifest)
            write_registrations(folder.registrations(where), prepared.store)
    return trials


def make_report(spec: ExperimentSpec, results: Results) -> tuple[list[Table], list[Path]]:
    """The tables for the terminal, and the files written to ``OUT/report``."""
    report: Report = reports().load(spec.report)()
    shown = layouts(_with_earlier(spec))
    rows = list(zip(results.trials["method"], results.trials["variant"], strict=True))
    against = references(spec.against, [(name, "") for name in method_names(spec)] if not shown else rows)
    return (
        report.tables(results, against=against, layouts=shown),
        report.write(
            results,
            RunFolder(spec.out).report,
            against=against,
            layouts=shown,
            formats=("html", "md", "csv"),
            brief=True,
        ),
    )


def _with_earlier(spec: ExperimentSpec) -> ExperimentSpec:
    """The spec with the suites that earlier runs left in the same folder."""
    path = RunFolder(spec.out).experiment
    earlier = tuple(files.read_json(path).get("suites", ())) if path.is_file() else ()
    return spec.model_copy(update={"suites": tuple(dict.fromkeys((*earlier, *spec.suites)))})


def _write_spec(spec: ExperimentSpec) -> None:
    left_out = {"fresh", "jobs", "device"}
    files.write_json(RunFolder(spec.out).experiment, _with_earlier(spec).model_dump(mode="json", exclude=left_out))


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Make a run's folder, so that one that cannot be written is known at once; unmake it when the block fails."""
    made = [path for path in (out, *out.parents) if not path.exists()]
    out.mkdir(parents=True, exist_ok=True)
    try:
        with files.replacing(out / ".writable"):
            pass
        (out / ".writable").unlink()
        yield
    except BaseException:
        for path in made:
            if any(path.iterdir()):
                break
            path.rmdir()
        raise


def _check_folder(spec: ExperimentSpec) -> None:
    """UserError when the folder is a file, or holds results of another protocol or preset."""
    path = RunFolder(spec.out).experiment
    if spec.out.exists() and not spec.out.is_dir():
        raise UserError(f"--out {spec.out}: is a file, not a folder")
    if path.is_file():
        try:
            before = files.read_json(path)
            check_version(path, before, unsaid=1)
            same = {key: before[key] for key in ("protocol", "preset")}
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: not a readable experiment; choose another --out") from None
        for key, value in same.items():
            if value != getattr(spec, key):
                raise UserError(
                    f"--out {spec.out}: holds results of {key} {value}, this run has {getattr(spec, key)}; "
                    f"choose another --out, for they are never mixed"
                )


def dataset_folder(prepared: Prepared, standard: dict[str, Any]) -> str:
    """The folder of a dataset's results in a run: ``DATASET[@VARIANT]``."""
    return label(prepared.dataset.name, _dataset_variant(prepared.dataset, standard))


def _dataset_variant(dataset: Dataset, standard: dict[str, Any]) -> str:
    usual = type(dataset).Settings(**datasets().card(dataset.name).settings | standard)
    return variant_of(usual.model_dump(mode="json"), dataset.settings.model_dump(mode="json"))


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
                f"{folder}: holds a finished trial with another {differs} than this run's; choose another --out, for they "
                f"are never mixed"
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
