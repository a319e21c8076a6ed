"""M4Raw: T1, T2 and FLAIR of the same heads at 0.3 T as raw multi-coil k-space, every contrast scanned two or three times.

``card.toml`` describes the files and what is done with them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.data.raw.kspace_file import Volume, kspace_slice, reconstruction_slice, stored
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import BadDataError, Case, Finding, Slice, Stored
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.split import DatasetSettings, PatientSplitSettings, Split, split_patients
from mcsr_bench.protocol import Protocol
from mcsr_bench.roles import Role
from mcsr_bench.system.files import digest

from .catalogue import Subject, patients, shown, subjects
from .repetitions import Look, Phase, look, mean_images

AGREEMENT = 0.96
"""A repetition that correlates less with the first has moved (assumed; see the card)."""
FAR = 4
"""A peak farther from the centre than the matrix over this is not a late echo: k-space is stored in another order."""


class M4RawSettings(PatientSplitSettings):
    """``--set m4raw.KEY=VALUE``."""

    target: Literal["T2", "T1", "FLAIR"] = "T2"
    """The contrast that is super-resolved."""
    auxiliary: Literal["T1", "T2", "FLAIR"] = "T1"
    """The contrast that helps."""
    repetitions: Literal["mean", "first"] = "mean"
    """mean: the complex mean of all scans of a contrast; first: the first scan alone. HR and LR are of the same."""
    phase: Phase = "smooth"
    """What is taken off a repetition before averaging: its slowly varying phase against the first, one phase, or nothing."""
    recentre: bool = True
    """Whether off-centre k-space is rolled to the centre."""


@dataclass(frozen=True)
class _Plan:
    """How a case is read: its files, and by how much their k-space is rolled."""

    subject: Subject
    target: Look
    auxiliary: Look


@dataclass
class M4Raw(Dataset):
    """Subjects of M4Raw that have both contrasts; see the module's text."""

    settings: M4RawSettings
    _plans: dict[str, _Plan] = field(default_factory=dict, init=False, repr=False)
    """By volume_id; what `cases` found last."""
    _looks: dict[tuple[Path, ...], Look] = field(default_factory=dict, init=False, repr=False)

    Settings: ClassVar[type[DatasetSettings]] = M4RawSettings
    track: ClassVar[Literal["complex", "magnitude"]] = "complex"
    revision: ClassVar[int] = 1

    @property
    def contrasts(self) -> tuple[str, str]:
        """As in the settings."""
        return self.settings.target, self.settings.auxiliary

    def cases(self) -> list[Case]:
        """One case per subject in the order of names; ``files``: the first repetition of target and auxiliary.

        Looks at three slices of every contrast. Raises one `BadDataError` with everything that is wrong with the files.
        """
        s = self.settings
        if s.target == s.auxiliary:
            raise UserError(f"m4raw.target and m4raw.auxiliary are both {s.target}; they must differ")
        found, findings, problems = subjects(self.root, self.contrasts, only_first=s.repetitions == "first")
        patient, linked = patients(found)
        plans = {f.name: _Plan(f, self._look(f.target), self._look(f.auxiliary)) for f in found}
        wrong = {name: _problems(plan) for name, plan in plans.items()}
        problems += [problem for several in wrong.values() for problem in several]
        for finding in (*findings, *linked, *_seen(list(plans.values()), recentre=s.recentre)):
            self.note(finding)
        self._plans = plans
        cases = [
            Case(
                patient[f.name],
                f.name,
                f.slices,
                f.target[0].shape,
                (str(f.target[0].path), str(f.auxiliary[0].path)),
            )
            for f in found
            if not wrong[f.name]
        ]
        if problems:
            raise BadDataError("m4raw", problems, cases, self.root)
        return cases

    def read(self, case: Case) -> Iterator[Slice]:
        """Complex target and auxiliary slices, paired by slice index."""
        plan = self._plan(case)
        with (
            closing(self._images(plan.subject.target, plan.target, case.shape)) as target,
            closing(self._images(plan.subject.auxiliary, plan.auxiliary, case.shape)) as auxiliary,
        ):
            yield from islice(zip(target, auxiliary, strict=False), case.n_slices)

    def raw_kspace(self, case: Case, role: Role, index: int) -> NDArray[np.complex64]:
        """All coils of a slice of the first repetition, rolled as `read` does: findings on its centre hold for images."""
        plan = self._plan(case)
        rows, columns = self._offset(plan.target if role == "target" else plan.auxiliary)
        return np.roll(kspace_slice(self._first(case, role).path, index), (-rows, -columns), axis=(-2, -1))

    def reconstruction(self, case: Case, role: Role, index: int) -> NDArray[np.float32] | None:
        """The image that the first repetition's file holds of a slice."""
        return reconstruction_slice(self._first(case, role).path, index)

    def stored(self, case: Case, role: Role) -> Stored:
        """Array of the first repetition's file, and how much of it was acquired by its header."""
        return stored(self._first(case, role))

    def split(self, cases: Sequence[Case], protocol: Protocol) -> Split:
        """By patient with a seed; a protocol of ``validation-is-test`` chooses its checkpoint on the test part."""
        return split_patients(cases, self.settings, protocol)

    def fingerprint(self) -> str:
        """SHA-256 over the bytes of every file that is used and over what each is used as."""
        if not self._plans:
            self.cases()
        plans = self._plans
        known = self.digests(v.path for plan in plans.values() for v in plan.subject.volumes)
        return digest(
            [
                [name, *([known[v.path] for v in side] for side in (plan.subject.target, plan.subject.auxiliary))]
                for name, plan in plans.items()
            ]
        )

    def _look(self, side: tuple[Volume, ...]) -> Look:
        paths = tuple(v.path for v in side)
        if paths not in self._looks:
            self._looks[paths] = look(side)
        return self._looks[paths]

    def _plan(self, case: Case) -> _Plan:
        if case.volume_id not in self._plans:
            self.cases()
        return self._plans[case.volume_id]

    def _first(self, case: Case, role: Role) -> Volume:
        subject = self._plan(case).subject
        return subject.target[0] if role == "target" else subject.auxiliary[0]

    def _images(
        self, side: tuple[Volume, ...], seen: Look, shape: tuple[int, int]
    ) -> Generator[NDArray[np.complex64], None, None]:
        return mean_images([v.path for v in side], shape, self._offset(seen), self.settings.phase)

    def _offset(self, seen: Look) -> tuple[int, int]:
        return seen.offset if self.settings.recentre and _off_centre(seen) else (0, 0)


