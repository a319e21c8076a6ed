"""Locks between processes, on every system; they end with the process that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mcsr_bench.errors import UserError
from mcsr_bench.system.waiting import acquire, showing_life


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None, busy: str = "") -> Iterator[None]:
    """Hold the lock file ``path`` (made if need be) while the block runs.

    While another process holds it: ``waiting`` is called and the lock is waited for, as long as that process shows that it is
    alive; without ``waiting``, UserError with the sentence ``busy``. On a file system without locks nothing is held, and the block
    runs all the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if waiting is None:
            raise UserError(busy) from None
        waiting()
        acquire(lock, path)
    except (OSError, NotImplementedError):
        pass  # as on some clusters
    try:
        with showing_life(path):
            yield
    finally:
        lock.release()
