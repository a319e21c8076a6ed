"""The part of a slice that goes into a training batch: cut where it lies, without reading or turning the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.data.encoding import ComplexArray, PairVolume


@dataclass(frozen=True)
class Window:
    """Rows and columns, in LR samples, of a slice that was first mirrored about its centre sample, then transposed.

    What `mcsr_bench.plugin.batch.Batch.transform` and `Batch.crop` give of a whole slice, in that order.
    """

    top: int
    left: int
    height: int
    width: int
    mirror_rows: bool = False
    mirror_columns: bool = False
    transpose: bool = False

    def cut(self, volume: ComplexArray | PairVolume, i: int, factor: int, out: ComplexArray) -> None:
        """Write this part of slice ``i`` of a volume (S, H, W) into ``out``.

        factor: samples of the volume per LR sample, 1 for LR images, the scale for HR images; ``out``: (height * factor,
        width * factor).
        """
        _, rows, columns = volume.shape
        down, across = self.sources(rows, columns, factor)
        if self.mirror_rows or self.mirror_columns:
            part = volume[(i, *np.ix_(down, across))]
        else:  # without an index of every sample
            part = volume[i, down[0] : down[-1] + 1, across[0] : across[-1] + 1]
        out[...] = part.T if self.transpose else part

    def sources(self, rows: int, columns: int, factor: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which rows and columns of a slice of (rows, columns) samples are taken, before it is transposed."""
        down, across = (self.top * factor, self.height * factor), (self.left * factor, self.width * factor)
        if self.transpose:
            down, across = across, down
        return _source(*down, rows, self.mirror_rows), _source(*across, columns, self.mirror_columns)


def _source(start: int, count: int, n: int, mirrored: bool) -> NDArray[np.intp]:
    """Where the samples of an axis of n come from; mirrored about the centre sample n // 2 (see `kspace.reflect`)."""
    at = np.arange(start, start + count)
    return (n - at - n % 2) % n if mirrored else at
