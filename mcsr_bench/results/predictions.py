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

from mcsr_bench.errors import DamagedFileError
from mcsr_bench.results.bundle import Bundle

_KEY = "key"


def write_predictions(
    path: Path, key: str | Callable[[], str], volumes: Iterator[tuple[str, Sequence[int], Mapping[str, Any]]]
) -> None:
    """Write (volume_id, slice_index, images (S, H, W) by role) of every volume as it comes.

    key: of the trial, or what gives it when all volumes have come.
    """
    with h5py.File(path, "w") as file:
        if not callable(key):
            file.attrs[_KEY] = key
        for volume_id, slice_index, images in volumes:
            group = file.create_group(volume_id)
            group.attrs["slice_index"] = np.asarray(slice_index)
            for role, image in images.items():
                group.create_dataset(role, data=image)
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
            return {role: images[part] for role, images in self._file[volume_id].items()}
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise DamagedFileError(self._path, f"cannot be read as predictions of {volume_id}: {error}") from None


@contextmanager
def stored_predictions(bundle: Bundle) -> Iterator[Predictions]:
    """The predictions of a bundle, open for the block.

    DamagedFileError where the file is missing, not readable, another trial's, or not the one whose SHA-256 the record holds.
    """
    path = bundle.checked(bundle.predictions)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read as predictions: {error}") from None
    with file:
        key = file.attrs.get(_KEY, bundle.record.key)
        if key != bundle.record.key:
            raise DamagedFileError(path, f"holds the predictions of another trial ({key}, not {bundle.record.key})")
        yield Predictions(file, path)
