"""A process beside that of a job, for work that several must do at the same time; it ends with that one, whatever ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

from mcsr_bench.engines.base import Job, execute
from mcsr_bench.engines.processes import end_with_parent

_START = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import _main; _main()"


class Beside:
    """A fresh interpreter that runs one job; what that prints goes where this process prints, the log of its own job."""

    def __init__(self, job: Job) -> None:
        """Starts it. The job's events and result go nowhere."""
        self._process = subprocess.Popen(  # nosec B603
            [sys.executable, "-P", "-c", _START, *sys.path], stdin=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([job.address, job.payload]) + "\n")
        self._process.stdin.flush()  # and left open: its end is this process's

    @property
    def failed(self) -> bool:
        """Whether it has ended, and not by finishing its job."""
        return bool(self._process.poll())

    def wait(self, timeout: float) -> int:
        """Its exit status. subprocess.TimeoutExpired where it has none after so many seconds."""
        return self._process.wait(timeout)

    def leave(self) -> None:
        """Close its input, as the end of this process would."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def end(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.wait()


def _main() -> None:
    end_with_parent()
    # A signal to all processes of a group is for the job's own, which makes a checkpoint and then ends the others.
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    address, payload = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    kind, value = execute(address, payload, lambda _: None)
    if kind != "result":
        print(value, file=sys.stderr, flush=True)
    os._exit(kind != "result")


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)
