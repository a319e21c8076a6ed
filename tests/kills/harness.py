"""Kills a run in each of its stages, resumes it, and compares every byte with a run that nobody disturbed.

`python tests/kills/harness.py --kills 100` kills the command, its worker or both with SIGKILL, evenly in every stage: while data
are prepared, a network is trained, predicts, is scored, and while the report is written. The stage is drawn first, then a moment
within its length; where the command is, is seen from the locks that its processes have open. The command that was killed runs again
until it ends by itself; then its folder, its prepared data and its report are compared with those of the undisturbed run.

Linux alone. Command and workers are forked from this process, which has imported everything once: the seconds that imports take
would be hit by most kills. ``--interpreters`` starts workers as the command does, ``--latex`` kills the command `report`, too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import fontTools.subset  # noqa: F401  (for the forked processes, as the next ones)
import matplotlib.pyplot  # noqa: F401
import torch._dynamo  # noqa: F401
from compared import contents, differences, temporaries
from PIL import Image
from statsmodels.stats import multitest  # noqa: F401

import mcsr_bench.experiment.trial
import mcsr_bench.reports.paper  # noqa: F401
from mcsr_bench.cli import main as command_line
from mcsr_bench.engines import processes
from mcsr_bench.results.bundle import BundleFiles

Image.init()

TOYS = Path(__file__).parents[1] / "toys"
RUN = f"run --dataset toy --scale 2 --methods zerofill,toynet --preset quick --set toynet.budget=60 --plugins {TOYS} --out run"
REPORT = f"report run --to report --formats csv,latex,md --plugins {TOYS}"
STAGES = ("prepare", "train", "predict", "score", "report")
"""Of `RUN`, in their order."""
LATEX = "report command"
"""The only stage of `REPORT`."""
ORPHANS = 10.0
"""Seconds that a worker may outlive the command."""
TARGETS = ("command", "worker", "group")
MOST = 4
"""Times as many stories as were planned are tried until each kill has landed in the stage that was drawn."""


class Forked(subprocess.Popen[str]):
    """A worker that is forked from the command in place of a fresh interpreter; it runs the same `_main`."""

    def _execute_child(self, arguments: list[str], *rest: Any) -> None:
        environment, stdin, stdout = rest[5], rest[9], rest[12]
        self.pid = os.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                os.dup2(stdin, 0)
                os.dup2(stdout, 1)
                os.closerange(3, 512)
                os.environ.update(environment)
                sys.stdout, sys.stderr = (os.fdopen(handle, "w") for handle in (1, 2))  # as a fresh interpreter has
                processes._main()
            os._exit(70)
        self._child_created = True
        os.close(stdin)
        os.close(stdout)


@dataclass
class Story:
    """A folder in which a command is run, killed and resumed."""

    folder: Path
    jobs: int
    kills: int = 0
    hit: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Kills that landed, by stage and target."""
    faults: list[str] = field(default_factory=list)

    def start(self, line: str, interpreters: bool) -> int:
        """The command in a process group of its own; its pid."""
        self.folder.mkdir(parents=True, exist_ok=True)
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            os.setpgid(0, 0)
            os.chdir(self.folder)
            os.environ["MCSR_BENCH_CACHE"] = str(self.folder / "cache")
            log = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if not interpreters:
                processes.subprocess.Popen = Forked  # type: ignore[misc]
            sys.argv = ["mcsr-bench", *line.split(), *(["--jobs", str(self.jobs)] if line == RUN else [])]
            command_line()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def fault(self, what: str) -> None:
        """Something that must not be."""
        self.faults.append(f"{self.folder.name}, after {self.kills} kills: {what}")


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def runs(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def ended(pid: int) -> int | None:
    """The exit status of a child of this process, negative for a signal; None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def wait(pid: int, seconds: float = 600) -> int | None:
    """As `ended`, once it has."""
    until = time.monotonic() + seconds
    while (status := ended(pid)) is None and time.monotonic() < until:
        time.sleep(0.002)
    return status


class Kill(NamedTuple):
    """What is to be killed, and where."""

    stage: str
    target: str
    part: float
    """Of the stage's length."""


def plan(draw: random.Random, kills: int, latex: bool) -> Iterator[list[Kill]]:
    """As many kills, evenly over stages and targets, in stories: each goes through a run, and some also through the report."""
    stages = (*STAGES, LATEX) if latex else STAGES
    drawn = [
        Kill(stage, TARGETS[(number // len(stages) + place) % 3], draw.random())
        for number in range(kills)
        for place, stage in [(number % len(stages), stages[number % len(stages)])]
    ]
    draw.shuffle(drawn)
    runs, reports = ([kill for kill in drawn if (kill.stage == LATEX) == late] for late in (False, True))
    for one, other in zip_longest(_cut(runs, len(STAGES)), _cut(reports, 4), fillvalue=[]):
        yield sorted(one, key=lambda kill: STAGES.index(kill.stage)) + other


def _cut(kills: list[Kill], size: int) -> Iterator[list[Kill]]:
    yield from (kills[i : i + size] for i in range(0, len(kills), size))


def stage(line: str, pid: int) -> str:
    """What the command is doing, as the locks say that it and its workers have open; "" between two stages."""
    if line == REPORT:
        return LATEX
    held = [path for process in (pid, *children(pid)) for path in open_locks(process)]
    trials = sorted(path for path in held if "~" in path.name)  # toynet before zerofill, which runs beside it
    for path in trials:
        run, names = path.parents[1], path.name.removesuffix(".lock").split("~")
        place = BundleFiles(run.joinpath(*names))
        if names[2].startswith("toynet") and not place.weights.exists():
            return "train" if place.trial.exists() else ""
        return "score" if place.predictions.exists() else "predict"
    if any(path.name == "report.lock" for path in held):
        return "report"
    return "prepare" if any(path.parent.name == "stores.locks" for path in held) else ""


def open_locks(pid: int) -> list[Path]:
    """The lock files that a process has open."""
    found = []
    with contextlib.suppress(OSError):  # it ended
        for handle in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.append(Path(os.readlink(handle.path)))
    return [path for path in found if path.suffix == ".lock"]


def lengths(story: Story, line: str, interpreters: bool) -> Counter[str]:
    """Run a command undisturbed: the seconds that it spent in each stage."""
    pid, spent, before = story.start(line, interpreters), Counter[str](), time.monotonic()
    while (status := ended(pid)) is None:
        time.sleep(0.002)
        now = time.monotonic()
        spent[stage(line, pid)] += now - before  # type: ignore[assignment]
        before = now
    if status != 0:
        sys.exit((story.folder / "log").read_text())
    return spent


def disturbed(story: Story, line: str, kill: Kill, seconds: float, interpreters: bool) -> str | None:
    """Run the command and kill the target some seconds after the stage began, or when it ends: in which stage that hit.

    None where the command came to its end, which must be a good one, without the stage.
    """
    pid = story.start(line, interpreters)
    until, status = None, None
    while (status := ended(pid)) is None:
        where = stage(line, pid)
        if where == kill.stage and until is None:
            until = time.monotonic() + seconds
        if until is not None and (where != kill.stage or time.monotonic() >= until):
            break
        time.sleep(0.0005)
    if status is not None:
        if status != 0:
            story.fault(f"'{line}' ended with {status}")
        return None
    workers = children(pid)
    target = "command" if kill.target == "worker" and not workers else kill.target
    if target == "worker":
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[0], signal.SIGKILL)
    else:
        (os.kill if target == "command" else os.killpg)(pid, signal.SIGKILL)
    killed, status = time.monotonic(), wait(pid)
    while any(map(runs, workers)) and time.monotonic() - killed < ORPHANS:
        time.sleep(0.002)
    if left := [worker for worker in workers if runs(worker)]:
        story.fault(f"workers {left} outlived the command by {ORPHANS:g} s")
    if target == "worker":
        if status not in (0, 1, 2):
            story.fault(f"'{line}' ended with {status} when its worker was killed")
        landed = status != 0  # else it was idle already
    else:
        landed = status == -signal.SIGKILL
    if not landed:
        return None
    story.kills += 1
    story.hit[where, target] += 1
    return where


def tell(
    story: Story, kills: list[Kill], spans: Counter[str], whole: dict[str, bytes], interpreters: bool
) -> list[Kill]:
    """Kill, resume to the end and compare. Returns the kills that did not hit the stage that was drawn."""
    missed = []
    for line in (RUN, REPORT):
        mine = [kill for kill in kills if (kill.stage == LATEX) == (line == REPORT)]
        if line == REPORT and not mine:
            break
        done = False
        for kill in mine:
            hit = None if done else disturbed(story, line, kill, kill.part * spans[kill.stage], interpreters)
            done = done or hit is None
            missed += [kill] * (hit != kill.stage)
        if not done and (status := wait(story.start(line, interpreters))) != 0:
            story.fault(f"'{line}' ended with {status}: {(story.folder / 'log').read_text()[-500:]}")
    for left in temporaries(story.folder):
        story.fault(f"{left} was left")
    if not (story.folder / "report").exists():
        whole = {name: data for name, data in whole.items() if not name.startswith("report/")}
    for sentence in differences(contents(story.folder), whole):
        story.fault(sentence)
    return missed


def main() -> int:
    """Kill until enough has landed in each stage; 0 if every byte was the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--interpreters", action="store_true")
    parser.add_argument("--latex", action="store_true")
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    faults: list[str] = []
    hit: Counter[tuple[str, str]] = Counter()
    number = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as root:
        calm = Story(Path(root) / "undisturbed", jobs=1)
        began = time.monotonic()
        spans: Counter[str] = Counter()
        for line in (RUN, REPORT) if asked.latex else (RUN,):
            spans += lengths(calm, line, asked.interpreters)
        whole = contents(calm.folder)
        print(", ".join(f"{name or 'between'} {seconds:.2f} s" for name, seconds in spans.items()), flush=True)
        stories = list(plan(draw, asked.kills, asked.latex))
        most = MOST * len(stories)
        while stories and number < most and len(faults) < most:
            number += 1
            story = Story(Path(root) / f"story{number}", jobs=1 + number % 2)
            if missed := tell(story, stories.pop(0), spans, whole, asked.interpreters):
                stories.append([kill._replace(part=draw.random()) for kill in missed])
            hit += story.hit
            faults += story.faults
            print(
                f"{hit.total()} kills, {time.monotonic() - began:.0f} s: {len(story.faults)} faults",
                *story.faults,
                flush=True,
            )
            shutil.rmtree(story.folder)
    for (where, target), count in sorted(hit.items()):
        print(f"{where or 'between stages':16} {target:8} {count:4}")
    print(f"{hit.total()} kills in {number} runs; {len(faults)} faults")
    print("\n".join(faults))
    return int(bool(faults or stories))


if __name__ == "__main__":
    sys.exit(main())
