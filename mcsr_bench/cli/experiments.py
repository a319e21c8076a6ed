"""``run`` and ``prepare``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcsr_bench.errors import UserError

if TYPE_CHECKING:
    from mcsr_bench.data.spec import DataSpec

from .options import (
    AsJson,
    DataRoot,
    Jobs,
    Plugins,
    Register,
    Set,
    SplitFile,
    StoreDtype,
    names,
    numbers,
    settings,
)


def run(
    methods: Annotated[str | None, typer.Option(help="Names with commas between, or all.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Names with commas between.")] = None,
    scale: Annotated[str | None, typer.Option(help="2, 3, 4 or 8; several with commas between.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Whole numbers with commas between.")] = None,
    preset: Annotated[str | None, typer.Option(help="quick, small, paper, released.")] = None,
    suite: Annotated[str | None, typer.Option(help="Experiments of the paper by name, with commas between.")] = None,
    protocol: Annotated[str | None, typer.Option(help="mcsr-1 or sanet-2021.")] = None,
    data_root: DataRoot = None,
    split: SplitFile = None,
    against: Annotated[str | None, typer.Option(help="References of the p-values, with commas between.")] = None,
    register: Register = None,
    store_dtype: StoreDtype = None,
    changes: Set = None,
    jobs: Jobs = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    plugins: Plugins = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where results go.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start the named trials over.")] = False,
) -> None:
    """Train, predict and score methods on datasets, and print the table. The same command again resumes."""
    from mcsr_bench import api
    from mcsr_bench.cli import console
    from mcsr_bench.experiment.report import make_report
    from mcsr_bench.experiment.run import run_experiment

    spec = api.experiment_spec(
        methods=names(methods),
        dataset=names(dataset),
        scale=numbers("--scale", scale),
        seeds=numbers("--seeds", seeds),
        preset=preset,
        suite=names(suite),
        protocol=protocol,
        data_root=data_root,
        split=split,
        against=names(against),
        register=register,
        store_dtype=store_dtype,
        settings=settings(changes),
        jobs=jobs,
        device=device,
        plugins=plugins or (),
        out=out,
        fresh=fresh,
    )
    with console.listener() as listener:
        results, records = run_experiment(spec, listener)
    tables, written = make_report(spec, results)
    for table in tables:
        console.print_table(table)
    failed = [record for record in records if record.status != "done"]
    summary = f"{len(records) - len(failed)} done, {len(failed)} failed; results in {spec.out}"
    print(summary + (f"; open {written[0]}" if written else ""), file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def prepare(
    dataset: Annotated[str | None, typer.Option(help="Names with commas between.")] = None,
    scale: Annotated[str | None, typer.Option(help="2, 3, 4 or 8; several with commas between.")] = None,
    protocol: Annotated[str | None, typer.Option(help="mcsr-1 or sanet-2021.")] = None,
    data_root: DataRoot = None,
    split: SplitFile = None,
    register: Register = None,
    store_dtype: StoreDtype = None,
    changes: Set = None,
    jobs: Jobs = 0,
    plugins: Plugins = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only look: a report on every file and all findings; nothing is built.")
    ] = False,
    as_json: AsJson = False,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Only write so many splits, a cross-validation by patient, to --to; each is a --split of run."
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="The folder of --folds.")] = None,
) -> None:
    """Validate datasets and build their prepared data, without training anything."""
    from mcsr_bench import api
    from mcsr_bench.cli import console
    from mcsr_bench.data.prepare import prepare_all, write_folds
    from mcsr_bench.engines.processes import Processes

    spec = api.data_spec(
        names(dataset),
        numbers("--scale", scale),
        protocol=protocol,
        data_root=data_root,
        split=split,
        register=register,
        store_dtype=store_dtype,
        settings=settings(changes),
        plugins=plugins or (),
    )
    if (folds is None) != (to is None):
        raise UserError("--folds and --to go together: how many splits, and the folder that gets them")
    if folds is not None and to is not None:
        for path in write_folds(spec, folds, to):
            print(path)
        return
    if check:
        _inspect(spec, jobs, as_json)
        return
    with console.listener() as listener:
        records = [prepared.data.model_dump(mode="json") for prepared in prepare_all(spec, Processes(jobs), listener)]
    if as_json:
        print(json.dumps(records, indent=1))
        return
    for record in records:
        counts = ", ".join(
            f"{part} {n} patients / {record['slices'][part]} slices" for part, n in record["patients"].items()
        )
        print(
            f"{record['store']}: {counts}; {record['target']} with {record['auxiliary']}; "
            f"split {record['split_hash']}: {record['split_rule']}"
        )
        for mark in record["marks"]:
            print(f"  {mark}")


def _inspect(spec: DataSpec, jobs: int, as_json: bool) -> None:
    from mcsr_bench.cli import console
    from mcsr_bench.data.check import check_datasets, finding_records
    from mcsr_bench.data.findings import located
    from mcsr_bench.engines.processes import Processes

    with console.listener() as listener:
        checked = check_datasets(spec, Processes(jobs), listener)
    found = [finding for one in checked for finding in one.findings]
    if as_json:
        document = {"datasets": [one.record() for one in checked], "findings": finding_records(found)}
        print(json.dumps(document, indent=1))
    else:
        for one in checked:
            split = ", ".join(f"{part} {n}" for part, n in one.patients.items())
            print(
                f"{one.dataset} ({one.track} track); patients: {split or 'no split'}; {one.split_rule or 'none made'}"
            )
            if one.rows:  # a column per contrast: eleven columns would not fit a terminal
                first, *others = zip(one.columns, *one.rows, strict=True)
                console.print_rows(first, others, file=sys.stdout)
            for finding in one.findings:
                print(f"{finding.severity}  {finding.code}  {located(finding)}")
            if not one.findings:
                print("no findings")
    if not all(one.usable for one in checked):
        raise typer.Exit(2)
