"""What a job and an engine are, and the one loop that follows the messages of an engine.

Everything that runs beside the command (preparing, inspecting and degrading data, trials, stress) is a list of jobs given to
`follow`. A job names a registered function of this package; its payload, events and result are JSON, so that an engine may run it
in another process or on another machine.
"""

from __future__ import annotations

import importlib
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mcsr_bench.errors import UserError, disk_error, machine_error, print_trace
from mcsr_bench.system.progress import Listener
from mcsr_bench.system.stopping import StoppedError

Emit = Callable[[Any], None]
"""Sends a JSON value to the process that follows the job, without delay."""
JobFunction = Callable[[Any, Emit], Any]
"""``function(payload, emit)``; what it returns is the job's result."""

_registered: dict[str, JobFunction] = {}


def registered(function: JobFunction) -> JobFunction:
    """Decorator for the functions that jobs may name; the function stays what it is."""
    _registered[_address(function)] = function
    return function


def find(address: str) -> JobFunction:
    """The registered function at "module:name". ValueError for one that is not registered, or not of this package."""
    module = address.partition(":")[0]
    if module.split(".")[0] == "mcsr_bench":
        importlib.import_module(module)
    if address not in _registered:
        raise ValueError(f"{address}: not a registered job of this package")
    return _registered[address]


def _address(function: JobFunction) -> str:
    return f"{function.__module__}:{function.__qualname__}"


@dataclass(frozen=True)
class Needs:
    """What a job needs of the machine."""

    cores: int = 1
    gpus: int = 0


@dataclass(frozen=True)
class Job:
    """One call. ValueError when its function is not registered."""

    function: JobFunction
    payload: Any
    """JSON."""
    label: str = ""
    """For people."""
    log: Path | None = None
    """The file for all that is printed meanwhile; None: it is dropped."""
    needs: Needs = Needs()

    def __post_init__(self) -> None:
        find(self.address)

    @property
    def address(self) -> str:
        """ "module:name" of the function."""
        return _address(self.function)


Kind = Literal["started", "event", "result", "refused", "unable", "failed", "stopped", "died", "alive"]


@dataclass(frozen=True)
class Message:
    """What happened to a job."""

    job: int
    """Index of the job."""
    kind: Kind
    """Of an end: ``result``, ``refused`` (a user's mistake), ``unable`` (a fault of the machine, such as a full disk), ``failed``
    (any other exception), ``stopped`` (by a signal, where the job can go on later) or ``died``. Engines keep ``alive`` to
    themselves."""
    value: Any = None
    """Of ``refused`` and ``unable`` the sentence, of ``failed`` the trace, of ``stopped`` and ``died`` the reason as the end of a
    sentence."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    kind: Kind
    value: Any

    @property
    def done(self) -> bool:
        """Whether `value` is the result."""
        return self.kind == "result"

    @property
    def reason(self) -> str:
        """Why the job has no result, in one line; "" when it has one."""
        return "" if self.done else str(self.value).strip().splitlines()[-1]


class Engine(ABC):
    """A place where jobs run."""

    @abstractmethod
    def run(self, jobs: Sequence[Job]) -> Generator[Message, None, None]:
        """Run the jobs and yield what happens to them, as it happens; each ends exactly once, and none takes another down.

        When the generator is closed, what still runs is ended; when KeyboardInterrupt is raised in it, jobs are first asked to stop
        (`mcsr_bench.system.stopping`) and waited for. No job outlives this process by more than seconds, however that ends.
        """

    @abstractmethod
    def side_by_side(self, needs: Needs) -> int:
        """How many jobs with these needs run in parallel (1 or more): how finely work is worth dividing."""


class Watcher:
    """What `follow` reports of jobs, by their index; this one does nothing."""

    def started(self, job: int) -> None:
        """A job begins."""

    def event(self, job: int, value: Any) -> None:
        """A job sent an event."""

    def ended(self, job: int, outcome: Outcome) -> None:
        """A job ended, one way or another. An exception raised here ends the jobs that still run."""


def follow(engine: Engine, jobs: Sequence[Job], watcher: Watcher) -> list[Outcome]:
    """Run jobs, tell a watcher of what happens, and return how each ended, in their order."""
    outcomes: dict[int, Outcome] = {}
    with closing(engine.run(jobs)) as messages:
        try:
            for message in messages:
                if message.kind == "started":
                    watcher.started(message.job)
                elif message.kind == "event":
                    watcher.event(message.job, message.value)
                else:
                    outcomes[message.job] = Outcome(message.kind, message.value)
                    watcher.ended(message.job, outcomes[message.job])
        except KeyboardInterrupt as error:
            messages.throw(error)
    return [outcomes[i] for i in range(len(jobs))]


def follow_here(jobs: Sequence[Job], watcher: Watcher) -> list[Outcome]:
    """As `follow`, in this process and one after the other: for what no other process has. What they print is not kept."""
    outcomes = []
    for index, job in enumerate(jobs):
        watcher.started(index)
        outcomes.append(Outcome(*execute(job.address, job.payload, partial(watcher.event, index))))
        watcher.ended(index, outcomes[-1])
    return outcomes


class Steps(Watcher):
    """Tells a listener of jobs whose events are [stage, done, total, detail], by their labels."""

    def __init__(self, jobs: Sequence[Job], listener: Listener) -> None:
        self._labels = [job.label for job in jobs]
        self._listener = listener

    def started(self, job: int) -> None:
        self._listener.trial_started(self._labels[job])

    def event(self, job: int, value: Any) -> None:
        stage, done, total, detail = value
        self._listener.trial_step(self._labels[job], stage, done, total, detail)

    def ended(self, job: int, outcome: Outcome) -> None:
        self._listener.trial_ended(self._labels[job], "done" if outcome.done else "failed", outcome.reason)


def execute(address: str, payload: Any, emit: Emit) -> tuple[Kind, Any]:
    """Call the function at an address, wherever an engine runs it: the kind and value of the message that ends the job."""
    try:
        return "result", find(address)(payload, emit)
    except UserError as error:
        if error.__cause__ is not None:  # a plugin's own exception, told in a sentence: the log has its trace
            print_trace()
        known = machine_error(error)
        return ("unable", str(known)) if known else ("refused", str(error))
    except StoppedError as error:
        return "stopped", f"it was stopped by {error}"
    except Exception as error:  # a plugin's own, among others: its trace is the reason
        print_trace()
        if known := machine_error(error):
            return "unable", str(known)
        disk = disk_error(error) if isinstance(error, OSError) else None
        return ("refused", str(disk)) if disk else ("failed", traceback.format_exc())
