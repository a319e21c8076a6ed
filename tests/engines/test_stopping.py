"""Signals end a command so that it can go on, and workers end with the command whatever it dies of."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mcsr_bench.data.one_case import prepare_part
from mcsr_bench.engines import processes
from mcsr_bench.engines.base import Job, registered
from mcsr_bench.engines.processes import Processes
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import stopping
from mcsr_bench.weights.tensors import load_tensors

ROOT = Path(__file__).parents[2]
COMMAND = """
import sys; from mcsr_bench.engines import base, processes
file, where, deaf = sys.argv[1:]
load = "import sys, types; m = sys.modules['mcsr_bench.hanging'] = types.ModuleType('mcsr_bench.hanging'); "
load += f"exec(open({file!r}).read(), m.__dict__); "
exec(load)
silent = f"import mcsr_bench.engines.processes as p; p.{deaf} = lambda: None; " if deaf else ""
processes._START = processes._START.replace("from mcsr_bench", load + silent + "from mcsr_bench", 1)
base.follow(processes.Processes(1), [base.Job(m.hang, where)], base.Watcher())
"""
JOB = """
import ctypes, os; from pathlib import Path
from mcsr_bench.engines.base import registered
@registered
def hang(payload, emit):
    Path(payload).write_text(str(os.getpid()))
    {how}
"""


def until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
@pytest.mark.parametrize(
    ("deaf", "how"),
    [("", "ctypes.PyDLL(None).sleep(1000)"), ("end_with_parent", "ctypes.CDLL(None).sleep(1000)")],
    ids=["while Python's lock is held", "without the death signal"],
)
def test_a_worker_that_hangs_ends_with_a_command_that_is_killed(tmp_path, deaf, how):
    job, where = tmp_path / "job.py", tmp_path / "pid"
    job.write_text(JOB.format(how=how))
    command = subprocess.Popen([sys.executable, "-c", COMMAND, str(job), str(where), deaf], cwd=ROOT)
    until(lambda: where.is_file() and where.read_text())
    worker = int(where.read_text())
    assert runs(worker)
    command.kill()
    command.wait()
    until(lambda: not runs(worker), seconds=10)


def start(out, cache, *more):
    arguments = ["run", "--dataset", "toy", "--scale", "2", "--methods", "toynet", "--preset", "quick", "--jobs", "1"]
    plugins = str(ROOT / "tests" / "toys")
    return subprocess.Popen(
        [sys.executable, "-m", "mcsr_bench", *arguments, "--plugins", plugins, "--out", str(out), *more],
        env={**os.environ, "MCSR_BENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def trial(out):
    return next(RunFolder(out).trials(), None)


def check_stop(tmp_path, number, code, *, group=False):
    command = start(
        tmp_path / "r", tmp_path / "cache", "--set", "toynet.budget=999999", "--set", "toynet.validations=9999"
    )
    until(lambda: (found := trial(tmp_path / "r")) is not None and found.checkpoint.is_file(), seconds=300)
    (os.killpg if group else os.kill)(command.pid, number)
    _, said = command.communicate(timeout=120)
    assert command.returncode == code
    name = signal.Signals(number).name
    assert said.splitlines()[-1] == f"mcsr-bench: interrupted by {name}; the same command goes on where it stopped"
    assert "mcsr-bench: stopping after the present step; once more stops at once" in said
    place = trial(tmp_path / "r")
    found = place.read_record()
    assert found.status == "interrupted"
    assert found.reason.startswith(f"it was stopped by {name} on {found.host} at 20")
    assert load_tensors(place.checkpoint)[1]["step"] > 99
    assert place.owner() is None


def test_sigterm_checkpoints_and_says_how_to_go_on(tmp_path):
    check_stop(tmp_path, signal.SIGTERM, 143)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGTERM, 143)])
def test_signals_of_a_terminal_reach_workers_too(tmp_path, number, code):
    check_stop(tmp_path, number, code, group=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_exit_codes_of_a_command_without_workers(here, monkeypatch, number, code):
    monkeypatch.setattr("mcsr_bench.catalogue.listing", lambda *_: os.kill(os.getpid(), number) or time.sleep(5))
    if signal.getsignal(number) == signal.SIG_IGN:  # as under nohup
        signal.signal(number, signal.SIG_DFL)
    before = signal.getsignal(number)
    out = here("list", "methods")
    name = signal.Signals(number).name
    assert out.returncode == code
    assert out.stderr == f"mcsr-bench: interrupted by {name}; the same command goes on where it stopped\n"
    assert signal.getsignal(number) == before


def test_who_asked_to_start_over_is_not_told_to_do_so_again(here, monkeypatch):
    monkeypatch.setattr("mcsr_bench.api.experiment_spec", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    out = here("run", "--methods", "zerofill", "--fresh")
    assert out.returncode == 143
    assert out.stderr.endswith("interrupted by SIGTERM; the same command without --fresh goes on where it stopped\n")


def test_a_signal_that_is_ignored_stays_so():
    """As SIGHUP is under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.signals("stopping") as came:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert came == []
    finally:
        signal.signal(signal.SIGHUP, before)


