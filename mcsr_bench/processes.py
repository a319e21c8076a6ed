"""Floor 0: single-thread worker processes, each a fresh interpreter that gets JSON and gives JSON.

A worker is ``python -m mcsr_bench.processes MODULE:FUNCTION`` with its payload on standard input; the function is called as
``function(payload, emit)``, where ``emit(event)`` sends a JSON value to the parent at once, and what it returns is the result.
No pickle, no import of the caller's script (which multiprocessing's spawn would do), and a worker that is killed takes nobody down.
"""

from __future__ import annotations

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
from typing import IO, Any

Emit = Callable[[Any], None]

SLOT = "MCSR_BENCH_SLOT"
"""Environment variable of a worker: which of the ``n_processes`` places it fills (0, 1, ...); picks its GPU."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class Job:
    """One call in a worker: the function as "module:name", its JSON payload, and where standard error goes."""

    function: str
    payload: Any
    log: Path | None = None


@dataclass(frozen=True)
class Message:
    """What a worker said: an event, its result, or that it ended without one."""

    job: int
    """Index of the job."""
    kind: str
    """ "started", "event", "result" or "died"."""
    value: Any


def run_jobs(jobs: Sequence[Job], n_processes: int) -> Iterator[Message]:
    """Run the jobs, at most ``n_processes`` at once and in order of start, and yield what they say as it comes.

    When the caller stops iterating (or is interrupted) the workers still running are ended.
    """
    messages: queue.Queue[Message] = queue.Queue()
    running: dict[int, subprocess.Popen[str]] = {}
    waiting = list(enumerate(jobs))
    slots: dict[int, int] = {}
    try:
        while waiting or running:
            while waiting and len(running) < max(1, n_processes):
                index, job = waiting.pop(0)
                slots[index] = min(set(range(n_processes + 1)) - {slots[i] for i in running})
                running[index] = _start(index, job, slots[index], messages)
                yield Message(index, "started", None)
            message = messages.get()
            if message.kind in ("result", "died"):
                running.pop(message.job).wait()
            yield message
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(index: int, job: Job, slot: int, messages: queue.Queue[Message]) -> subprocess.Popen[str]:
    environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, "1"), SLOT: str(slot)}
    log: IO[str] | int = subprocess.DEVNULL
    if job.log is not None:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        log = job.log.open("w", encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "mcsr_bench.processes", job.function],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        text=True,
        encoding="utf-8",
    )
    if not isinstance(log, int):
        log.close()
    threading.Thread(target=_listen, args=(index, process, job.payload, messages), daemon=True).start()
    return process


def _listen(index: int, process: subprocess.Popen[str], payload: Any, messages: queue.Queue[Message]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    result: Message | None = None
    try:
        with process.stdin as stdin:
            json.dump(payload, stdin)
        for line in process.stdout:
            kind, value = json.loads(line)
            if kind == "result":
                result = Message(index, "result", value)
            else:
                messages.put(Message(index, "event", value))
    except (OSError, ValueError):
        pass  # the worker died in the middle of a line: its exit status tells why
    code = process.wait()
    messages.put(result or Message(index, "died", _why(code)))


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
    module, _, name = sys.argv[1].partition(":")
    if module.split(".")[0] != "mcsr_bench":
        raise SystemExit(f"{module}: not a worker of this package")
    payload = json.load(sys.stdin)
    # Events have the real standard output for themselves; whatever a plugin prints goes to the log.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(kind: str, value: Any) -> None:
        channel.write(json.dumps([kind, value]) + "\n")
        channel.flush()

    function = getattr(importlib.import_module(module), name)
    send("result", function(payload, lambda event: send("event", event)))


if __name__ == "__main__":
    _main()
