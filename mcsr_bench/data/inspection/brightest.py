"""The largest values of a volume, found while each slice is seen once: its maximum, and whether a hot voxel is it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HOT = 3.0
"""A maximum above this many times the 99.9th percentile is a hot voxel's."""
DAMAGED = 1e4
"""A maximum above this many times the percentile is no signal."""
_SHARE = 0.001


class Brightest:
    """Collects the brightest thousandth of a volume of magnitudes."""

    def __init__(self, n_slices: int) -> None:
        self._n_slices = n_slices
        self._pixels = 0
        self._values: NDArray[np.float32] = np.zeros(0, np.float32)

    def add(self, magnitude: NDArray[np.float32]) -> None:
        """The next slice (H, W), finite."""
        self._pixels += magnitude.size
        kept = int(_SHARE * max(self._pixels, self._n_slices * magnitude.size)) + 2
        both = np.concatenate([self._values, magnitude.ravel()])
        self._values = np.partition(both, both.size - kept)[-kept:] if both.size > kept else both

    @property
    def highest(self) -> float:
        """The maximum; 0 of nothing."""
        return float(self._values.max(initial=0.0))

    @property
    def percentile(self) -> float:
        """The 99.9th percentile, as numpy interpolates it; 0 of nothing."""
        if not self._pixels:
            return 0.0
        ordered = np.sort(self._values.astype(np.float64))[::-1]
        place = _SHARE * (self._pixels - 1)
        below, above = ordered[min(int(place) + 1, ordered.size - 1)], ordered[int(place)]
        return float(above + (place - int(place)) * (below - above))

    @property
    def times(self) -> float:
        """The maximum over the percentile; 1 where that is 0."""
        return self.highest / self.percentile if self.percentile > 0 else 1.0

    @property
    def robust(self) -> float:
        """The maximum, or of a volume with a hot voxel `HOT` times the percentile."""
        limit = HOT * self.percentile
        return min(self.highest, limit) if limit > 0 else self.highest
