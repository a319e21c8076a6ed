"""Locks between processes, on every system; they end with the process that holds them."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from mcsr_bench.errors import UserError
from mcsr_bench.system.owners import Owner, this_process
from mcsr_bench.system.waiting import acquire, showing_life

SILENT = 600.0
"""Seconds after which a process on another machine that showed no sign of life is taken for dead."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


class TakenError(UserError):
    """What was to be claimed belongs to a process at work, `owner`."""

    def __init__(self, what: str, owner: Owner) -> None:
        super().__init__(f"{what}: {owner} is at work on it; wait for its end")
        self.owner = owner


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None, busy: str = "") -> Iterator[bool]:
    """Hold the lock file ``path`` (made if need be) while the block runs, which is given whether it is held.

    While another process holds it: ``waiting`` is called and the lock is waited for, as long as that process shows that it is
    alive; without ``waiting``, UserError with the sentence ``busy``. On a file system without locks nothing is held, and the block
    runs all the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if waiting is None:
            raise UserError(busy) from None
        waiting()
        acquire(lock, path)
    except (OSError, NotImplementedError) as error:
        if not _without_locks(error):
            raise
    try:
        with showing_life(path):
            yield lock.is_locked
    finally:
        lock.release()


@contextmanager
def claimed(claim: Path, what: str, sign: Path) -> Iterator[None]:
    """Be the only process, on all machines that see this disk, to run the block for ``claim``. TakenError if there is another.

    The owner is written in ``CLAIM.owner``, and ``CLAIM.lock`` is held (it stays, an empty file; who removes one that others wait
    for lets two of them in). Where the file system has no locks, the owner's file alone is the claim: made by one process, and
    taken over from one that is dead (see `owner`). ``sign``: a file that is written every half minute meanwhile. ``what``: the
    claimed, for the sentence.
    """
    file = _owner_file(claim)
    mine = this_process()
    with suppress(FileExistsError):
        claim.parent.mkdir(parents=True)
    lock = FileLock(claim.with_name(f"{claim.name}.lock"), fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise TakenError(what, _read(file) or Owner()) from None
    except (OSError, NotImplementedError) as error:
        if not _without_locks(error):
            raise
    try:
        _take(file, mine, what, sign, locked=lock.is_locked)
        try:
            yield
        finally:
            if _read(file) == mine:
                file.unlink(missing_ok=True)
    finally:
        lock.release()


def owner(claim: Path, sign: Path) -> Owner | None:
    """The process that has a claim and lives; None where nobody does.

    Dead is a process of this machine that does not run any more, and one of another machine that neither began nor wrote ``sign``
    in the last ten minutes, by the clock of the disk.
    """
    found = _read(_owner_file(claim))
    return None if found is None or _dead(found, _owner_file(claim), sign) else found


def tidy(claim: Path, what: str, sign: Path) -> None:
    """Remove the claim of a dead process that was killed after its work and before it gave the claim back."""
    if _owner_file(claim).exists():
        with suppress(TakenError, OSError), claimed(claim, what, sign):
            pass


def _owner_file(claim: Path) -> Path:
    return claim.with_name(f"{claim.name}.owner")


def _take(file: Path, mine: Owner, what: str, sign: Path, *, locked: bool) -> None:
    """Become the owner. Who holds the lock knows that another owner on this machine has ended."""
    while True:
        try:
            handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            found = _read(file)
            if found is None:
                continue
            if not (locked and found.host == mine.host) and not _dead(found, file, sign):
                raise TakenError(what, found) from None
            _clear(file, found)
        else:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(mine.model_dump_json() + "\n")
            return


def _clear(file: Path, dead: Owner) -> None:
    """Remove the file of a dead owner; where another process was faster, the file that is there now stays.

    One process at a time does so: a file that says so is made meanwhile, and is void when it is as old as a silent owner's.
    """
    clearing = file.with_name(f"{file.name}.clearing")
    try:
        os.close(os.open(clearing, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        if _age(clearing, clearing) > SILENT:
            clearing.unlink(missing_ok=True)
        time.sleep(0.001)
        return
    try:
        if _read(file) == dead:
            file.unlink(missing_ok=True)
    finally:
        clearing.unlink(missing_ok=True)


def _read(file: Path) -> Owner | None:
    """The owner in a file; one without a name where it is not written yet; None for no file."""
    try:
        return Owner.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return Owner()


def _dead(found: Owner, file: Path, sign: Path) -> bool:
    runs = found.runs
    return _age(file, sign) > SILENT if runs is None else not runs


def _age(file: Path, sign: Path) -> float:
    """Seconds since the newer of two files was written, by the clock of the disk: those of two machines may differ.

    0 where that clock cannot be read, because the folder cannot be written.
    """
    try:
        with tempfile.TemporaryFile(dir=file.parent) as fresh:
            now = os.fstat(fresh.fileno()).st_mtime
    except OSError:
        return 0.0
    written = []
    for path in (file, sign):
        with suppress(OSError):
            written.append(path.stat().st_mtime)
    return now - max(written, default=now)


def _without_locks(error: Exception) -> bool:
    return isinstance(error, NotImplementedError) or (isinstance(error, OSError) and error.errno in _NO_LOCKS)
