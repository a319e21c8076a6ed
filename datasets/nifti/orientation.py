"""Which voxel axis is which: slices in anatomical order, shown upright, by indexing, flips and a transposition alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray

from mcsr_bench.plugin.case import Grid

Axis = Literal["axial", "coronal", "sagittal"]

# World axes (0 left-right, 1 posterior-anterior, 2 inferior-superior) across slices, down the rows, along the columns.
_WORLD: dict[str, tuple[int, int, int]] = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}


@dataclass(frozen=True)
class Orientation:
    """How a volume's voxel axes become slices, rows and columns."""

    axes: tuple[int, int, int]
    """Voxel axes across slices, down the rows, along the columns."""
    reversed: tuple[bool, bool, bool]
    """Which of them run the other way."""

    def shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(slices, H, W) of a volume with these voxel axes."""
        s, h, w = (shape[axis] for axis in self.axes)
        return s, h, w

    def grid(self, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> Grid:
        """The grid of the slices of a volume with these voxel axes and a NIfTI affine."""
        to_voxel = np.zeros((4, 4))
        to_voxel[3, 3] = 1
        for out, (axis, reverse) in enumerate(zip(self.axes, self.reversed, strict=True)):
            to_voxel[axis, out] = -1 if reverse else 1
            to_voxel[axis, 3] = shape[axis] - 1 if reverse else 0
        return Grid(self.shape(shape), tuple(tuple(row) for row in (affine @ to_voxel).tolist()))

    def plane(self, volume: NDArray[Any], index: int) -> NDArray[Any]:
        """Slice ``index`` of a volume, as a view (H, W)."""
        upright = volume.transpose(self.axes)
        k = upright.shape[0] - 1 - index if self.reversed[0] else index
        rows, columns = (slice(None, None, -1 if r else 1) for r in self.reversed[1:])
        return upright[k, rows, columns]


def orientation(affine: NDArray[np.float64], axis: Axis) -> Orientation:
    """The orientation of a volume with a NIfTI affine (voxel index to RAS+ millimetres), invertible.

    Every world direction gets the voxel axis closest to it (`nibabel.io_orientation`). Slices run left to right, posterior to
    anterior or inferior to superior; rows from anterior or superior down; columns from the patient's right on, or in
    sagittal slices from anterior on.
    """
    codes = nibabel.io_orientation(affine)
    voxel_axis = {int(world): voxel for voxel, (world, _) in enumerate(codes)}
    ascending = {int(world): bool(direction > 0) for world, direction in codes}
    worlds = _WORLD[axis]
    across, rows, columns = (voxel_axis[w] for w in worlds)
    up = [ascending[w] for w in worlds]
    # Slices ascend in RAS+ coordinates; rows and columns of all three planes descend.
    return Orientation((across, rows, columns), (not up[0], up[1], up[2]))
