"""``report``: tables and figures of runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb
from mcsr_bench.system.progress import Listener

from . import console
from .options import Plugins, names


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder for the report.")],
    against: Annotated[
        str | None,
        typer.Option(help="Other references of the p-values than the runs' own (exploratory), separated by commas."),
    ] = None,
    formats: Annotated[
        str | None, typer.Option(help="md, html, latex, csv, separated by commas; all by default.")
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Write tables (also LaTeX and CSV), statistics and figures of one or several runs."""
    left_out = _LeftOut()
    tables, written = mb.report(
        runs,
        to,
        against=names("--against", against),
        formats=names("--formats", formats),
        plugins=plugins or (),
        listener=left_out,
    )
    for table in tables:
        console.print_table(table)
    print(f"{len(written)} files in {to}; open {written[0]}", file=sys.stderr)
    if left_out.any:
        raise typer.Exit(1)


class _LeftOut(Listener):
    """Says which bundles are left out, and remembers that there were any."""

    any = False

    def warning(self, message: str) -> None:
        console.print_lines((f"warning: {message}",), sys.stderr)
        self.any = True
