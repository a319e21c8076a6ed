"""``regress``: has a score moved from the reported one?"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb
from mcsr_bench.errors import UserError

from . import console

_CODES = {"unmoved": 0, "moved": 1, "incomplete": 3}


def regress(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    against: Annotated[
        Path | None, typer.Option("--against", metavar="FILE", help="Reported numbers, made by --write.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Also write the outcome as JUnit XML.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FILE", help="Write the run's numbers as reported ones.")
    ] = None,
) -> None:
    """Compare a run with reported numbers.

    Exit code 0: nothing moved. 1: something moved. 3: nothing was compared, or the run is incomplete.
    """
    if (against is None) == (write is None):
        raise UserError("regress: one of --against FILE and --write FILE is needed")
    if write is not None:
        if junit is not None:
            raise UserError("--junit: goes with --against, not with --write")
        try:
            print(mb.write_numbers(run, write))
        except mb.IncompleteRunError as error:
            print(f"mcsr-bench: {error}", file=sys.stderr)
            raise typer.Exit(_CODES["incomplete"]) from None
        return
    assert against is not None
    found = mb.regress(run, against)
    if junit is not None:
        found.to_junit(junit)
    rows = [
        (
            one.trial,
            f"{one.reported:.2f}",
            f"{one.now:.2f}",
            f"{round(one.difference, 2) + 0.0:+.2f}",  # not -0.00
            f"±{one.allowed:.2f}",
            f"{one.smallest_loss:.2f}",
            f"{one.seeds} of {one.reported_seeds}" if one.retrained else "–",
            one.verdict,
        )
        for one in found.compared
    ]
    if rows:
        columns = ("trial", "reported (dB)", "now (dB)", "difference", "allowed", "smallest loss found", "seeds", "")
        console.print_rows(columns, rows, file=sys.stdout)
    console.print_lines([*(one.line for one in found.said), found.summary], sys.stdout)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for one in found.said:
            print(one.annotation, file=sys.stderr)
    if code := _CODES[found.outcome]:
        raise typer.Exit(code)
