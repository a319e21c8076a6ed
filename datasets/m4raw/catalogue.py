"""From a folder to checked subjects: which files are whose, what is wrong with them, what a reader should know."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mcsr_bench.data.raw.kspace_file import Volume, inspect
from mcsr_bench.data.raw.patients import components
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Finding

_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)_(T1|T2|FLAIR)(\d{1,2})\.h5")

Scans = dict[str, dict[str, dict[int, Path]]]
"""By subject, contrast and number of the repetition."""


@dataclass(frozen=True)
class Subject:
    """A subject that has both contrasts; the first repetition is the reference of the others."""

    name: str
    target: tuple[Volume, ...]
    auxiliary: tuple[Volume, ...]

    @property
    def volumes(self) -> tuple[Volume, ...]:
        """Every file that is used, target first."""
        return (*self.target, *self.auxiliary)

    @property
    def slices(self) -> int:
        """Slices that all files have."""
        return min(v.slices for v in self.volumes)


def find(root: Path) -> tuple[Scans, list[Path]]:
    """The scans in a folder and down to two folders below it, and the other HDF5 files there.

    Raises UserError when a scan is there twice.
    """
    below = [p for pattern in ("*", "*/*") for p in root.glob(pattern) if p.is_dir()]
    folders = [root, *(p for p in below if not any(part.startswith(".") for part in p.relative_to(root).parts))]
    scans: Scans = {}
    others: list[Path] = []
    for path in sorted((p for f in folders for p in f.glob("*.h5")), key=lambda p: (p.name, str(p))):
        known = _NAME.fullmatch(path.name)
        if known is None:
            others.append(path)
            continue
        subject, contrast, number = known.groups()
        repetitions = scans.setdefault(subject, {}).setdefault(contrast, {})
        if int(number) in repetitions:
            raise UserError(
                f"m4raw: repetition {int(number)} of {contrast} of subject {subject} is there twice: "
                f"{repetitions[int(number)]} and {path}; take one away"
            )
        repetitions[int(number)] = path
    return scans, others


def subjects(
    root: Path, contrasts: tuple[str, str], *, only_first: bool
) -> tuple[list[Subject], list[Finding], list[str]]:
    """Every subject with both contrasts in the order of names; findings; and all that is wrong.

    Problems are broken files, and repetitions or contrasts of different shape. Raises UserError where no subject is found.
    """
    scans, others = find(root)
    findings: list[Finding] = []
    if others:
        message = f"{len(others)} HDF5 files are not T1, T2 or FLAIR scans and are ignored, e.g. {others[0].name}"
        findings.append(Finding("info", "ignored-files", str(others[0]), message))
    complete = {name: of for name, of in sorted(scans.items()) if all(c in of for c in contrasts)}
    if not complete:
        there = f"{len(scans)} subjects are there" if scans else "no file is named like 2022061003_T201.h5"
        raise UserError(
            f"m4raw: no subject has both {contrasts[0]} and {contrasts[1]} in {root} or a folder in it ({there}); "
            "point --data-root at the folder that holds multicoil_train and multicoil_val"
        )
    alone = [name for name in sorted(scans) if name not in complete]
    if alone:
        message = (
            f"{len(alone)} subjects have not both {contrasts[0]} and {contrasts[1]} and are left out: {shown(alone)}"
        )
        findings.append(Finding("warning", "unpaired", str(root), message))
    found: list[Subject] = []
    problems: list[str] = []
    for name, of in complete.items():
        sides: list[tuple[Volume, ...]] = []
        for contrast in contrasts:
            numbers = sorted(of[contrast])[: 1 if only_first else None]
            volumes: list[Volume] = []
            for number in numbers:
                try:
                    volumes.append(inspect(of[contrast][number], strict=False))
                except UserError as error:
                    problems.append(str(error))
            sides.append(tuple(volumes))
        if all(sides):
            subject = Subject(name, sides[0], sides[1])
            wrong = _shape_problems(subject)
            problems += wrong
            found += [] if wrong else [subject]
    findings += _findings(found, contrasts, only_first=only_first) if found else []
    return found, findings, problems


def patients(found: list[Subject]) -> tuple[dict[str, str], list[Finding]]:
    """Who is one patient, by subject, and findings.

    A subject of the file names is one patient; two that share a ``patient_id`` are one, too. Where every file has a
    ``patient_id`` of its own, or all files have the same, it is not used.
    """
    ids = {s.name: [v.patient_id for v in s.volumes] for s in found}
    counts = Counter(i for of in ids.values() for i in of)
    total = sum(map(len, ids.values()))
    same = len(counts) == 1
    if len(ids) > 1 and (same or (len(counts) == total and any(len(of) > 1 for of in ids.values()))):
        what = (
            f"all {total} files have the same patient_id"
            if same
            else f"each of the {total} files has a patient_id of its own"
        )
        message = f"{what}: patients are identified by the file names alone"
        first = str(found[0].volumes[0].path)
        return {name: name for name in ids}, [Finding("warning", "patient-mismatch", first, message, marks=same)]
    # The tags keep a hash from being taken for a subject of the same spelling; a subject names the component.
    links = [(f"a{name}", other) for name, of in ids.items() for other in (f"a{name}", *(f"b{i}" for i in of))]
    linked = components(links)
    patient = {name: linked[f"a{name}"][1:] for name in ids}
    findings: list[Finding] = []
    several = [s for s in found if len(set(ids[s.name])) > 1]
    if several:
        message = (
            f"the files of {len(several)} of {len(found)} subjects have different patient_id, and are taken for one patient's: "
            f"{shown([s.name for s in several], 5)}"
        )
        findings.append(Finding("warning", "patient-mismatch", str(several[0].volumes[0].path), message, marks=True))
    together = Counter(patient.values())
    shared = [s for s in found if together[patient[s.name]] > 1]
    if shared:
        message = (
            f"{len(shared)} subjects share a patient_id with another one, and count as one patient: "
            f"{shown([s.name for s in shared], 6)}"
        )
        findings.append(Finding("warning", "patient-mismatch", str(shared[0].volumes[0].path), message, marks=True))
    return patient, findings


def shown(names: Iterable[str], limit: int = 10) -> str:
    """The first names, and how many there are beyond them."""
    listed = list(names)
    rest = len(listed) - limit
    return ", ".join(listed[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _shape_problems(subject: Subject) -> list[str]:
    out: list[str] = []
    for side in (subject.target, subject.auxiliary):
        first = side[0]
        for other in side[1:]:
            a, b = ((v.slices, v.coils, *v.raw) for v in (first, other))
            if a != b:
                out.append(f"{other.path.name} has k-space {_by(b)} (slices, coils, H, W), {first.path.name} {_by(a)}")
    target, auxiliary = subject.target[0], subject.auxiliary[0]
    if target.shape != auxiliary.shape:
        out.append(
            f"{target.path.name} and {auxiliary.path.name} differ in size: {_by(target.shape)} and {_by(auxiliary.shape)}"
        )
    return out


def _by(numbers: Iterable[int]) -> str:
    return " x ".join(map(str, numbers))


def _findings(found: list[Subject], contrasts: tuple[str, str], *, only_first: bool) -> list[Finding]:
    out: list[Finding] = []
    for s in found:
        target, auxiliary = s.target[0], s.auxiliary[0]
        if target.slices != auxiliary.slices:
            message = (
                f"{target.path.name} has {target.slices} slices and {auxiliary.path.name} {auxiliary.slices}: "
                f"the first {s.slices} are used"
            )
            out.append(Finding("info", "slice-count", str(target.path), message))
    sides: Mapping[str, list[tuple[Volume, ...]]] = {
        contrasts[0]: [s.target for s in found],
        contrasts[1]: [s.auxiliary for s in found],
    }
    wrong = [(v, c) for c, of in sides.items() for side in of for v in side if v.acquisition not in ("", f"AX{c}")]
    if wrong:
        v, contrast = wrong[0]
        message = (
            f"{len(wrong)} files name another contrast than their names do, e.g. {v.path.name}: acquisition "
            f"{v.acquisition!r}, not 'AX{contrast}'; the names are believed, and results are marked"
        )
        out.append(Finding("warning", "contrast-mismatch", str(v.path), message, marks=True))
    for contrast, of in sides.items():
        most = max(map(len, of))
        fewer = [side for side in of if len(side) < most]
        if fewer and not only_first:
            message = (
                f"{len(fewer)} of {len(of)} subjects have fewer than {most} repetitions of {contrast}, e.g. "
                f"{len(fewer[0])} beginning with {fewer[0][0].path.name}: their HR is noisier"
            )
            out.append(Finding("info", "repetitions", str(fewer[0][0].path), message))
    bare = [v for s in found for v in s.volumes if v.header_problem]
    if bare:
        message = (
            f"{len(bare)} files have no header that describes the encoding, e.g. {bare[0].path.name}: "
            f"{bare[0].header_problem}; sizes are those of the arrays"
        )
        out.append(Finding("info", "header", str(bare[0].path), message))
    return out
