"""Bring an auxiliary volume onto the grid of its target, by rigid (or affine) registration with SimpleITK.

The target is never touched: interpolating it would destroy the high frequencies that are scored. The motion is estimated on
magnitudes, by mutual information (Mattes et al., IEEE TMI 22:120, 2003), starting from the positions that the headers give: the
contrasts of a visit are millimetres apart, and matrices of another size need not be centred on the same point. The auxiliary is
then interpolated once, real and imaginary part apart, by cubic B-splines: they keep far more of the high frequencies than linear
interpolation, which blurs by an amount that depends on the fraction of the shift, and overshoot less than a windowed sinc across
thick slices, which are undersampled (Thévenaz et al., IEEE TMI 19:739, 2000).

All positions are float64 in a right-angled frame along the target's columns, rows and slices, in millimetres, so that neither
the handedness of a world frame (RAS+, LPS+) nor the order of axes in a file enters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.data.raw.lengths import fov_problem
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Grid

from .measures import closeness, edge_shift, mutual_information
from .optimisation import Mode, estimate, one_thread, resample, simpleitk
from .placement import Placed, angle, apply, foreground, inside, interior, right_angled

__all__ = [
    "REVISION",
    "Mode",
    "Registration",
    "check_sizes",
    "edge_shift",
    "mutual_information",
    "register",
    "simpleitk",
]

Volume = NDArray[np.complex64]

REVISION = 2
"""Raised when `register` gives other values for the same input."""

_SPANS = 20
"""A field of view this many times as long as the other one is in another unit."""
_MOST = 1 << 28
"""Voxels of a volume that are registered, as a whole in memory: 256 slices of 1024 x 1024."""
_PARTS = 1000
"""Voxels of the auxiliary in one of the target, beyond which one of their sizes is wrong: thick slices hold tens."""
_COVERED = 0.5
"""An auxiliary that shows less than this share of the target's foreground is warned of."""
_SAME = 0.1
"""A motion of less than this fraction of a pixel is none."""


@dataclass(frozen=True)
class Registration:
    """What was found and done. Motions are those of the auxiliary's content relative to the target's."""

    mode: Mode
    resampled: bool
    """False: the grids agree and the motion is less than a tenth of a pixel; the auxiliary was returned as it came."""
    translation_mm: tuple[float, float, float]
    """To the right, to the front and upward (RAS+), at the centre of the target's foreground."""
    rotation_deg: float
    """Angle about the axis of rotation; of an affine map, of its rotational part."""
    displacement_mm: float
    """Mean length over the target's foreground."""
    shift_px: tuple[float, float]
    """Within the slices, down the rows and along the columns, in target pixels: median over the target's foreground."""
    residual_px: float
    """Length of the shift within the slices that phase correlation of edges still finds afterwards, in target pixels."""
    mutual_information_before: float
    """In nats, by a histogram over the target's grid; before: the auxiliary placed by its header alone."""
    mutual_information_after: float
    warning: str = ""
    """A clause or several where the result should be looked at, else empty."""