@registered
def told_when_it_runs(payload, emit):
    """A job that can be stopped at any moment."""
    emit("runs")
    end = time.monotonic() + 20
    while time.monotonic() < end:
        stopping.check()
        time.sleep(0.005)
    return "nobody asked"


@pytest.fixture
def worker(monkeypatch):
    """The pid of a worker with a job that runs, and the ends of its pipes: forked, without the seconds that imports take."""
    (orders, to_worker), (from_worker, events) = os.pipe(), os.pipe()
    monkeypatch.setattr(stopping, "_requested", "")
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(orders, 0)
            os.dup2(events, 1)
            os.closerange(3, 512)
            sys.stdout, sys.stderr = (os.fdopen(handle, "w") for handle in (1, 2))  # as a fresh interpreter has
            processes._main()
        finally:
            os._exit(70)
    os.close(orders)
    os.close(events)
    with os.fdopen(to_worker, "w") as orders, os.fdopen(from_worker) as events:
        orders.write(json.dumps({"address": f"{__name__}:told_when_it_runs", "payload": None, "log": None}) + "\n")
        orders.flush()
        assert json.loads(events.readline()) == ["event", "runs"]
        yield pid, orders, (json.loads(line) for line in events)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a worker is forked")
def test_a_worker_that_is_terminated_stops_where_its_job_can(worker):
    pid, _, events = worker
    os.kill(pid, signal.SIGTERM)
    assert next(event for event in events if event[0] != "alive") == ["stopped", "it was stopped by SIGTERM"]
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a worker is forked")
def test_a_worker_leaves_the_signals_of_a_terminal_to_the_command_and_does_as_it_asks(worker):
    pid, orders, events = worker
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGHUP)
    time.sleep(0.05)  # it would have ended, or asked itself to stop
    orders.write(json.dumps({"stop": "the command"}) + "\n")
    orders.flush()
    assert next(event for event in events if event[0] != "alive") == ["stopped", "it was stopped by the command"]
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.usefixtures("workers")
def test_a_second_signal_waits_for_no_worker(monkeypatch):
    class Busy:
        closed = ended = False
        sent = None
        job = 0

        def __init__(self, *_):
            self.process = self
            made.append(self)

        def give(self, *_):
            pass

        def send(self, order):
            self.sent = order

        def wait(self, timeout):
            raise stopping.SignalledError(signal.SIGINT)

        def close(self):
            self.closed = True

        def end(self):
            self.ended = True

    made: list[Busy] = []
    monkeypatch.setattr(processes, "_Worker", Busy)
    messages = Processes(1).run([Job(prepare_part, {})])
    assert next(messages).kind == "started"
    with pytest.raises(stopping.SignalledError, match="SIGINT"):
        messages.throw(stopping.SignalledError(signal.SIGTERM))
    assert (made[0].sent, made[0].closed, made[0].ended) == ({"stop": "SIGTERM"}, True, True)
