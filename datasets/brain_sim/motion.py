"""Where the head is when one contrast is acquired: displaced on purpose, and by the motion that a registration leaves.

Both are rigid, in plane and the same for all slices of a subject. The object is displaced before it is sampled, under a coil that
stays where it is; no image is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class Displacement:
    """How far a head is from its place in the target: rotated about the centre of the field of view, then shifted."""

    down_mm: float = 0.0
    """Along the columns of the image, towards the last row (posterior)."""
    right_mm: float = 0.0
    """Along the rows of the image, towards the last column (the patient's left)."""
    degrees: float = 0.0
    """Counter-clockwise as the image is displayed, first row on top."""

    def __add__(self, other: Displacement) -> Displacement:
        return Displacement(self.down_mm + other.down_mm, self.right_mm + other.right_mm, self.degrees + other.degrees)


def misaligned(rng: np.random.Generator, shift_mm: float, rotation_deg: float) -> Displacement:
    """A displacement of exactly this size: ``shift_mm`` in a random direction and ``rotation_deg`` in either."""
    direction, sign = rng.uniform(0, 2 * np.pi), rng.choice((-1.0, 1.0))
    return Displacement(
        float(np.sin(direction)) * shift_mm, float(np.cos(direction)) * shift_mm, float(sign) * rotation_deg
    )


def residual(rng: np.random.Generator, shift_mm: float, rotation_deg: float) -> Displacement:
    """A Gaussian displacement: ``shift_mm`` is the standard deviation along either axis, ``rotation_deg`` that of the angle."""
    down, right, angle = (float(v) for v in rng.standard_normal(3))
    return Displacement(down * shift_mm, right * shift_mm, angle * rotation_deg)


def displaced(fine: NDArray[np.float32], by: Displacement, field_of_view: float) -> NDArray[np.float32]:
    """The object (M, M), ``field_of_view`` mm wide, at its new place; the centre is sample ``M // 2``, outside there is air.

    Splines of fifth order on an object sampled at least twice as finely as the image: they change an amplitude that the image
    keeps by 0.2 % at most.
    """
    if by == Displacement():
        return fine
    points = fine.shape[0]
    shift = np.array([by.down_mm, by.right_mm]) * (points / field_of_view)
    angle = np.deg2rad(by.degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.full(2, points // 2)
    # affine_transform asks where each output sample comes from: undo the shift, then the rotation.
    return np.asarray(
        ndimage.affine_transform(fine, turn.T, centre - turn.T @ (centre + shift), order=5, output=np.float32)
    )
