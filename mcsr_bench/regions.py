"""Regions of a volume in which errors are scored. All masks are computed from the reference's magnitude alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

BOUNDARY_PIXELS = 2


@dataclass(frozen=True)
class Regions:
    """Masks (S, H, W)."""

    foreground: Mask
    """Above Otsu's threshold of the volume, largest connected component of the volume, holes filled slice by slice."""
    high: Mask
    """The foreground above a second Otsu threshold, taken inside it."""
    low: Mask
    """The rest of the foreground."""
    boundary: Mask
    """Foreground pixels within 2 pixels (in the slice, between centres) of the border of foreground or `high`."""

    def items(self) -> list[tuple[str, Mask]]:
        """Names and masks in fixed order."""
        return [(name, getattr(self, name)) for name in ("foreground", "high", "low", "boundary")]

    @classmethod
    def of(cls, magnitude: NDArray[np.float64]) -> Regions:
        """The regions of a reference volume (S, H, W) of magnitudes. Source of thresholds: Otsu, IEEE SMC 9:62, 1979."""
        from scipy.ndimage import binary_fill_holes, generate_binary_structure, label

        bright = magnitude > _otsu(magnitude)
        parts, n = label(bright, structure=generate_binary_structure(3, 3))
        if n > 1:
            sizes = np.bincount(parts.ravel())[1:]
            bright = parts == 1 + int(np.argmax(sizes))
        foreground = np.stack([binary_fill_holes(image) for image in bright])
        high = foreground & (magnitude > _otsu(magnitude[foreground])) if foreground.any() else foreground
        edges = [_near_border(f) | _near_border(h) for f, h in zip(foreground, high, strict=True)]
        return cls(foreground, high, foreground & ~high, foreground & np.stack(edges))


def _otsu(values: NDArray[np.float64]) -> float:
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(values)) if values.min() < values.max() else float(values.min())


def _near_border(mask: Mask) -> Mask:
    """Pixels (H, W) whose distance to the nearest pixel on the other side of the mask's border is at most 2."""
    from scipy.ndimage import distance_transform_edt

    if mask.all() or not mask.any():
        return np.zeros_like(mask)
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    return np.asarray(np.where(mask, inside, outside) <= BOUNDARY_PIXELS)
