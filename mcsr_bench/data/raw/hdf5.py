"""HDF5 files from unknown sources: opened, their members and attributes taken only from the file itself and of a credible size.

Nothing outside the file is ever read: its bytes are the data's fingerprint, and a file from elsewhere must not make the suite open
others. So links out of the file, virtual data sets and external storage are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from mcsr_bench.errors import UserError, unread
from mcsr_bench.system.files import not_a_file
from mcsr_bench.system.hdf5 import reading

MAX_SLICES = 4096
MAX_SLICE = 1 << 27
"""Complex samples of one slice over all coils that are believed (1 GiB); real ones have some 4 million."""
MAX_CHUNK = 1 << 27
"""Samples of one compressed block that are believed: a block is unpacked as a whole."""
MAX_ATTRIBUTE = 1 << 16
"""Bytes of an attribute that are believed: HDF5 keeps no larger ones in an object's header."""
MAX_TEXT = 4096
RAISED = (OSError, RuntimeError, KeyError, TypeError, ValueError)
"""What h5py raises for files that are damaged in one way or another."""


@contextmanager
def opened(path: Path, prefix: str = "") -> Iterator[h5py.File]:
    """A file to read from. UserError, a clause that begins with its name, where that cannot be; see `explained` for the rest."""
    with explained(path, prefix):
        if what := not_a_file(path):  # opening a pipe would wait for its other end
            raise UserError(f"{prefix}{path.name}: {what}")
        file = reading(path)
    with file:
        yield file


@contextmanager
def explained(path: Path, prefix: str = "") -> Iterator[None]:
    """Turn what h5py raises into a UserError with a clause that begins with the file's name."""
    try:
        yield
    except RAISED as error:
        if known := unread(error, path):  # the file may be sound
            raise known from error
        try:
            kind = "is damaged or truncated" if h5py.is_hdf5(path) else "is not an HDF5 file"
        except OSError:
            kind = "cannot be read"
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(f"{prefix}{path.name} {kind} ({reason})") from error


def there(group: h5py.Group, key: str) -> bool:
    """Whether a group has a member of that name; unlike ``in``, also for a link that leads nowhere."""
    return group.get(key, getlink=True) is not None


def member(group: h5py.Group, key: str) -> h5py.Group | h5py.Dataset:
    """A member that is in the file itself. ValueError, with a clause, for a link or data that are kept elsewhere."""
    at = place(group, key)
    if isinstance(group.get(key, getlink=True), h5py.SoftLink | h5py.ExternalLink):
        raise ValueError(f"'{at}' is a link; the data themselves are needed")
    item = group[key]
    if isinstance(item, h5py.Dataset) and (item.is_virtual or item.external):
        raise ValueError(f"'{at}' is kept in other files; the data themselves are needed")
    return item


def place(group: h5py.Group, key: str) -> str:
    """The path of a member, without the leading slash."""
    return f"{group.name}/{key}".lstrip("/")


def excess(item: h5py.Dataset) -> str:
    """Why k-space (slices, ...) cannot be read, by its size and layout, as a clause that follows its name; "" when it can."""
    if item.shape[0] > MAX_SLICES or np.prod(item.shape[1:], dtype=np.float64) > MAX_SLICE:
        return f"claims shape {item.shape}: beyond {MAX_SLICES} slices, or beyond 1 GiB in one slice"
    if item.chunks and np.prod(item.chunks, dtype=np.float64) > MAX_CHUNK:
        return f"is stored in blocks of {item.chunks}, beyond 1 GiB each"
    if missing := _unwritten(item):
        return f"has shape {item.shape}, but {missing}"
    return ""


def _unwritten(item: h5py.Dataset) -> str:
    """How much of a data set was never written, as a clause; "" where all of it was. HDF5 reads such parts as zeros, silently."""
    if item.chunks is None:
        return "" if item.id.get_storage_size() >= item.nbytes else "it was never written"
    blocks = math.prod(-(-n // c) for n, c in zip(item.shape, item.chunks, strict=True))
    missing = blocks - item.id.get_num_chunks()
    return f"{missing} of its {blocks} blocks were never written" if missing else ""


def value_of(attrs: h5py.AttributeManager, key: str) -> object:
    """An attribute, of a type and size that can be read safely; ValueError, with a predicate, for anything else."""
    try:
        # Looked at first: a damaged file may claim any size, and HDF5 crashes on types of variable length that are not text.
        stored = attrs.get_id(key)
        if stored.shape is None:
            fault = "is empty"
        elif stored.dtype.kind not in "iufbS" and h5py.check_string_dtype(stored.dtype) is None:
            fault = "is neither text nor numbers"
        elif (size := stored.get_storage_size()) > MAX_ATTRIBUTE:
            fault = f"claims {size} bytes"
        else:
            value: object = attrs[key]
            return value
    except RAISED:
        fault = "cannot be read"
    raise ValueError(fault)


def text_of(value: object) -> str:
    """A value that should be text. ValueError, with a predicate, for another type, bytes that are not UTF-8, control characters."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if not isinstance(value, str | bytes):
        raise ValueError(f"is {str(value)[:40]}; text is needed")
    try:
        # h5py hands out bytes that are not UTF-8 as surrogates, which nothing could print
        text = (value if isinstance(value, bytes) else value.encode("utf-8")).decode("utf-8").strip()
    except UnicodeError:
        raise ValueError("is not UTF-8 text") from None
    if len(text) > MAX_TEXT or not text.isprintable():
        raise ValueError(f"is longer than {MAX_TEXT} characters, or has line breaks or control characters")
    return text
