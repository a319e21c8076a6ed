"""The one exception a user can mend: its text is one sentence, and the command line ends with exit code 2."""

from __future__ import annotations

import difflib
import errno
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

_SHOWN = 120
"""Characters of a value that a sentence shows."""

_MACHINE_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EFBIG: "the file would be larger than this system allows",
    errno.EIO: "the disk or the network folder failed (input/output error)",
    errno.ESTALE: "the network folder is gone (stale file handle)",
    errno.ENOTCONN: "the network folder is gone (not connected)",
    errno.ETIMEDOUT: "the network folder does not answer",
    errno.EHOSTDOWN: "the network folder does not answer (host down)",
    errno.EHOSTUNREACH: "the network folder does not answer (no route to its host)",
    errno.EMFILE: "too many files are open in this process; a larger limit (ulimit -n) or fewer --jobs helps",
    errno.ENFILE: "too many files are open on this machine",
    errno.EAGAIN: "another program has it locked",
    errno.EBUSY: "another program has it open",
    errno.ENOMEM: "out of memory; fewer --jobs need less",
}
"""What no data and no plugin is to blame for: work that it ends can go on later."""

_OPEN_ELSEWHERE = (32, 33, 1224)
"""Of Windows: a file that another program has open, locked or mapped. They come as permission denied."""

_DISK_ERRORS = {
    **_MACHINE_ERRORS,
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "a folder is where a file is needed",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.EEXIST: "a file is where a folder is needed",
    errno.ENAMETOOLONG: "the name is longer than this system allows",
}


class UserError(Exception):
    """A mistake the user can mend. The message names the file or option, the value, and what is allowed.

    ``lines`` follow the sentence, a line each (code to paste). Each is made one line by `one_line`.
    """

    def __init__(self, sentence: str, *lines: str) -> None:
        super().__init__("\n".join(map(one_line, (sentence, *lines))))


def one_line(text: str) -> str:
    """The text with escapes for what a terminal would act on or not show: line breaks, control and format characters, surrogates.

    File names, attributes and headers come from others: none of them may end a line, colour it, or move the cursor.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def explain(error: ValidationError) -> str:
    """A pydantic error as one clause: the key, what is allowed, the value given."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    value = first.get("input")
    shown = "" if first["type"] == "missing" or isinstance(value, dict) else f" (got {_short(repr(value))})"
    said = str(first["msg"]).removeprefix("Value error, ")
    return f"{_short(key)}: {said[:1].lower()}{said[1:]}{shown}" if key else f"{said[:1].lower()}{said[1:]}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


class DamagedFileError(UserError):
    """A file that is not what was written; the command line ends with exit code 1. ``path``: the file."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path


def damaged(path: Path, what: str, error: BaseException) -> UserError:
    """A DamagedFileError for a file that could not be read; the sentence about the machine where that is at fault.

    Of a file that the disk or the limits of the system do not give at the moment nothing is known: it must not be set aside.
    """
    return unread(error, path) or DamagedFileError(path, what)


class InterruptedWorkError(UserError):
    """Work ended by no fault of its data: what was done so far is kept, and the same command goes on."""


class UnreadFileError(InterruptedWorkError):
    """A file that cannot be read at the moment, and may be sound: it is left as it is. ``path``: the file."""

    def __init__(self, path: Path, sentence: str) -> None:
        super().__init__(sentence)
        self.path = path


FileError = DamagedFileError | UnreadFileError
"""What is wrong with one file of a trial; it takes no other trial down."""


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> UserError:
    """The error for a name that is not there, with the nearest one: "no method 'sanett'; did you mean 'sanet'?".

    hint: what else may be the reason, in brackets behind it.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    behind = f" ({hint})" if hint else ""
    if near:
        return UserError(f"no {kind} '{name}'; did you mean '{near[0]}'?{behind}")
    return UserError(f"no {kind} '{name}'; there are: {', '.join(names) or 'none'}{behind}")


def disk_error(error: OSError) -> UserError | None:
    """The sentence for an OSError that is about the user's disk or rights, else None."""
    reason = _DISK_ERRORS.get(errno_of(error))
    if reason is None:
        return None
    where = f"{error.filename}: " if error.filename else ""
    kind = InterruptedWorkError if errno_of(error) in _MACHINE_ERRORS else UserError
    return kind(f"{where}cannot write or read: {reason}")


def machine_error(error: BaseException, path: Path | None = None) -> InterruptedWorkError | None:
    """The sentence for an exception behind which is a fault of the machine: disk, memory, descriptors; else None.

    Also where a library or a reader of files made another exception of it. path: the file, where the exception names none.
    """
    for link in _chain(error):
        if isinstance(link, InterruptedWorkError):
            return link
        if short := _out_of_memory(link):
            return InterruptedWorkError(f"out of memory ({short}); fewer --jobs or smaller batches need less")
        number = errno_of(link)
        if reason := _MACHINE_ERRORS.get(number, ""):
            named = link.filename if isinstance(link, OSError) and link.filename else path
            return InterruptedWorkError(f"{f'{named}: ' if named else ''}cannot write or read: {reason}")
    return None


def unread(error: BaseException, path: Path) -> UnreadFileError | None:
    """The sentence where a file could not be read for what says nothing about its content: `machine_error`, or no right to it."""
    if isinstance(error, PermissionError) and getattr(error, "winerror", None) not in _OPEN_ELSEWHERE:
        return UnreadFileError(path, f"{path}: cannot be read: permission denied")
    known = machine_error(error, path)
    return None if known is None else UnreadFileError(path, str(known))


def errno_of(error: BaseException) -> int:
    """The number of the system's error; HDF5 and safetensors give it in their text alone. 0: there is none."""
    if isinstance(error, UserError):
        return 0
    if getattr(error, "winerror", None) in _OPEN_ELSEWHERE:
        return errno.EBUSY
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = re.search(r"\berrno = (\d+)|\(os error (\d+)\)", str(error))
    return int(found[1] or found[2]) if found else 0


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it was made of."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        yield link
        seen.append(link)
        link = link.__cause__ or link.__context__


def _out_of_memory(error: BaseException) -> str:
    """What could not be had, in the library's words; "" for any other exception."""
    text = (str(error).strip().splitlines() or [""])[0]
    named = any(
        kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__
    )  # torch's, which is not imported here
    if isinstance(error, MemoryError) or named:
        return text[:200] or "no more can be had"
    refused = re.search(r"DefaultCPUAllocator.*?(tried to allocate \d+ bytes)", text)
    return refused[1] if refused else ""


def print_trace() -> None:
    """The trace of the exception at hand on standard error; a log on a full disk ends nothing."""
    with suppress(OSError, ValueError):
        traceback.print_exc()
