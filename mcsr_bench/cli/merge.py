"""``merge``: runs of several machines in one folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb

from . import console


def merge(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The new folder of the run that they make.")],
) -> None:
    """Join runs made on different machines. What may not stand in one table is refused by name."""
    with console.listener() as listener:
        results = mb.merge(runs, to, listener=listener)
    print(f"{len(results.trials)} trials of {len(runs)} runs", file=sys.stderr)
    print(to)
