"""Data sets and groups of an "mcsr-pair" file, taken only when they are in the file itself and claim a credible size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .hdf5 import MAX_SLICES, excess, member, place, there

Problem = Callable[[str], None]
"""What is wrong, as a clause without the file's name."""


def samples(group: h5py.Group, key: str) -> h5py.Dataset:
    """``kspace`` or ``sens``: complex64 of a shape that can be believed. ValueError, with a clause, for anything else."""
    item = member(group, key)
    at = f"'{place(group, key)}'"
    if not isinstance(item, h5py.Dataset):
        raise ValueError(f"{at} is not an HDF5 dataset")
    if item.dtype.kind != "c" or item.dtype.itemsize != 8:
        raise ValueError(f"{at} is {str(item.dtype)[:60]}; complex64 is needed (in HDF5 a compound of float32 r and i)")
    if item.ndim not in (3, 4):
        raise ValueError(f"{at} has rank {item.ndim}; (slices, H, W) or (slices, coils, H, W) is needed")
    if 0 in item.shape:
        raise ValueError(f"{at} is empty: its shape is {item.shape}")
    if fault := excess(item):
        raise ValueError(f"{at} {fault}")
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
            raise ValueError(f"'{key}' is not a group; '{key}/T1_to_T2' or the like is needed in it")
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
