"""fastMRI brain: two contrasts of the same heads as raw multi-coil k-space, paired by patient.

Formats: fastMRI's documentation (Zbontar et al., arXiv:1811.08839). What the files are and what is done with them is told in
``card.toml``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.dataset import (
    BadDataError,
    Case,
    Dataset,
    DatasetSettings,
    PatientSplitSettings,
    Slice,
    Split,
    Stored,
    split_patients,
)
from mcsr_bench.errors import UserError
from mcsr_bench.files import digest
from mcsr_bench.protocol import Protocol
from mcsr_bench.raw.digests import digests
from mcsr_bench.raw.kspace_file import images, inspect, kspace_slice, stored

from .catalogue import Contrast, Row, catalogue


class FastMRIBrainSettings(PatientSplitSettings):
    """``--set fastmri-brain.KEY=VALUE``."""

    target: Contrast = "T2"
    """The contrast that is super-resolved."""
    auxiliary: Contrast = "T1"
    """The contrast that helps. T1: AXT1, else AXT1PRE."""


@dataclass
class FastMRIBrain(Dataset):
    """Patients of fastMRI brain that have both contrasts; see the module's text."""

    settings: FastMRIBrainSettings
    _listed: list[Case] | None = field(default=None, init=False, repr=False)
    """What `cases` found last."""

    Settings: ClassVar[type[DatasetSettings]] = FastMRIBrainSettings
    track: ClassVar[Literal["complex", "magnitude"]] = "complex"
    revision: ClassVar[int] = 1

    @property
    def contrasts(self) -> tuple[str, str]:
        """As the settings say."""
        return self.settings.target, self.settings.auxiliary

    def cases(self) -> list[Case]:
        """One case per patient, by the target file's name, which is ``volume_id``.

        Raises one `BadDataError` with everything that is wrong with the files.
        """
        s = self.settings
        if s.target == s.auxiliary:
            raise UserError(f"fastmri-brain.target and fastmri-brain.auxiliary are both {s.target}; they must differ")
        rows, findings, problems = catalogue(self.root, (s.target, s.auxiliary))
        for finding in findings:
            self.note(finding)
        self._listed = [_case(row) for row in rows]
        if problems:
            raise BadDataError("fastmri-brain", problems, self._listed, self.root)
        return list(self._listed)

    def read(self, case: Case) -> Iterator[Slice]:
        """Complex target and auxiliary slices, paired by slice index; both files are read slice by slice."""
        target_file, auxiliary_file = (Path(file) for file in case.files)
        with (
            closing(images(target_file, case.shape)) as target,
            closing(images(auxiliary_file, case.shape)) as auxiliary,
        ):
            yield from islice(zip(target, auxiliary, strict=False), case.n_slices)

    def raw_kspace(self, case: Case, kind: Literal["target", "auxiliary"], index: int) -> NDArray[np.complex64]:
        """All coils of a slice, as stored."""
        return kspace_slice(Path(case.files[0 if kind == "target" else 1]), index)

    def stored(self, case: Case, kind: Literal["target", "auxiliary"]) -> Stored:
        """Array of the file, and how much of it its header says was acquired."""
        return stored(inspect(Path(case.files[0 if kind == "target" else 1])))

    def split(self, cases: Sequence[Case], protocol: Protocol) -> Split:
        """By patient with a seed; a protocol of ``validation-is-test`` chooses its checkpoint on the test part."""
        return split_patients(cases, self.settings, protocol)

    def fingerprint(self) -> str:
        """SHA-256 over the bytes of every file that is used and over which one is target and which auxiliary."""
        cases = self.cases() if self._listed is None else self._listed
        known = digests(Path(file) for case in cases for file in case.files)
        return digest([[c.volume_id, *(known[Path(file)] for file in c.files)] for c in cases])


def _case(row: Row) -> Case:
    files = (str(row.target.path), str(row.auxiliary.path))
    return Case(row.target.patient_id, row.target.path.stem, row.slices, row.shape, files)
