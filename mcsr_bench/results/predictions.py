"""The stored predictions of a trial: written with its key, read with care, because its scores are computed from them.

HDF5: the attribute ``key``; a group per volume_id, in it a dataset (S, H, W) per role and the attribute ``slice_index``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mcsr_bench.errors import DamagedFileError, damaged
from mcsr_bench.results.bundle import Bundle
from mcsr_bench.system.hdf5 import new_file, reading

_KEY = "key"


def write_predictions(
    path: Path, key: str | Callable[[], str], volumes: Iterator[tuple[str, Sequence[int], Mapping[str, Any]]]
) -> None:
    """Write (volume_id, slice_index, images (S, H, W) by role) of every volume as it comes.

    key: of the trial, or what gives it when all volumes have come.
    """
    with new_file(path) as (file, check):
        if not callable(key):
            file.attrs[_KEY] = key
        for volume_id, slice_index, images in volumes:
            group = file.create_group(volume_id)
            group.attrs["slice_index"] = np.asarray(slice_index)
            for role, image in images.items():
                group.create_dataset(role, data=image)
            check()  # before the next volume is predicted
        if callable(key):
            file.attrs[_KEY] = key()


class Predictions:
    """The open predictions of a bundle."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file = file
        self._path = path

    def __iter__(self) -> Iterator[str]:
        """The volume_ids."""
        yield from self._file

    def read(self, volume_id: str, part: Any = ...) -> dict[str, NDArray[Any]]:
        """The images of a volume, (S, H, W), by role, or the ``part`` of them that an index chooses. DamagedFileError."""
        try:
            group = _own(self._file, volume_id)
            return {role: _whole(_own(group, role))[part] for role in group}
        except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise damaged(self._path, f"cannot be read as predictions of {volume_id}: {error}", error) from None


def _own(group: h5py.Group, name: str) -> Any:
    """A member that is in the file itself: a file from elsewhere must not make us open others. ValueError for a link."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is not in the file itself")
    return group[name]


def _whole(images: h5py.Dataset) -> h5py.Dataset:
    """Images as they are written: in one piece, all of it in this file, so that reading needs no more memory than the file has."""
    if images.chunks or images.is_virtual or images.external or images.id.get_storage_size() < images.nbytes:
        raise ValueError("the images are not stored in one piece in the file")
    if images.ndim != 3 or images.dtype.kind not in "fc":
        raise ValueError("the images are not (S, H, W), real or complex")
    return images


def _key(file: h5py.File, otherwise: str) -> str:
    """The key of the trial; "" where it is not text. HDF5 crashes on some types, so the type is looked at first."""
    if _KEY not in file.attrs:
        return otherwise
    text = h5py.check_string_dtype(file.attrs.get_id(_KEY).dtype) is not None
    return str(file.attrs[_KEY]) if text else ""


@contextmanager
def stored_predictions(bundle: Bundle) -> Iterator[Predictions]:
    """The predictions of a bundle, open for the block.

    DamagedFileError where the file is missing, not readable, another trial's, or not the one whose SHA-256 the record holds.
    """
    path = bundle.checked(bundle.predictions)
    try:
        file = reading(path)
    except OSError as error:
        raise damaged(path, f"cannot be read as predictions: {error}", error) from None
    with file:
        key = _key(file, bundle.record.key)
        if key != bundle.record.key:
            raise DamagedFileError(path, f"holds the predictions of another trial ({key}, not {bundle.record.key})")
        yield Predictions(file, path)
