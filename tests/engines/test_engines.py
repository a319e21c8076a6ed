"""One interface for everything that runs beside the command, and one loop that follows it."""

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

import mcsr_bench as mb
from mcsr_bench.data.one_case import degrade_part, prepare_part
from mcsr_bench.engines.base import Engine, Job, Message, Needs, Outcome, Watcher, execute, find, follow
from mcsr_bench.engines.processes import Processes
from mcsr_bench.experiment import run as experiment
from mcsr_bench.experiment import trials
from mcsr_bench.system import devices, files

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "toys"


class Here(Engine):
    """Jobs in this process, one after the other; what is done of them is kept."""

    def __init__(self):
        self.done: list[str] = []

    def side_by_side(self, needs):
        return 2

    def run(self, jobs: Sequence[Job]):
        for index, job in enumerate(jobs):
            yield Message(index, "started")
            events: list[object] = []
            kind, value = execute(job.address, job.payload, events.append)
            self.done.append(job.function.__name__)
            yield from (Message(index, "event", event) for event in events)
            yield Message(index, kind, value)


class Seen(Watcher):
    def __init__(self):
        self.events: list[tuple[str, int]] = []

    def started(self, job):
        self.events.append(("started", job))

    def event(self, job, value):
        self.events.append(("event", job))

    def ended(self, job, outcome):
        self.events.append((outcome.kind, job))


@pytest.fixture(autouse=True)
def cache(own_cache):
    return own_cache


def test_another_engine_prepares_and_runs_trials_without_a_worker(tmp_path, monkeypatch):
    engine = Here()
    monkeypatch.setattr(experiment, "Processes", lambda jobs: engine)
    results = mb.run(["zerofill", "toynet"], "toy", 2, preset="smoke", plugins=TOYS, out=tmp_path / "r")
    assert list(results.trials["status"]) == ["done", "done"]
    assert engine.done == ["prepare_part"] * 2 + ["degrade_part"] * 2 + ["trial_job"] * 2


def test_nothing_else_starts_processes_or_listens_to_them():
    """Only `follow` runs an engine, and only an engine starts workers, or a process beside one."""
    runs, starts = [], []
    for path in sorted((ROOT / "mcsr_bench").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "engine":
                runs += [str(path.relative_to(ROOT))] if node.attr == "run" else []
            if isinstance(node, ast.Attribute) and node.attr in ("Popen", "ProcessPoolExecutor", "Pool"):
                starts.append(str(path.relative_to(ROOT)))
    assert runs == ["mcsr_bench/engines/base.py"]
    assert starts == ["mcsr_bench/engines/beside.py", "mcsr_bench/engines/processes.py"]


@pytest.mark.usefixtures("workers")
def test_how_jobs_end_in_worker_processes(tmp_path):
    log = tmp_path / "log"
    work = {"dataset": "none", "data_root": None, "settings": {}, "plugins": []}
    jobs = [
        Job(prepare_part, work, log=log),
        Job(degrade_part, {"folder": str(tmp_path), "hr_folder": str(tmp_path), "protocol": "mcsr-1"}),
        Job(
            degrade_part,
            {"folder": "", "hr_folder": "", "protocol": "mcsr-1", "scale": 2, "dtype": "complex64", "positions": []},
        ),
    ]
    seen = Seen()
    refused, failed, done = follow(Processes(1), jobs, seen)
    assert (refused.kind, refused.reason.split(";")[0]) == ("refused", "no dataset 'none'")
    assert (failed.kind, failed.reason) == ("failed", "KeyError: 'scale'")
    assert "Traceback" in failed.value
    assert done == Outcome("result", None)
    assert (done.done, done.reason) == (True, "")
    assert seen.events == [("started", 0), ("refused", 0), ("started", 1), ("failed", 1), ("started", 2), ("result", 2)]


def test_a_job_names_a_registered_function():
    with pytest.raises(ValueError, match=r"test_engines:test_a_job.* not a registered job"):
        Job(test_a_job_names_a_registered_function, {})
    with pytest.raises(ValueError, match=r"os:system: not a registered job"):
        find("os:system")


def test_workers_follow_what_jobs_need(monkeypatch):
    monkeypatch.setattr(devices, "gpu_count", lambda: 3)
    monkeypatch.setattr(devices, "core_count", lambda: 8)
    assert Processes().side_by_side(Needs()) == 8
    assert Processes().side_by_side(Needs(cores=3)) == 2
    assert Processes().side_by_side(Needs(cores=16)) == 1
    assert Processes().side_by_side(Needs(gpus=1)) == 3
    assert Processes(5).side_by_side(Needs(gpus=1)) == 5


def test_trials_at_work_are_recorded_as_interrupted(tmp_path, monkeypatch):
    class Interrupted(Here):
        def run(self, jobs):
            yield Message(0, "started")
            raise KeyboardInterrupt

    real = trials.run_trials
    monkeypatch.setattr(experiment, "run_trials", lambda specs, _, listener: real(specs, Interrupted(), listener))
    with pytest.raises(KeyboardInterrupt):
        mb.run(["zerofill", "bicubic"], "toy", 2, preset="smoke", plugins=TOYS, out=tmp_path / "r", jobs=1)
    found = {p.parts[-3]: files.read_json(p) for p in (tmp_path / "r").glob("toy/x2/*/*/trial.json")}
    assert list(found) == ["zerofill"]  # the other one had not begun
    assert found["zerofill"]["status"] == "interrupted"
    assert "the same command goes on" in found["zerofill"]["reason"]
    monkeypatch.undo()
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(tmp_path / "cache"))
    again = mb.run(["zerofill", "bicubic"], "toy", 2, preset="smoke", plugins=TOYS, out=tmp_path / "r", jobs=1)
    assert list(again.trials["status"]) == ["done", "done"]
