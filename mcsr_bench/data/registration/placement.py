"""The position of the voxels of two grids relative to each other, in float64 and one right-angled frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mcsr_bench.plugin.case import Grid

from .measures import Real

RIM = 12.0
"""Millimetres under the skin that `interior` leaves out."""


@dataclass(frozen=True)
class Placed:
    """A grid in the frame of registration; axes in SimpleITK's order, the last array axis first."""

    size: tuple[int, int, int]
    affine: NDArray[np.float64]
    """4 x 4, from (column, row, slice) indices to millimetres of the frame."""

    @classmethod
    def of(cls, grid: Grid, frame: NDArray[np.float64]) -> Placed:
        s, h, w = grid.shape
        return cls((w, h, s), np.linalg.inv(frame) @ grid.matrix[:, [2, 1, 0, 3]])

    @property
    def spacing(self) -> NDArray[np.float64]:
        edges: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return edges

    @property
    def direction(self) -> list[float]:
        return [float(v) for v in (self.affine[:3, :3] / self.spacing).ravel()]

    def position(self, index: Any) -> NDArray[np.float64]:
        """Millimetres of (column, row, slice) indices, (..., 3) float64."""
        return apply(self.affine, np.asarray(index, dtype=np.float64))

    def image(self, sitk: Any, values: Real, pad: tuple[int, int, int] = (0, 0, 0)) -> Any:
        """As a SimpleITK image, ``pad`` voxels of the edge's values added before and after each (column, row, slice) axis."""
        if any(pad):
            values = np.pad(values, [(n, n) for n in pad[::-1]], mode="edge")
        image = sitk.GetImageFromArray(np.ascontiguousarray(values, dtype=np.float32))
        image.SetSpacing([float(v) for v in self.spacing])
        image.SetDirection(self.direction)
        image.SetOrigin([float(v) for v in self.position([-n for n in pad])])
        return image


def right_angled(grid: Grid) -> NDArray[np.float64]:
    """4 x 4, orthonormal, from millimetres along columns, rows and slices to RAS+ millimetres, origin at the first voxel.

    Of a sheared grid, the right-angled frame nearest to it: only in such a one is a rigid motion rigid.
    """
    axes = grid.matrix[:3, [2, 1, 0]]
    u, _, v = np.linalg.svd(axes / np.linalg.norm(axes, axis=0))
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = u @ v, grid.matrix[:3, 3]
    return out


def apply(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = points @ matrix[:3, :3].T + matrix[:3, 3]
    return out


def inside(fixed: Placed, moving: Placed, motion: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which voxels (S, H, W) of the fixed grid the motion takes into the moving one, half a voxel around its edge included."""
    to = np.linalg.inv(moving.affine) @ motion @ fixed.affine
    w, h, s = (np.arange(n, dtype=np.float64) for n in fixed.size)
    out = np.ones(fixed.size[::-1], dtype=np.bool_)
    for row, n in zip(to[:3], moving.size, strict=True):
        index = row[0] * w + (row[1] * h)[:, None] + (row[2] * s)[:, None, None] + row[3]
        out &= (index >= -0.5) & (index < n - 0.5)
    return out


def foreground(magnitude: Real, fixed: Placed) -> NDArray[np.float64]:
    """Positions (n, 3) in mm of some 50,000 voxels, regularly spaced, brighter than a tenth of the brightest ones."""
    step = max(1, round((magnitude.size / 400_000) ** (1 / 3)))
    some = magnitude[(slice(None, None, 1 if magnitude.shape[0] < 64 else step), *2 * (slice(None, None, step),))]
    bright = some > 0.1 * np.quantile(some, 0.99)
    if not bright.any():
        bright = some >= some.max()
    strides = (1 if magnitude.shape[0] < 64 else step, step, step)
    return fixed.position((np.argwhere(bright) * strides)[:, ::-1])


def interior(magnitude: Real, edges: tuple[float, float]) -> NDArray[np.bool_]:
    """Which pixels (S, H, W) are deeper than 12 mm, or a third of the greatest depth, under the surface of the body in their slice.

    edges: of a pixel, in mm. Fat under the skin is displaced by its chemical shift, differently in every sequence, and skin, eyes
    and mouth move by themselves.
    """
    bright = magnitude > 0.1 * np.quantile(magnitude, 0.99)
    depth = np.zeros(magnitude.shape)
    for body, into in zip(bright, depth, strict=True):
        whole = ndimage.binary_fill_holes(ndimage.binary_closing(body, iterations=3))
        into[...] = ndimage.distance_transform_edt(whole, sampling=edges)
    return depth > min(RIM, float(depth.max()) / 3)


def angle(motion: NDArray[np.float64]) -> float:
    """Degrees of the rotation nearest to the linear part; from the skew part too: the cosine alone is blind to small ones."""
    u, _, v = np.linalg.svd(motion[:3, :3])
    r = u @ v
    sine = np.linalg.norm([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]) / 2
    return float(np.degrees(np.arctan2(sine, (np.trace(r) - 1) / 2)))
