"""HDF5 volumes for prediction: images, or centred orthonormal k-space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from mcsr_bench import kspace
from mcsr_bench.data.inspection import typical_phase
from mcsr_bench.data.raw.nifti import LEAST
from mcsr_bench.errors import UserError, unread
from mcsr_bench.system import files
from mcsr_bench.system.hdf5 import new_file, reading

from .pair import HDF5, Complex, Pair, Space, check_claim, check_sizes, times


def read_pair(target: Path, auxiliary: Path | None, scale: int, ratio: int) -> Pair:
    low, phase = _read_hdf5(target, 1 / scale)
    if auxiliary is None:
        return Pair(low, None, phase, Space(HDF5))
    high, auxiliary_phase = _read_hdf5(auxiliary, 1 / scale if ratio == 1 else 1.0)
    check_sizes(target, low.shape, auxiliary, high.shape, ratio)
    notes: list[str] = []
    # as data of a trial are prepared: what is degraded are magnitudes, where the phase is none of its own
    if auxiliary_phase and ratio > 1 and (found := typical_phase(high[:: max(1, len(high) // 4)])) and not found.own:
        high = np.abs(high).astype(np.complex64)
        notes.append("The auxiliary is complex by name only (its phase is a straight slope): its magnitude was taken.")
    return Pair(low, high, phase and auxiliary_phase, Space(HDF5), tuple(notes))


def _read_hdf5(path: Path, amplitude: float) -> tuple[Complex, bool]:
    """The images of a file (S, H, W) and whether they have a phase; those of k-space are multiplied by ``amplitude``."""
    try:
        with reading(path) as file:
            name = next((n for n in ("image", "kspace") if isinstance(file.get(n), h5py.Dataset)), None)
            if name is None:
                raise UserError(f"{path}: has neither a dataset 'image' nor 'kspace' (it has: {_names(file)})")
            dataset = file[name]
            if dataset.ndim != 3 or min(dataset.shape) < 1:
                raise UserError(
                    f"{path}: '{name}' has the shape {times(dataset.shape)}; slices x rows x columns are needed"
                )
            check_claim(path, dataset.shape)
            if dataset.dtype.kind not in ("c" if name == "kspace" else "ciuf"):
                raise UserError(
                    f"{path}: '{name}' holds values of type {dataset.dtype}, not numbers of an image or of k-space"
                )
            data = dataset[...]
    except (OSError, RuntimeError, ValueError) as error:
        raise unread(error, path) or UserError(
            f"{path}: is damaged or not an HDF5 file ({_first_line(error)})"
        ) from None
    if data.dtype.kind != "c":
        return _magnitudes(path, data.astype(np.float32)).astype(np.complex64), False
    data = data.astype(np.complex64)
    if not np.isfinite(data.view(np.float32)).all():
        raise UserError(f"{path}: holds NaN or Inf")
    if name == "kspace":
        data = kspace.to_image(torch.from_numpy(data)).numpy() * np.float32(amplitude)
    return data, True


def write(to: Path, volume: NDArray[Any]) -> None:
    """Write a volume (S, H, W) as the dataset ``image``, in one move."""
    with files.replacing(to) as temporary, new_file(temporary) as (file, _):
        file.create_dataset("image", data=volume)


def _magnitudes(path: Path, data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Magnitudes cut at zero. UserError for NaN, Inf, or values further below zero than interpolation leaves."""
    if not np.isfinite(data).all():
        raise UserError(f"{path}: holds NaN or Inf")
    low, high = float(data.min()), float(data.max())
    if low < -LEAST * max(high, 0.0):
        raise UserError(f"{path}: has values from {low:.4g} to {high:.4g}; magnitudes are not negative")
    return np.maximum(data, 0)


def _names(file: Any) -> str:
    return ", ".join(sorted(file)[:8]) or "nothing"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
