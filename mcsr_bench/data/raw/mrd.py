"""From ISMRMRD files of 2-D Cartesian scans, one per contrast, to one "mcsr-pair" file: docs/mcsr-pair.md describes what is done.

Rows of the result are phase encodes, columns the readout. Readouts are read slice by slice: memory holds one slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcsr_bench.errors import UserError, unread
from mcsr_bench.system.files import not_a_file

from .hdf5 import MAX_SLICE, explained, member, opened
from .lengths import fov_problem
from .mrd_echo import align, kspace_of
from .mrd_header import MrdHeader, read_header
from .mrd_rows import Rows, filled, readouts, rows_of
from .pair_writer import write_pair

MAX_ROWS = 1 << 22
"""Readouts of a file that are believed."""
TABLE = 0.5
"""Millimetres that the table may have moved between contrasts without a word."""
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


def convert(
    sources: Mapping[str, Path], to: Path, *, patient_id: str, site: str = "", overwrite: bool = False
) -> list[str]:
    """Write ``to`` from one ISMRMRD file per contrast; returns what its user should know, a sentence each.

    Nothing that names the patient is copied. Raises UserError for a file that cannot be converted, or whose contrasts do not go
    together; then nothing is written.
    """
    with ExitStack() as stack:
        scans = {name: stack.enter_context(_opened(Path(path).expanduser())) for name, path in sources.items()}
        headers = [scan.header for scan in scans.values()]
        for scan in list(scans.values())[1:]:
            first, reference = next(iter(scans.items()))
            if (moved := float(np.linalg.norm(scan.table - reference.table))) > TABLE:
                scan.notes.append(
                    f"the table was {moved:.3g} mm from where it was for {first}; positions count from the scanner's centre, so "
                    "its affine may be off by as much"
                )
        write_pair(
            to,
            scans,
            patient_id=patient_id,
            site=site,
            scanner=next((h.scanner for h in headers if h.scanner), ""),
            field_T=next((h.tesla for h in headers if h.tesla), None),
            attributes={name: scan.attributes for name, scan in scans.items()},
            overwrite=overwrite,
        )
        return [f"{name}: {note}" for name, scan in scans.items() for note in scan.notes]


class Scan:
    """One ISMRMRD file as an array (slices, [coils,] H, W) of which slices are read when asked for."""

    dtype = np.dtype(np.complex64)

    def __init__(self, path: Path, data: h5py.Dataset, header: MrdHeader) -> None:
        self.header = header
        self.notes: list[str] = []
        self._path = path
        self._data = data
        rows, self._coils = rows_of(data, header, self.notes)
        H, W = header.kept
        if self._coils * np.prod(header.encoded, dtype=np.float64) > MAX_SLICE:
            raise ValueError(f"one slice of {self._coils} coils and {header.encoded} samples is beyond 1 GiB")
        self._slices = [rows.take(rows.slice == index) for index in np.unique(rows.slice)]
        shape = self._coils, *header.encoded
        self._slices = align(self._slices, lambda rows: kspace_of(rows, self._lines(rows), shape), self.notes)
        self._millimetres()
        self._filled = filled(self._slices, header.encoded)
        self.table = self._slices[0].geometry[0, 4]
        affine = self._sort()
        self.shape: tuple[int, ...] = (len(self._slices), *([self._coils] if self._coils > 1 else []), H, W)
        (Ny, Nx), (fov_y, fov_x) = header.encoded, header.encoded_fov
        acquired = (round(self._filled[0] * H / Ny), round(self._filled[1] * W / Nx))
        self.attributes: dict[str, Any] = {
            **header.times,
            "FOV_mm": (H * fov_y / Ny, W * fov_x / Nx),
            "acquired_matrix": acquired,
        }
        if affine is not None:
            self.attributes |= {"affine": affine, "voxel_mm": np.linalg.norm(affine[:3, :3], axis=0)}
        if header.recon != (H, W):
            self.notes.append(f"the scanner's image is {header.recon[0]} x {header.recon[1]}, the k-space {H} x {W}")

    def __getitem__(self, index: int) -> NDArray[np.complex64]:
        """k-space of a slice, complex64 ([coils,] H, W)."""
        with explained(self._path, f"{self._path.parent}/"):
            filled = self._read(self._slices[index])
        for axis, kept in zip((-2, -1), self.header.kept, strict=True):
            filled = _keep(filled, axis, kept)
        return filled.astype(np.complex64) if self._coils > 1 else filled[0].astype(np.complex64)

    def _read(self, rows: Rows) -> NDArray[np.complex128]:
        """The mean of what falls on each sample of k-space, (coils, Ny, Nx)."""
        out = np.zeros((self._coils, *self.header.encoded), np.complex128)
        counts = np.zeros(self.header.encoded, np.int64)
        for i, line in self._lines(rows):
            samples, columns = rows.columns(i, out.shape[-1])
            out[:, rows.ky[i], columns] += line[:, samples]
            counts[rows.ky[i], columns] += 1
        return out / np.maximum(counts, 1)

    def _lines(self, rows: Rows) -> Iterator[tuple[int, NDArray[np.complex64]]]:
        """(position in ``rows``, samples (coils, n) in the order of k-space) of every readout."""
        for i, values in readouts(self._data, rows.number):
            n = int(rows.samples[i])
            if values.shape != (2 * self._coils * n,):
                raise ValueError(f"readout {rows.number[i]} holds {values.size} numbers, not {2 * self._coils * n}")
            line = np.ascontiguousarray(values).view(np.complex64).reshape(self._coils, n)
            yield i, line[:, ::-1] if rows.reverse[i] else line

    def _millimetres(self) -> None:
        """Bring positions to millimetres where slices are thousandths of their thickness apart: these are metres."""
        thickness = self.header.thickness
        places = np.array([rows.geometry[0, 0] for rows in self._slices])
        apart = np.linalg.norm(np.diff(np.unique(places, axis=0), axis=0), axis=1)
        if len(apart):
            metres = thickness > 0 and 0.2 < 1e3 * float(apart.min()) / thickness < 5
        else:
            metres = self.header.unit == "metres" and bool(np.abs(places).max() < 2)
        if metres:
            self.notes.append("its positions are metres by the distance of its slices: they are converted")
            scale = np.array([1e3, 1, 1, 1, 1e3])[:, None]  # positions and the table; directions have no length
            self._slices = [replace(rows, geometry=rows.geometry * scale) for rows in self._slices]
        if self.header.unit != "mm":
            self.notes.append(
                f"its fields of view are {self.header.unit}, under the name fieldOfView_mm: they are converted"
            )
        if fault := fov_problem(self.header.encoded_fov):
            self.notes.append(f"it {fault} by its header; voxel sizes are used as they are")

    def _sort(self) -> NDArray[np.float64] | None:
        """Order the slices along their normal, and return the affine; None, and a note, where positions do not give it."""
        places = np.array([rows.geometry[0] for rows in self._slices])
        for rows in self._slices:
            if np.abs(rows.geometry - rows.geometry[0]).max() > 0.01:
                raise ValueError(f"the readouts of slice {rows.slice[0]} have several positions")
        axes = places[0, 1:4]
        positions = places[:, 0]
        if np.abs(axes @ axes.T - np.eye(3)).max() > 0.01 or np.abs(places[:, 1:4] - axes).max() > 0.01:
            self.notes.append(
                "its directions are not common right angles: slices are in the order of their index, without an affine"
            )
            return None
        read, phase, normal = axes
        along = positions @ normal
        order = np.argsort(along, kind="stable")
        steps = np.diff(positions[order], axis=0)
        if len(steps) and np.diff(along[order]).min() < 0.01:
            self.notes.append(
                "its slices have no positions of their own: they are in the order of their index, without an affine"
            )
            return None
        self._slices = [self._slices[i] for i in order]
        step = steps.mean(0) if len(steps) else normal * self.header.thickness
        if len(steps) and np.abs(steps - step).max() > 0.05 * np.linalg.norm(step):
            self.notes.append("its slices are not evenly spaced: no affine is written")
            return None
        if not np.linalg.norm(step) > 0:
            self.notes.append("its one slice has no thickness: no affine is written")
            return None
        (Ny, Nx), (fov_y, fov_x), (H, W) = self.header.encoded, self.header.encoded_fov, self.header.kept
        down, along_x = phase * (fov_y / Ny), read * (fov_x / Nx)
        out = np.eye(4)
        out[:3, :3] = np.stack([step, down, along_x], axis=1)
        # the position is that of the centre sample of the slice
        out[:3, 3] = positions[order[0]] - (H // 2) * down - (W // 2) * along_x
        out[:3] *= _LPS_TO_RAS[:, None]
        return out


@contextmanager
def _opened(path: Path) -> Iterator[Scan]:
    where = f"{path.parent}/"
    if what := not_a_file(path):
        raise UserError(f"{path}: {what}")
    with ExitStack() as stack:
        file = stack.enter_context(opened(path, where))
        # what is wrong with the contents is a ValueError with a clause; h5py's own errors are handled before
        try:
            with _damage(path):
                data, text = _members(file)
                scan = Scan(path, data, read_header(text))
        except ValueError as error:
            raise UserError(f"{path}: {error}") from None
        yield scan


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise unread(error, path) or UserError(
            f"{path} is damaged or truncated ({str(error).splitlines()[0][:120] or type(error).__name__})"
        ) from error


def _members(file: h5py.File) -> tuple[h5py.Dataset, bytes]:
    groups = [
        name for name in sorted(file) if isinstance(file.get(name, getclass=True, getlink=True), type(h5py.HardLink))
    ]
    names = ["dataset"] if "dataset" in groups else groups
    found = [member(file, name) for name in names]
    found = [g for g in found if isinstance(g, h5py.Group) and "xml" in g and "data" in g]
    if len(found) != 1:
        raise ValueError(
            f"it has {len(found) or 'no'} groups with 'xml' and 'data', as ISMRMRD files have; one is needed"
        )
    data, xml = member(found[0], "data"), member(found[0], "xml")
    if not isinstance(data, h5py.Dataset) or data.ndim != 1 or set(data.dtype.names or ()) != {"head", "traj", "data"}:
        raise ValueError("its 'data' are not readouts as in ISMRMRD files")
    if (
        any(h5py.check_vlen_dtype(data.dtype[k]) != np.float32 for k in ("traj", "data"))
        or not data.dtype["head"].names
    ):
        raise ValueError("its readouts hold no float32 numbers with a head, as in ISMRMRD files")
    if not isinstance(xml, h5py.Dataset) or xml.size != 1 or h5py.check_string_dtype(xml.dtype) is None:
        raise ValueError("its 'xml' is not one piece of text")
    if not 0 < data.shape[0] <= MAX_ROWS:
        raise ValueError(f"it claims {data.shape[0]} readouts; 1..{MAX_ROWS} are believed")
    value = xml[()]
    text = value.reshape(-1)[0] if isinstance(value, np.ndarray) else value
    if not isinstance(text, bytes | str):
        raise ValueError("its 'xml' is not text")
    return data, text if isinstance(text, bytes) else text.encode()


def _keep(kspace: NDArray[np.complex128], axis: int, kept: int) -> NDArray[np.complex128]:
    """k-space of the central ``kept`` samples of the image along an axis."""
    N = kspace.shape[axis]
    if kept == N:
        return kspace
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(kspace, axes=axis), axis=axis, norm="ortho"), axes=axis)
    first = N // 2 - kept // 2
    image = np.take(image, np.arange(first, first + kept), axis=axis)
    return np.asarray(
        np.fft.fftshift(np.fft.fft(np.fft.ifftshift(image, axes=axis), axis=axis, norm="ortho"), axes=axis)
    )
