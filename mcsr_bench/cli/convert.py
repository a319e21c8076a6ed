"""``convert``: raw scans of one patient to a file of the layout "mcsr-pair"."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb

from . import console


def convert(
    sources: Annotated[list[str], typer.Argument(metavar="CONTRAST=FILE...", help="ISMRMRD files, one per contrast.")],
    patient_id: Annotated[str, typer.Option(help="The patient's pseudonym; splits are by this name.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE.h5", help="The file that is written.")],
    site: Annotated[str, typer.Option(help="Where it was acquired.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Convert raw scans (ISMRMRD, 2-D Cartesian) of one patient into one file of data set mcsr-pair, checked."""
    given: dict[str, Path] = {}
    for item in sources:
        name, equals, file = item.partition("=")
        if not (name and equals and file):
            raise mb.UserError(f"{item}: the form is CONTRAST=FILE, such as T1=a.mrd")
        if name in given:
            raise mb.UserError(f"{item}: {name} is given twice")
        given[name] = Path(file)
    for note in mb.convert(given, to, patient_id=patient_id, site=site, overwrite=overwrite):
        console.print_lines((f"mcsr-bench: {note}",), sys.stderr)
    print(to)
