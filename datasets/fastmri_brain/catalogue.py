"""From a folder to pairs: which file is whose and which contrast, what is wrong, what a reader should know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Literal

from mcsr_bench.data.raw.kspace_file import Volume, inspect, voxel_difference
from mcsr_bench.data.raw.pair import centred_grid
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Finding, Grid

Contrast = Literal["T1", "T1PRE", "T1POST", "T2", "FLAIR"]

ACQUISITIONS: dict[Contrast, tuple[str, ...]] = {
    "T1": ("AXT1", "AXT1PRE"),
    "T1PRE": ("AXT1PRE",),
    "T1POST": ("AXT1POST",),
    "T2": ("AXT2",),
    "FLAIR": ("AXFLAIR",),
}
"""The acquisitions that a contrast may be, best first."""
_KNOWN = frozenset(name for names in ACQUISITIONS.values() for name in names)
_IN_NAME = re.compile(r"(?<![A-Za-z0-9])(AXT1PRE|AXT1POST|AXT1|AXT2|AXFLAIR)(?![A-Za-z0-9])")
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Row:
    """A patient's pair."""

    target: Volume
    auxiliary: Volume

    @property
    def grids(self) -> tuple[Grid, Grid] | None:
        """The grids of target and auxiliary, with one centre, where their voxels differ and both headers give them; else None."""
        sides = [centred_grid((v.slices, *v.shape), v.voxel) for v in (self.target, self.auxiliary) if v.voxel]
        return (sides[0], sides[1]) if self.geometry_difference and len(sides) == 2 else None

    @property
    def registered(self) -> bool:
        """Whether the auxiliary has a grid of its own: it is then registered onto the target's."""
        return self.grids is not None

    @property
    def slices(self) -> int:
        """Slices that both have, as slices are paired by index; the target's where the auxiliary is registered onto them."""
        return self.target.slices if self.registered else min(self.target.slices, self.auxiliary.slices)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) that both have after the crop; the target's where the auxiliary is registered."""
        (a, b), (c, d) = self.target.shape, self.auxiliary.shape
        return (a, b) if self.registered else (min(a, c), min(b, d))

    @property
    def geometry_difference(self) -> str:
        """How the voxels differ, as a clause; "" when they are the same, or equal in number and of unknown size."""
        if (self.target.pixel and self.auxiliary.pixel) or self.target.shape == self.auxiliary.shape:
            return voxel_difference(self.target, self.auxiliary)
        (h, w), (i, j) = self.target.shape, self.auxiliary.shape
        return f"{h} x {w} and {i} x {j}, and a header does not give their size"


def catalogue(
    root: Path, contrasts: tuple[Contrast, Contrast], same_voxels: bool
) -> tuple[list[Row], list[Finding], list[str]]:
    """One row per patient that has both contrasts, by the name of the target's file; findings; and all that is wrong.

    same_voxels: leave out the pairs that would have to be registered. Looks into every HDF5 file in ``multicoil_train``,
    ``multicoil_val`` and the folder itself. Raises UserError when nothing is wrong and yet no pair is left.
    """
    volumes, problems = _inspected(root)
    findings: list[Finding] = []
    named = {v.path: acquisition(v) for v in volumes}
    findings += _name_findings(volumes)
    patients: dict[str, dict[str, list[Volume]]] = {}
    for v in volumes:
        known = named[v.path]
        if known:
            patients.setdefault(v.patient_id, {}).setdefault(known, []).append(v)
    chosen: list[Row] = []
    alone: list[Volume] = []
    again: list[tuple[Volume, int]] = []
    for patient_id in sorted(patients):
        sides = [_files(patients[patient_id], contrast) for contrast in contrasts]
        row = _best(*sides)
        if row is None:
            alone += [side[0] for side in sides if side][:1]
            continue
        for volume in (row.target, row.auxiliary):
            alike = len(patients[patient_id][named[volume.path]])
            again += [(volume, alike)] if alike > 1 else []
        chosen.append(row)
    if alone:
        message = (
            f"{len(alone)} patients have not both {contrasts[0]} and {contrasts[1]} and are left out, e.g. the one of "
            f"{alone[0].path.name}"
        )
        findings.append(Finding("warning", "unpaired", str(alone[0].path), message))
    if again:
        volume, n = again[0]
        message = (
            f"{len(again)} times a patient has several files of a contrast, of which the first by name that fits is used, e.g. "
            f"{volume.path.name} of {n}"
        )
        findings.append(Finding("info", "several-files", str(volume.path), message))
    others = [row for row in chosen if row.registered and not same_voxels]
    left_out = [row for row in chosen if row.geometry_difference and (same_voxels or not row.registered)]
    rows = [row for row in chosen if not row.geometry_difference] + others
    for group, fate in (
        (left_out, "are left out because the two do not have the same voxels"),
        (
            others,
            "do not have the same voxels, so that the auxiliary is registered, from a common centre of both volumes",
        ),
    ):
        if group:
            row = group[0]
            message = (
                f"{len(group)} of {len(chosen)} pairs {fate}, e.g. {row.target.path.name} and {row.auxiliary.path.name}: "
                f"{row.geometry_difference}"
            )
            findings.append(Finding("warning", "geometry", str(row.target.path), message, marks=True))
    if not rows and not problems:
        found = ", ".join(sorted({name for name in named.values() if name})) or "no contrast that is known"
        why = f"; {findings[-1].message}" if left_out else ""
        raise UserError(
            f"fastmri-brain: no patient in {root} has {contrasts[0]} and {contrasts[1]} with the same voxels; "
            f"{len(volumes)} files of {len(patients)} patients are there ({found}){why}; point --data-root at the folder that "
            "holds multicoil_train and multicoil_val"
        )
    rows.sort(key=lambda row: row.target.path.name)
    return rows, findings + _pair_findings(rows), problems


