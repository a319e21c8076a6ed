"""Signs of life: how a worker shows that it is at work, and when one that shows nothing is given up.

A step may take as long as it takes. What is looked for is a process that does nothing at all, such as one that was stopped, waits
for a folder whose server is gone, or opened a pipe that nobody writes to: then no processor time passes in it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mcsr_bench.errors import UserError

SILENCE = "MCSR_BENCH_SILENCE"
"""Environment variable: seconds of silence after which a worker is given up, 0 for never."""
DEFAULT_SILENCE = 300.0
BEAT = 5.0
"""Seconds between two looks, by the worker at itself and by the process that follows it."""
_SHORTEST = 30.0
_LEAST = 2e-4
"""Seconds of processor time between two looks that are work; to look takes less."""


def silence_limit() -> float:
    """The seconds of silence that are borne; infinity for any. UserError for a variable that holds anything else."""
    text = os.environ.get(SILENCE) or str(DEFAULT_SILENCE)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (value == 0 or _SHORTEST <= value < float("inf")):
        raise UserError(f"{SILENCE}={text}: is not a number of seconds from {_SHORTEST:g} on, or 0 for no limit")
    return value or float("inf")


def beat(send: Callable[[], None], seconds: float = BEAT) -> None:
    """From now on, ``send`` a sign of life every few seconds in which this process has computed anything (a thread of its own)."""

    def run() -> None:
        before = 0.0
        while True:
            time.sleep(seconds)
            spent = time.process_time() - time.thread_time()  # of the other threads
            if spent - before > _LEAST:
                try:
                    send()
                except (OSError, ValueError):  # the process that follows has ended
                    return
            before = spent

    threading.Thread(target=run, daemon=True).start()


class Silence:
    """How long a process has shown no sign of life, in time in which this process was itself awake."""

    def __init__(self, pid: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = 0.0
        self._stat = Path(f"/proc/{pid}/stat")
        self._clock = clock
        self._looked = clock()
        self._heard = True
        self._spent = ""

    def heard(self) -> None:
        """The process has sent something."""
        self._heard = True

    def look(self) -> float:
        """The seconds of silence by now, looked at once per beat.

        Of a longer pause two beats count: this process was stopped, too, as by Ctrl-Z.
        """
        now = self._clock()
        if now - self._looked < BEAT:
            return self.seconds
        passed, self._looked = min(now - self._looked, 2 * BEAT), now
        spent = self._processor_time()
        if self._heard or spent != self._spent:
            self.seconds = 0.0
        else:
            self.seconds += passed
        self._heard, self._spent = False, spent
        return self.seconds

    def _processor_time(self) -> str:
        """What /proc says, where there is one: a library in a long call may keep the thread that sends from running."""
        try:
            fields = self._stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            return ""
        return " ".join(fields[11:13])
