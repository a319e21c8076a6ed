"""Data sets and groups of an "mcsr-pair" file, taken only when they lie in the file itself and claim a credible size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcsr_bench.errors import UserError

from .kspace_file import MAX_SLICE

MAX_SLICES = 4096
MAX_CHUNK = 1 << 27
"""Samples of one compressed block that are believed: a block is unpacked as a whole."""
Problem = Callable[[str], None]
"""What is wrong, as a clause without the file's name."""


def there(group: h5py.Group, key: str) -> bool:
    """Whether a group has a member of that name; unlike ``in``, also for a link that leads nowhere."""
    return group.get(key, getlink=True) is not None


def member(group: h5py.Group, key: str) -> h5py.Group | h5py.Dataset:
    """A member that lies in the file itself. ValueError, with a clause, for a link or data that are kept elsewhere."""
    at = _at(group, key)
    if isinstance(group.get(key, getlink=True), h5py.SoftLink | h5py.ExternalLink):
        raise ValueError(f"'{at}' is a link; the data themselves are needed")
    item = group[key]
    if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
        raise ValueError(f"'{at}' is kept in other files; the data themselves are needed")
    return item


def samples(group: h5py.Group, key: str) -> h5py.Dataset:
    """``kspace`` or ``sens``: complex64 of a shape that can be believed. ValueError, with a clause, for anything else."""
    item = member(group, key)
    at = f"'{_at(group, key)}'"
    if not isinstance(item, h5py.Dataset):
        raise ValueError(f"{at} is no data set")
    if item.dtype.kind != "c" or item.dtype.itemsize != 8:
        raise ValueError(f"{at} is {str(item.dtype)[:60]}; complex64 is needed (in HDF5 a compound of float32 r and i)")
    if item.ndim not in (3, 4):
        raise ValueError(f"{at} has rank {item.ndim}; (slices, H, W) or (slices, coils, H, W) is needed")
    if 0 in item.shape:
        raise ValueError(f"{at} is empty: its shape is {item.shape}")
    if np.prod(item.shape[1:], dtype=np.float64) > MAX_SLICE or item.shape[0] > MAX_SLICES:
        raise ValueError(f"{at} claims shape {item.shape}: beyond {MAX_SLICES} slices, or beyond 1 GiB in one slice")
    if item.chunks and np.prod(item.chunks, dtype=np.float64) > MAX_CHUNK:
        raise ValueError(f"{at} is stored in blocks of {item.chunks}, beyond 1 GiB each")
    if item.id.get_storage_size() == 0:
        raise ValueError(f"{at} has shape {item.shape} but was never written")
    return item


def arrays(
    file: h5py.File, key: str, kinds: str, shape: tuple[int, ...] | None, names: Collection[str], problem: Problem
) -> Iterator[tuple[str, NDArray[Any]]]:
    """The small arrays in ``/transform`` or ``/slice_map`` whose names are allowed.

    kinds: of numpy types; shape: the only one allowed, None for lists of up to `MAX_SLICES` numbers.
    """
    if not there(file, key):
        return
    try:
        group = member(file, key)
        if not isinstance(group, h5py.Group):
            raise ValueError(f"'{key}' is no group; '{key}/T1_to_T2' or the like is needed in it")
    except ValueError as error:
        problem(str(error))
        return
    needed = f"a list of up to {MAX_SLICES} whole numbers" if shape is None else "a 4 x 4 array of floats"
    for name in sorted(group):
        at = f"'{key}/{name}'"
        try:
            if name not in names:
                raise ValueError(f"{at} is not named after two contrasts of the file, as {next(iter(names), 'A_to_B')}")
            item = member(group, name)
            if (
                not isinstance(item, h5py.Dataset)
                or item.dtype.kind not in kinds
                or not 0 < item.size <= MAX_SLICES
                or (item.ndim != 1 if shape is None else item.shape != shape)
            ):
                raise ValueError(f"{at} is not {needed}")
        except ValueError as error:
            problem(str(error))
        else:
            yield name, np.asarray(item[()])


@contextmanager
def explained(path: Path, prefix: str = "") -> Iterator[None]:
    """Turn what h5py raises into a UserError with a clause that begins with the file's name."""
    try:
        yield
    except PermissionError as error:
        raise UserError(f"{prefix}{path.name} cannot be read: permission denied") from error
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        try:
            kind = "is damaged or truncated" if h5py.is_hdf5(path) else "is not an HDF5 file"
        except OSError:
            kind = "cannot be read"
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"{prefix}{path.name} {kind} ({reason})") from error


def _at(group: h5py.Group, key: str) -> str:
    return f"{group.name}/{key}".lstrip("/")
