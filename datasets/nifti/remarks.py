"""What a reader of a result should know of a folder of volumes that can be used: by their headers and names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import get_args

from mcsr_bench.data.raw.nifti import Volume
from mcsr_bench.data.raw.places import place_findings
from mcsr_bench.plugin.case import Finding

from .orientation import Axis, orientation

THICK = 1.5
"""An edge of a voxel this many times as long as the other two is the distance of slices."""
_VISIT = re.compile(
    r"(?P<patient>(?=sub-)[^_]+)_.+"  # BIDS
    r"|(?P<case>BraTS-[A-Za-z]+-\d{5})-\d{3}"
    r"|(?P<name>.*[A-Za-z0-9])[._-]+(?:ses|session|visit|study|scan|exam|timepoint|tp|run|v)(?:[._-]?\d+|-[A-Za-z0-9]+)",
    re.IGNORECASE,
)


def remarks(contrast: str, volumes: Sequence[Volume], axis: Axis, name: str) -> Iterator[Finding]:
    """Findings on the volumes of one contrast, cut along ``axis``; name: of the data set.

    ``slice-axis``, ``no-geometry``, and those of `place_findings`.
    """
    for volume in volumes:
        yield from place_findings(volume)
    crossed = [(v, acquired_as(v)) for v in volumes]
    crossed = [(v, found) for v, found in crossed if found not in (None, axis)]
    if crossed:
        first, found = crossed[0]
        edges = orientation(first.affine, axis).grid(first.shape, first.affine).voxel
        yield Finding(
            "warning",
            "slice-axis",
            str(first.path),
            f"{len(crossed)} of {len(volumes)} volumes of {contrast} were acquired in other slices than the {axis} ones they are "
            f"cut into, e.g. in {found} ones of {max(edges):.2g} mm, which make pixels of {edges[1]:.2g} x {edges[2]:.2g} mm; "
            f"{name}.axis={found} cuts them as they were acquired; they are used so, and results are marked",
            marks=True,
        )
    lost = [v for v in volumes if not v.places]
    if lost:
        yield Finding(
            "warning",
            "no-geometry",
            str(lost[0].path),
            f"{len(lost)} of {len(volumes)} volumes of {contrast} have neither sform nor qform: their voxel axes are taken for "
            "left, front and up, and their centres for that of the patient; they are used so",
        )


def acquired_as(volume: Volume) -> Axis | None:
    """The cut across the longest edge of the voxels; None where none is `THICK` times as long as the others."""
    thickness = {
        axis: orientation(volume.affine, axis).grid(volume.shape, volume.affine).voxel[0] for axis in get_args(Axis)
    }
    second, longest = sorted(thickness, key=lambda axis: thickness[axis])[1:]
    return longest if thickness[longest] > THICK * thickness[second] else None


def visits(patients: Iterable[str], root: Path, name: str) -> Iterator[Finding]:
    """A finding ``visits`` where names of patients look like visits of fewer patients, which a split would tear apart."""
    groups: dict[str, list[str]] = {}
    for patient in sorted(set(patients)):
        match = _VISIT.fullmatch(patient)
        who = next((text for text in match.groups() if text), patient) if match else patient
        groups.setdefault(who, []).append(patient)
    several = [group for group in groups.values() if len(group) > 1]
    # One name before all of them is a study's.
    if several and len(groups) > 1:
        yield Finding(
            "warning",
            "visits",
            str(root),
            f"{sum(map(len, groups.values()))} patients may be visits of {len(groups)}, such as {several[0][0]} and "
            f"{several[0][1]}, and parts of the split may share them; {{visit}} in {name}.target_pattern and "
            f"{name}.auxiliary_pattern keeps them together; they are split as they are, and results are marked",
            marks=True,
        )
