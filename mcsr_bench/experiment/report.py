"""A report over several runs, from their folders alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mcsr_bench.errors import FileError, UserError
from mcsr_bench.experiment.grid import ExperimentSpec
from mcsr_bench.experiment.kept import read_experiment
from mcsr_bench.experiment.layout import layouts
from mcsr_bench.plugin.loading import SMOKE
from mcsr_bench.plugin.registry import add_plugins, methods, reports
from mcsr_bench.plugin.report import FORMATS, Layout, Report, Table
from mcsr_bench.results.bundle import TrialRecord
from mcsr_bench.results.load import Results, use_results
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files
from mcsr_bench.system.progress import Listener


def build_report(
    runs: Sequence[Path],
    to: Path,
    *,
    against: Sequence[str] = (),
    formats: Sequence[str] = FORMATS,
    plugins: Sequence[Path] = (),
    listener: Listener | None = None,
) -> tuple[list[Table], list[Path]]:
    """Write the report of the runs into the folder ``to``; returns the main tables and the files written.

    against: references of the p-values; empty: those that the runs fixed. Others than those are called exploratory. Results of
    preset smoke are not results and are left out, and so are bundles with a file that is damaged or cannot be read, of which the
    listener is told. Raises UserError for a folder without results, results of different data or splits in one table, an unknown
    format, a report or method that only a plugin has, or nothing left to report. plugins: folders of plugins; those that a run
    names are not loaded.
    """
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"--formats {name}: allowed are {', '.join(FORMATS)}")
    if to.exists() and not to.is_dir():
        raise UserError(f"--to {to}: is a file, not a folder")
    specs = [read_experiment(run) for run in runs]
    for path in plugins:
        add_plugins(path)

    def damaged(error: FileError) -> bool:
        (listener or Listener()).warning(f"{error}; the trial is left out of the report")
        return False

    return use_results(runs, lambda results: _build(runs, specs, results, to, against, formats), damaged)[1]


def _build(
    runs: Sequence[Path],
    specs: Sequence[ExperimentSpec],
    results: Results,
    to: Path,
    against: Sequence[str],
    formats: Sequence[str],
) -> tuple[list[Table], list[Path]]:
    """The report of results; `FileError` for the first file that it cannot use."""
    results = results.of(lambda record: record.preset != SMOKE)
    if results.volumes.empty:
        running = ", ".join(record.label for record in results.records if record.status == "running")
        raise UserError(
            f"{', '.join(map(str, runs))}: no finished trial to report (trials of preset smoke are not results)"
            + (f"; still running: {running}" if running else "")
        )
    _check_data(results)
    _check_methods(runs, specs, results)
    shown = _layouts(specs, against)
    _check_against(against, results)
    fixed = tuple(dict.fromkeys(name for spec in specs for name in _fixed(spec)))
    before = {*fixed, *(name for spec in specs for names in spec.references.values() for name in names)}
    chosen = tuple(against) or fixed
    later = tuple(name for name in chosen if name not in before)
    report = _report(specs[0].report, RunFolder(runs[0]))
    with files.claimed(to):
        tables = report.tables(results, against=chosen, layouts=shown, exploratory=later)
        return tables, report.write(
            results, to, against=chosen, layouts=shown, exploratory=later, formats=tuple(formats)
        )


def make_report(spec: ExperimentSpec, results: Results) -> tuple[list[Table], list[Path]]:
    """The tables for the terminal, and the files written to ``OUT/report``; laid out as the folder's experiment says."""
    report = _report(spec.report, RunFolder(spec.out))
    kept = read_experiment(spec.out)
    shown = layouts(kept)
    against = _fixed(kept)
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


def _report(name: str, run: RunFolder) -> Report:
    """The report of that name. UserError where it is not installed, nor in a folder that the user gave."""
    if name not in reports().plugins():
        raise UserError(f"{run.experiment}: names the report '{name}', which is not installed{run.hint()}")
    made: Report = reports().load(name)()
    return made


def _check_methods(runs: Sequence[Path], specs: Sequence[ExperimentSpec], results: Results) -> None:
    """UserError where the rows of a suite would lack a method because its plugin was not given."""
    for run, spec in zip(runs, specs, strict=True):
        ran = {bundle.record.method for bundle in results.bundles if bundle.folder.is_relative_to(run)}
        missing = sorted(ran - methods().plugins().keys()) if spec.suites else []
        if missing and (hint := RunFolder(run).hint()):
            raise UserError(f"{run}: the tables of its suites need the method '{missing[0]}', which is not here{hint}")


def _fixed(spec: ExperimentSpec) -> tuple[str, ...]:
    """The references that the first run without a suite fixed; what was asked, in a folder of an earlier version."""
    return spec.references.get("", () if spec.references else spec.against)


def _layouts(specs: Sequence[ExperimentSpec], against: Sequence[str]) -> tuple[Layout, ...]:
    found: dict[tuple[str, tuple[object, ...]], Layout] = {}
    for spec in specs:
        if spec.preset != SMOKE:
            found |= {(layout.name, layout.rows): layout for layout in layouts(spec)}
    return tuple(replace(layout, against=tuple(against)) if against else layout for layout in found.values())


def _check_data(results: Results) -> None:
    """UserError where trials of one table would be of different data: other files, another split, prepared in another way."""
    first: dict[tuple[object, ...], tuple[TrialRecord, str]] = {}
    code: dict[tuple[object, ...], tuple[str, str]] = {}
    for record, folder in zip(results.records, results.trials["folder"], strict=True):
        if record.status == "done":
            row = (record.dataset_label, record.scale, record.method_label, record.preset, record.protocol_hash)
            same, where = code.setdefault(row, (record.code, folder))
            if same != record.code:
                raise UserError(
                    f"{folder}: was computed by other code of {record.method} than {where}; such results are never mixed; make one "
                    "report for each run"
                )
            table = (record.dataset_label, record.scale, record.preset, record.protocol_hash)
            other, where = first.setdefault(table, (record, folder))
            if differs := other.data.differs(record.data):
                raise UserError(
                    f"{folder}: has another {differs} than {where}; such results are never mixed; make one report for each run"
                )


def _check_against(against: Sequence[str], results: Results) -> None:
    known = {record.method_label for record in results.records}
    for name in against:
        if name not in known:
            raise UserError(f"--against {name}: that method is not in these runs ({', '.join(sorted(known))})")
