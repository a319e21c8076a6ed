"""An exception of a plugin's code, told so that its author finds the line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcsr_bench.errors import UserError, one_line

_HINTS = {
    ("torch not compiled with cuda", "no nvidia driver", "no cuda gpus", "no cuda-capable device"): (
        "there is no GPU here: leave out .cuda(), because the network and the batch are moved to the device of the run, and make "
        "new tensors with device=batch.target_lr.device"
    ),
    ("tensors to be on the same device",): (
        "make new tensors with device=batch.target_lr.device, and register those that belong to a network as buffers"
    ),
}
"""What to write instead, by words of torch's messages."""


def told(error: BaseException, folder: Path) -> str:
    """An exception in one line: type and message, the file and line in the plugin's folder, and what to write instead if known.

    A `UserError` is a sentence already.
    """
    if isinstance(error, UserError):
        return str(error)
    said = one_line(" ".join(str(error).split()))
    text = f"{type(error).__name__}: {said}" if said else type(error).__name__
    where = place(error, folder)
    hint = next((hint for words, hint in _HINTS.items() if any(word in said.lower() for word in words)), "")
    return text + (f" ({where})" if where else "") + (f"; {hint}" if hint else "")


def place(error: BaseException, folder: Path) -> str:
    """FILE:LINE of the last line of a plugin's own code that an exception or its causes came through; "" where there is none."""
    root = folder.resolve()
    one: BaseException | None = error
    while one is not None:
        lines = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(one.__traceback__)]
        if isinstance(one, SyntaxError):
            lines.append((one.filename or "", one.lineno))
        for name, line in reversed(lines):
            path = Path(name).resolve()
            if root in path.parents:
                here = path.relative_to(Path.cwd()) if Path.cwd() in path.parents else path
                return one_line(f"{here}:{line}")
        one = one.__cause__ or one.__context__
    return ""


@contextmanager
def blamed(folder: Path) -> Iterator[None]:
    """Whatever a plugin's own code raises within the block becomes a `UserError` that tells the line."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:  # a plugin's own code raises whatever it likes
        if not place(error, folder):
            raise
        raise UserError(told(error, folder)) from error
