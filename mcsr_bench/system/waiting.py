"""Waiting for another process's lock as long as that process is alive, and no longer: one that was stopped keeps its locks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mcsr_bench.errors import InterruptedWorkError

BEAT = 10.0
"""Seconds between two signs of life of a process that others may wait for."""
STILL = 300.0
"""Seconds without one after which it is not waited for any more."""


@contextmanager
def showing_life(path: Path) -> Iterator[None]:
    """While the block runs, the time of a lock's file is set every few seconds."""
    ended = threading.Event()

    def run() -> None:
        while True:
            with suppress(OSError):
                os.utime(path)
            if ended.wait(BEAT):
                return

    threading.Thread(target=run, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def acquire(lock: FileLock, path: Path) -> None:
    """Wait for the lock in the file ``path`` while the process that holds it is alive.

    That is seen in changes of the file's time, whatever the clock of its machine says. InterruptedWorkError where it shows no
    sign of life.
    """
    before, still = -1, 0.0
    while still <= STILL:
        began = time.monotonic()
        with suppress(Timeout):
            lock.acquire(timeout=BEAT, poll_interval=0.1)
            return
        with suppress(OSError):
            now = path.stat().st_mtime_ns
            # of a longer pause two beats count: then this process was stopped, too, as by Ctrl-Z
            still = 0.0 if now != before else still + min(time.monotonic() - began, 2 * BEAT)
            before = now
    raise InterruptedWorkError(
        f"{path}: the process that holds this lock has shown no sign of life for {still:.0f} s; end it, for it may be stopped, and "
        f"run the same command again"
    )
