"""``report`` and ``stress``: what is made of the folders of runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .options import Jobs, Plugins, names


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where the report goes.")],
    against: Annotated[str | None, typer.Option(help="References of the p-values, with commas between.")] = None,
    formats: Annotated[str | None, typer.Option(help="md, html, latex, csv, with commas between; all of them.")] = None,
    plugins: Plugins = None,
) -> None:
    """Write tables (also LaTeX and CSV), statistics and figures of one or several runs."""
    from mcsr_bench.cli import console
    from mcsr_bench.experiment.report import build_report
    from mcsr_bench.plugin.report import FORMATS

    tables, written = build_report(
        runs, to, against=names(against) or (), formats=names(formats) or FORMATS, plugins=plugins or ()
    )
    for table in tables:
        console.print_table(table)
    print(f"{len(written)} files in {to}; open {written[0]}", file=sys.stderr)


def stress(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    jobs: Jobs = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Predict again from the stored weights with a wrong auxiliary: zero, another patient's, shifted, rotated, noisy."""
    from mcsr_bench.audit.stress import stress_run
    from mcsr_bench.cli import console
    from mcsr_bench.engines.processes import Processes
    from mcsr_bench.system.devices import chosen_device

    with console.listener() as listener:
        table, failed = stress_run(run, Processes(jobs), device=chosen_device(device), listener=listener)
    console.print_table(table)
    for sentence in failed:
        print(sentence, file=sys.stderr)
    if failed:
        raise typer.Exit(1)
