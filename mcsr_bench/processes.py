"""Floor 0: single-thread worker processes, each a fresh interpreter that gets JSON and gives JSON.

A worker runs `_main`: it reads one job per line of standard input, calls the named function as
``function(payload, emit)``, where ``emit(event)`` sends a JSON value to the parent at once, and sends back what it returns. Then it
takes the next job, so that importing torch is paid once per worker. No pickle, no import of the caller's script (which
multiprocessing's spawn would do), and a worker that is killed takes down nobody but its own job.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Emit = Callable[[Any], None]

SLOT = "MCSR_BENCH_SLOT"
"""Environment variable of a worker: which of the ``n_processes`` places it fills (0, 1, ...); picks its GPU."""

_START = "import sys; sys.path[:] = sys.argv[1:]; from mcsr_bench.processes import _main; _main()"
"""A worker imports from where its parent does, and not from the current folder, which may be one of data."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """One call in a worker: the function as "module:name", its JSON payload, and the file for all that is printed meanwhile."""

    function: str
    payload: Any
    log: Path | None = None


@dataclass(frozen=True)
class Message:
    """What happened to a job."""

    job: int
    """Index of the job."""
    kind: str
    """ "started", "event", "result" or "died"."""
    value: Any
    """The event or result; of "died" the reason, as the end of a sentence."""


class _Worker:
    """A worker process, and the thread that listens to it."""

    def __init__(self, slot: int, messages: queue.Queue[tuple[_Worker, str, Any]]) -> None:
        self.slot = slot
        self.job = -1
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, "1"), SLOT: str(slot)}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        threading.Thread(target=self._listen, args=(messages,), daemon=True).start()

    def give(self, index: int, job: Job) -> None:
        """Hand a job over; a worker that is dead already says so through its messages."""
        self.job = index
        line = json.dumps([job.function, job.payload, None if job.log is None else str(job.log)])
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """Terminate the process; for an idle one this is the normal end."""
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _listen(self, messages: queue.Queue[tuple[_Worker, str, Any]]) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # a worker killed in the middle of a line: its status tells why
            for line in self.process.stdout:
                kind, value = json.loads(line)
                messages.put((self, kind, value))
        messages.put((self, "died", _why(self.process.wait())))


def run_jobs(jobs: Sequence[Job], n_processes: int) -> Iterator[Message]:
    """Run the jobs in order, at most ``n_processes`` at once, and yield what happens to them as it happens.

    When the caller stops iterating (or is interrupted) the workers are ended.
    """
    messages: queue.Queue[tuple[_Worker, str, Any]] = queue.Queue()
    waiting = list(enumerate(jobs))
    busy: set[_Worker] = set()
    try:
        for slot in range(min(max(1, n_processes), len(jobs))):
            worker = _Worker(slot, messages)
            busy.add(worker)
            yield _next(worker, waiting)
        while busy:
            worker, kind, value = messages.get()
            if worker not in busy:  # ended after its last job: that it is gone is no news
                continue
            yield Message(worker.job, kind, value)
            if kind == "event":
                continue
            if not waiting or kind == "died":
                busy.discard(worker)
                worker.end()
            if waiting:
                if kind == "died":
                    worker = _Worker(worker.slot, messages)
                    busy.add(worker)
                yield _next(worker, waiting)
    finally:
        for worker in busy:
            worker.end()


def _next(worker: _Worker, waiting: list[tuple[int, Job]]) -> Message:
    index, job = waiting.pop(0)
    worker.give(index, job)
    return Message(index, "started", None)


def _why(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"


def _main() -> None:
    # Events have the real standard output for themselves; whatever a job prints goes to its log.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")

    def send(kind: str, value: Any) -> None:
        channel.write(json.dumps([kind, value]) + "\n")
        channel.flush()

    for line in sys.stdin:
        function, payload, log = json.loads(line)
        module, _, name = function.partition(":")
        if module.split(".")[0] != "mcsr_bench":
            raise SystemExit(f"{module}: not a worker of this package")
        with open(log or os.devnull, "w", encoding="utf-8") as handle:
            os.dup2(handle.fileno(), 1)
            os.dup2(handle.fileno(), 2)
        result = getattr(importlib.import_module(module), name)(payload, lambda event: send("event", event))
        sys.stdout.flush()
        send("result", result)
