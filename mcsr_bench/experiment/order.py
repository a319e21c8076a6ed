"""In which order trials run: long ones first, and so that workers end at about the same time. No result depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import mean

from mcsr_bench.experiment.planned import TrialSpec
from mcsr_bench.plugin.registry import methods
from mcsr_bench.system import files

_REFERENCE = Path(__file__).parents[1] / "reports" / "reference" / "quick.json"


def in_order(trials: Sequence[TrialSpec], workers: int) -> list[TrialSpec]:
    """Trainings first, so that interpolation fills the gaps at the end; among them the order of `shared`."""
    training = [trial for trial in trials if methods().card(trial.method).trains and not trial.shipped]
    there = {trial.place.folder for trial in training}
    ordered = [training[i] for i in shared(_expected(training), workers)]
    return ordered + [trial for trial in trials if trial.place.folder not in there]


def shared(lengths: Sequence[float], workers: int) -> list[int]:
    """The order in which workers that each take the next job end at about the same time; equal ones stay as they are.

    Jobs are packed, the longest first, into the shortest time for each worker that suffices (MULTIFIT: Coffman, Garey and Johnson,
    SIAM Journal on Computing 1978), and come in the order in which they then begin.
    """
    if workers < 2 or len(set(lengths)) < 2:
        return list(range(len(lengths)))
    low, high = max(*lengths, sum(lengths) / workers), sum(lengths)
    best = _packed(lengths, workers, high)
    for _ in range(20):
        middle = (low + high) / 2
        if (found := _packed(lengths, workers, middle)) is None:
            low = middle
        else:
            best, high = found, middle
    assert best is not None
    begins = {i: sum(lengths[j] for j in jobs[:at]) for jobs in best for at, i in enumerate(jobs)}
    return sorted(begins, key=lambda i: (begins[i], i))


def _packed(lengths: Sequence[float], workers: int, limit: float) -> list[list[int]] | None:
    """The jobs of each worker, each into the first that has time for it until ``limit``; None where one has not."""
    jobs: list[list[int]] = [[] for _ in range(workers)]
    left = [limit] * workers
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        free = [worker for worker in range(workers) if lengths[i] <= left[worker] * (1 + 1e-9)]
        if not free:
            return None
        jobs[free[0]].append(i)
        left[free[0]] -= lengths[i]
    return jobs


def _expected(trials: Sequence[TrialSpec]) -> list[float]:
    """How long each training takes, in units of one of them; what is not known takes as long as the others on average."""
    known = _reference()
    found = [None if trial.changes else known.get((trial.preset, trial.scale, trial.method)) for trial in trials]
    average = mean([time for time in found if time is not None] or [1.0])
    return [average if time is None else time for time in found]


@cache
def _reference() -> dict[tuple[str, int, str], float]:
    """By preset, scale and method, how long a training took in the runs of the reference numbers, over one of `edsr`."""
    numbers = files.read_json(_REFERENCE)["numbers"]
    return {
        (n["basis"]["preset"], n["scale"], n["method"]): n["times"]["train"] for n in numbers if "train" in n["times"]
    }
