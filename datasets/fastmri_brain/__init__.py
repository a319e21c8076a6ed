"""fastMRI brain: two contrasts of the same heads as raw multi-coil k-space, paired by patient.

Formats: fastMRI's documentation (Zbontar et al., arXiv:1811.08839). ``card.toml`` describes the files and what is
done with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.data.raw.file_pair import FilePairDataset, path_of
from mcsr_bench.data.raw.kspace_file import images, inspect
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import BadDataError, Case, Grid
from mcsr_bench.plugin.split import DatasetSettings, PatientSplitSettings, Split, split_patients
from mcsr_bench.protocol import Protocol
from mcsr_bench.roles import Role
from mcsr_bench.system.files import digest

from .catalogue import Contrast, Row, catalogue


class FastMRIBrainSettings(PatientSplitSettings):
    """``--set fastmri-brain.KEY=VALUE``."""

    choosing: ClassVar[frozenset[str]] = PatientSplitSettings.choosing | {"same_voxels"}

    target: Contrast = "T2"
    """The contrast that is super-resolved."""
    auxiliary: Contrast = "T1"
    """The contrast that helps. T1: AXT1, else AXT1PRE."""
    same_voxels: bool = False
    """Leave out the pairs whose headers give different voxels; else their auxiliary is registered onto the target's grid."""


@dataclass
class FastMRIBrain(FilePairDataset):
    """Patients of fastMRI brain that have both contrasts; see the module's text."""

    settings: FastMRIBrainSettings
    _listed: list[Case] | None = field(default=None, init=False, repr=False)
    """What `cases` found last."""

    Settings: ClassVar[type[DatasetSettings]] = FastMRIBrainSettings
    track: ClassVar[Literal["complex", "magnitude"]] = "complex"
    revision: ClassVar[int] = 2

    @property
    def contrasts(self) -> tuple[str, str]:
        """As in the settings."""
        return self.settings.target, self.settings.auxiliary

    def cases(self) -> list[Case]:
        """One case per patient, by the target file's name, which is ``volume_id``.

        Raises one `BadDataError` with everything that is wrong with the files.
        """
        s = self.settings
        if s.target == s.auxiliary:
            raise UserError(f"fastmri-brain.target and fastmri-brain.auxiliary are both {s.target}; they must differ")
        rows, findings, problems = catalogue(self.root, (s.target, s.auxiliary), s.same_voxels)
        for finding in findings:
            self.note(finding)
        self._listed = [_case(row) for row in rows]
        if problems:
            raise BadDataError("fastmri-brain", problems, self._listed, self.root)
        return list(self._listed)

    def grids(self, case: Case) -> tuple[Grid, Grid] | None:
        """As of every such dataset; two grids with one centre where the auxiliary has other voxels."""
        return _row(case).grids or super().grids(case)

    def read_contrast(self, case: Case, role: Role) -> Iterator[NDArray[np.complex64]]:
        """The slices of one contrast on the grid that `grids` gives."""
        row = _row(case)
        if not row.registered:
            yield from super().read_contrast(case, role)
            return
        volume = row.target if role == "target" else row.auxiliary
        with closing(images(volume.path, volume.shape)) as slices:
            yield from slices

    def split(self, cases: Sequence[Case], protocol: Protocol) -> Split:
        """By patient with a seed; a protocol of ``validation-is-test`` chooses its checkpoint on the test part."""
        return split_patients(cases, self.settings, protocol)

    def fingerprint(self) -> str:
        """SHA-256 over the bytes of every file that is used and over which one is target and which auxiliary."""
        cases = self.cases() if self._listed is None else self._listed
        known = self.digests(Path(file) for case in cases for file in case.files)
        return digest([[c.volume_id, *(known[Path(file)] for file in c.files)] for c in cases])


def _row(case: Case) -> Row:
    """What a case was made of."""
    return Row(inspect(path_of(case, "target")), inspect(path_of(case, "auxiliary")))


def _case(row: Row) -> Case:
    files = (str(row.target.path), str(row.auxiliary.path))
    return Case(row.target.patient_id, row.target.path.stem, row.slices, row.shape, files)
