"""What datasets share whose cases are two raw HDF5 files, the target's first in ``Case.files``, paired by slice index."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.plugin.case import Case, Grid, Slice, Stored
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.roles import Role

from .kspace_file import images, inspect, kspace_slice, reconstruction_slice, stored, voxel_difference
from .pair import centred_grid


class FilePairDataset(Dataset):
    """Reading of such a dataset; what its cases are, and who is tested, is its own."""

    def read(self, case: Case) -> Iterator[Slice]:
        """Complex target and auxiliary slices, complex64 ``case.shape``; both files are read slice by slice."""
        with (
            closing(images(path_of(case, "target"), case.shape)) as target,
            closing(images(path_of(case, "auxiliary"), case.shape)) as auxiliary,
        ):
            yield from islice(zip(target, auxiliary, strict=False), case.n_slices)

    def grids(self, case: Case) -> tuple[Grid, Grid] | None:
        """One grid for both, of the headers' voxels, slices without gaps; None where these differ or are not in a header.

        No header gives a volume's position or orientation: the two are taken to have one centre and the same axes.
        """
        target, auxiliary = inspect(path_of(case, "target")), inspect(path_of(case, "auxiliary"))
        if voxel_difference(target, auxiliary) or not (target.voxel and auxiliary.voxel):
            return None
        grid = centred_grid((case.n_slices, *case.shape), target.voxel)
        return grid, grid

    def read_contrast(self, case: Case, role: Role) -> Iterator[NDArray[np.complex64]]:
        """As `read` gives them, the other file left alone."""
        with closing(images(path_of(case, role), case.shape)) as slices:
            yield from islice(slices, case.n_slices)

    def raw_kspace(self, case: Case, role: Role, index: int) -> NDArray[np.complex64]:
        """All coils of a slice as stored, complex64 (coils, H, W)."""
        return kspace_slice(path_of(case, role), index)

    def reconstruction(self, case: Case, role: Role, index: int) -> NDArray[np.float32] | None:
        """The file's own image of a slice."""
        return reconstruction_slice(path_of(case, role), index)

    def stored(self, case: Case, role: Role) -> Stored:
        """Array of the file, and how much of it was acquired by its header."""
        return stored(inspect(path_of(case, role)))


def path_of(case: Case, role: Role) -> Path:
    """The file of a contrast."""
    return Path(case.files[0 if role == "target" else 1])
