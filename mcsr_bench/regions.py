"""Regions of a volume in which errors are scored. All masks come from the reference, and from the auxiliary or the data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

BOUNDARY_PIXELS = 1
SMOOTHING = 1.5
"""Pixels: sigma of the Gaussian by which a slice is smoothed before its masks are taken, so that noise does not draw them."""


@dataclass(frozen=True)
class Regions:
    """Masks (S, H, W)."""

    roi: Mask
    """The region of interest: the data set's, otherwise the foregrounds of both contrasts together."""
    foreground: Mask
    """Above Otsu's threshold of the volume, largest connected component of the volume, holes filled slice by slice."""
    high: Mask
    """The foreground above a second Otsu threshold, taken inside it."""
    low: Mask
    """The rest of the foreground."""
    boundary: Mask
    """Foreground pixels that touch the other side of the border of foreground or `high` (in the slice, by an edge)."""

    def items(self) -> list[tuple[str, Mask]]:
        """Names and masks in fixed order."""
        return [(name, getattr(self, name)) for name in NAMES]

    @classmethod
    def of(cls, magnitude: NDArray[np.float64], roi: Mask | None = None) -> Regions:
        """The regions of a reference volume (S, H, W) of magnitudes. Source of thresholds: Otsu, IEEE SMC 9:62, 1979.

        roi: (S, H, W); None: the foreground.
        """
        smooth = _smooth(magnitude)
        inside = _foreground(smooth)
        high = inside & (smooth > _otsu(smooth[inside])) if inside.any() else inside
        edges = [_near_border(f) | _near_border(h) for f, h in zip(inside, high, strict=True)]
        return cls(inside if roi is None else roi, inside, high, inside & ~high, inside & np.stack(edges))


NAMES = ("roi", "foreground", "high", "low", "boundary")
"""Of the regions, in the order of columns."""


def foreground(magnitude: NDArray[np.float64]) -> Mask:
    """The foreground of a volume (S, H, W) of magnitudes; see `Regions.foreground`."""
    return _foreground(_smooth(magnitude))


def _smooth(magnitude: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(magnitude, (0, SMOOTHING, SMOOTHING), mode="nearest"))


def _foreground(smooth: NDArray[np.float64]) -> Mask:
    from scipy.ndimage import binary_fill_holes, generate_binary_structure, label

    bright = smooth > _otsu(smooth)
    parts, n = label(bright, structure=generate_binary_structure(3, 3))
    if n > 1:
        sizes = np.bincount(parts.ravel())[1:]
        bright = parts == 1 + int(np.argmax(sizes))
    return np.stack([binary_fill_holes(image) for image in bright])


def _otsu(values: NDArray[np.float64]) -> float:
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(values)) if values.min() < values.max() else float(values.min())


def _near_border(mask: Mask) -> Mask:
    """Pixels (H, W) whose distance to the nearest pixel on the other side of the mask's border is at most `BOUNDARY_PIXELS`."""
    from scipy.ndimage import distance_transform_edt

    if mask.all() or not mask.any():
        return np.zeros_like(mask)
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    return np.asarray(np.where(mask, inside, outside) <= BOUNDARY_PIXELS)
