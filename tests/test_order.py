"""The order in which trials run: no worker waits long for another, and what is not known changes nothing."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mcsr_bench.experiment.order import in_order, shared


def ends(lengths: Sequence[float], order: Sequence[int], workers: int) -> float:
    """When the last of workers that each take the next job has ended."""
    free = [0.0] * workers
    for i in order:
        heapq.heapreplace(free, free[0] + lengths[i])
    return max(free)


def soonest(lengths: Sequence[float], workers: int) -> float:
    """Of all ways to share jobs out, the soonest end."""
    ways = itertools.product(range(workers), repeat=len(lengths))
    return min(
        max(sum(n for n, at in zip(lengths, way, strict=True) if at == w) for w in range(workers)) for way in ways
    )


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_end_almost_as_soon_as_they_can(workers: int) -> None:
    rng = random.Random(0)
    for _ in range(30):
        lengths = [rng.uniform(0.5, 2) for _ in range(rng.randint(1, 8))]
        order = shared(lengths, workers)
        assert sorted(order) == list(range(len(lengths)))
        assert ends(lengths, order, workers) <= 13 / 11 * soonest(lengths, workers) + 1e-9  # Yue 1990


def test_seven_trainings_on_two_workers() -> None:
    lengths = [1.0, 1.15, 0.6, 0.9, 1.08, 0.78, 0.89]
    assert ends(lengths, range(7), 2) == pytest.approx(3.57)
    assert ends(lengths, shared(lengths, 2), 2) == pytest.approx(soonest(lengths, 2))


def test_jobs_of_equal_or_unknown_length_and_those_of_one_worker_stay_as_they_are() -> None:
    assert shared([1.0] * 5, 2) == [0, 1, 2, 3, 4]
    assert shared([1.0, 3.0, 2.0], 1) == [0, 1, 2]
    assert shared([], 2) == []


def trial(method: str, preset: str = "quick", scale: int = 4, **of_spec: Any) -> Any:
    """What `in_order` looks at of a `TrialSpec`."""
    place = SimpleNamespace(folder=Path(f"{scale}/{method}/{sorted(of_spec)}"))
    return SimpleNamespace(
        **{"changes": {}, "shipped": "", **of_spec}, method=method, preset=preset, scale=scale, place=place
    )


def test_interpolation_comes_last_and_trainings_as_their_reference_times_say() -> None:
    asked = [trial(name) for name in ("bicubic", "edsr", "zeng", "zerofill", "mcmrsr", "sanet")]
    ordered = [one.method for one in in_order(asked, 2)]
    assert ordered[-2:] == ["bicubic", "zerofill"]
    assert set(ordered[:2]) == {"mcmrsr", "edsr"}  # 1.08 and 0.60 against 1.00 and 0.89


def test_what_has_no_reference_times_stays_as_it_is() -> None:
    names = ("mcmrsr", "zeng", "edsr")
    for of_spec in ({"preset": "paper"}, {"scale": 3}, {"changes": {"budget": 1}}, {"shipped": "abc"}):
        asked = [trial(name, **of_spec) for name in names]
        assert in_order(asked, 2) == asked
