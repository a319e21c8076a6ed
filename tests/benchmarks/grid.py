"""What a grid of trials costs beyond its methods: ``python tests/benchmarks/grid.py [--trials 100,400,1600]``.

Trials of a method that does nothing, on four test slices of 32 pixels; CPU time of this process and of its workers. Of the run that
makes them, and of the same command again, which finds them finished, that of a run with one trial is taken off; scoring is timed
alone and taken off the first, because it is the method's. Recognised: until that command knows which trials are finished, before it
reads their results. What grows faster than the number of trials shows from one row to the next.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PLUGINS = (Path(__file__).parent / "plugins", Path(__file__).parents[1] / "toys")


def spent(call: Callable[[], object]) -> float:
    """CPU seconds of a call, and of the processes that it waited for."""

    def total() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    before = total()
    call()
    return total() - before


def run(out: Path, trials: int) -> float:
    """CPU seconds of the command line."""
    plugins = [word for path in PLUGINS for word in ("--plugins", str(path))]
    asked = ["--methods", "nothing", "--dataset", "toy", "--scale", "2", "--preset", "quick", "--jobs", "1"]
    seeds = ["--seeds", ",".join(map(str, range(trials)))]
    command = [sys.executable, "-m", "mcsr_bench", "run", *asked, *seeds, *plugins, "--out", str(out)]
    return spent(lambda: subprocess.run(command, check=True, capture_output=True))


def recognising(out: Path, trials: int) -> float:
    """CPU seconds until the run says how many of its trials are finished."""
    import mcsr_bench as mb
    from mcsr_bench.system.progress import Listener

    heard: list[float] = []

    class Heard(Listener):
        def trials(self, total: int, finished: int) -> None:
            assert finished == total == trials
            heard.append(time.process_time())

    began = time.process_time()
    mb.run("nothing", "toy", 2, plugins=PLUGINS, preset="quick", seeds=range(trials), jobs=1, out=out, listener=Heard())
    return heard[0] - began


def loading(out: Path) -> float:
    """CPU seconds of `mcsr_bench.load_results`."""
    import mcsr_bench as mb

    return spent(lambda: mb.load_results(out))


def scoring(out: Path) -> float:
    """CPU seconds in which one trial is scored."""
    import mcsr_bench as mb
    from mcsr_bench.data.store import open_store
    from mcsr_bench.experiment.trial import score_tables
    from mcsr_bench.plugin.registry import scoped_plugins

    [bundle, *_] = mb.load_results(out).bundles
    with scoped_plugins(PLUGINS):
        volumes = [v for v in open_store(bundle.record.data.store).volumes.values() if v.patient_id in tested(bundle)]
        score_tables(bundle, volumes)
        began = time.process_time()
        for _ in range(5):
            score_tables(bundle, volumes)
    return (time.process_time() - began) / 5


def tested(bundle: object) -> set[str]:
    """The patients of a bundle's scores."""
    import pandas as pd

    return set(pd.read_csv(bundle.volumes)["patient_id"])  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Overhead:
    """What a run of so many trials costs beyond a run of one, in ms per trial."""

    trials: int
    made: float
    """Without scoring."""
    found: float
    """Found finished, and reported."""
    recognised: float
    """Found finished."""
    loaded: float


@dataclass(frozen=True)
class Base:
    """CPU seconds of a run of one trial, of the same found finished, and of the scoring of a trial."""

    first: float
    again: float
    score: float


def base(work: Path) -> Base:
    """Measured in a folder, which is also the cache of the runs from then on."""
    os.environ["MCSR_BENCH_CACHE"] = str(work / "cache")
    run(work / "one", 1)
    again = run(work / "one", 1)
    return Base(run(work / "two", 1), again, scoring(work / "one"))


def overhead(work: Path, trials: int, taken_off: Base) -> Overhead:
    """Of a run of that many trials."""
    out = work / f"n{trials}"
    made = 1000 * ((run(out, trials) - taken_off.first) / (trials - 1) - taken_off.score)
    found = 1000 * (run(out, trials) - taken_off.again) / (trials - 1)
    recognising(work / "one", 1)  # imports
    loading(out)
    return Overhead(trials, made, found, 1000 * recognising(out, trials) / trials, 1000 * loading(out) / trials)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", default="100,400,1600")
    asked = [int(n) for n in parser.parse_args().trials.split(",")]
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        one = base(work)
        print(f"a run of one trial: {one.first:.1f} CPU s, found finished: {one.again:.1f}", end="; ")
        print(f"scoring of a trial: {1000 * one.score:.0f} ms\n")
        head = (
            "trials",
            "a trial, without scoring (ms)",
            "found finished, and reported, each (ms)",
            "recognised, each (ms)",
        )
        print(f"| {' | '.join(head)} | `load_results`, each (ms) |\n|---|---|---|---|---|")
        for n in asked:
            found = overhead(work, n, one)
            per_trial = f"{found.made:.1f} | {found.found:.1f} | {found.recognised:.2f} | {found.loaded:.2f}"
            print(f"| {n:,} | {per_trial} |", flush=True)


if __name__ == "__main__":
    main()
