"""One patient's raw k-space as an "mcsr-pair" file describes it: contrasts, geometry, and whether two of them go together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.plugin.case import Grid

from .pair_header import close, times

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Contrast:
    """What is known of one contrast before its samples are read; None: not in the file."""

    name: str
    shape: tuple[int, int, int]
    """(slices, H, W)."""
    coils: int
    """0: ``kspace`` has no coil axis."""
    sens: bool
    fov: tuple[float, float] | None
    """Millimetres down the rows and along the columns."""
    voxel: tuple[float, float, float] | None
    """Millimetres from slice to slice, row to row, column to column."""
    acquired: tuple[int, int] | None
    """Rows and columns of k-space that were acquired."""
    affine: Matrix | None

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Of ``kspace`` in the file."""
        n, H, W = self.shape
        return (n, self.coils, H, W) if self.coils else (n, H, W)

    @property
    def edges(self) -> tuple[float, float, float] | None:
        """Voxel edges from ``voxel_mm``, else from the affine."""
        if self.voxel is not None or self.affine is None:
            return self.voxel
        return Grid(self.shape, self.affine).voxel

    @property
    def field_of_view(self) -> tuple[float, float] | None:
        """``FOV_mm``, else matrix times voxel edges."""
        if self.fov is not None or self.edges is None:
            return self.fov
        return self.shape[1] * self.edges[1], self.shape[2] * self.edges[2]


@dataclass(frozen=True)
class PairFile:
    """What is known of a file before its samples are read."""

    path: Path
    patient_id: str
    site: str = ""
    scanner: str = ""
    tesla: float | None = None
    """Field strength."""
    licence: str = ""
    contrasts: dict[str, Contrast] = field(default_factory=dict)
    transforms: dict[tuple[str, str], Matrix] = field(default_factory=dict)
    """(from, to): 4 x 4 rigid, from RAS+ millimetres of the one to those of the other."""
    slice_maps: dict[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)
    """(from, to): for every slice of ``to`` the slice of ``from`` that shows the same."""

    def transform(self, source: str, to: str) -> NDArray[np.float64]:
        """The rigid transform, given in this direction or the other one; the identity where none is given."""
        if (source, to) in self.transforms:
            return np.array(self.transforms[source, to])
        if (to, source) in self.transforms:
            return np.linalg.inv(np.array(self.transforms[to, source]))
        return np.eye(4)

    def slice_map(self, source: str, to: str) -> tuple[int, ...] | None:
        """The slice map, given in this direction, or in the other one where that can be inverted; else None."""
        other = self.slice_maps.get((to, source))
        if (source, to) in self.slice_maps or other is None:
            return self.slice_maps.get((source, to))
        if sorted(other) != list(range(self.contrasts[to].shape[0])):
            return None
        return tuple(int(i) for i in np.argsort(other))

    def grids(self, target: str, auxiliary: str) -> tuple[Grid, Grid] | None:
        """The two grids in the target's space; None with a slice map, or where the file does not give them.

        From both affines; else from the voxel edges, as volumes with a common centre and common axes.
        """
        t, a = self.contrasts[target], self.contrasts[auxiliary]
        if self.slice_map(auxiliary, target) is not None:
            return None
        if t.affine is not None and a.affine is not None:
            moved = self.transform(auxiliary, target) @ np.array(a.affine)
            return Grid(t.shape, t.affine), Grid(a.shape, matrix_of(moved))
        if t.edges is None or a.edges is None:
            return None
        return centred_grid(t.shape, t.edges), centred_grid(a.shape, a.edges)

    def disagreements(self, target: str, auxiliary: str) -> list[str]:
        """Why these two contrasts cannot be used as a pair, each as a clause; [] when they can."""
        t, a = self.contrasts[target], self.contrasts[auxiliary]
        key, back = f"slice_map/{auxiliary}_to_{target}", f"slice_map/{target}_to_{auxiliary}"
        mapped = self.slice_map(auxiliary, target) is not None
        if not mapped and (target, auxiliary) in self.slice_maps:
            return [f"{back} cannot be inverted; {key} is needed"]
        if not mapped and t.affine is not None and a.affine is not None:
            return []  # the auxiliary is registered onto the target
        out: list[str] = []
        if mapped and {(target, auxiliary), (auxiliary, target)} & self.transforms.keys():
            out.append(f"a slice map and a transform join {auxiliary} and {target}; one of them is needed")
        if not mapped and t.shape[0] != a.shape[0]:
            out.append(
                f"{target} has {t.shape[0]} slices and {auxiliary} {a.shape[0]}; equal numbers, an affine of both, or {key} "
                "is needed"
            )
        if t.shape[1:] != a.shape[1:] and (mapped or t.edges is None or a.edges is None):
            way_out = "equal ones are needed" + ("" if mapped else ", or voxel_mm or affine of both")
            out.append(
                f"the matrix of {target} is {times(t.shape[1:])}, that of {auxiliary} {times(a.shape[1:])}; {way_out}"
            )
        if t.field_of_view and a.field_of_view and not close(t.field_of_view, a.field_of_view):
            out.append(
                f"the field of view of {target} is {times(t.field_of_view)} mm, that of {auxiliary} {times(a.field_of_view)} mm, "
                "more than 2 % apart; crop or pad them alike" + ("" if mapped else ", or give an affine of both")
            )
        return out


def centred_grid(shape: tuple[int, int, int], voxel: tuple[float, float, float]) -> Grid:
    """The grid of a volume of which only voxel edges are known: its centre at zero, axes as of an axial image.

    Slices to superior, rows to posterior, columns to left; the centre of a slice is the sample (H // 2, W // 2).
    """
    centre = ((shape[0] - 1) / 2, shape[1] // 2, shape[2] // 2)
    dz, dy, dx = voxel
    affine = ((0.0, 0.0, -dx, dx * centre[2]), (0.0, -dy, 0.0, dy * centre[1]), (dz, 0.0, 0.0, -dz * centre[0]))
    return Grid(shape, (*affine, (0.0, 0.0, 0.0, 1.0)))


def matrix_of(values: NDArray[Any]) -> Matrix:
    """An array as nested tuples, which can be compared and hashed."""
    return tuple(tuple(float(v) for v in row) for row in values)
