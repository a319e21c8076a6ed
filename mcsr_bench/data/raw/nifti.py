"""One NIfTI file of magnitudes: its header, and its samples mapped into memory so that slices of any volume are read singly.

Lengths are millimetres, whatever unit the header counts in.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from mcsr_bench.errors import InterruptedWorkError, UserError, unread
from mcsr_bench.system.files import cache_folder, not_a_file, writing_to

from .pair_header import affine_problem

MAX_BYTES = 1 << 36
"""Largest volume that a header is believed to have (64 GiB)."""
MAX_SLICE = 1 << 24
"""Most pixels of a slice along any axis that are believed (4096 x 4096); one costs some 50 bytes of memory each."""
LEAST = 0.2
"""Negative values are taken for what interpolation left, down to this fraction of the maximum."""
_PIECE = 1 << 18
_DAMAGED = (ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, zlib.error, ValueError)


UNITS = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
"""Millimetres of a header's unit, as nibabel names it; without one lengths are taken for millimetres."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a header places a volume."""

    form: str
    """sform or qform."""
    code: int
    """Of the space: 1 the scanner's, 2 that of another file, 3 Talairach's, 4 MNI 152, 5 another template's."""
    affine: NDArray[np.float64]
    """4 x 4, from voxel indices to RAS+ millimetres of the space."""


@dataclass(frozen=True, eq=False)
class Volume:
    """What is in a header."""

    path: Path
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    """4 x 4, from voxel indices to RAS+ millimetres: of the first of ``places``, else nibabel's guess from voxel sizes."""
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    places: tuple[Place, ...]
    """Every usable one of sform and qform, in this order; () where the header does not give the volume's position."""
    unit: str = "mm"
    """In which the header counts lengths, a key of `UNITS`."""
    zooms: tuple[float, ...] = (1.0, 1.0, 1.0)
    """Millimetres of the voxel edges by ``pixdim``, which stand beside sform and qform."""
    slice_axis: int | None = None
    """The voxel axis across slices by ``dim_info``; None: not in the header."""

    @property
    def end(self) -> int:
        """Bytes of the uncompressed file up to the end of the samples."""
        return self.offset + int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def inspect(path: Path) -> Volume:
    """Look at a file's header and length. UserError that begins with the file's path for anything that cannot be used."""
    if what := not_a_file(path):
        raise UserError(f"{path}: {what}")
    try:
        path.open("rb").close()  # nibabel does not tell a file that may not be read from one that is damaged
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Image):  # NIfTI-2 is a subclass of it
            raise UserError(f"{path} is a {type(image).__name__}, not a NIfTI file")
        shape = tuple(int(n) for n in image.header.get_data_shape())
        dtype = image.header.get_data_dtype()
        unit = _unit(image.header)
        affine = _millimetres(image.affine, unit)
        places = tuple(_places(image, unit))
        zooms = tuple(UNITS[unit] * abs(float(edge)) for edge in image.header.get_zooms()[:3])
        slice_axis = image.header.get_dim_info()[2]
        # the proxy has the header's numbers with its defaults put in: no scaling is 1 and 0
        offset, slope, intercept = (float(getattr(image.dataobj, key)) for key in ("offset", "slope", "inter"))
    except _DAMAGED as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise unread(error, path) or UserError(f"{path} is damaged or not a NIfTI file ({reason})") from error
    if set(shape[3:]) == {1}:  # a series of one volume
        shape = shape[:3]
    if len(shape) != 3:
        raise UserError(f"{path} has {len(shape)} dimensions {shape}; a volume of 3 is needed")
    if min(shape) < 1:
        raise UserError(f"{path} has no slices: its dimensions are {shape}")
    if dtype.kind == "c":
        raise UserError(f"{path} holds complex values; magnitude images are needed")
    if dtype.kind not in "iuf":
        raise UserError(f"{path} holds values of type {dtype}; one number per voxel is needed")
    if fault := affine_problem(affine):
        counted = f" (the unit in its header is {unit})" if unit != "mm" else ""
        raise UserError(f"{path} has no usable affine, so that its slices have no orientation: it {fault}{counted}")
    if not np.isfinite([slope, intercept]).all():
        raise UserError(f"{path} has the scaling {slope} * value + {intercept}, which is not a number")
    volume = Volume(
        path,
        (shape[0], shape[1], shape[2]),
        affine,
        dtype,
        int(offset),
        slope,
        intercept,
        places,
        unit,
        zooms,
        slice_axis,
    )
    if volume.end > MAX_BYTES:
        raise UserError(f"{path} has dimensions {shape} in its header, which is beyond 64 GiB")
    if np.prod(sorted(shape)[1:], dtype=np.int64) > MAX_SLICE:
        raise UserError(f"{path} has dimensions {shape} in its header: slices of more than {MAX_SLICE} pixels")
    if not _is_whole(volume):
        raise UserError(f"{path} is truncated: its header announces {shape} voxels of {dtype}")
    return volume


