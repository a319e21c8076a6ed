"""``prepare``: data made ready, looked at (``--check``), or split for a cross-validation (``--folds``)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import mcsr_bench as mb

from . import console
from .options import AsJson, DataRoot, Jobs, Plugins, Register, Set, SplitFile, StoreDtype, names, numbers, settings

if TYPE_CHECKING:
    from mcsr_bench.api import Checked, Prepared


def prepare(
    dataset: Annotated[str | None, typer.Option(help="Names separated by commas.")] = None,
    scale: Annotated[str | None, typer.Option(help="2, 3, 4 or 8; several separated by commas.")] = None,
    protocol: Annotated[str | None, typer.Option(help="mcsr-1 or sanet-2021.")] = None,
    data_root: DataRoot = None,
    split: SplitFile = None,
    register: Register = None,
    store_dtype: StoreDtype = None,
    changes: Set = None,
    jobs: Jobs = 0,
    plugins: Plugins = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only inspect every file and print all findings; nothing is built.")
    ] = False,
    as_json: AsJson = False,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Only write this many splits (cross-validation by patient) to --to; run reads each with --split."
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="The folder of --folds.")] = None,
) -> None:
    """Validate datasets and build their prepared data, without training anything."""
    asked: dict[str, Any] = {
        "dataset": names("--dataset", dataset),
        "data_root": data_root,
        "settings": settings(changes),
        "plugins": plugins or (),
    }
    if (folds is None) != (to is None):
        raise mb.UserError("--folds and --to go together: how many splits, and the folder that gets them")
    if folds is not None and to is not None:
        if split is not None:
            raise mb.UserError(f"--split {split}: --folds {folds} makes splits of its own")
        for path in mb.write_folds(**asked, folds=folds, to=to):
            print(path)
        return
    asked |= {
        "scale": numbers("--scale", scale),
        "split": split,
        "protocol": protocol,
        "register": register,
        "store_dtype": store_dtype,
        "jobs": jobs,
    }
    with console.listener() as listener:
        if check:
            checked = mb.check_data(**asked, listener=listener)
        else:
            prepared = mb.prepare(**asked, listener=listener)
    if not check:
        _print_prepared(prepared, as_json)
        return
    _print_checked(checked, as_json)
    if not all(one.usable for one in checked):
        raise typer.Exit(2)


def _print_prepared(prepared: Sequence[Prepared], as_json: bool) -> None:
    records = [one.data.model_dump(mode="json") for one in prepared]
    if as_json:
        print(json.dumps(records, indent=1))
        return
    for record in records:
        counts = ", ".join(
            f"{part} {n} patients / {record['slices'][part]} slices" for part, n in record["patients"].items()
        )
        said = (
            f"{record['store']}: {counts}; {record['target']} with {record['auxiliary']}; "
            f"split {record['split_hash']}: {record['split_rule']}"
        )
        console.print_lines((said, *(f"  {mark}" for mark in record["marks"])), sys.stdout)


def _print_checked(checked: Sequence[Checked], as_json: bool) -> None:
    if as_json:
        records = [one.record() for one in checked]
        findings = [finding for record in records for finding in record["findings"]]
        print(json.dumps({"datasets": records, "findings": findings}, indent=1))
        return
    for one in checked:
        split = ", ".join(f"{part} {n}" for part, n in one.patients.items())
        head = f"{one.dataset} ({one.track} track); patients: {split or 'no split'}; {one.split_rule or 'none made'}"
        console.print_lines((head,), sys.stdout)
        if one.rows:  # a column per contrast: eleven columns would not fit a terminal
            first, *others = zip(one.columns, *one.rows, strict=True)
            console.print_rows(first, others, file=sys.stdout)
        console.print_lines(one.lines(), sys.stdout)
