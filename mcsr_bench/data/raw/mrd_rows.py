"""The readouts of an ISMRMRD file that make its image: which they are, and where each belongs in k-space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcsr_bench.errors import UserError

from .mrd_header import INSTALL, MrdHeader

_LINES = 256
"""How many readouts are read together."""
WRAPPED = 2
"""Samples by which a whole readout may be moved round: so far, one end of k-space is the other."""
_CLAIM = 8
"""How many times as large as what was acquired an encoded matrix is believed to be: memory goes with it."""
_SKIPPED = (
    "NOISE_MEASUREMENT", "NAVIGATION_DATA", "PHASECORR_DATA", "HPFEEDBACK_DATA", "DUMMYSCAN_DATA", "RTFEEDBACK_DATA",
    "SURFACECOILCORRECTIONSCAN_DATA", "PHASE_STABILIZATION_REFERENCE", "PHASE_STABILIZATION",
)  # fmt: skip
"""Flags, after ACQ_IS_, of readouts that are not part of the image; and PARALLEL_CALIBRATION, unless they are both."""


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
    centre: NDArray[np.int64]
    """``center_sample`` of the head, 0 where nobody wrote it: the sample of the echo in the order of time."""
    discard: NDArray[np.int64]
    """(n, 2): samples at the start and the end, in the order of k-space, that are discarded."""
    reverse: NDArray[np.bool_]
    geometry: NDArray[np.float64]
    """(n, 5, 3): position, read, phase and slice direction, place of the table, as the file has them (LPS, millimetres)."""

    def take(self, which: NDArray[Any]) -> Rows:
        """Some of them."""
        return Rows(**{name: values[which] for name, values in vars(self).items()})

    def as_stored(self, width: int) -> Rows:
        """The same, with the reversed ones in the order of k-space already, although they are flagged."""
        part = self.reverse & (self.samples != width)
        offset = np.where(part, np.clip(width // 2 - self.centre, 0, width - self.samples), self.offset)
        discard = np.where(self.reverse[:, None], self.discard[:, ::-1], self.discard)
        return replace(self, offset=offset, discard=discard, reverse=np.zeros_like(self.reverse))

    def columns(self, i: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Samples of readout ``i``, in the order of k-space, and the columns of a k-space of ``width`` that they belong in."""
        n, at = int(self.samples[i]), int(self.offset[i])
        samples = np.arange(int(self.discard[i, 0]), n - int(self.discard[i, 1]))
        if n == width and abs(at) <= WRAPPED:
            return samples, (samples + at) % width
        inside = (samples + at >= 0) & (samples + at < width)
        return samples[inside], samples[inside] + at


def rows_of(data: h5py.Dataset, header: MrdHeader, notes: list[str]) -> tuple[Rows, int]:
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
    rows_there, most = len(np.unique(ky)), int(heads["number_of_samples"].max())
    if Ny > _CLAIM * rows_there or Nx > _CLAIM * most:
        raise ValueError(
            f"its header claims {Ny} x {Nx} samples of k-space, and it has {rows_there} phase encodes of up to {most} samples"
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
    slices, given = idx["slice"].astype(np.int64), heads["center_sample"].astype(np.int64)
    rows = Rows(numbers, ky, slices, n, offset, given, discard, reverse, geometry.astype(np.float64))
    counters = np.stack([slices, ky, idx["average"].astype(np.int64), idx["segment"].astype(np.int64)], axis=1)
    return rows.take(_counting(rows, counters, notes)), int(coils[0])


def _counting(rows: Rows, counters: NDArray[np.int64], notes: list[str]) -> NDArray[np.bool_]:
    """Which readouts count: of several under the same counters (n, 4) the last one, and what an earlier one has besides it."""
    _, group = np.unique(counters, axis=0, return_inverse=True)
    group, here = group.ravel(), np.arange(len(rows.number))
    last = np.zeros(group.max() + 1, np.int64)
    np.maximum.at(last, group, here)
    last = last[group]
    start, stop = rows.offset + rows.discard[:, 0], rows.offset + rows.samples - rows.discard[:, 1]
    again = (here != last) & (start >= start[last]) & (stop <= stop[last])
    if again.any():
        notes.append(
            f"{int(again.sum())} readouts were taken again under the same counters (slice, phase encode, average, segment): the "
            "last of each counts"
        )
    if more := int(((here != last) & ~again).sum()):
        notes.append(
            f"{more} readouts share their counters with a later one of other samples: where they overlap, the mean is taken"
        )
    _, several = np.unique(counters[~again, :3], axis=0, return_counts=True)
    if more == 0 and several.max() > 1:
        notes.append(
            f"{int((several > 1).sum())} rows hold more than one readout, of several segments: their mean is taken"
        )
    return ~again


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


def filled(slices: Sequence[Rows], encoded: tuple[int, int]) -> tuple[int, int]:
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
        round_about = (rows.samples == encoded[1]) & (np.abs(rows.offset) <= WRAPPED)
        at = np.where(round_about, 0, rows.offset)
        np.add.at(columns, np.clip(at + rows.discard[:, 0], 0, encoded[1]), 1)
        np.add.at(columns, np.clip(at + rows.samples - rows.discard[:, 1], 0, encoded[1]), -1)
    return len(rows_there), int((np.cumsum(columns)[:-1] > 0).sum())


def readouts(data: h5py.Dataset, wanted: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(position in ``wanted``, float32 numbers) of readouts, neighbours in the file read together."""
    breaks = np.flatnonzero(np.diff(wanted) != 1) + 1
    for start, stop in zip([0, *breaks], [*breaks, len(wanted)], strict=True):
        for first in range(int(start), int(stop), _LINES):
            last = min(first + _LINES, int(stop))
            lines = data.fields("data")[int(wanted[first]) : int(wanted[last - 1]) + 1]
            for i, line in enumerate(lines):
                yield first + i, np.asarray(line, np.float32)
