"""Whether 4 and 16 times the work takes 4 and 16 times as long."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from floor import spent

from mcsr_bench import metrics
from mcsr_bench.data.sampler import Sampler
from mcsr_bench.experiment.report import build_report
from mcsr_bench.protocol import MCSR_1

from .data import BATCH, SCALE, prepared_toy
from .engine import run_to_report
from .page import judged, section_of, table

FACTORS, GOAL = (1, 4, 16), 1.1
Work = Callable[[Path], object]
"""What is timed, once, in an empty folder."""


def store(factor: int) -> Work:
    """Build a store of that many times 5 patients with 4 slices of 64 x 64."""
    return lambda folder: prepared_toy(folder, size=64, patients=5 * factor, slices=4)


def epoch(factor: int, folder: Path) -> Work:
    """All batches of an epoch of such a store."""
    _, prepared = prepared_toy(folder, size=64, patients=5 * factor, slices=4)

    def draw(_: Path) -> None:
        sampler = Sampler(prepared.store, prepared.split, MCSR_1, seed=0)
        for step in range(sampler.steps_per_epoch(BATCH)):
            sampler.batch(step, batch_size=BATCH, patch=0, augment="none")

    return draw


def scoring(factor: int) -> Work:
    """All metrics of a volume of that many times 2 slices of 128 x 128."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128] / 64 - 1
    disc = (y**2 + x**2 < 0.6) * (1.0 + (x > 0))
    truth = (disc * np.exp(1j * x) + 0.01 * rng.normal(size=(2 * factor, 128, 128))).astype(np.complex64)
    prediction = np.abs(truth) + 0.02 * rng.normal(size=truth.shape)
    low = MCSR_1.degrade(torch.from_numpy(truth), SCALE).numpy()
    return lambda _: metrics.score_volume(
        prediction,
        metrics.Reference(truth),
        lr=low,
        degrade=lambda image: MCSR_1.degrade(torch.from_numpy(image), SCALE).numpy(),
    )


def report(factor: int, folder: Path) -> Work:
    """A report of that many times 8 trials, of two seeds at least."""
    run_to_report(folder, seeds=2 * factor)
    return lambda to: build_report([folder], to / "report")


def section(quick: bool) -> str:
    """Time per unit of work over that at 1x."""
    repeats, factors = (1, FACTORS[:2]) if quick else (5, FACTORS)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        subjects: dict[str, Callable[[int], Work]] = {
            "building a store": store,
            "an epoch of batches": lambda factor: epoch(factor, root / f"epoch{factor}"),
            "scoring a volume": scoring,
            "a report": lambda factor: report(factor, root / f"run{factor}"),
        }
        for what, made in subjects.items():
            works = [made(factor) for factor in factors]
            times: list[list[float]] = [[] for _ in works]
            for _ in range(repeats + 1):
                for work, found in zip(works, times, strict=True):
                    with tempfile.TemporaryDirectory() as folder:
                        found.append(spent(lambda work=work, folder=folder: work(Path(folder))))
            each = [median(found[1:]) / factor for found, factor in zip(times, factors, strict=True)]
            rows.append((what, f"{1000 * each[0]:.0f} ms", *(judged(one / each[0], most=GOAL) for one in each[1:])))
            print(*rows[-1], flush=True)
    head = ("what", "1x (CPU time)", *(f"{factor}x, per unit of work" for factor in factors[1:]))
    prose = (
        "Time per unit of work over that at 1x: 1.00 is linear growth, less where a part is done once however much "
        "there is. 1x: a store of 5 patients with 4 slices of 64 x 64, its 2 training patients, a volume of 2 slices of 128 x 128, "
        "a report of 16 trials."
    )
    return section_of("Growth", prose, table(head, rows))