def _unit(header: Any) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:  # a code that no standard has
        return "unknown"


def _millimetres(affine: Any, unit: str) -> NDArray[np.float64]:
    out = np.array(affine, dtype=np.float64)
    out[:3] *= UNITS[unit]
    return out


def _places(image: Any, unit: str) -> Iterator[Place]:
    for form, get in (("sform", image.get_sform), ("qform", image.get_qform)):
        try:
            affine, code = get(coded=True)
        except (HeaderDataError, ValueError):  # a quaternion that is none, beside a usable sform
            continue
        if affine is not None and not affine_problem(found := _millimetres(affine, unit)):
            yield Place(form, int(code), found)


@contextmanager
def samples(volume: Volume) -> Iterator[NDArray[Any]]:
    """The stored numbers of a volume (x, y, z), unscaled, mapped into memory read-only.

    Of a compressed file: of a copy in an anonymous temporary file in the cache folder, gone with the block. Raises UserError
    when the file is damaged, OSError when the disk is full.
    """
    if volume.path.suffix.lower() != ".gz":
        yield _mapped(volume.path, volume)
        return
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=cache_folder()) as copy:
        with writing_to(cache_folder()):
            for piece in _pieces(volume):
                copy.write(piece)
            copy.flush()
        yield _mapped(copy, volume)


def check_sign(volume: Volume, stored: NDArray[Any]) -> None:
    """UserError when a volume goes further below zero than interpolation does. NaN passes: the engine looks for it."""
    low, high = np.inf, -np.inf
    for k in range(volume.shape[2]):
        low, high = min(low, float(stored[..., k].min())), max(high, float(stored[..., k].max()))
    low, high = sorted((low * volume.slope + volume.intercept, high * volume.slope + volume.intercept))
    if low < -LEAST * max(high, 0.0):
        raise UserError(
            f"{volume.path} has values from {low:.4g} to {high:.4g}; magnitude images are not negative "
            f"(down to -{LEAST:g} of the maximum is taken for interpolation and set to zero)"
        )


def magnitude(stored: NDArray[Any], volume: Volume) -> NDArray[np.complex64]:
    """Stored numbers (H, W) as an image: scaled, not negative, complex64 with zero phase, a new array."""
    values = stored.astype(np.float64, order="C") * volume.slope + volume.intercept
    with np.errstate(over="ignore"):  # beyond float32 is Inf, which the engine reports
        return np.maximum(values, 0).astype(np.complex64)


def _mapped(source: Path | IO[bytes], volume: Volume) -> NDArray[Any]:
    return np.memmap(source, volume.dtype, "r", volume.offset, volume.shape, order="F")


def _pieces(volume: Volume) -> Iterator[bytes]:
    """The uncompressed bytes of a compressed file up to the end of the samples. UserError when it is damaged or too short."""
    left = volume.end
    try:
        with gzip.open(volume.path, "rb") as handle:
            while left > 0:
                piece = handle.read(min(_PIECE, left))
                if not piece:
                    raise EOFError("it ends early")
                left -= len(piece)
                yield piece
            for _ in range(64):  # the checksum is looked at when the end is reached; some writers pad
                if not handle.read(_PIECE):
                    return
            raise EOFError("it goes on long after its last voxel")
    except (OSError, EOFError, zlib.error) as error:
        raise unread(error, volume.path) or UserError(f"{volume.path} is damaged or truncated ({error})") from error


def _is_whole(volume: Volume) -> bool:
    """Whether the file is long enough for its samples."""
    size = volume.path.stat().st_size
    if volume.path.suffix.lower() != ".gz":
        return size >= volume.end
    with volume.path.open("rb") as handle:
        handle.seek(-min(4, size), os.SEEK_END)
        announced = int.from_bytes(handle.read(4), "little")
    if announced == volume.end % (1 << 32):
        return True
    # The last four bytes are the length modulo 2^32 of a whole file made in one piece. Otherwise, look.
    try:
        return sum(len(piece) for piece in _pieces(volume)) == volume.end
    except InterruptedWorkError:
        raise
    except UserError:
        return False
