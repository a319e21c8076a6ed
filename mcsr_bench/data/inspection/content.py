"""Which slices of a volume are not empty, found while each slice is seen once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .brightest import DAMAGED, Brightest


class Content:
    """Collects, of every slice added, what decides whether it is empty: one number.

    A slice is not empty where the share ``fraction`` of its pixels exceeds ``level`` times the largest value of the volume. A hot
    voxel would empty the volume so: it counts as `Brightest.robust` says.
    """

    def __init__(self, level: float, fraction: float, n_slices: int) -> None:
        self._level, self._fraction = level, fraction
        self._brightest = Brightest(n_slices)
        self._strong: list[np.float32] = []
        """Of every slice the value that as many pixels reach as have to exceed the level."""

    def add(self, image: NDArray[np.complex64]) -> None:
        """The next slice (H, W)."""
        self._brightest.add(np.abs(image))
        size = np.abs(image).ravel()
        needed = math.ceil(self._fraction * size.size)
        needed -= (needed - 1) / size.size >= self._fraction  # the product may have been rounded up
        place = size.size - max(1, needed)
        self._strong.append(np.partition(size, place)[place])

    @property
    def zero(self) -> bool:
        """Whether all slices are zero everywhere."""
        return self._brightest.highest == 0

    @property
    def damaged(self) -> float:
        """How many times its 99.9th percentile the largest value is, where that is no signal; else 0."""
        return times if (times := self._brightest.times) > DAMAGED else 0.0

    def occupied(self) -> list[bool]:
        """Of every slice, in the order in which they were added, whether it is not empty."""
        least: Any = np.float32(self._level * self._brightest.robust)
        return [bool(value > least) for value in self._strong]
