"""Raw scans of one patient to a file of the layout "mcsr-pair" that is looked at once it is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mcsr_bench.data.raw.mrd import convert as write
from mcsr_bench.data.raw.pair_file import look
from mcsr_bench.data.raw.pair_remarks import centre_remarks, remarks
from mcsr_bench.errors import UserError


def convert(
    sources: Mapping[str, str | Path], to: str | Path, *, patient_id: str, site: str = "", overwrite: bool = False
) -> list[str]:
    """Turn raw scans (ISMRMRD, 2-D Cartesian) into one file of data set mcsr-pair, checked.

    sources: contrast -> file, two or more. to: the HDF5 file that is written. patient_id: the patient's pseudonym, what the split
    goes by. site: where it was acquired. overwrite: replace a file that is there. Returns what its user should know, a sentence
    each. Raises UserError for a file that cannot be converted, and contrasts that do not go together; then nothing is written.
    """
    given = {name: Path(file) for name, file in sources.items()}
    if len(given) < 2:
        first = "".join(f"{name}={file}: " for name, file in given.items())
        raise UserError(f"{first}two contrasts are needed, such as T1=a.mrd T2=b.mrd")
    notes = write(given, Path(to), patient_id=patient_id, site=site, overwrite=overwrite)
    found, _ = look(Path(to).expanduser())
    if found is not None:
        notes += [finding.message for finding in (*remarks(found, given), *centre_remarks(found, given))]
    return notes