def register(
    target: Volume, target_grid: Grid, auxiliary: Volume, auxiliary_grid: Grid, mode: Mode = "rigid"
) -> tuple[Volume, Registration]:
    """The auxiliary on the target's grid, complex64 (S, H, W), and how it got there.

    target: complex64 (S, H, W); auxiliary: complex64 (s, h, w); each of its grid's shape. Outside the auxiliary's field of view
    the result is zero; a magnitude (zero imaginary part) stays real and not negative. affine starts from the rigid result.
    Deterministic: one thread, regular samples. Raises UserError, a clause without a file name, when SimpleITK is missing, a
    volume is zero or not finite, or the volumes cannot be brought to overlap.
    """
    check_sizes(target_grid, auxiliary_grid)
    sitk = simpleitk()
    for what, volume, grid in (("target", target, target_grid), ("auxiliary", auxiliary, auxiliary_grid)):
        if volume.shape != grid.shape:
            raise ValueError(f"the {what} has shape {volume.shape}, its grid {grid.shape}")
        if not np.isfinite(volume).all():
            raise UserError(f"the {what} holds NaN or Inf and cannot be registered")
        if not volume.any():
            raise UserError(f"the {what} is zero everywhere and cannot be registered")
    frame = right_angled(target_grid)
    fixed, moving = Placed.of(target_grid, frame), Placed.of(auxiliary_grid, frame)
    magnitude = np.abs(target)
    points = foreground(magnitude, fixed)
    deep = interior(magnitude, target_grid.voxel[1:])
    used = ""
    same_grid = not target_grid.difference(auxiliary_grid)
    with one_thread(sitk):
        motion, out = np.eye(4), auxiliary if same_grid else resample(sitk, auxiliary, fixed, moving, np.eye(4))
        before, at_first = np.abs(out), inside(fixed, moving, motion)
        seen = at_first
        for kind, other in estimate(sitk, fixed, moving, magnitude, np.abs(auxiliary), deep, mode).items():
            elsewhere, there = resample(sitk, auxiliary, fixed, moving, other), inside(fixed, moving, other)
            here, far = (closeness(magnitude, np.abs(v), deep & seen & there) for v in (out, elsewhere))
            if (far > here or not seen.any()) and 2 * there.sum() > seen.sum():
                motion, out, seen, used = other, elsewhere, there, kind
    if not out.any():
        raise UserError("target and auxiliary do not overlap, not even after registration")
    seen = seen & at_first if (seen & at_first).any() else seen
    moved = apply(motion, points) - points
    away = float(np.linalg.norm(moved, axis=1).mean())
    resampled = not (same_grid and away < _SAME * min(target_grid.voxel[1:]))
    if not resampled:
        out = auxiliary
    centre = points.mean(axis=0)
    shift = np.median(moved @ np.linalg.inv(fixed.affine[:3, :3]).T, axis=0)  # along columns, rows, slices
    right, front, up = (float(v) for v in frame[:3, :3] @ (apply(motion, centre) - centre))
    done = Registration(
        mode=mode,
        resampled=resampled,
        translation_mm=(right, front, up),
        rotation_deg=angle(motion),
        displacement_mm=away,
        shift_px=(float(shift[1]), float(shift[0])),
        residual_px=float(np.hypot(*edge_shift(magnitude, np.abs(out)))),
        mutual_information_before=mutual_information(magnitude[seen], before[seen]),
        mutual_information_after=mutual_information(magnitude[seen], np.abs(out)[seen]),
        warning="; ".join(_warnings(mode, used, _covered(points, moving, motion), target_grid, auxiliary_grid)),
    )
    return out, done


def check_sizes(target: Grid, auxiliary: Grid) -> None:
    """UserError, a clause, for grids that no registration can be of: work and memory go with what is in a header."""
    spans = [max(n * edge for n, edge in zip(grid.shape, grid.voxel, strict=True)) for grid in (target, auxiliary)]
    if max(spans) > _SPANS * min(spans):
        raise UserError(
            f"the target spans {spans[0]:.3g} mm and the auxiliary {spans[1]:.3g} mm by their headers; the unit of one of them is "
            "wrong"
        )
    for what, grid, span in zip(("target", "auxiliary"), (target, auxiliary), spans, strict=True):
        if fault := fov_problem([span]):  # motions are sought in steps of millimetres
            raise UserError(
                f"the {what} {fault} by its header, and cannot be registered; the unit of its lengths may be wrong"
            )
        if math.prod(grid.shape) > _MOST:
            size = " x ".join(map(str, grid.shape))
            raise UserError(f"the {what} has {size} voxels, and up to {_MOST} can be registered")
    parts = np.linalg.norm(np.linalg.inv(auxiliary.matrix[:3, :3]) @ target.matrix[:3, :3], axis=0)
    if np.prod(np.maximum(parts, 1)) > _PARTS:
        raise UserError(
            f"a voxel of the target ({_edges(target)} mm) is more than {_PARTS} of the auxiliary ({_edges(auxiliary)} mm); one "
            "voxel size, or its unit, is wrong"
        )


def _edges(grid: Grid) -> str:
    return " x ".join(f"{v:.3g}" for v in grid.voxel)


def _covered(points: NDArray[np.float64], moving: Placed, motion: NDArray[np.float64]) -> float:
    """Share of positions (n, 3) in the target that the motion takes into the auxiliary."""
    index = apply(np.linalg.inv(moving.affine) @ motion, points)
    return float(((index >= -0.5) & (index < np.array(moving.size) - 0.5)).all(axis=1).mean())


def _warnings(mode: Mode, used: str, covered: float, *grids: Grid) -> Iterator[str]:
    if covered < _COVERED:
        yield f"the auxiliary covers {covered:.0%} of the target: the rest of it is empty, and the motion is uncertain"
    if mode == "rigid":
        return
    if used != "affine":
        yield "the affine map brought the auxiliary no closer than " + (
            "the rigid one, which was used" if used else "its header"
        )
        return
    thick = max(max(g.voxel) / min(g.voxel) for g in grids)
    if thick > 3:
        yield (
            f"affine registration is unreliable with voxels {thick:.2g} times as long as wide: stretch across the slices is "
            "hardly determined; rigid is safer"
        )
