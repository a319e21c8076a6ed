"""Complex volumes in files: complex64, or two float16 with a scale per slice.

Raw MR data are small numbers (fastMRI's images are near 1e-6, below what a float16 can hold), so that the pair of a slice is scaled
by a power of two to fill its range. Files are ``.npy``, memory-mapped when read; a pair has its scales beside it, ``.scale.npy``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.system import files

StoreDtype = Literal["complex64", "float16-pair"]
ComplexArray = NDArray[np.complex64]

UNFINISHED = ".part"
"""The suffix of slices that are read. Its name has the process's number, for one that was orphaned may still be at it."""
_TOP = 15
"""The largest part of a slice is stored between 2**14 and 2**15, well under float16's 65504."""
_LEAST = -126
"""Exponent of the smallest scale: a smaller one would be no normal float32, and in the end zero."""


class PairVolume:
    """complex64 (S, H, W) that is on disk as float16 (S, H, W, 2) with scales (S,): decoded where it is indexed."""

    dtype = np.dtype(np.complex64)

    def __init__(self, pairs: NDArray[np.float16], scales: NDArray[np.float32]) -> None:
        self._pairs = pairs
        self._scales = scales

    @property
    def shape(self) -> tuple[int, int, int]:
        """(S, H, W)."""
        s, h, w, _ = self._pairs.shape
        return s, h, w

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: Any) -> ComplexArray:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if rest and isinstance(first, int | np.integer):  # a part of one slice: the rest of it is not decoded
            return decode(np.asarray(self._pairs[first])[tuple(rest)], np.asarray(self._scales[first]))
        decoded = decode(np.asarray(self._pairs[first]), np.asarray(self._scales[first]))
        if not rest:
            return decoded
        out: ComplexArray = decoded[(slice(None), *rest)]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = decode(np.asarray(self._pairs), np.asarray(self._scales))
        return whole if dtype is None else whole.astype(dtype)


def encode(image: ComplexArray) -> tuple[NDArray[np.float16], np.float32]:
    """A slice (H, W) as float16 (H, W, 2) and its scale, a power of two. Finite values only."""
    parts = np.ascontiguousarray(image).view(np.float32).reshape(*image.shape, 2)
    peak = float(np.abs(parts).max(initial=0))
    exponent = 0 if peak == 0 else max(_LEAST, int(np.frexp(peak)[1]) - _TOP)
    scaled = np.ldexp(parts.astype(np.float64), -exponent)
    return scaled.astype(np.float16), np.float32(np.ldexp(1.0, exponent))


def decode(pairs: NDArray[np.float16], scales: NDArray[np.float32]) -> ComplexArray:
    """float16 (..., H, W, 2) with scales (...) back to complex64 (..., H, W); with one scale, any part of a slice."""
    by = np.asarray(scales)
    parts = np.ascontiguousarray(pairs.astype(np.float32) * (by[..., None, None, None] if by.ndim else by))
    out: ComplexArray = parts.view(np.complex64)[..., 0]
    return out


def write_volume(path: Path, slices: Iterable[ComplexArray], shape: tuple[int, int, int], dtype: StoreDtype) -> None:
    """Write slices (H, W) one by one as a volume (S, H, W) to ``path`` (``.npy``), in ordinary writes; it is there when whole.

    Written, not memory-mapped: a full disk is then an error that can be reported, not a signal that kills.
    """
    pair = dtype == "float16-pair"
    scales = []
    with files.replacing(path, lasting=False) as temporary:
        with temporary.open("wb") as handle:
            header = {
                "descr": "<f2" if pair else "<c8",
                "fortran_order": False,
                "shape": (*shape, 2) if pair else shape,
            }
            np.lib.format.write_array_header_1_0(handle, header)
            for image in slices:
                if pair:
                    values, scale = encode(image)
                    scales.append(scale)
                    handle.write(values.astype("<f2", copy=False).tobytes())
                else:
                    handle.write(np.ascontiguousarray(image).astype("<c8", copy=False).tobytes())
        if pair:
            with files.replacing(_scales(path), lasting=False) as beside, beside.open("wb") as handle:
                np.lib.format.write_array(handle, np.array(scales, dtype="<f4"), allow_pickle=False)


def open_volume(path: Path) -> ComplexArray | PairVolume:
    """A volume that `write_volume` wrote, memory-mapped, read-only."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype == np.float16:
        return PairVolume(array, np.load(_scales(path), allow_pickle=False))
    return array


def take_magnitudes(path: Path, dtype: StoreDtype) -> None:
    """Put the magnitudes of a volume that `write_volume` wrote, with zero phase, in its place; twice is as good as once."""
    volume = open_volume(path)
    apart = path.with_name(f"{path.stem}.magnitude.npy")
    write_volume(apart, (np.abs(volume[i]).astype(np.complex64) for i in range(len(volume))), volume.shape, dtype)
    del volume  # a mapped file cannot be replaced everywhere
    if dtype == "float16-pair":
        os.replace(_scales(apart), _scales(path))
    os.replace(apart, path)


def precision_db(volume: ComplexArray, kept: Sequence[int], stored: ComplexArray | PairVolume) -> float:
    """PSNR in dB of stored magnitudes against those of the slices ``kept`` of ``volume``; range: their maximum; 200 at most."""
    error = peak = 0.0
    for position, index in enumerate(kept):
        before = np.abs(volume[index].astype(np.complex128))
        error += float(np.mean((np.abs(stored[position].astype(np.complex128)) - before) ** 2)) / len(kept)
        peak = max(peak, float(before.max()))
    return min(200.0, float(10 * np.log10(peak**2 / error))) if error else 200.0


def _scales(path: Path) -> Path:
    return path.with_name(f"{path.stem}.scale.npy")


def write_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """Write a mask (S, H, W) in one move; its folder is made where it is not there."""
    path.parent.mkdir(exist_ok=True)
    with (
        files.writing_to(path.parent),
        files.replacing(path, lasting=False) as temporary,
        temporary.open("wb") as handle,
    ):
        np.save(handle, mask, allow_pickle=False)
