"""Jobs in worker processes on this machine, each a fresh interpreter that gets JSON and gives JSON.

A worker runs `_main`: it reads one job per line of standard input, executes it, sends events and the end of the job back, and takes
the next one, so that importing torch is paid once per worker. No pickle, no import of the caller's script (which multiprocessing's
spawn would do), and a worker that is killed takes down only its own job. A thread of the worker reads that input, so that a request
to stop, and the end of the parent, are noticed while a job computes or hangs.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TextIO

from mcsr_bench.engines.base import Engine, Job, Kind, Message, Needs, execute
from mcsr_bench.engines.pulse import BEAT, SILENCE, Silence, beat, silence_limit
from mcsr_bench.errors import UserError
from mcsr_bench.system import files, stopping
from mcsr_bench.system.devices import default_jobs

SLOT = "MCSR_BENCH_SLOT"
"""Environment variable of a worker: which of the places side by side it fills (0, 1, ...); picks its GPU."""

_START = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import _main; _main()"
"""A worker imports from where its parent does, and not from the current folder, which may be one of data."""

_PATIENCE = 60.0
"""Seconds that workers which were asked to stop have for their step and its checkpoint."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Processes(Engine):
    """Worker processes on this machine."""

    def __init__(self, workers: int = 0) -> None:
        """workers: how many run in parallel; 0: as many as the cores or GPUs of the machine allow. UserError below that."""
        if workers < 0:
            raise UserError(f"--jobs {workers}: the number of workers is 1 or larger, or 0 for one per core (GPU)")
        self._workers = workers

    def side_by_side(self, needs: Needs) -> int:
        """As many as asked for, else one per so many GPUs or cores."""
        kind, each = ("cuda", needs.gpus) if needs.gpus else ("cpu", needs.cores)
        return self._workers or max(1, default_jobs(kind) // each)

    def run(self, jobs: Sequence[Job]) -> Generator[Message, None, None]:
        """In order, in as many parallel workers as the job with the greatest needs allows."""
        if not jobs:
            return
        cores = max(job.needs.cores for job in jobs)
        n_workers = min(len(jobs), *(self.side_by_side(job.needs) for job in jobs))
        messages: queue.Queue[tuple[_Worker, Kind, Any]] = queue.Queue()
        limit = silence_limit()
        waiting = list(enumerate(jobs))
        busy: set[_Worker] = set()
        try:
            for slot in range(n_workers):
                try:
                    worker = _Worker(slot, cores, messages)
                except OSError as error:
                    if not busy:
                        yield from _unable(waiting, error)
                    break  # as many as there are do the work
                busy.add(worker)
                yield _next(worker, waiting)
            while busy:
                worker, kind, value = _heard(messages, busy, limit)
                if worker not in busy:  # ended after its last job: its end is expected
                    continue
                yield Message(worker.job, kind, value)
                if kind == "event":
                    continue
                gone = kind in ("died", "stopped")
                if not waiting or gone:
                    busy.discard(worker)
                    worker.end()
                if waiting:
                    if gone:
                        try:
                            worker = _Worker(worker.slot, cores, messages)
                        except OSError as error:
                            if not busy:
                                yield from _unable(waiting, error)
                            continue
                        busy.add(worker)
                    yield _next(worker, waiting)
        except KeyboardInterrupt as error:
            _stop(busy, str(error) or "SIGINT")
            raise
        finally:
            for worker in busy:
                worker.close()
            for worker in busy:
                worker.end()


def _stop(workers: Iterable[_Worker], by: str) -> None:
    """Ask workers to stop where their jobs can go on later, and wait for them."""
    for worker in workers:
        worker.send({"stop": by})
    until = time.monotonic() + _PATIENCE
    for worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=max(0.0, until - time.monotonic()))


