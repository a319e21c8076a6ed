"""A user's own pair of volumes, read for prediction, and the super-resolved volume written in the same space.

Two kinds of files:

NIfTI (``.nii``, ``.nii.gz``), magnitude, read as the dataset of NIfTI files reads it. The *slice axis* is the voxel axis along
which target and auxiliary have the same size while they differ by the scale along the other two; where that does not tell (no
auxiliary, or one of LR size), the axis that the header names as the slice axis (``dim_info``); else, with a note, the axis along
which voxels are longer than along both others, else the last one. For the network, slices are rotated upright (anterior
or superior at the top, the patient's right at the left, sagittal: anterior at the left), by transposing and by mirroring about
the centre sample, and rotated back for writing: the output has the voxel axes of the target file.

HDF5 (``.h5``, ``.hdf5``), magnitude or complex: a dataset ``image`` (S, H, W), real or complex, or else ``kspace`` (S, H, W),
complex, centred (the zero frequency at sample N // 2) and orthonormal. The k-space of LR size is the centre of that of the HR
image, as a scanner with a smaller matrix acquires it: its image is divided by the scale, so that amplitudes are those of HR.

Both volumes are on one k-space grid: LR sample h // 2 is where HR sample H // 2 is. A constant has the same value in both. Nothing
is registered or resampled: NIfTI volumes whose axes run elsewhere are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mcsr_bench.errors import UserError
from mcsr_bench.system.files import not_a_file

from . import hdf5, nifti
from .pair import HDF5, NIFTI, Pair, Space


def kind(path: Path) -> tuple[str, ...]:
    """`NIFTI` or `HDF5`, by the end of a file's name; UserError for another."""
    for suffixes in (NIFTI, HDF5):
        if path.name.lower().endswith(suffixes):
            return suffixes
    raise UserError(f"{path}: a volume is a NIfTI file ({' or '.join(NIFTI)}) or an HDF5 file ({' or '.join(HDF5)})")


def read_pair(target: Path, auxiliary: Path | None, scale: int, *, joint: bool = False) -> Pair:
    """Read a target of LR size with its auxiliary of HR size (joint: of LR size too).

    Raises UserError, one sentence that names the file, for files that are missing, damaged, of different kinds, of sizes that do
    not belong together, or hold NaN, Inf or (magnitudes) clearly negative values.
    """
    for path in (target, auxiliary):
        if path is not None and (what := not_a_file(path)):
            raise UserError(f"{path}: {what}")
    if auxiliary is not None and kind(auxiliary) != kind(target):
        raise UserError(
            f"{auxiliary}: target and auxiliary are to be files of one kind, and {target.name} is not like it"
        )
    ratio = 1 if joint else scale
    return (nifti if kind(target) == NIFTI else hdf5).read_pair(target, auxiliary, scale, ratio)


def write_volume(to: Path, volume: NDArray[Any], space: Space, scale: int) -> None:
    """Write a super-resolved volume (S, H, W) in one move, in the space of its target.

    NIfTI: the magnitude, float32, cut at 0, with the target's header and voxel axes, in-plane voxel size over the scale, and the
    origin where LR sample h // 2 and HR sample H // 2 are one point. HDF5: a dataset ``image``, float32 or complex64, as it is.
    """
    if space.turn is None:
        hdf5.write(to, volume)
    else:
        nifti.write(to, volume, space, scale)
