"""``export``: results in the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    format: Annotated[str, typer.Option("--format", help="parquet, csv, benchopt or hf-eval.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder for the files.")],
) -> None:
    """Write the results of a run for other programs: tables, benchopt's columns, or the Hugging Face Hub's YAML."""
    for path in mb.export(run, format, to):
        print(path)