class _Worker:
    """A worker process, and the thread that listens to it."""

    def __init__(self, slot: int, cores: int, messages: queue.Queue[tuple[_Worker, Kind, Any]]) -> None:
        """OSError when the system gives no more processes, threads or descriptors."""
        self.slot = slot
        self.job = -1
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(cores)), SLOT: str(slot)}
        self.process = subprocess.Popen(  # nosec B603
            [sys.executable, "-P", "-c", _START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        self.silence = Silence(self.process.pid)
        self._given_up = 0.0
        try:
            threading.Thread(target=self._listen, args=(messages,), daemon=True).start()
        except RuntimeError as error:
            self.process.kill()
            raise OSError(errno.EAGAIN, str(error)) from None

    def give_up_if_silent(self, limit: float) -> None:
        """Kill the process where it has done nothing for ``limit`` seconds."""
        if (seconds := self.silence.look()) > limit:
            self._given_up = seconds
            self.process.kill()

    def give(self, index: int, job: Job) -> None:
        """Hand a job over; a worker that is dead already is noticed by its messages."""
        self.job = index
        log = None if job.log is None else str(job.log)
        self.send({"address": job.address, "payload": job.payload, "log": log})

    def send(self, order: dict[str, Any]) -> None:
        """Write an order to the worker, if it still reads."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()

    def close(self) -> None:
        """Tell the worker to end at once, whatever it does; for an idle one this is the normal end."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # what was not read any more
            self.process.stdin.close()

    def end(self) -> None:
        """As `close`, and wait for it; a worker that does not is killed."""
        self.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _listen(self, messages: queue.Queue[tuple[_Worker, Kind, Any]]) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # a worker killed in the middle of a line: its status gives why
            for line in self.process.stdout:
                kind, value = json.loads(line)
                messages.put((self, kind, value))
        self.process.stdout.close()
        code = self.process.wait()
        messages.put((self, "died", _given_up(self._given_up) if self._given_up else _why(code)))


def _heard(
    messages: queue.Queue[tuple[_Worker, Kind, Any]], busy: set[_Worker], limit: float
) -> tuple[_Worker, Kind, Any]:
    """The next message that says more than that a worker is alive; workers that are silent for too long are killed meanwhile."""
    while True:
        for worker in busy:
            worker.give_up_if_silent(limit)
        with contextlib.suppress(queue.Empty):
            worker, kind, value = messages.get(timeout=BEAT)
            worker.silence.heard()
            if kind != "alive":
                return worker, kind, value


def _unable(waiting: list[tuple[int, Job]], error: OSError) -> Iterator[Message]:
    """The end of jobs for which there is no worker."""
    reason = (
        f"no worker process can be started ({error.strerror}); fewer --jobs or a larger limit (ulimit -n, -u) helps"
    )
    while waiting:
        index, _ = waiting.pop(0)
        yield Message(index, "started")
        yield Message(index, "unable", reason)


def _given_up(seconds: float) -> str:
    return (
        f"its process did nothing for {seconds:.0f} s and was ended (stopped, or waiting for a folder or a pipe that does not "
        f"answer?); {SILENCE} sets the limit"
    )


def _next(worker: _Worker, waiting: list[tuple[int, Job]]) -> Message:
    index, job = waiting.pop(0)
    worker.give(index, job)
    return Message(index, "started")


def _why(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"its process was ended by {name}{_HINTS.get(name, '')}"


_HINTS = {"SIGKILL": " (out of memory?)", "SIGBUS": " (a file that it was reading was cut, or its disk is gone?)"}


def _main() -> None:
    end_with_parent()
    # Ctrl-C and the end of a terminal reach all processes of a group: the parent hears them, and asks.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    jobs: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def stop(by: str) -> None:
        stopping.request(by)
        jobs.put(None)

    signal.signal(signal.SIGTERM, lambda *_: stop("SIGTERM"))
    # Orders and events have the real standard streams for themselves; whatever a job prints goes to its log.
    orders, channel = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    for stream in (sys.stdout, sys.stderr):  # logs are UTF-8 whatever the terminal is
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    threading.Thread(target=_listen_to_parent, args=(orders, jobs, stop), daemon=True).start()
    one_at_a_time = threading.Lock()

    def send(kind: Kind, value: Any) -> None:
        line = json.dumps([kind, value]) + "\n"
        try:
            with one_at_a_time:
                channel.write(line)
                channel.flush()
        except OSError:  # the parent has ended, which is not the job's failure
            os._exit(1)

    beat(lambda: send("alive", None))
    while not stopping.requested() and (job := jobs.get()) is not None:
        with _log(job["log"]) as handle:
            os.dup2(handle.fileno(), 1)
            os.dup2(handle.fileno(), 2)
        kind, value = execute(job["address"], job["payload"], lambda event: send("event", event))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # the disk of the log is full
                stream.flush()
        send(kind, value)
    os._exit(0)


def _log(path: str | None) -> IO[str]:
    """The file for what a job prints; where it cannot be written, that goes nowhere, and the job will say why."""
    if path and not (os.path.exists(path) and files.not_a_file(Path(path))):  # a pipe would wait for its reader
        with contextlib.suppress(OSError):
            if os.path.islink(path):  # of a run from elsewhere: it would empty another file
                os.unlink(path)
            return open(path, "a", encoding="utf-8")
    return open(os.devnull, "w", encoding="utf-8")


def _listen_to_parent(
    orders: TextIO, jobs: queue.SimpleQueue[dict[str, Any] | None], stop: Callable[[str], None]
) -> None:
    for line in orders:
        order = json.loads(line)
        if "stop" in order:
            stop(order["stop"])
        else:
            jobs.put(order)
    os._exit(1)  # the parent has ended, or wants this end


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends: also while a call that holds Python's lock hangs. Linux alone."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
