"""HDF5 files: one way to read them, which needs no lock, and new ones whose writing fails as that of any file does.

HDF5 itself holds what it could not write, tries again whenever it is closed, and in the end crashes the process: on a full disk a
worker would die of a segmentation fault, without a reason. So it writes through an object that keeps the first error to itself.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py


class _Forgiving(io.FileIO):
    """A file that HDF5 can always write to; ``failure`` is the first error, after which nothing is written any more."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left and self.failure is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.failure = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size) if self.failure is None else size or 0
        except OSError as error:
            self.failure = error
            return size or 0


@contextmanager
def new_file(path: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """A new HDF5 file, open for the block, and a function that raises what has failed so far, to learn of it early.

    OSError that names ``path`` when not all of it could be written.
    """
    import h5py

    def check() -> None:
        if raw.failure is not None:
            raw.failure.filename = str(path)
            raise raw.failure

    with _Forgiving(path, "w+") as raw:
        try:
            with h5py.File(raw, "w") as file:
                yield file, check
        finally:
            check()


def reading(path: Path) -> h5py.File:
    """A file to read from; h5py's exceptions where that cannot be.

    It is not locked: HDF5 locks what it reads, too, and then fails where another program has the file open to write, and on network
    folders without locks. Who changes data while they are read is caught by their fingerprint.
    """
    import h5py

    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
        return h5py.File(path, "r")  # this process has it open, and locked: HDF5 opens it in one way only
