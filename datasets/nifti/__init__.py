"""A folder of paired NIfTI volumes, target and auxiliary of each patient, found by patterns of file names.

Read with nibabel. ``card.toml`` describes what is accepted and what is done with it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mcsr_bench.data.raw.nifti import Volume, check_sign, inspect, magnitude, samples
from mcsr_bench.data.raw.places import in_one_space, pair_findings
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import BadDataError, Case, Finding, Grid, Slice, Stored
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.split import DatasetSettings, PatientSplitSettings, Split, as_protocol_wants, split_patients
from mcsr_bench.protocol import Protocol
from mcsr_bench.roles import Role
from mcsr_bench.system.files import digest

from .blocks import Block, cut, occupied
from .namings import by_naming, headers, volumes
from .orientation import Axis, orientation
from .patterns import Who, find, hidden_names
from .remarks import remarks, visits

_CONTRAST = r"^[A-Za-z0-9][A-Za-z0-9 ._+-]*$"


class NIfTISettings(PatientSplitSettings):
    """``--set nifti.KEY=VALUE``."""

    target_pattern: str = "{patient}_T2.nii.gz"
    """Names of the target volumes, relative to the data root, with {patient}, perhaps {visit} and *; .nii is found too."""
    auxiliary_pattern: str = "{patient}_T1.nii.gz"
    """Names of the auxiliary volumes."""
    target: str = Field(default="T2", max_length=32, pattern=_CONTRAST)
    """What tables call the target contrast."""
    auxiliary: str = Field(default="T1", max_length=32, pattern=_CONTRAST)
    """What tables call the auxiliary contrast."""
    recursive: bool = False
    """Whether the patterns may match in sub-folders of any depth."""
    axis: Axis = "axial"
    """How the volumes are cut: across the voxel axis closest to inferior-superior, posterior-anterior or left-right."""
    split: Literal["patient", "slice"] = "patient"
    """slice: contiguous slices of every patient train, validate and test, by the same fractions and without a seed; the results are
    marked "not patient-disjoint"."""
    gap: int = Field(default=3, ge=0, le=100)
    """Slices left out between the blocks of a split by slice, for neighbours are alike."""


@dataclass
class NIfTI(Dataset):
    """Pairs of NIfTI volumes; see the module's text."""

    settings: NIfTISettings
    _blocks: dict[str, Block] = field(default_factory=dict, init=False, repr=False)
    """With split=slice: which slices a case is, by volume_id; filled by `cases`."""
    _ranges: dict[tuple[str, ...], tuple[int, int]] = field(default_factory=dict, init=False, repr=False)
    """With split=slice: first slice that is not empty, and the one after the last, by files."""

    Settings: ClassVar[type[DatasetSettings]] = NIfTISettings
    track: ClassVar[Literal["complex", "magnitude"]] = "magnitude"
    revision: ClassVar[int] = 2

    @property
    def contrasts(self) -> tuple[str, str]:
        """The names that the settings give."""
        return self.settings.target, self.settings.auxiliary

    def cases(self) -> list[Case]:
        """One case per pair in the order of patient and visit; with split=slice one per block of slices.

        Raises one `BadDataError` with all files and pairs that cannot be used; files without a partner are left out with a finding.
        """
        pairs = self._pairs()
        problems: list[str] = []
        out: list[Case] = []
        used: list[list[Volume]] = []
        self._blocks.clear()
        for who, paths in pairs.items():
            volumes: list[Volume] = []
            for path in paths:
                try:
                    volumes.append(inspect(path))
                except UserError as error:
                    problems.append(str(error))
            if len(volumes) < 2:
                continue
            volumes = list(in_one_space(volumes[0], volumes[1], self._same_grid))
            difference = self._difference(*volumes)
            if difference and self.settings.split == "slice":
                problems.append(
                    f"{paths[0]} and {paths[1]} are on different grids ({difference}), which {self.name}.split=slice does not take"
                )
                continue
            used.append(volumes)
            for finding in pair_findings(volumes[0], volumes[1], same_grid=not difference):
                self.note(finding)
            try:
                out += self._cases_of(who, volumes)
            except UserError as error:
                problems.append(str(error))
        names = [c.volume_id for c in out]
        problems += [f"two cases have the name {name}" for name in sorted({n for n in names if names.count(n) > 1})]
        for contrast, volumes in zip(self.contrasts, map(list, zip(*used, strict=True)), strict=False):
            for finding in remarks(contrast, volumes, self.settings.axis, self.name):
                self.note(finding)
        for finding in visits((case.patient_id for case in out), self.root, self.name):
            self.note(finding)
        if problems:
            raise BadDataError(self.name, problems, [c for c in out if names.count(c.volume_id) == 1])
        return out

    def read(self, case: Case) -> Iterator[Slice]:
        """Magnitudes of target and auxiliary as complex64 with zero phase, in anatomical order, upright."""
        with (
            closing(self.read_contrast(case, "target")) as target,
            closing(self.read_contrast(case, "auxiliary")) as auxiliary,
        ):
            yield from zip(target, auxiliary, strict=True)

    def read_contrast(self, case: Case, role: Role) -> Generator[NDArray[np.complex64], None, None]:
        """The slices of one contrast as in its file, upright."""
        if self.settings.split == "slice" and case.volume_id not in self._blocks:
            self.cases()
        volume = self._volumes(case)[0 if role == "target" else 1]
        turn = orientation(volume.affine, self.settings.axis)
        block = self._blocks.get(case.volume_id)
        slices = range(block.start, block.stop) if block else range(turn.shape(volume.shape)[0])
        with samples(volume) as stored:
            check_sign(volume, stored)
            for index in slices:
                yield magnitude(turn.plane(stored, index), volume)

    def grids(self, case: Case) -> tuple[Grid, Grid]:
        """From the affines of a space that both headers name; of a block of slices as if it were the whole volume."""
        target, auxiliary = self._volumes(case)
        return self._grid(target), self._grid(auxiliary)

    def stored(self, case: Case, role: Role) -> Stored:
        """The whole volume of a contrast, as (slices, H, W)."""
        volume = self._volumes(case)[0 if role == "target" else 1]
        return Stored(orientation(volume.affine, self.settings.axis).shape(volume.shape), str(volume.dtype))

    def split(self, cases: Sequence[Case], protocol: Protocol) -> Split:
        """By patient with a seed, or by slice where that was asked for.

        A protocol of ``validation-is-test`` chooses its checkpoint on the test part. Raises UserError for fewer than three
        patients, unless split by slice.
        """
        s = self.settings
        if s.split == "slice":
            found = as_protocol_wants(self._split_by_slice(cases), protocol)
        else:
            n = len({c.patient_id for c in cases})
            if n < 3:
                raise UserError(
                    f"{self.name}: a split by patient needs at least 3 patients, {self.data_root} has {n}; "
                    f"--set {self.name}.split=slice splits by slice instead, and marks the results"
                )
            found = split_patients(cases, s, protocol)
        if s.split == "slice":
            message = f"not patient-disjoint: {found.rule}"
            mark = Finding("warning", "not-patient-disjoint", str(self.data_root), message, marks=True)
            self.note(mark)
        return found

    def fingerprint(self) -> str:
        """SHA-256 over the bytes of every file and over what is cut out of which."""
        cases = self.cases()
        known = self.digests(sorted({Path(file) for case in cases for file in case.files}))
        return digest([self.settings.axis, [[c.volume_id, *(known[Path(f)] for f in c.files)] for c in cases]])

    def _pairs(self) -> dict[Who, tuple[Path, Path]]:
        s, root = self.settings, self.root
        targets, auxiliaries = (find(root, pattern, key, s.recursive) for key, pattern in self._patterns().items())
        known = None
        if not targets.keys() & auxiliaries.keys() and self._standard():
            known = by_naming(root, self.contrasts)
        if known:
            (targets, auxiliaries), told = known
        else:
            told = list(hidden_names(root, zip(self._patterns().items(), (targets, auxiliaries), strict=True)))
        both = {who: (targets[who], auxiliaries[who]) for who in targets if who in auxiliaries}
        others = headers(root, deep=not both or s.recursive)
        if not both:
            there = [str(path.relative_to(root)) for path in volumes(root)[:5]]
            shown = f"it holds {', '.join(there)}" if there else "it holds no NIfTI file"
            if others:
                shown += f", but pairs of .hdr and .img such as {others[0].name}: convert these to .nii.gz"
            raise UserError(
                f"no two files in {root} match {self.name}.target_pattern={s.target_pattern} and "
                f"{self.name}.auxiliary_pattern={s.auxiliary_pattern} for the same patient; {shown}"
            )
        same = [target for target, auxiliary in both.values() if target == auxiliary]
        if same:
            raise UserError(f"{same[0]} matches both {self.name}.target_pattern and {self.name}.auxiliary_pattern")
        if others:
            message = (
                f"{len(others)} pairs of .hdr and .img are left out, e.g. {others[0].name}; convert them to .nii.gz"
            )
            told.append(Finding("warning", "unread", str(others[0]), message))
        for found, role in ((targets, "auxiliary"), (auxiliaries, "target")):
            alone = [path for who, path in found.items() if who not in both]
            if alone:
                message = f"{len(alone)} volumes have no {role} and are left out, e.g. {alone[0].name}"
                told.append(Finding("warning", "unpaired", str(alone[0]), message))
        for finding in told:
            self.note(finding)
        return both

    def _patterns(self) -> dict[str, str]:
        """Patterns of the target and the auxiliary, by what messages call their settings."""
        s = self.settings
        return {f"{self.name}.target_pattern": s.target_pattern, f"{self.name}.auxiliary_pattern": s.auxiliary_pattern}

    def _standard(self) -> bool:
        """Whether both patterns are the standard ones."""
        fields = type(self).Settings.model_fields
        return all(
            getattr(self.settings, key) == fields[key].default for key in ("target_pattern", "auxiliary_pattern")
        )

    def _volumes(self, case: Case) -> tuple[Volume, Volume]:
        """Target and auxiliary, in one space."""
        target, auxiliary = (inspect(Path(file)) for file in case.files)
        return in_one_space(target, auxiliary, self._same_grid)

    def _grid(self, volume: Volume) -> Grid:
        return orientation(volume.affine, self.settings.axis).grid(volume.shape, volume.affine)

    def _difference(self, target: Volume, auxiliary: Volume) -> str:
        return self._grid(target).difference(self._grid(auxiliary))

    def _same_grid(self, target: Volume, auxiliary: Volume) -> bool:
        return not self._difference(target, auxiliary)

    def _cases_of(self, who: Who, volumes: list[Volume]) -> list[Case]:
        s = self.settings
        target = volumes[0]
        turn = orientation(target.affine, s.axis)
        n, H, W = turn.shape(target.shape)
        files = tuple(str(volume.path) for volume in volumes)
        if s.split == "patient":
            return [Case(who.patient, who.volume, n, (H, W), files)]
        if files not in self._ranges:
            used = np.flatnonzero(np.logical_and(*(occupied(v, orientation(v.affine, s.axis)) for v in volumes)))
            # Empty ends are cut off first, or a part could be empty; a volume that is all empty is the engine's to refuse.
            self._ranges[files] = (int(used[0]), int(used[-1]) + 1) if used.size else (0, n)
        out: list[Case] = []
        first, stop = self._ranges[files]
        what = str(target.path)
        for block in cut(
            first, stop, validation=s.validation_fraction, test=s.test_fraction, gap=s.gap, what=what, name=self.name
        ):
            name = f"{who.volume}-{block.suffix}"
            self._blocks[name] = block
            out.append(Case(who.patient, name, block.stop - block.start, (H, W), files))
        return out

    def _split_by_slice(self, cases: Sequence[Case]) -> Split:
        if any(c.volume_id not in self._blocks for c in cases):
            self.cases()
        parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        for case in cases:
            parts[self._blocks[case.volume_id].part].append(case.volume_id)
        rule = (
            f"by slice: contiguous slices of every volume train, validate and test, {self.settings.gap} slices left out "
            f"between them ({self.name}.split=slice)"
        )
        train, validation, test = (tuple(part) for part in parts.values())
        return Split(train, validation, test, rule, patient_disjoint=False)
