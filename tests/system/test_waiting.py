"""Waiting for a lock: as long as its holder shows that it is alive, by whatever clock."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from mcsr_bench.errors import InterruptedWorkError
from mcsr_bench.system import waiting
from mcsr_bench.system.locks import locked


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "BEAT", 0.05)
    monkeypatch.setattr(waiting, "STILL", 0.4)


def test_a_holder_that_is_still_is_not_waited_for(tmp_path: Path) -> None:
    """As one that was stopped: it keeps its lock and touches nothing."""
    said = []
    with FileLock(tmp_path / "x.lock"):
        began = time.monotonic()
        with (
            pytest.raises(
                InterruptedWorkError, match=r"x\.lock: the process that holds this lock has shown no sign of life"
            ),
            locked(tmp_path / "x.lock", lambda: said.append(1)),
        ):
            raise AssertionError("two hold it")
        assert 0.4 <= time.monotonic() - began < 20
    assert said == [1]


def test_a_holder_that_works_is_waited_for_however_its_clock_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signs of life go back in time."""
    times = iter(range(10**9, 0, -1000))
    touch = os.utime
    monkeypatch.setattr(waiting.os, "utime", lambda path: touch(path, (0, next(times))))
    got = []

    def second() -> None:
        with locked(tmp_path / "x.lock", lambda: None):
            got.append(1)

    with locked(tmp_path / "x.lock", lambda: None):
        other = threading.Thread(target=second)
        other.start()
        time.sleep(1.2)  # thrice what one that is still is given
        assert got == []
        assert other.is_alive()
    other.join(timeout=20)
    assert got == [1]
