"""Which process something belongs to, and whether that process still runs."""

from __future__ import annotations

import os
import socket
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Owner(BaseModel):
    """A process on a machine; JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = ""
    pid: int = 0
    start: str = ""
    """When the system started that process, in its own units: a later process with the same pid has another one. Empty: unknown."""
    since: str = ""
    """Since when it is at work, in UTC, as ISO 8601; for people."""

    def __str__(self) -> str:
        who = f"process {self.pid} on {self.host}" if self.pid else "another process"
        when = self.since.replace("T", " ").replace("+00:00", " UTC")
        return f"{who} (since {when})" if when else who

    @property
    def runs(self) -> bool | None:
        """Whether that process still runs; None where that cannot be told, as of one on another machine."""
        if not self.pid or self.host != socket.gethostname():
            return None
        return alive(self.pid, self.start)


def this_process() -> Owner:
    """This process, at work from now on."""
    return Owner(host=socket.gethostname(), pid=os.getpid(), start=_own_start(os.getpid()), since=now())


def now() -> str:
    """The time in UTC to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def alive(pid: int, start: str) -> bool | None:
    """Whether the process of this machine with this pid, which began then, still runs; None where that cannot be told."""
    if sys.platform == "linux":
        return started(pid) == start
    if sys.platform == "win32":  # there, a signal of 0 is an event that ends processes
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def started(pid: int) -> str:
    """When a process of this machine began: the start of the system and the ticks since then. "" for none, and where not known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *fields = stat.rpartition(")")[2].split()  # before it, the name of the program, with any characters
    return "" if state in "ZX" else f"{_boot()}-{fields[18]}"


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return ""


@cache
def _own_start(pid: int) -> str:
    return started(pid)
