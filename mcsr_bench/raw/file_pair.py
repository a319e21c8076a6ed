"""What datasets share whose cases are two raw HDF5 files, the target's first in ``Case.files``, paired by slice index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.dataset import Case, Dataset, Slice, Stored

from .kspace_file import images, inspect, kspace_slice, stored


class FilePairDataset(Dataset):
    """Reading of such a dataset; what its cases are, and who is tested, is its own."""

    def read(self, case: Case) -> Iterator[Slice]:
        """Complex target and auxiliary slices, complex64 ``case.shape``; both files are read slice by slice."""
        with (
            closing(images(_path(case, "target"), case.shape)) as target,
            closing(images(_path(case, "auxiliary"), case.shape)) as auxiliary,
        ):
            yield from islice(zip(target, auxiliary, strict=False), case.n_slices)

    def raw_kspace(self, case: Case, kind: Literal["target", "auxiliary"], index: int) -> NDArray[np.complex64]:
        """All coils of a slice as stored, complex64 (coils, H, W)."""
        return kspace_slice(_path(case, kind), index)

    def stored(self, case: Case, kind: Literal["target", "auxiliary"]) -> Stored:
        """Array of the file, and how much of it its header says was acquired."""
        return stored(inspect(_path(case, kind)))


def _path(case: Case, kind: str) -> Path:
    return Path(case.files[0 if kind == "target" else 1])
