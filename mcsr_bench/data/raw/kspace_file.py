"""One HDF5 file of k-space in the layout that fastMRI introduced: what can be seen without reading its samples, and its slices.

``kspace`` complex (slices, [coils,] H, W), ``ismrmrd_header`` XML, attributes ``acquisition`` and ``patient_id``, optionally
``reconstruction_esc`` or ``reconstruction_rss`` (slices, h, w). Centred, orthonormal (arXiv:1811.08839).
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # nosec B405

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcsr_bench.errors import UserError
from mcsr_bench.kspace import combine_coils, crop_centre, to_image
from mcsr_bench.plugin.case import Stored

from .hdf5 import excess, explained, member, opened, text_of, there, value_of
from .header import MAX_BYTES, Header, parse
from .lengths import thickness_of, unit_of


@dataclass(frozen=True)
class Volume:
    """What is known of a file before its pixels are read."""

    path: Path
    acquisition: str
    patient_id: str
    slices: int
    coils: int
    """0: single-coil."""
    raw: tuple[int, int]
    """(H, W) of k-space."""
    shape: tuple[int, int]
    """(H, W) of the image after the crop."""
    header: Header
    """What is in the file's header; made up from the arrays' shapes where `header_problem` is not empty."""
    dtype: str
    """Of k-space, as numpy names it."""
    pixel: tuple[float, float] | None = None
    """Edge lengths (down the rows, along the columns) of the uncropped image's pixels in mm; None: not in the header."""
    thickness: float | None = None
    """Of a slice in mm; None: not in the header."""
    header_problem: str = ""
    """Why the header cannot be used, as a clause; only where that was allowed."""

    @property
    def voxel(self) -> tuple[float, float, float] | None:
        """Edges in mm from slice to slice, row to row, column to column, no gaps assumed; None: not in the header."""
        return (self.thickness, *self.pixel) if self.thickness and self.pixel else None


def inspect(path: Path, *, strict: bool = True) -> Volume:
    """Look into a file without reading k-space. UserError, one clause that begins with the file's name, for anything wrong.

    strict False: a header that is absent or without an encoding is described in ``header_problem``.
    """
    with explained(path), opened(path) as file:
        return _inspect(file, path, strict)


SAME_SIZE = 0.02
"""Relative difference of voxel sizes that is accepted."""


def voxel_difference(a: Volume, b: Volume) -> str:
    """How the voxels of two volumes differ, as a clause; "" where they are the same, as far as headers give them."""
    if a.pixel and b.pixel and not all(_same(x, y) for x, y in zip(a.pixel, b.pixel, strict=True)):
        return f"{a.pixel[0]:.4g} x {a.pixel[1]:.4g} mm and {b.pixel[0]:.4g} x {b.pixel[1]:.4g} mm"
    if a.thickness and b.thickness and not _same(a.thickness, b.thickness):
        return f"slices of {a.thickness:.4g} mm and of {b.thickness:.4g} mm"
    return ""


def _same(x: float, y: float) -> bool:
    return abs(x - y) <= SAME_SIZE * max(x, y)


def stored(volume: Volume) -> Stored:
    """How a volume is stored in its file, from its array and its header."""
    coils = (volume.coils,) if volume.coils else ()
    header = volume.header
    acquired = (min(volume.raw[0], header.encoded[0]), min(volume.raw[1], header.acquired_columns))
    return Stored(
        shape=(volume.slices, *coils, *volume.raw),
        dtype=volume.dtype,
        coils=volume.coils or 1,
        acquired=None if volume.header_problem else acquired,
    )


def crop_shape(raw: tuple[int, int], recon: tuple[int, int]) -> tuple[int, int]:
    """What an image of shape ``raw`` is cropped to: ``recon``, or a square of its own width where it is narrower than that.

    The rule of the published SANet and MINet code. ValueError when the image has too few rows for it.
    """
    crop = (raw[1], raw[1]) if raw[1] < recon[1] else recon
    if raw[0] < crop[0]:
        raise ValueError(f"k-space of {raw[0]} x {raw[1]} is too small for a crop to {crop[0]} x {crop[1]}")
    return crop


