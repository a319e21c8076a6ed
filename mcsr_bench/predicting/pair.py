"""What a method predicts from, and the space of a target, in which a super-resolved volume is written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.errors import UserError

NIFTI, HDF5 = (".nii", ".nii.gz"), (".h5", ".hdf5")

_MAX_VOXELS = 1 << 28
"""Most voxels of a volume that is accepted (256 slices of 1024 x 1024), because it is read as a whole."""

Complex = NDArray[np.complex64]


@dataclass(frozen=True)
class Turn:
    """How the voxel axes of a NIfTI volume become slices, rows and columns."""

    axes: tuple[int, int, int]
    """Voxel axes across slices, down the rows, along the columns."""
    mirrored: tuple[bool, bool]
    """Whether rows and columns run the other way."""

    def slices(self, data: NDArray[Any]) -> NDArray[Any]:
        """Voxels (i, j, k) as slices (S, H, W)."""
        return self._mirror(data.transpose(self.axes))

    def voxels(self, slices: NDArray[Any]) -> NDArray[Any]:
        """Slices (S, H, W) back as voxels (i, j, k)."""
        return self._mirror(slices).transpose(np.argsort(self.axes))

    def _mirror(self, slices: NDArray[Any]) -> NDArray[Any]:
        for axis, mirrored in zip((1, 2), self.mirrored, strict=True):
            if mirrored:  # about the centre sample, as `kspace.reflect`: a plain flip would shift LR against HR
                slices = np.flip(slices, axis)
                slices = np.roll(slices, 1, axis) if slices.shape[axis] % 2 == 0 else slices
        return slices


@dataclass(frozen=True, eq=False)
class Space:
    """The geometry of a target: what a super-resolved volume needs to be written like it."""

    suffixes: tuple[str, ...]
    """That its files may have."""
    image: Any = None
    """Of NIfTI: the target's image, for its header and affines."""
    turn: Turn | None = None


@dataclass(frozen=True, eq=False)
class Pair:
    """What a method predicts from, in physical units."""

    target: Complex
    """(S, h, w), of LR size."""
    auxiliary: Complex | None
    """(S, H, W), of HR size (joint super-resolution: of LR size); None where none was given."""
    has_phase: bool
    space: Space
    notes: tuple[str, ...] = ()


def check_sizes(target: Path, low: tuple[int, ...], auxiliary: Path | None, high: tuple[int, ...], ratio: int) -> None:
    if low[0] != high[0]:
        raise UserError(f"{auxiliary}: has {high[0]} slices, and {target} has {low[0]}")
    wanted = tuple(ratio * n for n in low[1:])
    if high[1:] != wanted:
        why = "as large as the target's" if ratio == 1 else f"{ratio} times as large"
        raise UserError(
            f"{auxiliary}: its slices are {times(high[1:])}; those of {target} are {times(low[1:])}, and the auxiliary's "
            f"are to be {why} ({times(wanted)})"
        )


def check_claim(path: Path, shape: Iterable[int]) -> None:
    if math.prod(shape) > _MAX_VOXELS:
        raise UserError(f"{path}: has {times(shape)} voxels in its header, more than {_MAX_VOXELS}")


def times(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))
