"""Kills a run at random moments, resumes it, and compares every byte with a run that nobody disturbed.

`python tests/kills/harness.py --kills 100` kills the command, its worker or both with SIGKILL while data are prepared, a network is
trained, predicts, is scored, and while the report is written, until as many kills have landed. The command that was killed runs
again until it ends by itself; then its folder, its prepared data and its report are compared with those of the undisturbed run.

Linux alone. Command and workers are forked from this process, which has imported everything once: the seconds that imports take
would be hit by most kills. ``--interpreters`` starts workers as the command does, ``--latex`` kills the command `report`, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import matplotlib.pyplot  # noqa: F401  (for the forked processes, as the next ones)
import torch._dynamo  # noqa: F401
from statsmodels.stats import multitest  # noqa: F401

import mcsr_bench.experiment.trial  # noqa: F401
from mcsr_bench.cli import main as command_line
from mcsr_bench.engines import processes
from mcsr_bench.results.run_folder import RunFolder

TOYS = Path(__file__).parents[1] / "toys"
RUN = f"run --dataset toy --scale 2 --methods zerofill,toynet --preset quick --set toynet.budget=60 --plugins {TOYS} --out run"
REPORT = "report run --to report --formats csv,latex,md"
ORPHANS = 10.0
"""Seconds that a worker may outlive the command."""
TARGETS = ("command", "worker", "group")


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


def disturbed(story: Story, line: str, target: str, after: float, interpreters: bool) -> str:
    """Run the command and kill the target after some seconds: where that hit; "" where the command was faster, and ended well."""
    pid = story.start(line, interpreters)
    until = time.monotonic() + after
    status = None
    while (status := ended(pid)) is None and (time.monotonic() < until or (target == "worker" and not children(pid))):
        time.sleep(0.0005)
    if status is not None:
        if status != 0:
            story.fault(f"'{line}' ended with {status}")
        return ""
    workers = children(pid)
    where = stage(story)
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
    if landed:
        story.kills += 1
    return where if landed else ""


def stage(story: Story) -> str:
    """What the run was doing, as far as its folder shows."""
    places = {place.folder.parent.name.partition("@")[0]: place for place in RunFolder(story.folder / "run").trials()}
    if (story.folder / "report").exists():
        return "report"
    if "toynet" not in places:
        return "prepare" if not any((story.folder / "run").glob("toy/x2/*")) else "start"
    place = places["toynet"]
    if (record := place.sound_record()) is not None and record.status == "done":
        return "score or table"
    for path, name in ((place.volumes, "score"), (place.predictions, "score"), (place.weights, "predict")):
        if path.exists():
            return name
    return "train"


TIMES = {"seconds": {}, "heartbeat": "", "started": "", "pid": 0}


def contents(story: Story) -> dict[str, bytes]:
    """Every file that was made, without the story's folder in paths, the times in records, what reports say of their making, and
    the numbers on pages (which stand in the CSV files, too) and in the table of costs, which has times.

    The log of the command and the locks are not results.
    """
    out = {}
    for path in sorted(path for path in story.folder.rglob("*") if path.is_file()):
        name, data = str(path.relative_to(story.folder)), path.read_bytes()
        if path.name == "trial.json":
            record = json.loads(data) | TIMES
            record["profile"].pop("seconds_per_step", None)
            data = json.dumps(record, sort_keys=True).encode()
        data = data.replace(str(story.folder).encode(), b"FOLDER")
        if path.suffix == ".md":
            data = data.rpartition(b"\n---\n")[0]
        if path.suffix in (".html", ".md") or path.name.startswith("efficiency"):
            data = re.sub(rb"[0-9.]+", b"", data)
        if name != "log" and path.suffix != ".lock":
            out[name] = data
    return out


def temporaries(story: Story) -> list[str]:
    """Files that a killed process left, and owners of claims that nobody has any more."""
    ends = (".tmp", ".removed", ".owner", ".building", ".unfinished", ".damaged")
    return [str(path.relative_to(story.folder)) for path in story.folder.rglob("*") if path.name.endswith(ends)]


def compare(story: Story, found: dict[str, bytes], whole: dict[str, bytes]) -> None:
    """Tell the story of every file that differs from the undisturbed run's."""
    for name in sorted(found.keys() ^ whole.keys()):
        story.fault(f"{name} is {'new' if name in found else 'missing'}")
    for name in sorted(found.keys() & whole.keys()):
        if found[name] != whole[name]:
            story.fault(f"{name} differs ({len(found[name])} bytes, {len(whole[name])} undisturbed)")


def main() -> int:
    """Kill until enough has landed; 0 if every byte was the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--interpreters", action="store_true")
    parser.add_argument("--latex", action="store_true")
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    faults: list[str] = []
    hit: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="kills-") as root:
        calm = Story(Path(root) / "undisturbed", jobs=1)
        began = time.monotonic()
        spans = []
        lines = (RUN, REPORT) if asked.latex else (RUN,)
        for line in lines:
            if wait(calm.start(line, asked.interpreters)) != 0:
                sys.exit((calm.folder / "log").read_text())
            spans.append(time.monotonic() - began - sum(spans))
        whole = contents(calm)
        landed, number = 0, 0
        while landed < asked.kills:
            number += 1
            story = Story(Path(root) / f"story{number}", jobs=1 + number % 2)
            for line, span in zip(lines, spans, strict=True):
                where = "begin"
                while where and landed < asked.kills:
                    target = TARGETS[landed % 3] if line == RUN else ("command", "group")[landed % 2]
                    where = disturbed(story, line, target, draw.uniform(0, 0.5 * span), asked.interpreters)
                    landed += bool(where)
                    hit[where, target] += 1
                if where and (status := wait(story.start(line, asked.interpreters))) != 0:
                    story.fault(f"'{line}' ended with {status}: {(story.folder / 'log').read_text()[-500:]}")
            for left in temporaries(story):
                story.fault(f"{left} was left")
            compare(story, contents(story), whole)
            print(
                f"{landed} kills, {time.monotonic() - began:.0f} s: {len(story.faults)} faults",
                *story.faults,
                flush=True,
            )
            faults += story.faults
            shutil.rmtree(story.folder)
    for (where, target), count in sorted(hit.items()):
        print(f"{where or 'too late':16} {target:8} {count:4}")
    print(f"{landed} kills in {number} runs; {len(faults)} faults")
    print("\n".join(faults))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
