"""Timings (``tox -e benchmarks``): read them as ratios within one run. Nothing here asserts a time."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mcsr_bench import load_method, metrics
from mcsr_bench.data.prepare import prepare
from mcsr_bench.data.sampler import Sampler
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.plugin.registry import add_plugins, methods
from mcsr_bench.protocol import MCSR_1
from mcsr_bench.training import Updater

TOYS = Path(__file__).parents[1] / "toys"
TRAINED = [name for name in methods().names() if methods().card(name).trains]


@pytest.fixture
def toy(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(tmp_path / "cache"))
    add_plugins(TOYS)
    return load_dataset("toy", size=128, patients=5, slices=4)


def test_store_building_per_slice(benchmark, toy, tmp_path, monkeypatch):
    """20 slices of 128 x 128, HR and LR, to disk; divide by 20."""
    count = iter(range(10_000))

    def build():
        monkeypatch.setenv("MCSR_BENCH_CACHE", str(tmp_path / f"cache{next(count)}"))
        return prepare(toy, MCSR_1, [4])

    benchmark.extra_info["slices"] = 20
    [prepared] = benchmark.pedantic(build, rounds=3, warmup_rounds=1)
    assert len(prepared.store.volumes) == 5


@pytest.mark.parametrize("name", TRAINED)
def test_one_training_step_at_quick(benchmark, toy, name):
    """Drawing the batch, forward, backward and update on one thread, at 4x."""
    [prepared] = prepare(toy, MCSR_1, [4])
    data = Sampler(prepared.store, prepared.split, MCSR_1, seed=0)
    method = load_method(name, 4, "quick")
    update = Updater(method)
    s = method.settings
    steps = iter(range(10_000))

    def step():
        batch = data.batch(next(steps), batch_size=s.batch_size, patch=s.patch, augment=s.augment)
        return method.training_step(batch, update)

    assert "loss" in benchmark.pedantic(step, rounds=5, warmup_rounds=2)


def test_scoring_one_volume(benchmark):
    """Every metric of a volume of 4 slices of 128 x 128."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128] / 64 - 1
    disc = (y**2 + x**2 < 0.6) * (1.0 + (x > 0))
    reference = (disc * np.exp(1j * x) + 0.01 * rng.normal(size=(4, 128, 128))).astype(np.complex64)
    prediction = np.abs(reference) + 0.02 * rng.normal(size=reference.shape)
    lr = MCSR_1.degrade(torch.from_numpy(reference), 4).numpy()

    def score():
        def degrade(image):
            return MCSR_1.degrade(torch.from_numpy(image), 4).numpy()

        return metrics.score_volume(prediction, metrics.Reference(reference), lr=lr, degrade=degrade)

    assert set(benchmark(score).volume) == set(metrics.METRICS)


def test_starting_the_command_line(benchmark):
    """``mcsr-bench list methods --json`` in a fresh interpreter; compare with the bare interpreter below."""
    call = [sys.executable, "-m", "mcsr_bench", "list", "methods", "--json"]
    benchmark.pedantic(lambda: subprocess.run(call, capture_output=True, check=True), rounds=5, warmup_rounds=1)


def test_starting_a_bare_interpreter(benchmark):
    """The floor under the one above."""
    call = [sys.executable, "-c", "pass"]
    benchmark.pedantic(lambda: subprocess.run(call, capture_output=True, check=True), rounds=5, warmup_rounds=1)