def acquisition(volume: Volume) -> str:
    """What fastMRI calls the contrast of a file: its attribute, else by its name, else ""."""
    return volume.acquisition if volume.acquisition in _KNOWN else _in_name(volume.path)


def _inspected(root: Path) -> tuple[list[Volume], list[str]]:
    """Every file that can be used, by name, and what is wrong with the others."""
    folders = [root / "multicoil_train", root / "multicoil_val", root]
    # Hidden ones are what macOS lays beside files.
    there = (p for f in folders if f.is_dir() for p in f.glob("*.h5") if not p.name.startswith("."))
    paths = sorted(there, key=lambda p: (p.name, str(p)))
    if not paths:
        looked = ", ".join(str(f) for f in folders)
        raise UserError(f"fastmri-brain: no HDF5 file is in {looked}; point --data-root at the folder that holds them")
    problems = [
        f"{a.name} is there twice, in {a.parent} and {b.parent}" for a, b in pairwise(paths) if a.name == b.name
    ]
    problems += [f"{p.name!r} has characters that are not used" for p in paths if not _VOLUME.fullmatch(p.name)]
    volumes: list[Volume] = []
    for path in paths:
        try:
            volume = inspect(path)
        except UserError as error:
            problems.append(str(error))
            continue
        if volume.coils:
            volumes.append(volume)
        else:
            problems.append(f"{path.name} has 'kspace' without coils; brain files are multi-coil (slices, coils, H, W)")
    return volumes, problems


def _in_name(path: Path) -> str:
    # An underscore is not a letter: file_brain_AXT2_200_2000019.
    found = _IN_NAME.search(path.stem)
    return found[1] if found else ""


def _files(of: dict[str, list[Volume]], contrast: Contrast) -> list[Volume]:
    """A patient's files of a contrast: those of the best acquisition first, by name."""
    return [volume for name in ACQUISITIONS[contrast] for volume in of.get(name, [])]


def _best(targets: Sequence[Volume], auxiliaries: Sequence[Volume]) -> Row | None:
    """The first pair of two contrasts that has the same voxels, one with the same number of slices before others.

    Where no pair has, the first, one that can be registered before others; None without a pair.
    """
    rows = [Row(t, a) for t, a in product(targets, auxiliaries) if acquisition(t) != acquisition(a)]

    def rank(row: Row) -> tuple[bool, bool, bool]:
        other = bool(row.geometry_difference)
        return other, other and not row.registered, row.target.slices != row.auxiliary.slices

    return min(rows, key=rank, default=None)


def _name_findings(volumes: Sequence[Volume]) -> list[Finding]:
    out: list[Finding] = []
    wrong = [v for v in volumes if v.acquisition in _KNOWN and _in_name(v.path) not in ("", v.acquisition)]
    if wrong:
        v = wrong[0]
        message = (
            f"{len(wrong)} of {len(volumes)} files have another contrast than in their names, e.g. {v.path.name}: acquisition "
            f"{v.acquisition}, which is believed"
        )
        out.append(Finding("warning", "contrast-mismatch", str(v.path), message, marks=True))
    unknown = [v for v in volumes if not acquisition(v)]
    if unknown:
        v = unknown[0]
        message = (
            f"{len(unknown)} of {len(volumes)} files are of no known contrast and are left out, e.g. {v.path.name}: acquisition "
            f"{v.acquisition!r}"
        )
        out.append(Finding("info", "acquisition", str(v.path), message))
    return out


def _pair_findings(rows: Sequence[Row]) -> list[Finding]:
    out: list[Finding] = []
    paired = [row for row in rows if not row.registered]
    counts = [row for row in paired if row.target.slices != row.auxiliary.slices]
    if counts:
        target, auxiliary = counts[0].target, counts[0].auxiliary
        message = (
            f"{len(counts)} of {len(rows)} pairs differ in the number of slices, e.g. {target.path.name} has {target.slices} and "
            f"{auxiliary.path.name} {auxiliary.slices}: the first {counts[0].slices} are used, as if both began at the same place"
        )
        out.append(Finding("warning", "slice-count", str(target.path), message, marks=True))
    sizes = [row for row in paired if row.target.shape != row.auxiliary.shape]
    if sizes:
        row = sizes[0]
        (a, b), (c, d), (h, w) = row.target.shape, row.auxiliary.shape, row.shape
        message = (
            f"{len(sizes)} of {len(rows)} pairs differ in size and are cropped to the centre that both have, e.g. "
            f"{row.target.path.name} {a} x {b} and {row.auxiliary.path.name} {c} x {d}: {h} x {w}"
        )
        out.append(Finding("info", "crop", str(row.target.path), message))
    return out
