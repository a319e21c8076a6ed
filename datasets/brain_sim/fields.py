"""Smooth random fields on a lattice in millimetres: the same anatomy whatever the matrix size.

A field is a cubic B-spline with white Gaussian coefficients on a lattice of a given spacing. It is drawn once per subject and
can be evaluated on any grid or at any point, so a 32-pixel and a 320-pixel image show the same head. Sums are written out
term by term (no BLAS): the bytes do not depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float = NDArray[np.float32]

Bounds = tuple[tuple[float, float], ...]
"""Lowest and highest coordinate in mm, one pair per axis."""

# Mean variance of a 1-D cubic B-spline with unit white coefficients: the B-spline's own autocorrelation at zero, B_7(0).
SPLINE_VARIANCE = 151 / 315
# The same at the lattice nodes, where its weights are 1/6, 4/6, 1/6.
_NODE_WEIGHTS = (1 / 6, 4 / 6, 1 / 6)


@dataclass(frozen=True)
class Field:
    """A random field: B-spline ``coefficients`` on a lattice of ``spacing`` mm whose first node is at ``origin`` mm."""

    coefficients: Float
    spacing: float
    origin: tuple[float, ...]

    def on_grid(self, *axes: NDArray[np.floating]) -> Float:
        """Values on the grid spanned by one array of coordinates (mm) per axis: float32, one dimension per axis."""
        out = self.coefficients
        for axis, coordinates in enumerate(axes):
            position = (np.asarray(coordinates, np.float64) - self.origin[axis]) / self.spacing
            cell = np.floor(position).astype(np.int64)
            nodes = np.ascontiguousarray(np.moveaxis(out, axis, 0))  # whole rows are taken, not single numbers
            total = np.zeros((len(cell), *nodes.shape[1:]), np.float32)
            for k, weight in enumerate(_spline_weights(position - cell)):
                part = np.take(nodes, cell - 1 + k, axis=0, mode="clip")
                part *= weight.reshape(-1, *[1] * (out.ndim - 1))
                total += part
            out = np.moveaxis(total, 0, axis)
        return np.ascontiguousarray(out)

    def at(self, *points: Float) -> Float:
        """Values at scattered points: one array of coordinates (mm) per axis, all of one shape. float32."""
        positions = np.stack(
            [(p - np.float32(o)) / np.float32(self.spacing) for p, o in zip(points, self.origin, strict=True)]
        )
        out = ndimage.map_coordinates(
            self.coefficients, positions, order=3, prefilter=False, mode="nearest", output=np.float32
        )
        return np.asarray(out)


def _spline_weights(u: NDArray[np.float64]) -> list[Float]:
    """The four cubic B-spline weights at offset u in [0, 1) behind a node."""
    weights = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    return [(w / 6).astype(np.float32) for w in weights]


def random_field(rng: np.random.Generator, spacing: float, bounds: Bounds, *, band_pass: bool = False) -> Field:
    """A field of zero mean and unit standard deviation that covers ``bounds``.

    spacing: mm between lattice nodes; structures are two to three times as large. With ``band_pass`` the local mean over about
    five nodes is taken away: little that is larger is left, and the zero level is a labyrinth of even width.
    """
    coefficients = rng.standard_normal([int(np.ceil((high - low) / spacing)) + 4 for low, high in bounds])
    if band_pass:
        coefficients -= ndimage.gaussian_filter(coefficients, 1.0, mode="nearest")
        nodes = coefficients
        for axis in range(nodes.ndim):
            nodes = ndimage.convolve1d(nodes, _NODE_WEIGHTS, axis=axis, mode="nearest")
        coefficients /= nodes.std()
    else:
        coefficients /= SPLINE_VARIANCE ** (len(bounds) / 2)
    return Field(coefficients.astype(np.float32), spacing, tuple(low - spacing for low, _ in bounds))
