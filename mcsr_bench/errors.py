"""The one exception a user can mend: its text is one sentence, and the command line ends with exit code 2."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from pathlib import Path

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


class DamagedFileError(UserError):
    """A file that is not what was written; the command line ends with exit code 1. ``path``: the file."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path


class InterruptedWorkError(UserError):
    """Work ended by no fault of its data: what was done so far is kept, and the same command goes on."""


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
    reason = _DISK_ERRORS.get(error.errno or 0)
    if reason is None:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return UserError(f"{where}cannot write or read: {reason}")
