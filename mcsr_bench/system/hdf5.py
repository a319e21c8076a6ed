"""HDF5 files to read from: one way to open them, which needs no lock."""

from __future__ import annotations

from pathlib import Path

import h5py


def reading(path: Path) -> h5py.File:
    """A file to read from; h5py's exceptions where that cannot be.

    It is not locked: HDF5 locks what it reads, too, and then fails where another program has the file open to write, and on network
    folders without locks. Who changes data while they are read is caught by their fingerprint.
    """
    return h5py.File(path, "r", locking=False)
