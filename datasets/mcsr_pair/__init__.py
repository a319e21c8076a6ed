"""A laboratory's own paired raw k-space: one HDF5 file per patient in the layout "mcsr-pair" version 1 (docs/mcsr-pair.md)."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mcsr_bench.data.raw.pair import Contrast, PairFile
from mcsr_bench.data.raw.pair_file import images, kspace_slices, look
from mcsr_bench.data.raw.pair_header import CONTRAST_NAME
from mcsr_bench.data.raw.pair_remarks import remarks
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import BadDataError, Case, Finding, Grid, Slice, Stored
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.split import DatasetSettings, PatientSplitSettings, Split, split_patients
from mcsr_bench.protocol import Protocol
from mcsr_bench.roles import Role
from mcsr_bench.system.files import digest

_CONTRAST = rf"^{CONTRAST_NAME.pattern}$"


class McsrPairSettings(PatientSplitSettings):
    """``--set mcsr-pair.KEY=VALUE``."""

    target: str = Field(default="T2", max_length=32, pattern=_CONTRAST)
    """The contrast that is super-resolved: the name of its group in the files."""
    auxiliary: str = Field(default="T1", max_length=32, pattern=_CONTRAST)
    """The contrast that helps."""
    matrix: tuple[int, int] = (0, 0)
    """(H, W) that the target should have, 0 for any: other volumes are used, with a note under tables."""
    slices: int = Field(default=0, ge=0)
    """Slices that a volume should have, 0 for any: likewise."""


@dataclass
class McsrPair(Dataset):
    """The files ``*.h5`` and ``*.hdf5`` of a folder; see the module's text."""

    settings: McsrPairSettings
    _files: dict[str, PairFile] = field(default_factory=dict, init=False, repr=False)
    """By volume_id; filled by `cases`."""

    Settings: ClassVar[type[DatasetSettings]] = McsrPairSettings
    track: ClassVar[Literal["complex", "magnitude"]] = "complex"
    revision: ClassVar[int] = 1

    @property
    def contrasts(self) -> tuple[str, str]:
        """The names that the settings give."""
        return self.settings.target, self.settings.auxiliary

    def cases(self) -> list[Case]:
        """One case per file, by file name; ``volume_id`` is the name without its suffix.

        Raises one `BadDataError` with all that is wrong with all files; samples are not read.
        """
        target, auxiliary = self.contrasts
        if target == auxiliary:
            raise UserError(f"--set {self.name}.target={target}: target and auxiliary are the same contrast")
        problems: list[str] = []
        files: dict[str, PairFile] = {}
        for path in self._paths():
            found, wrong = look(path, [(target, auxiliary)])
            volume = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip(".-") or "volume"
            again = next((v for v in files if v.lower() == volume.lower()), None)
            if found is not None and again is not None:
                wrong = [f"{path.name} and {files[again].path.name} have one name; rename one of them"]
            problems += wrong
            if found is not None and not wrong:
                files[volume] = found
        for found in files.values():
            for finding in remarks(found, self.contrasts):
                self.note(finding)
        self._files = files
        self._note_sizes()
        self._note_sites()
        cases = [self._case(volume, found) for volume, found in files.items()]
        if problems:
            raise BadDataError(self.name, problems, cases, self.data_root)
        return cases

    def read(self, case: Case) -> Iterator[Slice]:
        """Complex target and auxiliary slices, paired by slice index or the slice map; coils are combined at full matrix."""
        with closing(self._images(case, "target")) as target, closing(self._images(case, "auxiliary")) as auxiliary:
            yield from zip(target, auxiliary, strict=False)

    def read_contrast(self, case: Case, role: Role) -> Iterator[NDArray[np.complex64]]:
        """The slices of one contrast on its own grid; with a slice map, the auxiliary's that belong to the target's."""
        with closing(self._images(case, role)) as slices:
            yield from slices

    def raw_kspace(self, case: Case, role: Role, index: int) -> NDArray[np.complex64]:
        """All coils of the slice that `read_contrast` gives at this place, as stored."""
        found = self._file(case)
        [samples] = kspace_slices(found.path, self._contrast(found, role).name, [self._order(found, role)[index]])
        return samples

    def stored(self, case: Case, role: Role) -> Stored:
        """As in the file."""
        contrast = self._contrast(self._file(case), role)
        return Stored(contrast.stored_shape, "complex64", contrast.coils or 1, contrast.acquired)

    def grids(self, case: Case) -> tuple[Grid, Grid] | None:
        """From both affines and the transform between them, else from the voxel sizes; None with a slice map, or without both."""
        return self._file(case).grids(*self.contrasts)

    def split(self, cases: Sequence[Case], protocol: Protocol) -> Split:
        """By ``patient_id`` with a seed, 7:1:2 unless set otherwise.

        A protocol of ``validation-is-test`` chooses its checkpoint on the test part. UserError for fewer than three patients.
        """
        return split_patients(cases, self.settings, protocol)

    def fingerprint(self) -> str:
        """SHA-256 over the bytes of every file and over which contrast is target and which auxiliary."""
        cases = self.cases()
        known = self.digests(Path(file) for case in cases for file in case.files)
        return digest([self.contrasts, [[c.volume_id, *(known[Path(file)] for file in c.files)] for c in cases]])

    def _paths(self) -> list[Path]:
        root = self.root
        # A folder or a link to nowhere under such a name is a damaged file, not an absent one.
        there = sorted(p for p in root.iterdir() if not p.name.startswith("."))
        found = [p for p in there if p.suffix.lower() in (".h5", ".hdf5")]
        if not found:
            shown = f"it holds {', '.join(p.name for p in there[:5])}" if there else "it holds no file"
            raise UserError(f"--data-root {root}: no *.h5 or *.hdf5 in the layout of docs/mcsr-pair.md; {shown}")
        return found

    def _file(self, case: Case) -> PairFile:
        if case.volume_id not in self._files:
            path = Path(case.files[0])
            found, problems = look(path, [self.contrasts])
            if found is None:
                raise UserError(f"{self.name}: {'; '.join(problems)}")
            self._files[case.volume_id] = found
        return self._files[case.volume_id]

    def _contrast(self, found: PairFile, role: Role) -> Contrast:
        return found.contrasts[self.contrasts[0 if role == "target" else 1]]

    def _order(self, found: PairFile, role: Role) -> Sequence[int]:
        """The slices of a contrast in the order in which they are handed out."""
        target, auxiliary = self.contrasts
        mapped = found.slice_map(auxiliary, target) if role == "auxiliary" else None
        return range(self._contrast(found, role).shape[0]) if mapped is None else mapped

    def _images(self, case: Case, role: Role) -> Generator[NDArray[np.complex64], None, None]:
        found = self._file(case)
        return images(found.path, self._contrast(found, role), self._order(found, role))

    def _case(self, volume: str, found: PairFile) -> Case:
        n, H, W = found.contrasts[self.settings.target].shape
        return Case(found.patient_id, volume, n, (H, W), (str(found.path),))

    def _note_sites(self) -> None:
        """Tell of a patient_id that several sites gave: pseudonyms are a site's own, and two people may have one."""
        sites: dict[str, dict[str, Path]] = {}
        for found in self._files.values():
            sites.setdefault(found.patient_id, {}).setdefault(found.site, found.path)
        shared = {patient: where for patient, where in sites.items() if len(where) > 1}
        if shared:
            patient, where = next(iter(shared.items()))
            names = " and ".join(repr(site) for site in list(where)[:2])
            message = (
                f"{len(shared)} patient_id occur at several sites, e.g. {patient} at {names}, and count as one patient each; where "
                "they are different people, put the site into patient_id"
            )
            self.note(Finding("warning", "patients-alike", str(list(where.values())[1]), message, marks=True))

    def _note_sizes(self) -> None:
        """Tell of volumes that are not of the matrix or number of slices that the settings ask for."""
        (H, W), slices = self.settings.matrix, self.settings.slices
        shapes = {volume: found.contrasts[self.settings.target].shape for volume, found in self._files.items()}
        other = {v: f"{s[1]} x {s[2]}" for v, s in shapes.items() if (H and s[1] != H) or (W and s[2] != W)}
        wrong = {v: f"{s[0]}" for v, s in shapes.items() if slices and s[0] != slices}
        for code, rest, wanted in (
            ("matrix", other, f"of {H or 'any'} x {W or 'any'}"),
            ("slice-count", wrong, f"of {slices} slices"),
        ):
            if rest:
                first = next(iter(rest))
                example = f"{first}: {rest[first]}"
                message = (
                    f"{len(rest)} of {len(shapes)} volumes are not {wanted} as {self.name} has them, e.g. {example}; "
                    "they are used as they are"
                )
                self.note(Finding("warning", code, str(self._files[first].path), message, marks=True))