def images(path: Path, shape: tuple[int, int]) -> Generator[NDArray[np.complex64], None, None]:
    """The slices of a file in its order, complex64 ``shape`` each, in the file's units. UserError when one cannot be read."""
    with closing(kspace_slices(path)) as slices:
        for samples in slices:
            yield image(samples, shape)


def kspace_slices(path: Path) -> Generator[NDArray[np.complex64], None, None]:
    """The k-space of a file slice by slice, complex64 (coils, H, W), one coil where the file has none. UserError as `images`."""
    where = f"{path.parent}/"
    with opened(path, where) as file:
        with explained(path, where):
            kspace = file["kspace"]
            n = int(kspace.shape[0])
        for index in range(n):
            with explained(path, where):
                samples = np.asarray(kspace[index]).astype(np.complex64, copy=False)
            yield samples if samples.ndim == 3 else samples[None]


def kspace_slice(path: Path, index: int) -> NDArray[np.complex64]:
    """One slice of a file's k-space, as `kspace_slices` gives it."""
    where = f"{path.parent}/"
    with explained(path, where), opened(path, where) as file:
        samples = np.asarray(file["kspace"][index]).astype(np.complex64, copy=False)
    return samples if samples.ndim == 3 else samples[None]


def reconstruction_slice(path: Path, index: int) -> NDArray[np.float32] | None:
    """The magnitude image (h, w) that the file has beside a slice of k-space, or None. UserError for a damaged one."""
    where = f"{path.parent}/"
    with explained(path, where), opened(path, where) as file:
        found = _reconstruction(file)
        if found is None or index >= found.shape[0] or found.dtype.kind != "f":
            return None
        return np.asarray(found[index]).astype(np.float32, copy=False)


def image(kspace: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.complex64]:
    """k-space (coils, H, W) to a complex image of ``shape``."""
    return combined(torch.stack([to_image(coil) for coil in torch.from_numpy(kspace)]), shape)  # one by one: memory


def combined(coil_images: Tensor, shape: tuple[int, int]) -> NDArray[np.complex64]:
    """Coil images (coils, H, W) to one complex image: combined at full field of view, then cropped to ``shape``."""
    full = combine_coils(coil_images) if coil_images.shape[0] > 1 else coil_images[0]
    return np.ascontiguousarray(crop_centre(full, shape).numpy())


def _inspect(file: h5py.File, path: Path, strict: bool) -> Volume:
    name = path.name
    try:
        kspace = member(file, "kspace") if there(file, "kspace") else None
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    if not isinstance(kspace, h5py.Dataset):
        raise UserError(f"{name} has no 'kspace'")
    if kspace.ndim not in (3, 4):
        raise UserError(f"{name} has 'kspace' of rank {kspace.ndim}; (slices, H, W) or (slices, coils, H, W) is needed")
    if kspace.shape[0] == 0:
        raise UserError(f"{name} has no slices")
    if 0 in kspace.shape:
        raise UserError(f"{name} has an empty 'kspace' of shape {kspace.shape}")
    if kspace.dtype.kind != "c":
        raise UserError(f"{name} has 'kspace' of type {kspace.dtype}; complex k-space is needed, not images")
    if "mask" in file:
        raise UserError(
            f"{name} has a 'mask': it looks like a test-set file, whose k-space is undersampled; "
            "point --data-root at the train and val folders"
        )
    if fault := excess(kspace):
        raise UserError(f"{name}: 'kspace' {fault}")
    raw = (int(kspace.shape[-2]), int(kspace.shape[-1]))
    found = _reconstruction(file)
    reconstruction = None if found is None else (int(found.shape[1]), int(found.shape[2]))
    problem = ""
    try:
        header, pixel, thickness = _header(file)
    except ValueError as error:
        problem = str(error)
        if strict:
            raise UserError(f"{name} has {problem}") from None
        header, pixel, thickness = Header(raw, reconstruction or raw, raw[1]), None, None
    try:
        shape = crop_shape(raw, reconstruction or header.recon)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    patient_id, acquisition = (_attribute(file, key, name) for key in ("patient_id", "acquisition"))
    if not patient_id:
        raise UserError(f"{name} has no attribute 'patient_id', without which no split by patient can be made")
    coils = int(kspace.shape[1]) if kspace.ndim == 4 else 0
    return Volume(
        path,
        acquisition,
        patient_id,
        int(kspace.shape[0]),
        coils,
        raw,
        shape,
        header,
        str(kspace.dtype),
        pixel,
        thickness,
        problem,
    )


