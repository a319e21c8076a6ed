"""One owner at a time: on one machine, on several, and where the file system has no locks."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from filelock import FileLock

from mcsr_bench.system import files, locks
from mcsr_bench.system.locks import TakenError, claimed, owner
from mcsr_bench.system.owners import Owner, alive, started, this_process

HERE = this_process()
ELSEWHERE = HERE.model_copy(update={"host": "another-machine", "pid": 1234, "start": "then"})


def without_locks(*_, **__):
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.fixture(params=["locks", "no locks"])
def disk(request, monkeypatch):
    if request.param == "no locks":
        monkeypatch.setattr(FileLock, "acquire", without_locks)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "claims" / "trial", tmp_path / "trial.json"


def claim(place, what="toy x2"):
    return claimed(place[0], what, place[1])


def write_owner(place, value):
    place[0].parent.mkdir(exist_ok=True)
    place[0].with_name("trial.owner").write_text(value if isinstance(value, str) else value.model_dump_json())


def dead_process():
    """The pid and start of a process that ran."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = started(process.pid)
    process.communicate()
    return HERE.model_copy(update={"pid": process.pid, "start": start})


@pytest.mark.usefixtures("disk")
def test_a_second_process_is_told_who_is_at_work(place):
    with claim(place):
        assert owner(*place).pid == os.getpid()
        told = rf"^toy x2: process {os.getpid()} on \S+ \(since 20\S+ \S+ UTC\) is at work on it; wait for its end$"
        with pytest.raises(TakenError, match=told), claim(place):
            raise AssertionError("two own it")
        assert owner(*place) is not None  # the loser took nothing with it
    assert owner(*place) is None
    with claim(place):
        pass
    assert [path.name for path in place[0].parent.iterdir() if path.name != "trial.lock"] == []


@pytest.mark.usefixtures("disk")
def test_a_claim_ends_with_an_error_too(place):
    with pytest.raises(KeyError), claim(place):
        raise KeyError
    assert owner(*place) is None


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize("other", ["ended", "same pid, later process"])
def test_what_a_dead_process_of_this_machine_left_is_taken_over(place, other):
    write_owner(place, dead_process() if other == "ended" else HERE.model_copy(update={"start": "another"}))
    assert owner(*place) is None
    with claim(place):
        assert owner(*place).start == HERE.start


@pytest.mark.usefixtures("disk")
def test_another_machine_is_dead_after_ten_silent_minutes_by_the_clock_of_the_disk(place, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)  # no clock of this machine is asked
    write_owner(place, ELSEWHERE)
    file = place[0].with_name("trial.owner")
    now = file.stat().st_mtime
    os.utime(file, (now - 3600, now - 3600))
    place[1].touch()
    os.utime(place[1], (now - 500, now - 500))
    assert owner(*place) == ELSEWHERE
    with pytest.raises(TakenError, match="process 1234 on another-machine"), claim(place):
        raise AssertionError("two own it")
    os.utime(place[1], (now - 700, now - 700))
    assert owner(*place) is None
    with claim(place):
        assert owner(*place).host == HERE.host


@pytest.mark.usefixtures("disk")
def test_an_owner_that_is_being_written_is_an_owner(place):
    write_owner(place, "")
    with pytest.raises(TakenError, match="toy x2: another process is at work"), claim(place):
        raise AssertionError("two own it")


@pytest.mark.usefixtures("disk")
def test_many_at_once_take_over_from_the_dead_one_after_the_other(place):
    write_owner(place, dead_process())
    inside, most, done = [], [], []

    def work():
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                with claim(place):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.005)
                    inside.pop()
                done.append(1)
                return
            except TakenError:
                time.sleep(0.001)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), max(most)) == (8, 1)


def test_a_disk_that_cannot_be_written_is_not_one_without_locks(place, monkeypatch):
    def denied(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FileLock, "acquire", denied)
    with pytest.raises(OSError, match="No space"), claim(place):
        raise AssertionError("claimed")
    with pytest.raises(OSError, match="No space"), locks.locked(place[0], lambda: None):
        raise AssertionError("locked")


def test_who_asks_for_a_lock_learns_that_there_are_none(tmp_path, monkeypatch):
    with locks.locked(tmp_path / "lock") as held:
        assert held
    monkeypatch.setattr(FileLock, "acquire", without_locks)
    with locks.locked(tmp_path / "lock") as held:
        assert not held


def test_which_processes_run():
    assert alive(os.getpid(), HERE.start)
    ended = dead_process()
    assert alive(ended.pid, ended.start) is False
    assert ended.runs is False
    assert ELSEWHERE.runs is None
    assert Owner().runs is None


@pytest.mark.skipif(sys.platform != "linux", reason="a process that ended and was not waited for")
def test_a_zombie_does_not_run():
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    start = started(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    until = time.monotonic() + 30
    while alive(process.pid, start):
        assert time.monotonic() < until
        time.sleep(0.01)
    process.join()


def test_temporary_files_of_killed_processes_go_with_the_next_writing(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from mcsr_bench.system import files\n"
        "with files.replacing(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "result.csv"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=os.getcwd())
    [left] = tmp_path.iterdir()
    elsewhere = tmp_path / left.name.replace(files.digest(HERE.host, 8), "0" * 8)
    elsewhere.touch()
    with files.replacing(path) as mine:
        files.write_text(tmp_path / "result", "another file")
        with files.replacing(path) as second:
            assert mine.exists()  # of a process that runs
            second.write_text("b")
        mine.write_text("a")
    assert path.read_text() == "a"
    assert {p.name for p in tmp_path.iterdir()} == {"result.csv", "result", elsewhere.name}


def test_an_owner_is_json(place):
    with claim(place):
        found = json.loads(place[0].with_name("trial.owner").read_text())
    assert (found["host"], found["pid"]) == (HERE.host, os.getpid())


def test_a_claim_that_was_made_meanwhile_is_not_cleared_as_that_of_the_dead(place):
    file = place[0].with_name("trial.owner")
    write_owner(place, ELSEWHERE)
    locks._clear(file, HERE)
    assert owner(*place) == ELSEWHERE
    locks._clear(file, ELSEWHERE)
    assert [path.name for path in file.parent.iterdir()] == []
