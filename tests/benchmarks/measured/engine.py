"""Start-up of the command line, what the engine adds to a trial, and a report."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import fake_run
import grid
import pandas as pd

from mcsr_bench.api import experiment_spec
from mcsr_bench.experiment.report import build_report
from mcsr_bench.results.bundle import DataRecord
from mcsr_bench.system import files

from .page import judged, section_of, table

METHODS = ("zerofill", "edsr", "minet", "sanet")
OVERHEAD_GOAL = 30.0
"""ms per trial."""


def start_up(repeats: int) -> tuple[float, float, float]:
    """CPU seconds of listing the methods, of importing numpy alone, and of a bare interpreter."""
    commands = (
        [sys.executable, "-m", "mcsr_bench", "list", "methods", "--json"],
        *([sys.executable, "-c", code] for code in ("import numpy", "pass")),
    )
    times: list[list[float]] = [[] for _ in commands]
    for _ in range(repeats + 1):
        for command, found in zip(commands, times, strict=True):
            found.append(grid.spent(lambda command=command: subprocess.run(command, check=True, capture_output=True)))
    listing, numpy, bare = (median(found[1:]) for found in times)
    return listing, numpy, bare


def run_to_report(out: Path, *, seeds: int, patients: int = 20, slices: int = 10) -> int:
    """A finished run with scores drawn from a seed, and its number of trials: four methods on two data sets at 4x."""
    names = ("knee", "head")
    for name in names:
        data: DataRecord = fake_run.data_record(name, patients=patients, slices=slices)
        for k, method in enumerate(METHODS):
            for seed in range(seeds):
                psnr = fake_run.draw(method, patients, seed=seed, better=0.1 * k)
                fake_run.write_trial_of(out, method, psnr, data=data, scale=4, seed=seed, slices=slices)
    asked = experiment_spec(METHODS, names, (4,), preset="small")
    files.write_json(out / "experiment.json", asked.model_dump(mode="json"))
    return len(names) * len(METHODS) * seeds


def section(quick: bool) -> str:
    """All three."""
    listing, numpy, bare = start_up(2 if quick else 9)
    rows: list[tuple[str, str, str]] = [
        (
            "`mcsr-bench list methods --json`",
            f"{1000 * listing:.0f} ms",
            f"{listing / bare:.1f} times a bare interpreter",
        ),
        ("`import numpy`", f"{1000 * numpy:.0f} ms", f"{numpy / bare:.1f} times"),
    ]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        one = grid.base(work)
        found = grid.overhead(work, 10 if quick else 400, one)
        rows += [
            (
                f"a trial that does nothing, of {found.trials}, beyond scoring",
                judged(found.made, most=OVERHEAD_GOAL, digits=1, unit=" ms"),
                f"{found.made / (1000 * one.score):.2f} times its scoring",
            ),
            ("the same recognised as finished", f"{found.recognised:.2f} ms", ""),
            ("`load_results`, per trial", f"{found.loaded:.2f} ms", ""),
        ]
        trials = run_to_report(work / "report", seeds=2 if quick else 5)
        build = grid.spent(lambda: build_report([work / "report"], work / "to"))
        read = grid.spent(lambda: [pd.read_csv(path) for path in (work / "report").rglob("*.csv")])
        rows.append((f"report of {trials} trials", f"{build:.1f} s", f"{build / read:.0f} times reading its CSV files"))
    prose = (
        "CPU time of all processes. A trial that does nothing is one of a method that predicts zeros for four slices of 32 pixels "
        "(`tests/benchmarks/grid.py`)."
    )
    return section_of("Start-up and engine", prose, table(("what", "CPU time", "ratio"), rows))
