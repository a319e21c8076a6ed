"""A user's own pair of volumes, read for prediction, and the super-resolved volume written in the same space.

Two kinds of files:

NIfTI (``.nii``, ``.nii.gz``), magnitude. The *slice axis* is the voxel axis along which target and auxiliary have the same size
while they differ by the scale along the other two; where that does not tell (no auxiliary, or one of LR size), the axis that
the header names as the slice axis (``dim_info``), else the last voxel axis. For the network, slices are rotated upright (anterior
or superior at the top, the patient's right at the left, sagittal: anterior at the left), by transposing and by mirroring about
the centre sample, and rotated back for writing: the output has the voxel axes of the target file.

HDF5 (``.h5``, ``.hdf5``), magnitude or complex: a dataset ``image`` (S, H, W), real or complex, or else ``kspace`` (S, H, W),
complex, centred (the zero frequency at sample N // 2) and orthonormal. The k-space of LR size is the centre of that of the HR
image, as a scanner with a smaller matrix acquires it: its image is divided by the scale, so that amplitudes are those of HR.

Both volumes are on one k-space grid: LR sample h // 2 is where HR sample H // 2 is. A constant has the same value in both. Nothing
is registered or resampled: NIfTI volumes whose axes run elsewhere are refused.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from mcsr_bench import kspace
from mcsr_bench.data.raw.pair_header import affine_problem
from mcsr_bench.errors import UserError
from mcsr_bench.system import files

NIFTI, HDF5 = (".nii", ".nii.gz"), (".h5", ".hdf5")

_LEAST = 0.2
"""Negative magnitudes are what interpolation left, down to this fraction of the maximum; they are set to zero."""
_PIECE = 1 << 20
_MAX_VOXELS = 1 << 28
"""Most voxels of a volume that is accepted (256 slices of 1024 x 1024), because it is read as a whole."""
_DAMAGED = (ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, zlib.error, ValueError)
# World axes (0 left-right, 1 posterior-anterior, 2 inferior-superior) down the rows and along the columns, by that across slices.
_IN_PLANE = {0: (2, 1), 1: (2, 0), 2: (1, 0)}

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
        if path is not None and not path.is_file():
            raise UserError(f"{path}: no such file")
    if auxiliary is not None and kind(auxiliary) != kind(target):
        raise UserError(
            f"{auxiliary}: target and auxiliary are to be files of one kind, and {target.name} is not like it"
        )
    ratio = 1 if joint else scale
    pair = _nifti_pair if kind(target) == NIFTI else _hdf5_pair
    return pair(target, auxiliary, scale, ratio)


def write_volume(to: Path, volume: NDArray[Any], space: Space, scale: int) -> None:
    """Write a super-resolved volume (S, H, W) in one move, in the space of its target.

    NIfTI: the magnitude, float32, cut at 0, with the target's header and voxel axes, in-plane voxel size over the scale, and the
    origin where LR sample h // 2 and HR sample H // 2 are one point. HDF5: a dataset ``image``, float32 or complex64, as it is.
    """
    if space.turn is None:
        with files.replacing(to) as temporary, h5py.File(temporary, "w") as file:
            file.create_dataset("image", data=volume)
        return
    magnitude = (np.abs(volume) if np.iscomplexobj(volume) else np.maximum(volume, 0)).astype(np.float32)
    data = np.ascontiguousarray(space.turn.voxels(magnitude))
    image = type(space.image)(data, finer_affine(space.image.affine, space, scale), space.image.header)
    image.set_data_dtype(np.float32)
    for get, put in ((space.image.get_qform, image.set_qform), (space.image.get_sform, image.set_sform)):
        affine, code = get(coded=True)
        put(None if affine is None else finer_affine(affine, space, scale), int(code), update_affine=False)
    image.header["cal_min"] = image.header["cal_max"] = 0  # a display range that was the target's
    content = image.to_bytes()
    if to.name.lower().endswith(".gz"):
        content = gzip.compress(content, compresslevel=6, mtime=0)  # no time in it: equal volumes, equal bytes
    with files.replacing(to) as temporary:
        temporary.write_bytes(content)


def finer_affine(affine: NDArray[np.float64], space: Space, scale: int) -> NDArray[np.float64]:
    """The affine (4, 4) of the HR grid, of that of an LR volume: in-plane steps over the scale, centre sample on centre sample."""
    assert space.turn is not None
    out = np.array(affine, dtype=np.float64)
    for axis in space.turn.axes[1:]:
        n = space.image.shape[axis]
        out[:3, axis] /= scale
        out[:3, 3] += affine[:3, axis] * (n // 2 - (scale * n // 2) / scale)
    return out


def upright(affine: NDArray[np.float64], axis: int) -> Turn:
    """The turn that shows slices across a voxel axis upright, of an invertible affine (voxel index to RAS+ millimetres)."""
    codes = nibabel.io_orientation(
        affine
    )  # per voxel axis: the closest world axis, and whether it ascends (1) or not (-1)
    voxel_axis = {int(world): voxel for voxel, (world, _) in enumerate(codes)}
    rows, columns = (voxel_axis[world] for world in _IN_PLANE[int(codes[axis, 0])])
    return Turn((axis, rows, columns), (bool(codes[rows, 1] > 0), bool(codes[columns, 1] > 0)))


def _nifti_pair(target: Path, auxiliary: Path | None, scale: int, ratio: int) -> Pair:
    image, data = _read_nifti(target)
    other = None if auxiliary is None else _read_nifti(auxiliary)
    axis = _slice_axis(image, None if other is None else other[1].shape, ratio)
    turn = upright(image.affine, axis)
    space = Space(NIFTI, image, turn)
    notes: list[str] = []
    if other is None:
        return Pair(turn.slices(data).astype(np.complex64), None, False, space)
    _check_sizes(target, turn.slices(data).shape, auxiliary, turn.slices(other[1]).shape, ratio)
    if _turned(image, other[0]):
        ways = ["".join(map(str, nibabel.aff2axcodes(a))) for a in (other[0].affine, image.affine)]
        raise UserError(
            f"{auxiliary}: its voxel axes run to {ways[0]}, those of {target} to {ways[1]}; reorient one of them, and register it"
        )
    grid = image.affine if ratio == 1 else finer_affine(image.affine, space, scale)
    apart = _apart(grid, other[0].affine, other[1].shape)
    if apart > 0.1 * float(np.linalg.norm(grid[:3, :3], axis=0).min()):
        notes.append(
            f"The headers place the auxiliary up to {apart:.2g} mm off the target's grid; nothing was registered or resampled."
        )
    low, high = (turn.slices(x).astype(np.complex64) for x in (data, other[1]))
    return Pair(low, high, False, space, tuple(notes))


def _read_nifti(path: Path) -> tuple[Any, NDArray[np.float32]]:
    try:
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Image):  # NIfTI-2 is a subclass of it
            raise UserError(f"{path}: is a {type(image).__name__}, not a NIfTI file")
        if len(image.shape) != 3 or min(image.shape) < 1:
            raise UserError(f"{path}: has the dimensions {_times(image.shape)}; a volume of three is needed")
        if image.get_data_dtype().kind not in "iuf":
            raise UserError(f"{path}: holds values of type {image.get_data_dtype()}; magnitudes are needed")
        _check_claim(path, image.shape)
        affine = np.asarray(image.affine)
        if fault := affine_problem(affine):
            raise UserError(f"{path}: has no usable affine, so that its voxels have no place: it {fault}")
        data = np.asarray(image.dataobj, dtype=np.float32)
        if path.suffix.lower() == ".gz":
            _read_to_the_end(path)
    except PermissionError:
        raise UserError(f"{path}: cannot be read: permission denied") from None
    except _DAMAGED as error:
        raise UserError(f"{path}: is damaged or not a NIfTI file ({_first_line(error)})") from None
    return image, _magnitudes(path, data)


def _read_to_the_end(path: Path) -> None:
    """Look at the checksum of a compressed file, which stands at its end. OSError, EOFError or zlib.error when it is wrong."""
    with gzip.open(path, "rb") as handle:
        while handle.read(_PIECE):
            pass


def _slice_axis(image: Any, auxiliary_shape: tuple[int, ...] | None, ratio: int) -> int:
    shape = image.shape
    if auxiliary_shape is not None and ratio > 1:
        for axis in range(3):
            wanted = tuple(n if a == axis else ratio * n for a, n in enumerate(shape))
            if tuple(auxiliary_shape) == wanted:
                return axis
    named = image.header.get_dim_info()[2]
    return 2 if named is None else int(named)


def _turned(image: Any, other: Any) -> bool:
    """Whether a voxel axis of one points more than 60 degrees away from that of the other, which no tilt of a slice explains.

    False where a header has neither sform nor qform: then it is unknown.
    """
    if not all(int(i.header["sform_code"]) > 0 or int(i.header["qform_code"]) > 0 for i in (image, other)):
        return False
    a, b = image.affine[:3, :3], other.affine[:3, :3]
    return bool(((a * b).sum(0) < 0.5 * np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)).any())


def _apart(a: NDArray[np.float64], b: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """The largest distance of a corner voxel by two affines, in mm."""
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    corners[:, :3] *= np.array(shape) - 1
    return float(np.linalg.norm(corners @ (a - b).T, axis=1).max())


def _hdf5_pair(target: Path, auxiliary: Path | None, scale: int, ratio: int) -> Pair:
    low, phase = _read_hdf5(target, 1 / scale)
    if auxiliary is None:
        return Pair(low, None, phase, Space(HDF5))
    high, auxiliary_phase = _read_hdf5(auxiliary, 1 / scale if ratio == 1 else 1.0)
    _check_sizes(target, low.shape, auxiliary, high.shape, ratio)
    return Pair(low, high, phase and auxiliary_phase, Space(HDF5))


def _read_hdf5(path: Path, amplitude: float) -> tuple[Complex, bool]:
    """The images of a file (S, H, W) and whether they have a phase; those of k-space are multiplied by ``amplitude``."""
    try:
        with h5py.File(path, "r") as file:
            name = next((n for n in ("image", "kspace") if isinstance(file.get(n), h5py.Dataset)), None)
            if name is None:
                raise UserError(f"{path}: has neither a dataset 'image' nor 'kspace' (it has: {_names(file)})")
            dataset = file[name]
            if dataset.ndim != 3 or min(dataset.shape) < 1:
                raise UserError(
                    f"{path}: '{name}' has the shape {_times(dataset.shape)}; slices x rows x columns are needed"
                )
            _check_claim(path, dataset.shape)
            if dataset.dtype.kind not in ("c" if name == "kspace" else "ciuf"):
                raise UserError(
                    f"{path}: '{name}' holds values of type {dataset.dtype}, not numbers of an image or of k-space"
                )
            data = dataset[...]
    except PermissionError:
        raise UserError(f"{path}: cannot be read: permission denied") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: is damaged or not an HDF5 file ({_first_line(error)})") from None
    if data.dtype.kind != "c":
        return _magnitudes(path, data.astype(np.float32)).astype(np.complex64), False
    data = data.astype(np.complex64)
    if not np.isfinite(data.view(np.float32)).all():
        raise UserError(f"{path}: holds NaN or Inf")
    if name == "kspace":
        data = kspace.to_image(torch.from_numpy(data)).numpy() * np.float32(amplitude)
    return data, True


def _magnitudes(path: Path, data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Magnitudes cut at zero. UserError for NaN, Inf, or values further below zero than interpolation leaves."""
    if not np.isfinite(data).all():
        raise UserError(f"{path}: holds NaN or Inf")
    low, high = float(data.min()), float(data.max())
    if low < -_LEAST * max(high, 0.0):
        raise UserError(f"{path}: has values from {low:.4g} to {high:.4g}; magnitudes are not negative")
    return np.maximum(data, 0)


def _check_sizes(target: Path, low: tuple[int, ...], auxiliary: Path | None, high: tuple[int, ...], ratio: int) -> None:
    if low[0] != high[0]:
        raise UserError(f"{auxiliary}: has {high[0]} slices, and {target} has {low[0]}")
    wanted = tuple(ratio * n for n in low[1:])
    if high[1:] != wanted:
        why = "as large as the target's" if ratio == 1 else f"{ratio} times as large"
        raise UserError(
            f"{auxiliary}: its slices are {_times(high[1:])}; those of {target} are {_times(low[1:])}, and the auxiliary's "
            f"are to be {why} ({_times(wanted)})"
        )


def _check_claim(path: Path, shape: Iterable[int]) -> None:
    if math.prod(shape) > _MAX_VOXELS:
        raise UserError(f"{path}: has {_times(shape)} voxels in its header, more than {_MAX_VOXELS}")


def _names(file: Any) -> str:
    return ", ".join(sorted(file)[:8]) or "nothing"


def _times(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
