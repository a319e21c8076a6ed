"""Two volumes in one space: their headers may name several, and say several things about one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from mcsr_bench.plugin.case import Finding

from .lengths import fov_problem
from .nifti import Place, Volume
from .pair_header import close, times

SPACES = {1: "the scanner's", 2: "another file's", 3: "Talairach", 4: "MNI 152", 5: "a template's"}
"""Names of the codes of sform and qform, to be followed by "space"."""
_RIGID = (1, 2)
"""Codes of spaces in which lengths are those of the patient."""
APART = 0.1
"""Fraction of the smallest voxel edge that two places in one space may differ by."""


def in_one_space(
    target: Volume, auxiliary: Volume, same_grid: Callable[[Volume, Volume], bool]
) -> tuple[Volume, Volume]:
    """Both volumes with the affines of a space that both headers name; as they came where there is none.

    Of several, one in which they are on one grid; then one in which their voxel axes run alike; then the sform. Where that still
    leaves them on two grids, the scanner's space comes first: an affine into a template's stretches each volume differently.
    """
    choices = []
    for (i, a), (j, b) in product(enumerate(target.places), enumerate(auxiliary.places)):
        if a.code == b.code:
            pair = replace(target, affine=a.affine), replace(auxiliary, affine=b.affine)
            same = same_grid(*pair)
            alike = nibabel.aff2axcodes(a.affine) == nibabel.aff2axcodes(b.affine)
            choices.append(((not same, not alike, 0 if same else a.code, i, j), pair))
    return min(choices, key=lambda choice: choice[0])[1] if choices else (target, auxiliary)


def place_findings(volume: Volume) -> Iterator[Finding]:
    """What a header says about its own volume's place that cannot all be true; ``volume`` as it is used.

    ``two-places``: sform and qform differ in one space or mirror each other, or voxels have two sizes. ``field-of-view``: no
    patient is as large or small.
    """
    path, name = str(volume.path), volume.path.name
    used = _used(volume)
    form = used.form if used else "sform"
    edges = np.linalg.norm(volume.affine[:3, :3], axis=0)
    if len(volume.places) == 2:
        s, q = volume.places
        apart = corner_distance(volume.shape, s.affine, q.affine)
        if np.linalg.det(s.affine[:3, :3]) * np.linalg.det(q.affine[:3, :3]) < 0:
            text = (
                f"sform and qform of {name} mirror each other, so that left and right (or another direction) are swapped in one of "
                f"them; the {form} is used"
            )
            yield Finding("warning", "two-places", path, text, marks=True)
        elif s.code == q.code and apart > APART * float(edges.min()):
            text = f"sform and qform of {name} place it up to {apart:.2g} mm apart in {space(s)}; the {form} is used"
            yield Finding("warning", "two-places", path, text, marks=True)
    # into the space of a template volumes are stretched
    if used and used.code in _RIGID and not close(edges, volume.zooms):
        text = f"voxels of {name} are {times(volume.zooms)} mm by pixdim and {times(edges)} mm by its {form}, which is used"
        yield Finding("warning", "two-places", path, text, marks=True)
    if fault := fov_problem([float(n * e) for n, e in zip(volume.shape, edges, strict=True)]):
        unit = "no unit of lengths" if volume.unit == "unknown" else f"the unit {volume.unit}"
        text = f"{name} {fault} by its header, which has {unit}; positions and voxel sizes are used as they are"
        yield Finding("warning", "field-of-view", path, text)


def _used(volume: Volume) -> Place | None:
    """The place that a volume's affine is of."""
    return next((p for p in volume.places if np.array_equal(p.affine, volume.affine)), None)


def pair_findings(target: Volume, auxiliary: Volume, *, same_grid: bool) -> Iterator[Finding]:
    """``two-places`` on two volumes as `in_one_space` gave them: where they were not compared by the sforms of one space."""
    volumes = target, auxiliary
    a, b = forms = [_used(volume) for volume in volumes]
    if a is None or b is None:  # one has no position at all, which is another finding
        return
    if a.code != b.code:
        if not same_grid:
            text = (
                f"{target.path.name} is placed in {space(a)} and {auxiliary.path.name} in {space(b)} by sform and qform, and no "
                "space is named by both; their positions are compared as they are"
            )
            yield Finding("warning", "two-places", str(auxiliary.path), text, marks=True)
        return
    for volume, used in zip(volumes, forms, strict=True):
        first = volume.places[0]
        if used is not None and used is not first and used.code != first.code:
            text = (
                f"the sform of {Path(volume.path).name} is in {space(first)}; its {used.form} is used, because both volumes are "
                f"placed in {space(used)}"
            )
            yield Finding("info", "two-places", str(volume.path), text)


def space(place: Place) -> str:
    """The space of a place, in words."""
    return f"{SPACES[place.code]} space" if place.code in SPACES else f"the space of code {place.code}"


def corner_distance(shape: tuple[int, ...], a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The largest distance of a corner voxel of a volume by two affines, in mm."""
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.array(shape) - 1
    return float(np.linalg.norm(corners @ (a - b).T, axis=1).max())