def _off_centre(seen: Look) -> bool:
    """More than one sample: the phase of the object alone can move the peak to a neighbour."""
    return max(map(abs, seen.offset)) > 1


def _sides(plan: _Plan) -> tuple[tuple[tuple[Volume, ...], Look], tuple[tuple[Volume, ...], Look]]:
    return (plan.subject.target, plan.target), (plan.subject.auxiliary, plan.auxiliary)


def _problems(plan: _Plan) -> list[str]:
    out: list[str] = []
    for side, seen in _sides(plan):
        first = side[0]
        if seen.empty:
            out.append(f"{first.path.name}: three slices that were looked at are zero everywhere")
        elif any(abs(o) * FAR > n for o, n in zip(seen.offset, first.raw, strict=True)):
            at, centre = (n // 2 + o for o, n in zip(seen.offset, first.raw, strict=True)), (n // 2 for n in first.raw)
            out.append(
                f"{first.path.name}: its k-space is largest at ({_by(at)}), far from the centre ({_by(centre)}), "
                "so it is not stored with the zero frequency in the middle"
            )
    return out


def _seen(plans: list[_Plan], *, recentre: bool) -> list[Finding]:
    """Findings on what the slices that were looked at show."""
    sides = [side for plan in plans for side in _sides(plan)]
    out: list[Finding] = []
    off = [(side[0], seen) for side, seen in sides if _off_centre(seen)]
    if off:
        volume, seen = max(off, key=lambda item: max(map(abs, item[1].offset)))
        message = (
            f"k-space of {len(off)} of {len(sides)} volumes is off centre, most in {volume.path.name}: its peak is "
            f"{seen.offset[0]:+d} rows, {seen.offset[1]:+d} columns off; it is "
            + ("rolled to the centre" if recentre else "left there (m4raw.recentre=false)")
        )
        out.append(Finding("warning", "off-centre", str(volume.path), message, marks=True))
    moved = [
        (agreement, volume)
        for side, seen in sides
        for volume, agreement in zip(side[1:], seen.agreement, strict=True)
        if agreement < AGREEMENT
    ]
    if moved:
        message = (
            f"{len(moved)} repetitions differ from the first one as if the head had moved (correlation below {AGREEMENT:g}, least "
            f"{min(a for a, _ in moved):.2f}), and are averaged with it: {shown([v.path.stem for _, v in moved], 5)}"
        )
        out.append(Finding("warning", "repetition-motion", str(moved[0][1].path), message, marks=True))
    return out


def _by(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
