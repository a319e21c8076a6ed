"""``stress``: is the auxiliary used, or over-trusted?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb

from . import console
from .options import Jobs, Plugins


def stress(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    jobs: Jobs = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    plugins: Plugins = None,
) -> None:
    """Predict again from the stored weights with a wrong auxiliary: zero, another patient's, shifted, rotated, noisy."""
    with console.listener() as listener:
        table, failed = mb.stress(run, plugins=plugins or (), device=device, jobs=jobs, listener=listener)
    console.print_table(table)
    for sentence in failed:
        console.print_lines((sentence,), sys.stderr)
    if failed:
        raise typer.Exit(1)
