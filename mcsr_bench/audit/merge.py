"""Runs of several machines in one folder, where their results may stand in one table."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mcsr_bench.audit.basis import Basis
from mcsr_bench.data.spec import DataSpec
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.grid import ExperimentSpec
from mcsr_bench.experiment.kept import read_experiment
from mcsr_bench.results.bundle import Bundle, TrialRecord
from mcsr_bench.results.load import Results, load_results
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files
from mcsr_bench.system.progress import Listener, Warnings


def merge(runs: Iterable[str | Path], to: str | Path, *, listener: Listener | None = None) -> Results:
    """Copy the finished trials of several runs into one new folder, and return its results.

    runs: their folders. to: a folder that is not there, or empty. listener: is told of trials that are not finished and left out.
    The folder's ``experiment.json`` has the methods, suites, data sets, scales, seeds and references of all. A trial that several
    runs hold is taken once if its key and scores are equal; of one whose weights and predictions are both gone, as in a published
    table, the scores are taken. Raises UserError, naming both folders, for what is never mixed: another
    protocol or preset; in one data set another fingerprint, split, preparation or code; in one method another code or revision; two
    results of one trial. DamagedFileError for a file that is not the one that was written.
    """
    folders = [Path(run) for run in runs]
    final = Path(to)
    if final.exists() and not (final.is_dir() and not any(final.iterdir())):
        raise UserError(f"--to {final}: is there and not an empty folder; choose another one")
    specs = [read_experiment(folder) for folder in folders]
    chosen = _chosen(folders, listener or Warnings())
    merged = _merged(folders, specs, final)

    def build(folder: Path) -> None:
        out = RunFolder(folder)
        files.write_json(out.experiment, merged.asked())
        for run, bundle in chosen:
            inside = bundle.folder.relative_to(run)  # and not what the record calls it, which is somebody else's word
            (folder / inside).mkdir(parents=True)
            for path in (*map(bundle.checked, _kept(bundle)), bundle.stress, bundle.log, bundle.trial):
                _copy(path, folder / inside / path.name)
            label = inside.parts[0]
            _copy(RunFolder(run).split(label), out.split(label))
            _copy(RunFolder(run).registrations(label), out.registrations(label))
        if final.exists():  # and empty; not everywhere may a folder be moved over another
            final.rmdir()

    files.build_folder(final, build)
    return load_results(final)


def _kept(bundle: Bundle) -> tuple[Path, ...]:
    """The files with a hash that a bundle is expected to hold: of a published one, scores and, where it is, the training log."""
    if not (bundle.weights.exists() or bundle.predictions.exists()):
        log = (bundle.training_log,) if bundle.training_log.exists() else ()
        return *log, bundle.volumes, bundle.slices
    return bundle.hashed()


def _copy(path: Path, to: Path) -> None:
    """Copy a file that is there and not yet copied. No link is followed: it may lead to any file of ours."""
    if path.is_file() and not path.is_symlink() and not to.exists():
        shutil.copyfile(path, to)


def _chosen(folders: Sequence[Path], listener: Listener) -> list[tuple[Path, Bundle]]:
    """The finished bundles of all runs, each trial once, with the folder of its run. UserError for what is never mixed."""
    for number, folder in enumerate(folders):
        if folder.resolve() in [other.resolve() for other in folders[:number]]:
            raise UserError(f"{folder}: is given twice")
    found: dict[Path, tuple[Path, Bundle]] = {}
    first: dict[tuple[str, ...], tuple[Bundle, Any]] = {}
    for folder in folders:
        for bundle in RunFolder(folder).bundles():
            record = bundle.record
            if record.status != "done":
                listener.warning(f"{bundle.folder}: is {record.status}, and left out")
                continue
            for scope, what, value in _alike(record):
                other, same = first.setdefault((*scope, what), (bundle, value))
                if same != value:
                    raise UserError(
                        f"{bundle.folder}: has another {what} ({value}) than {other.folder} ({same}); such results are never mixed"
                    )
            _, other = found.setdefault(bundle.folder.relative_to(folder), (folder, bundle))
            if other is not bundle and _differ(other, bundle):
                raise UserError(f"{bundle.folder}: is another result of the trial in {other.folder}; keep one of them")
    if not found:
        raise UserError(f"{', '.join(map(str, folders))}: no finished trial to merge")
    return list(found.values())


def _alike(record: TrialRecord) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """What must be equal: within what (the folder, a data set, a method), what it is, and its value."""
    method = (record.method, "method")
    within: dict[str, tuple[str, ...]] = {"protocol": (), "preset": ()}
    within |= dict.fromkeys(("precision", "revision", "code"), method)
    for name, title, value in Basis.of(record).named():
        yield within.get(name, (record.dataset_label,)), title, value


def _differ(one: Bundle, other: Bundle) -> bool:
    """Whether two bundles of one trial have other scores."""
    names = (one.volumes.name, one.slices.name, one.predictions.name)
    a, b = one.record, other.record
    return a.key != b.key or any(a.files.get(name) != b.files.get(name) for name in names)


def _merged(folders: Sequence[Path], specs: Sequence[ExperimentSpec], out: Path) -> ExperimentSpec:
    """The experiment that all of them are parts of. UserError where suites are laid out by settings that differ."""
    first = specs[0]
    settings = _agreed([spec.settings for spec in specs])
    for folder, spec in zip(folders, specs, strict=True):
        if spec.suites and (lost := sorted(spec.settings.keys() - settings.keys())):
            raise UserError(
                f"{folder}: has other settings of {lost[0]} (--set) than the other runs; the rows of suite "
                f"{spec.suites[0]} cannot have both"
            )
    methods = _union([spec.methods for spec in specs])
    suites = {suite for spec in specs for suite in (spec.references or {"": spec.against})}
    references = {
        suite: _union([spec.references.get(suite, () if spec.references else spec.against) for spec in specs])
        for suite in sorted(suites)
    }
    asked = _union([spec.against for spec in specs])
    if found := tuple(name for name in references.get("", ()) if name in asked):
        references[""] = found  # without what a run that had none of those asked for took in their place
    data = DataSpec(
        names=_union([spec.data.names for spec in specs]),
        scales=tuple(sorted({scale for spec in specs for scale in spec.data.scales})),
        protocol=first.data.protocol,
        preparation=first.data.preparation,
        settings=_agreed([spec.data.settings for spec in specs]),
        standards=_agreed([spec.data.standards for spec in specs]),
    )
    return first.model_copy(
        update={
            "data": data,
            "methods": ("all",) if "all" in methods else methods,
            "suites": _union([spec.suites for spec in specs]),
            "seeds": tuple(sorted({seed for spec in specs for seed in spec.seeds})),
            "settings": settings,
            "against": asked,
            "against_given": any(spec.against_given for spec in specs),
            "references": references,
            "out": out,
        }
    )


def _union(parts: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """All names, each once, in the order in which they come."""
    return tuple(dict.fromkeys(name for part in parts for name in part))


def _agreed(parts: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The entries of all, without those that differ."""
    names = _union([list(part) for part in parts])
    values = {name: [part[name] for part in parts if name in part] for name in names}
    return {name: found[0] for name, found in values.items() if all(one == found[0] for one in found)}
