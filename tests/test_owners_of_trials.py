"""Two runs in one folder: each trial is run by one of them, and nothing is taken from the other."""

import json
import threading
import time

import fake_run as fake
import pytest

import mcsr_bench as mb
from mcsr_bench.errors import UserError
from mcsr_bench.experiment import trial, trials
from mcsr_bench.results.bundle import BundleFiles
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import stopping
from mcsr_bench.system.owners import this_process
from mcsr_bench.system.progress import Listener
from mcsr_bench.system.stopping import StoppedError

TOYS = "tests/toys"


@pytest.fixture(autouse=True)
def cache(own_cache):
    return own_cache


class Told(Listener):
    def __init__(self):
        self.said: list[str] = []

    def warning(self, message):
        self.said.append(message)

    def trial_ended(self, trial, status, detail):
        self.said.append(f"{trial} {status} {detail}".rstrip())


def run(out, listener=None, methods=("toynet", "zerofill"), **kwargs):
    return mb.run(list(methods), "toy", 2, preset="smoke", plugins=TOYS, out=out, jobs=1, listener=listener, **kwargs)


def toynet(out) -> BundleFiles:
    return RunFolder(out).trial("toy", 2, "toynet", 0)


def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_second_run_does_the_others_waits_and_goes_on_with_what_the_first_left(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "_BETWEEN_LOOKS", 0.01)
    out, told = tmp_path / "r", Told()
    thread = threading.Thread(target=run, args=(out, told))
    with toynet(out).claimed():
        thread.start()
        until(lambda: "toy x2 zerofill seed 0 done" in told.said)
        time.sleep(0.1)  # it looks again, and says nothing more
        assert told.said[-1] == "toy x2 zerofill seed 0 done"
        [waits] = [line for line in told.said if "waiting" in line]
        assert not toynet(out).weights.exists()
    thread.join(120)
    assert waits.startswith("toy x2 toynet seed 0: process ")
    assert waits.endswith(" is running it: waiting for it")
    assert told.said[-1] == "toy x2 toynet seed 0 done"
    assert RunFolder(out).read(toynet(out)).status == "done"
    left = [path for path in (out / ".claims").iterdir() if path.suffix != ".lock" or path.stat().st_size]
    assert left == []


def test_it_takes_what_the_first_run_finished(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "_BETWEEN_LOOKS", 0.01)
    out, told = tmp_path / "r", Told()
    run(out)
    whole = toynet(out).trial.read_text()
    toynet(out).trial.write_text(json.dumps(json.loads(whole) | {"status": "running"}))
    thread = threading.Thread(target=run, args=(out, told))
    with toynet(out).claimed():
        thread.start()
        until(lambda: any("waiting" in line for line in told.said))
        toynet(out).trial.write_text(whole)
    thread.join(120)
    assert told.said[-1] == "toy x2 toynet seed 0 done by the other process"
    assert toynet(out).trial.read_text() == whole


def test_a_job_that_comes_second_touches_nothing(tmp_path, monkeypatch):
    """Two runs that begin at once both hand the trial to a worker."""
    out = tmp_path / "r"
    payloads = []
    real = trial.trial_job
    monkeypatch.setattr(
        trials, "follow", lambda engine, jobs, watcher: payloads.extend(j.payload for j in jobs) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        run(out, methods=["toynet"])
    place = toynet(out)
    place.log.write_text("of the first")
    with place.claimed():
        found = real(payloads[0], lambda _: None)
        assert list(found) == ["taken"]
        assert "process" in found["taken"]
    assert [path.name for path in place.folder.iterdir()] == [place.log.name]
    assert place.log.read_text() == "of the first"
    assert real(payloads[0], lambda _: None)["status"] == "done"
    assert place.log.read_text() == ""
    before = place.trial.read_bytes()
    assert real(payloads[0], lambda _: None)["status"] == "done"  # another process finished it: it is not run again
    assert place.trial.read_bytes() == before


def test_what_a_killed_run_left_of_the_claim_of_a_finished_trial_goes_with_the_next(tmp_path):
    run(tmp_path / "r")
    place = toynet(tmp_path / "r")
    dead = place.claim.with_name(f"{place.claim.name}.owner")
    gone = json.loads(this_process().model_dump_json()) | {"pid": 2**22 + 1}
    dead.write_text(json.dumps(gone))
    run(tmp_path / "r")
    assert not dead.exists()


def test_fresh_removes_nothing_of_what_is_run(tmp_path):
    out = tmp_path / "r"
    run(out)
    before = {path: path.read_bytes() for path in out.rglob("*.csv")}
    with toynet(out).claimed():
        said = r"--fresh: process \d+ on .* is running toy x2 toynet seed 0 in .*; wait for its end, or choose another --out"
        with pytest.raises(UserError, match=said):
            run(out, fresh=True)
    assert {path: path.read_bytes() for path in out.rglob("*.csv")} == before


def test_where_there_are_no_locks_it_is_said(tmp_path, monkeypatch):
    from filelock import FileLock

    def none(*_, **__):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", none)
    told = Told()
    run(tmp_path / "r", told, methods=["zerofill"])
    assert [line for line in told.said if "has no locks, so a file claims each trial for one process" in line]
    assert told.said[-1] == "toy x2 zerofill seed 0 done"


def test_a_trial_that_is_asked_to_stop_finishes_its_step_and_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    run(tmp_path / "whole", methods=["toynet"])
    out = tmp_path / "r"
    real = trial.Loop

    def stops_after_four(*args, report, **kwargs):
        def told(step, *rest):
            if step == 4:
                stopping.request("SIGTERM")
            report(step, *rest)

        return real(*args, report=told, **kwargs)

    monkeypatch.setattr(stopping, "_requested", "")
    monkeypatch.setattr(trial, "Loop", stops_after_four)
    found = run(out, methods=["toynet"])
    record = found.records[0]
    assert (record.status, toynet(out).checkpoint.is_file()) == ("interrupted", True)
    assert record.reason.startswith("it was stopped by SIGTERM on ")
    assert record.reason.endswith("; the same command goes on with it")
    with pytest.raises(StoppedError):
        stopping.check()
    monkeypatch.undo()
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(tmp_path / "cache"))
    steps = []
    monkeypatch.setattr(trial, "Loop", lambda *a, report, **k: real(*a, report=lambda *r: steps.append(r[0]), **k))
    run(out, methods=["toynet"])
    assert steps[0] == 5
    for name in ("weights", "training_log", "volumes"):
        first, second = (getattr(toynet(folder), name).read_bytes() for folder in (tmp_path / "whole", out))
        assert first == second


def test_results_name_what_is_running_and_what_only_seems_to(tmp_path):
    out = tmp_path / "r"
    for method in ("sanet", "minet", "edsr"):
        fake.write_trial_of(out, method, fake.draw(method, 8), status="done" if method == "edsr" else "running")
    sanet = RunFolder(out).trial("knee", 2, "sanet", 0)
    with sanet.claimed():
        found = mb.load_results(out)
    status = found.trials.set_index("method")["status"].to_dict()
    assert status == {"edsr": "done", "minet": "interrupted", "sanet": "running"}
    [reason] = found.trials.loc[found.trials["method"] == "minet", "reason"]
    assert reason.endswith("ended without a word; the same command goes on with it")
