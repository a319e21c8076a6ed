"""Workers that do nothing are given up, those that work never; and where no worker can be started, that is said."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mcsr_bench.data.one_case import degrade_part
from mcsr_bench.engines import processes, pulse
from mcsr_bench.engines.base import Job, Watcher, follow
from mcsr_bench.engines.processes import Processes
from mcsr_bench.errors import UserError

NOTHING: dict[str, Any] = {
    "folder": "",
    "hr_folder": "",
    "protocol": "mcsr-1",
    "scale": 2,
    "dtype": "complex64",
    "positions": [],
}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def looked(clock: Clock, silence: pulse.Silence, seconds: Sequence[float]) -> list[float]:
    out = []
    for passed in seconds:
        clock.now += passed
        out.append(silence.look())
    return out


def test_silence_is_counted_while_this_process_is_awake() -> None:
    clock = Clock()
    silence = pulse.Silence(-1, clock)  # of no process: as on a system without /proc
    assert looked(clock, silence, [5, 5, 5, 5]) == [0, 5, 10, 15]
    assert looked(clock, silence, [1, 1, 1]) == [15, 15, 15]  # a look per beat
    assert looked(clock, silence, [3600]) == [25]  # Ctrl-Z for an hour stops both
    silence.heard()
    assert looked(clock, silence, [5, 5]) == [0, 5]


def test_a_process_that_computes_is_not_silent_and_one_that_sleeps_is() -> None:
    clock = Clock()
    code = "import sys\nsys.stdin.readline()\nx = 0\nwhile True: x += 1"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        silence = pulse.Silence(child.pid, clock)
        time.sleep(0.5)  # it starts
        assert looked(clock, silence, [5, 5, 5])[-1] > 0
        child.stdin.write(b"go\n")
        child.stdin.flush()
        time.sleep(0.5)
        assert looked(clock, silence, [5]) == [0]
        child.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        assert looked(clock, silence, [5, 5, 5])[-1] > 0
        child.kill()


def test_a_worker_shows_life_while_it_works() -> None:
    """In a process of its own, where no other thread computes."""
    code = (
        "import time\n"
        "from mcsr_bench.engines import pulse\n"
        "sent = []\n"
        "pulse.beat(lambda: sent.append(1), seconds=0.02)\n"
        "until = time.monotonic() + 20\n"
        "while len(sent) < 5 and time.monotonic() < until: sum(range(1000))\n"
        "working = len(sent)\n"
        "time.sleep(0.2)\n"
        "before = len(sent)\n"
        "time.sleep(0.5)\n"
        "print(working, len(sent) - before)"
    )
    working, waiting = map(int, subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert working >= 5
    assert waiting <= 2  # of 25 looks


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf", "5"])
def test_the_limit_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(pulse.SILENCE, value)
    with pytest.raises(UserError, match=f"MCSR_BENCH_SILENCE={value}: is not a number of seconds from 30 on, or 0"):
        pulse.silence_limit()


def test_five_minutes_unless_asked_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(pulse.SILENCE, raising=False)
    assert pulse.silence_limit() == 300
    monkeypatch.setenv(pulse.SILENCE, "90")
    assert pulse.silence_limit() == 90
    monkeypatch.setenv(pulse.SILENCE, "0")
    assert pulse.silence_limit() == float("inf")


def test_a_log_that_cannot_be_written_goes_nowhere(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "no" / "log", tmp_path):
        with processes._log(str(path)) as log:
            assert log.name == os.devnull
    with processes._log(str(tmp_path / "log")) as log:
        assert log.name == str(tmp_path / "log")


def test_signals_that_the_machine_sends_have_a_hint() -> None:
    assert processes._why(-signal.SIGKILL).endswith("ended by SIGKILL (out of memory?)")
    assert "its disk is gone?" in processes._why(-signal.SIGBUS)
    assert processes._why(-signal.SIGSEGV).endswith("ended by SIGSEGV")


@pytest.mark.usefixtures("workers")
def test_without_a_worker_each_job_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(processes.subprocess, "Popen", none_left)
    outcomes = follow(Processes(2), [Job(degrade_part, NOTHING)] * 3, Watcher())
    assert [outcome.kind for outcome in outcomes] == ["unable"] * 3
    assert "no worker process can be started (Too many open files)" in outcomes[0].reason


class Stops(Watcher):
    """Stops the worker of the first job, as Ctrl-Z or a debugger would."""

    def __init__(self, started: list[subprocess.Popen[str]]) -> None:
        self._started = started

    def started(self, job: int) -> None:
        if job == 0:
            os.kill(self._started[-1].pid, signal.SIGSTOP)


@pytest.mark.usefixtures("workers")
def test_a_stopped_worker_is_given_up_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one worker, where the first job stops; and a second worker that the system does not give."""
    started: list[subprocess.Popen[str]] = []
    usual = subprocess.Popen

    def start(*args: Any, **options: Any) -> subprocess.Popen[str]:
        if len(started) in (1, 3):
            started.append(started[0])  # counted, not started
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(usual(*args, **options))
        return started[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", start)
    monkeypatch.setattr(processes, "BEAT", 0.1)
    monkeypatch.setattr(pulse, "BEAT", 0.1)
    monkeypatch.setattr(processes, "silence_limit", lambda: 1.0)
    first, second, third = follow(Processes(2), [Job(degrade_part, NOTHING)] * 3, Stops(started))
    assert first.kind == "died"
    assert "its process did nothing for 1 s and was ended" in first.reason
    assert "MCSR_BENCH_SILENCE sets the limit" in first.reason
    assert (second.kind, third.kind) == ("result", "result")
