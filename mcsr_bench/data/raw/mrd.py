"""From ISMRMRD files of 2-D Cartesian scans, one per contrast, to one "mcsr-pair" file: docs/mcsr-pair.md describes what is done.

Rows of the result are phase encodes, columns the readout. Readouts are read slice by slice: memory holds one slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcsr_bench.errors import UserError

from .hdf5 import MAX_SLICE, explained, member, opened
from .mrd_header import INSTALL, MrdHeader, read_header
from .pair_writer import write_pair

MAX_ROWS = 1 << 22
"""Readouts of a file that are believed."""
_LINES = 256
"""How many readouts are read together."""
_SKIPPED = (
    "NOISE_MEASUREMENT", "NAVIGATION_DATA", "PHASECORR_DATA", "HPFEEDBACK_DATA", "DUMMYSCAN_DATA", "RTFEEDBACK_DATA",
    "SURFACECOILCORRECTIONSCAN_DATA", "PHASE_STABILIZATION_REFERENCE", "PHASE_STABILIZATION",
)  # fmt: skip
"""Flags, after ACQ_IS_, of readouts that are not part of the image; and PARALLEL_CALIBRATION, unless they are both."""
TABLE = 0.5
"""Millimetres that the table may have moved between contrasts without a word."""
_LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Rows:
    """The readouts of the image: arrays of one length, in the order of the file."""

    number: NDArray[np.int64]
    """Position in the file."""
    ky: NDArray[np.int64]
    """Row of k-space."""
    slice: NDArray[np.int64]
    samples: NDArray[np.int64]
    offset: NDArray[np.int64]
    """Column of the first sample."""
    discard: NDArray[np.int64]
    """(n, 2): samples at the start and the end, in the order of k-space, that are discarded."""
    reverse: NDArray[np.bool_]
    geometry: NDArray[np.float64]
    """(n, 5, 3): position, read, phase and slice direction, place of the table, as the file has them (LPS, millimetres)."""

    def take(self, which: NDArray[Any]) -> Rows:
        """Some of them."""
        return Rows(**{name: values[which] for name, values in vars(self).items()})


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
        rows, self._coils = _rows(data, header, self.notes)
        H, W = header.kept
        if self._coils * np.prod(header.encoded, dtype=np.float64) > MAX_SLICE:
            raise ValueError(f"one slice of {self._coils} coils and {header.encoded} samples is beyond 1 GiB")
        self._slices = [rows.take(rows.slice == index) for index in np.unique(rows.slice)]
        self._filled = _filled(self._slices, header.encoded)
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
        """The mean of what falls on each row of k-space, (coils, Ny, Nx)."""
        out = np.zeros((self._coils, *self.header.encoded), np.complex128)
        counts = np.bincount(rows.ky, minlength=out.shape[1])
        for i, values in _numbers(self._data, rows.number):
            n = int(rows.samples[i])
            if values.shape != (2 * self._coils * n,):
                raise ValueError(f"readout {rows.number[i]} holds {values.size} numbers, not {2 * self._coils * n}")
            line = np.ascontiguousarray(values).view(np.complex64).reshape(self._coils, n)
            line = line[:, ::-1] if rows.reverse[i] else line
            first, stop = int(rows.discard[i, 0]), n - int(rows.discard[i, 1])
            at = int(rows.offset[i])
            out[:, rows.ky[i], at + first : at + stop] += line[:, first:stop]
        return out / np.maximum(counts, 1)[None, :, None]

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
    if not path.is_file():
        raise UserError(f"{path}: no such file")
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
        raise UserError(
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


def _rows(data: h5py.Dataset, header: MrdHeader, notes: list[str]) -> tuple[Rows, int]:
    """The readouts that make the image, and the number of coils. ValueError when the scan is of a kind that cannot be converted."""
    # Whole readouts: of heads alone HDF5 reads the samples too, and never frees them. Copied: a view of heads keeps them as well.
    heads = np.concatenate([data[i : i + _LINES]["head"].copy() for i in range(0, data.shape[0], _LINES)])
    image = _is_image(heads["flags"])
    if not image.any():
        raise ValueError(f"none of its {len(heads)} readouts belongs to an image")
    if (rest := int((~image).sum())) > 0:
        notes.append(f"{rest} of {len(heads)} readouts are noise, calibration, navigation or correction data: left out")
    numbers = np.flatnonzero(image)
    heads = heads[numbers]
    idx = heads["idx"]
    repetitions = np.unique(idx["repetition"])
    if len(repetitions) > 1:
        notes.append(f"{len(repetitions)} repetitions: the first one is taken")
        first = idx["repetition"] == repetitions[0]
        numbers, heads, idx = numbers[first], heads[first], idx[first]
    if idx["kspace_encode_step_2"].max() > 0:
        raise ValueError("it is a 3-D acquisition (kspace_encode_step_2 above 0); 2-D is needed")
    for key, what in (("contrast", "echoes"), ("phase", "cardiac phases"), ("set", "sets")):
        if len(values := np.unique(idx[key])) > 1:
            raise ValueError(f"it holds {len(values)} {what} (idx.{key}); write each into a file of its own")
    if len(values := np.unique(heads["encoding_space_ref"])) > 1:
        raise ValueError(f"its readouts belong to {len(values)} encodings; one is needed")
    if len(averages := np.unique(idx["average"])) > 1:
        notes.append(f"{len(averages)} averages: their mean is taken")
    coils = np.unique(heads["active_channels"])
    if len(coils) != 1 or coils[0] == 0:
        raise ValueError(f"its readouts have {', '.join(map(str, coils))} channels; one number above zero is needed")
    Ny, Nx = header.encoded
    ky = idx["kspace_encode_step_1"].astype(np.int64) - header.centre + Ny // 2
    if ky.min() < 0 or ky.max() >= Ny:
        raise ValueError(
            f"its phase encodes {idx['kspace_encode_step_1'].min()}..{idx['kspace_encode_step_1'].max()}, centred on "
            f"{header.centre}, do not fit into {Ny} rows"
        )
    n, reverse = heads["number_of_samples"].astype(np.int64), _flag(heads["flags"], "REVERSE")
    discard = np.stack([heads["discard_pre"], heads["discard_post"]], axis=1).astype(np.int64)
    discard[reverse] = discard[reverse, ::-1]
    if (discard.sum(1) >= n).any():
        raise ValueError(f"readout {numbers[int(np.argmax(discard.sum(1) >= n))]} has no samples")
    centre = heads["center_sample"].astype(np.int64)
    centre = np.where(reverse, n - 1 - centre, centre)
    # a whole readout is placed as a whole: converters write its centre as n // 2, as n // 2 - 1 or not at all
    offset = np.where(n == Nx, 0, Nx // 2 - centre)
    if (offset < 0).any() or (offset + n > Nx).any():
        wrong = int(np.argmax((offset < 0) | (offset + n > Nx)))
        raise ValueError(
            f"readout {numbers[wrong]} has {n[wrong]} samples, centred on {heads['center_sample'][wrong]}, which do not fit into "
            f"{Nx} columns"
        )
    placed = ("position", "read_dir", "phase_dir", "slice_dir", "patient_table_position")
    geometry = np.stack([heads[key] for key in placed], axis=1)
    if not np.isfinite(geometry).all():
        raise ValueError("its positions or directions hold NaN or Inf")
    slices = idx["slice"].astype(np.int64)
    return Rows(numbers, ky, slices, n, offset, discard, reverse, geometry.astype(np.float64)), int(coils[0])


def _is_image(flags: NDArray[Any]) -> NDArray[np.bool_]:
    out = ~(_flag(flags, "PARALLEL_CALIBRATION") & ~_flag(flags, "PARALLEL_CALIBRATION_AND_IMAGING"))
    for name in _SKIPPED:
        out &= ~_flag(flags, name)
    return out


def _flag(flags: NDArray[Any], name: str) -> NDArray[np.bool_]:
    try:
        from ismrmrd import constants
    except ImportError:
        raise UserError(INSTALL) from None
    return np.asarray(flags & np.uint64(1 << (getattr(constants, f"ACQ_IS_{name}") - 1)) != 0)


def _filled(slices: list[Rows], encoded: tuple[int, int]) -> tuple[int, int]:
    """How many rows and columns were acquired, the same in every slice; ValueError where rows are missing in between."""
    sets = [np.unique(rows.ky) for rows in slices]
    for rows, filled in zip(slices, sets, strict=True):
        if len(filled) != len(sets[0]) or (filled != sets[0]).any():
            raise ValueError(
                f"slice {rows.slice[0]} has {len(filled)} phase encodes and slice {slices[0].slice[0]} {len(sets[0])}, or others: "
                "the scan is not complete"
            )
    rows_there = sets[0]
    between = int(rows_there[-1] - rows_there[0]) + 1
    if len(rows_there) < between:
        raise ValueError(
            f"{between - len(rows_there)} of {between} phase encodes were not acquired (parallel imaging?); fill them in first"
        )
    columns = np.zeros(encoded[1] + 1, np.int64)
    for rows in slices:
        np.add.at(columns, rows.offset + rows.discard[:, 0], 1)
        np.add.at(columns, rows.offset + rows.samples - rows.discard[:, 1], -1)
    return len(rows_there), int((np.cumsum(columns)[:-1] > 0).sum())


def _numbers(data: h5py.Dataset, wanted: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(position in ``wanted``, float32 numbers) of readouts, neighbours in the file read together."""
    breaks = np.flatnonzero(np.diff(wanted) != 1) + 1
    for start, stop in zip([0, *breaks], [*breaks, len(wanted)], strict=True):
        for first in range(int(start), int(stop), _LINES):
            last = min(first + _LINES, int(stop))
            lines = data.fields("data")[int(wanted[first]) : int(wanted[last - 1]) + 1]
            for i, line in enumerate(lines):
                yield first + i, np.asarray(line, np.float32)


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
