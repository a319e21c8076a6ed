"""The part of a slice that goes into a training batch: cut where it lies, without reading or turning the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        down, across = (self.top * factor, self.height * factor), (self.left * factor, self.width * factor)
        if self.transpose:
            down, across = across, down
        _, rows, columns = volume.shape
        index: tuple[Any, ...]
        if self.mirror_rows or self.mirror_columns:
            index = np.ix_(_source(*down, rows, self.mirror_rows), _source(*across, columns, self.mirror_columns))
        else:
            index = (slice(down[0], sum(down)), slice(across[0], sum(across)))
        part = volume[(i, *index)]
        out[...] = part.T if self.transpose else part


def _source(start: int, count: int, n: int, mirrored: bool) -> NDArray[np.intp]:
    """Where the samples of an axis of n come from; mirrored about the centre sample n // 2 (see `kspace.reflect`)."""
    at = np.arange(start, start + count)
    return (n - at - n % 2) % n if mirrored else at
