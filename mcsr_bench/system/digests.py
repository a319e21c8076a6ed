"""SHA-256 of files: remembered for good or for a process where they are large, and of the code of a plugin."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from mcsr_bench.errors import UserError, machine_error
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


def digest_once(path: Path) -> str:
    """The SHA-256 of a file's bytes, read once per process as long as it is the same file by inode, time and length.

    Unlike `digests` it trusts no earlier process: it is there to find what has changed on disk since. OSError.
    """
    now = path.stat()
    state = (now.st_dev, now.st_ino, now.st_mtime_ns, now.st_size)
    if state in _read:
        return _read[state]
    value = file_digest(path)
    if (
        time.time_ns() - now.st_mtime_ns > _TICK
    ):  # a file written again within a tick of the clock would have the same state
        _read[state] = value
    return value


def digests_once(paths: Sequence[Path], told: Callable[[int, int], None] = lambda *_: None) -> list[str]:
    """`digest_once` of each path, several at a time; told: of the bytes read so far, and of all."""
    sizes = [path.stat().st_size for path in paths]
    out, done = [], 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for value, size in zip(pool.map(digest_once, paths), sizes, strict=True):
            out.append(value)
            done += size
            told(done, sum(sizes))
    return out


def remember(path: Path, value: str) -> None:
    """Let `digest_once` know the SHA-256 of a file that a process of this command has just written and read."""
    now = path.stat()
    if time.time_ns() - now.st_mtime_ns > _TICK:
        _read[now.st_dev, now.st_ino, now.st_mtime_ns, now.st_size] = value


_read: dict[tuple[int, int, int, int], str] = {}
_TICK = 20_000_000
"""Nanoseconds: more than file systems' times are apart."""


def code_digest(folder: Path, *more: str) -> str:
    """The SHA-256 of the Python files below a folder, names and bytes, and of the files ``more`` in it.

    Links are followed. What does not count: hidden folders, ``__pycache__``, tests (folders ``tests``, and in the folder itself
    ``conftest.py`` and the ``test_NAME.py`` of a scaffold, NAME the folder's), and what cannot be read.
    """
    found = [folder / name for name in more]
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(root))
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in ("__pycache__", "tests")
            and os.path.realpath(os.path.join(root, name)) not in seen
        ]
        found += [Path(root, name) for name in names if name.endswith(".py")]
    tests = {folder / "conftest.py", folder / f"test_{folder.name}.py"}
    code = hashlib.sha256()
    for path in sorted({*found} - tests):
        if not path.is_file():  # a pipe would wait for its writer
            continue
        try:
            data = path.read_bytes() if path.is_file() else None  # a pipe would wait for its other end
        except OSError:
            continue
        if data is None:
            continue
        code.update(f"\0{path.relative_to(folder).as_posix()}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
        code.update(data)
    return code.hexdigest()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise machine_error(error, path) or UserError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:  # a pipe or a device
        raise UserError(str(error)) from None


def _save(memory: Path, fresh: dict[str, str]) -> None:
    """Write what is new, and forget that it is."""
    if fresh:
        with suppress(OSError):
            write_json(memory, {**_load(memory), **fresh})  # read again: another process may have added its own
            fresh.clear()


def _load(memory: Path) -> dict[str, str]:
    try:
        values = read_json(memory, 1 << 28)
    except (OSError, ValueError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {k: v for k, v in values.items() if isinstance(v, str) and len(v) == 64}