def _header(file: h5py.File) -> tuple[Header, tuple[float, float] | None, float | None]:
    """Header, pixel size and slice thickness. ValueError with a clause that follows "FILE has"."""
    if "ismrmrd_header" not in file:
        raise ValueError("no 'ismrmrd_header'")
    item = file["ismrmrd_header"]
    try:
        if not isinstance(item, h5py.Dataset) or item.size != 1 or item.dtype.itemsize > MAX_BYTES:
            raise ValueError("it is not one piece of text")
        if h5py.check_string_dtype(item.dtype) is None:
            raise ValueError("it is not text")
        value = item[()]
        value = value.reshape(-1)[0] if isinstance(value, np.ndarray) else value
        text = value.encode() if isinstance(value, str) else bytes(value)
        header = parse(text)
    except ValueError as error:
        raise ValueError(f"a broken 'ismrmrd_header': {error}") from None
    return header, *_voxel(text, header)


def _voxel(text: bytes, header: Header) -> tuple[tuple[float, float] | None, float | None]:
    """Encoded field of view over encoded matrix, reconstructed slice; ``text`` has passed `parse`, so it declares no entities.

    Millimetres, also where the file has metres under the name of millimetres.
    """
    root = ElementTree.fromstring(text.decode("utf-8-sig"))  # nosec B314

    def number(space: str, of: str, axis: str) -> float:
        try:
            return float(root.findtext(f"{{*}}encoding/{{*}}{space}/{{*}}{of}/{{*}}{axis}") or "")
        except ValueError:
            return math.nan

    view = [number("encodedSpace", "fieldOfView_mm", axis) for axis in "xy"]
    _, factor = unit_of(view) if all(math.isfinite(v) and v > 0 for v in view) else ("mm", 1.0)

    def edge(space: str, axis: str, n: float) -> float | None:
        length = number(space, "fieldOfView_mm", axis) / n if n >= 1 else math.nan
        return length if math.isfinite(length) and length > 0 else None

    rows, columns = (edge("encodedSpace", axis, n) for axis, n in zip("xy", header.encoded, strict=True))
    thickness = edge("reconSpace", "z", number("reconSpace", "matrixSize", "z"))
    pixel = None if rows is None or columns is None else (factor * rows, factor * columns)
    return pixel, None if thickness is None else thickness_of(thickness, factor)


def _reconstruction(file: h5py.File) -> h5py.Dataset | None:
    """The reconstruction (slices, h, w) in the file, to whose size the published code crops, or None where there is none."""
    for key in ("reconstruction_esc", "reconstruction_rss"):
        found = member(file, key) if there(file, key) else None
        if isinstance(found, h5py.Dataset) and found.ndim == 3 and 0 not in found.shape:
            return found
    return None


def _attribute(file: h5py.File, key: str, name: str) -> str:
    """A text attribute, "" where it is absent. A whole number counts as text."""
    if key not in file.attrs:
        return ""
    try:
        value = value_of(file.attrs, key)
        return str(value) if isinstance(value, np.integer) else text_of(value)
    except ValueError as error:
        raise UserError(f"{name}: its attribute '{key}' {error}") from None
