"""The one exception a user can mend: its text is one sentence, and the command line ends with exit code 2."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

_SHOWN = 120
"""Characters of a value that a sentence shows."""

_DISK_ERRORS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "a folder is where a file is needed",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.EEXIST: "a file is where a folder is needed",
    errno.ENAMETOOLONG: "the name is longer than this system allows",
    errno.EFBIG: "the file would be larger than this system allows",
}
_UNREACHABLE = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EAGAIN: "another program has it locked",
    errno.EBUSY: "another program has it open",
    errno.EIO: "the disk or the network reports an error",
    errno.ESTALE: "its network folder was moved or is not connected any more",
    errno.ETIMEDOUT: "its network folder does not answer",
    errno.EHOSTDOWN: "its network folder does not answer",
    errno.EHOSTUNREACH: "its network folder does not answer",
    errno.ENOTCONN: "its network folder is not connected",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
}
_OPEN_ELSEWHERE = (32, 33, 1224)
"""Of Windows: a file that another program has open, locked or mapped. They come as permission denied."""


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


class InterruptedWorkError(UserError):
    """Work ended by no fault of its data: what was done so far is kept, and the same command goes on."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not there, with the nearest one: "no method 'sanett'; did you mean 'sanet'?"."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return UserError(f"no {kind} '{name}'; did you mean '{near[0]}'?")
    return UserError(f"no {kind} '{name}'; there are: {', '.join(names) or 'none'}")


def disk_error(error: OSError) -> UserError | None:
    """The sentence for an OSError that is about the user's disk or rights, else None."""
    reason = unreachable(error) or _DISK_ERRORS.get(error.errno or 0)
    if reason is None:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return UserError(f"{where}cannot write or read: {reason}")


def unreachable(error: BaseException) -> str:
    """Why a file could not be read, where that says nothing about what is in it, as a clause; else "".

    A file that is locked, or on a network folder that does not answer, is not damaged: nothing may set it aside or replace it.
    """
    if getattr(error, "winerror", None) in _OPEN_ELSEWHERE:
        return "another program has it open"
    return _UNREACHABLE.get(error.errno or 0, "") if isinstance(error, OSError) else ""
