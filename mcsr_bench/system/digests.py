"""SHA-256 of large files, remembered: tens of gigabytes need not be hashed again before every run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mcsr_bench.errors import UserError
from mcsr_bench.system.files import cache_folder, file_digest, read_json, write_json

SAVED_EVERY = 10.0
"""Seconds of hashing that a power cut may cost."""


def digests(paths: Iterable[Path], told: Callable[[int, int], None] | None = None) -> dict[Path, str]:
    """The SHA-256 of every file's bytes. A file of the same path, size and modification time is not read again.

    Remembered in ``digests.json`` in the cache folder, also of files that were read before an interruption; an unreadable or
    unwritable memory costs time, nothing else. told: called with the bytes read and the bytes to be read, at first and
    after each file that was. Raises UserError when a file cannot be read.
    """
    memory = cache_folder() / "digests.json"
    known = _load(memory)
    keys: dict[Path, str] = {}
    sizes: dict[Path, int] = {}
    for path in paths:
        with _readable(path):
            state = path.stat()
            keys[path] = f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}"
        if keys[path] not in known:
            sizes[path] = state.st_size
    fresh: dict[str, str] = {}
    done, total = 0, sum(sizes.values())
    saved = time.monotonic()
    if told and sizes:
        told(done, total)
    try:
        for path, size in sizes.items():
            with _readable(path):
                known[keys[path]] = fresh[keys[path]] = file_digest(path)
            done += size
            if time.monotonic() - saved > SAVED_EVERY:
                _save(memory, fresh)
                saved = time.monotonic()
            if told:
                told(done, total)
    finally:
        _save(memory, fresh)
    return {path: known[key] for path, key in keys.items()}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error


def _save(memory: Path, fresh: dict[str, str]) -> None:
    """Write what is new, and forget that it is."""
    if fresh:
        with suppress(OSError):
            write_json(memory, {**_load(memory), **fresh})  # read again: another process may have added its own
            fresh.clear()


def _load(memory: Path) -> dict[str, str]:
    try:
        values = read_json(memory)
    except (OSError, ValueError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {k: v for k, v in values.items() if isinstance(v, str) and len(v) == 64}
