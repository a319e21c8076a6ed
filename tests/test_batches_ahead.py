"""Batches that a thread prepares: the same, in order, and its errors reach the training."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mcsr_bench.plugin.batch import Batch
from mcsr_bench.protocol import MCSR_1
from mcsr_bench.training.ahead import Ahead

SETTINGS: Any = SimpleNamespace(batch_size=2, patch=3, augment="mirror")
CPU = torch.device("cpu")


class Data:
    """Batches whose values are their step."""

    def __init__(self) -> None:
        self.drawn: list[int] = []
        self.threads: set[int] = set()
        self.broken = -1

    def batch(self, step: int, **asked: Any) -> Batch:
        assert asked == {"batch_size": 2, "patch": 3, "augment": "mirror"}
        if step == self.broken:
            raise OSError(f"step {step} cannot be read")
        self.drawn.append(step)
        self.threads.add(threading.get_ident())
        image = torch.full((2, 4, 4), step, dtype=torch.complex64)
        return Batch.of(image, image, image, scale=1, protocol=MCSR_1)


def test_steps_come_in_order_from_one_other_thread() -> None:
    data: Any = Data()
    with Ahead(data, SETTINGS, CPU, 3, 8) as ahead:
        found = [int(ahead.batch(step).target_lr[0, 0, 0].real) for step in range(3, 8)]
    assert found == data.drawn == [3, 4, 5, 6, 7]
    assert len(data.threads) == 1
    assert threading.get_ident() not in data.threads


def test_the_next_one_is_drawn_before_it_is_asked_for() -> None:
    data: Any = Data()
    with Ahead(data, SETTINGS, CPU, 0, 3) as ahead:
        ahead.batch(0)
        assert ahead._next is not None
        ahead._next.result(10)
        assert data.drawn == [0, 1]


def test_nothing_is_drawn_beyond_the_last_step() -> None:
    data: Any = Data()
    with Ahead(data, SETTINGS, CPU, 5, 5) as ahead, pytest.raises(ValueError, match="step 5 is not the next"):
        ahead.batch(5)
    assert data.drawn == []


def test_an_error_is_raised_at_its_step() -> None:
    data: Any = Data()
    data.broken = 1
    with Ahead(data, SETTINGS, CPU, 0, 3) as ahead:
        ahead.batch(0)
        with pytest.raises(OSError, match="step 1 cannot be read"):
            ahead.batch(1)


def test_a_step_out_of_order_is_refused() -> None:
    data: Any = Data()
    with (
        Ahead(data, SETTINGS, CPU, 0, 3) as ahead,
        pytest.raises(ValueError, match="step 2 is not the next, which is 0"),
    ):
        ahead.batch(2)


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), Ahead(Data(), SETTINGS, CPU, 0, 3):  # type: ignore[arg-type]
        raise KeyboardInterrupt
    assert threading.active_count() == before
