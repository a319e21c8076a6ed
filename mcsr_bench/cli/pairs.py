"""``convert``: raw scans of one patient to a file of the layout "mcsr-pair"."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mcsr_bench.errors import UserError


def convert(
    sources: Annotated[list[str], typer.Argument(metavar="CONTRAST=FILE...", help="ISMRMRD files, one per contrast.")],
    patient_id: Annotated[str, typer.Option(help="The patient's pseudonym: what the split goes by.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE.h5", help="The file that is written.")],
    site: Annotated[str, typer.Option(help="Where it was acquired.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Turn raw scans (ISMRMRD, 2-D Cartesian) of one patient into one file of data set mcsr-pair, checked."""
    from mcsr_bench.data.raw.mrd import convert as write
    from mcsr_bench.data.raw.pair_file import look
    from mcsr_bench.data.raw.pair_remarks import centre_remarks, remarks

    given: dict[str, Path] = {}
    for item in sources:
        name, equals, file = item.partition("=")
        if not (name and equals and file):
            raise UserError(f"{item}: the form is CONTRAST=FILE, such as T1=a.mrd")
        if name in given:
            raise UserError(f"{item}: {name} is given twice")
        given[name] = Path(file)
    if len(given) < 2:
        raise UserError(f"{sources[0]}: two contrasts are needed, such as T1=a.mrd T2=b.mrd")
    notes = write(given, to, patient_id=patient_id, site=site, overwrite=overwrite)
    found, _ = look(to.expanduser())
    if found is not None:
        notes += [finding.message for finding in (*remarks(found, given), *centre_remarks(found, given))]
    for note in notes:
        print(f"mcsr-bench: {note}", file=sys.stderr)
    print(to)
