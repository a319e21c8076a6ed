"""A trial at work shows that it is alive, and stops saying so before its end is written."""

import os
import socket
import time
from datetime import UTC, datetime

import fake_run as fake
import pytest

from mcsr_bench.results import heartbeat
from mcsr_bench.results.bundle import Bundle


@pytest.fixture
def bundle(tmp_path):
    folder = fake.write_trial_of(tmp_path, "zerofill", [30.0], status="failed", reason="before")
    return Bundle(folder, Bundle(folder, None).read_record())


def test_it_begins_as_running_here_and_now(bundle):
    with heartbeat.Heartbeat(bundle):
        found = bundle.read_record()
    assert (found.status, found.reason) == ("running", "")
    assert (found.host, found.pid) == (socket.gethostname(), os.getpid())
    for said in (found.started, found.heartbeat):
        assert 0 <= (datetime.now(UTC) - datetime.fromisoformat(said)).total_seconds() < 60


def test_it_beats_every_half_minute():
    assert heartbeat.SECONDS == 30


def test_it_beats_by_itself_with_what_was_last_told_and_no_more_after_its_end(bundle, monkeypatch):
    times = iter(f"t{i}" for i in range(10_000))
    monkeypatch.setattr(heartbeat, "now", lambda: next(times))
    with heartbeat.Heartbeat(bundle, seconds=0.01) as alive:
        first = bundle.read_record().heartbeat
        bundle.record.seconds["train"] = 7.0
        alive.beat()
        until = time.monotonic() + 30
        while (seen := bundle.read_record()).heartbeat in (first, bundle.record.heartbeat):
            assert time.monotonic() < until
            time.sleep(0.01)
        assert seen.seconds["train"] == 7.0
    bundle.record.status = "done"
    bundle.write()
    time.sleep(0.1)
    assert bundle.read_record().status == "done"


def test_a_full_disk_does_not_end_it(bundle, monkeypatch):
    real, calls = heartbeat.files.write_json, []

    def full(path, values):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(path, values)

    monkeypatch.setattr(heartbeat.files, "write_json", full)
    with heartbeat.Heartbeat(bundle, seconds=0.01):
        until = time.monotonic() + 30
        while len(calls) < 4:
            assert time.monotonic() < until
            time.sleep(0.01)
