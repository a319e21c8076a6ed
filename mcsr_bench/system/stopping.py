"""How a command and its workers are stopped: by SIGINT (Ctrl-C), SIGTERM or SIGHUP, and so that the same command can go on.

In the command a signal becomes a `SignalledError` in the main thread; at the first an engine asks its workers to stop and waits for
them, at a second it does not wait. In a worker the request is a flag, and work that takes long looks at it (`check`) where it can
be taken up again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = tuple(
    signal.Signals(getattr(signal, name)) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class SignalledError(KeyboardInterrupt):
    """A signal asked the command to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StoppedError(BaseException):
    """Raised by `check` in a worker that was asked to stop. Not an `Exception`, so that no plugin takes it for an error of its own.

    Its text is the name of the signal.
    """


_requested = ""


def request(by: str) -> None:
    """Ask what this process does to stop; ``by``: the name of the signal."""
    global _requested
    _requested = by


def requested() -> str:
    """The name of the signal that asked this process to stop; "" if none did."""
    return _requested


def check() -> None:
    """StoppedError if this process was asked to stop: to be called where all that was done is on disk, or is quickly done again."""
    if _requested:
        raise StoppedError(_requested)


@contextmanager
def signals(notice: str) -> Iterator[list[SignalledError]]:
    """While the block runs, `SIGNALS` raise `SignalledError` in it, and ``notice`` is written to standard error at the first.

    Yields the list of those that came. Signals that are ignored, as SIGHUP is under nohup, stay ignored.
    """
    came: list[SignalledError] = []
    terminals = [fd for fd in (0, 1, 2) if os.isatty(fd)]

    def handle(number: int, _: FrameType | None) -> None:
        if number == getattr(signal, "SIGHUP", None):  # the terminal is gone: writing to it would be an error
            null = os.open(os.devnull, os.O_RDWR)
            for fd in terminals:
                os.dup2(null, fd)
            os.close(null)
        error = SignalledError(number)
        came.append(error)
        if len(came) == 1:
            with suppress(OSError):
                os.write(2, f"{notice}\n".encode())
        raise error

    before = {one: handler for one in SIGNALS if (handler := signal.getsignal(one)) not in (signal.SIG_IGN, None)}
    for one in before:
        signal.signal(one, handle)
    try:
        yield came
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
