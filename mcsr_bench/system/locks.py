"""Locks between processes, on every system; they end with the process that holds them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mcsr_bench.errors import UserError

TOUCH = 10.0
"""Seconds between two signs of life of a process that others may wait for."""
SILENT = 300.0
"""Seconds without one after which it is not waited for any more."""


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None, busy: str = "") -> Iterator[None]:
    """Hold the lock file ``path`` (made if need be) while the block runs.

    While another process holds it: ``waiting`` is called and the lock is waited for, as long as that process shows that it is
    alive; without ``waiting``, UserError with the sentence ``busy``. On a file system without locks nothing is held, and the block runs all the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if waiting is None:
            raise UserError(busy) from None
        waiting()
        _wait(lock, path)
    except (OSError, NotImplementedError):
        pass  # as on some clusters
    ended = threading.Event()
    if waiting is not None:
        threading.Thread(target=_touch, args=(path, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        lock.release()


def _touch(path: Path, ended: threading.Event) -> None:
    """Show that this process is alive, in the time of the lock's file."""
    while True:
        with suppress(OSError):
            os.utime(path)
        if ended.wait(TOUCH):
            return


def _wait(lock: FileLock, path: Path) -> None:
    """Wait for a lock while the process that holds it is alive: seen in changes of the file's time, by no clock but this one's.

    UserError where it has been still for `SILENT` seconds.
    """
    before, still = None, 0.0
    while True:
        looked = time.monotonic()
        try:
            lock.acquire(timeout=TOUCH, poll_interval=0.1)
            return
        except Timeout:
            pass
        with suppress(OSError):
            now = path.stat().st_mtime_ns
            # of a pause of this process itself, as by Ctrl-Z, two looks count
            still = 0.0 if now != before else still + min(time.monotonic() - looked, 2 * TOUCH)
            before = now
        if still > SILENT:
            raise UserError(
                f"{path}: the process that holds this lock has shown no sign of life for {still:.0f} s; end it (it may be "
                f"stopped), and run the same command again"
            )
