"""How long a method takes and what it needs, on the device at hand (``mcsr-bench profile``).

Times are of synthetic slices on one device, after warm-up, each with the device synchronised. They compare within one run of one
machine, and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from mcsr_bench.cost.counting import synthetic_batch
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.loading import method_of
from mcsr_bench.plugin.method import Method, TorchMethod
from mcsr_bench.training import Updater

BATCHES = (1, 2, 4, 8, 16, 32, 64)
"""Batch sizes that throughput is tried at."""
PAPER_BATCH = 4
"""Whole slices per step behind the paper's 2.20 s per iteration, as in the released code (the paper does not state it)."""
_GAIN = 1.05


@dataclass(frozen=True)
class Timing:
    """Seconds unless stated otherwise; None: not measured."""

    device: str
    size: int
    latency_median: float
    """One slice, batch 1."""
    latency_p95: float
    repeats: int
    throughput: float
    """Slices per second at the best batch size tried."""
    throughput_batch: int
    peak_memory: int | None
    """Bytes of GPU memory that tensors took while predicting at batch 1."""
    step_seconds: float | None
    """One training step as the preset trains (its batch and patch)."""
    step_seconds_paper: float | None
    """One training step with 4 whole slices."""
    energy_joules: float | None
    """Per slice at batch 1, of the whole GPU; needs the extra [energy]."""


def measure(
    name: str,
    scale: int,
    preset: str,
    *,
    size: int,
    device: str = "cpu",
    seconds: float = 3.0,
    settings: Mapping[str, Any] | None = None,
) -> Timing:
    """Time predictions and training steps of a method with fresh weights.

    seconds: for about how long latency is repeated, at least 3 and at most 100 times after 2 for warm-up. Raises UserError as
    `method_of` does.
    """
    method = method_of(name, scale, preset, settings or {})
    if isinstance(method, TorchMethod):
        method.to(device)
    one = synthetic_batch(scale, size, device=device, joint=method.joint).without_target()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    times = _repeat(lambda: method.predict(one), device, seconds)
    peak = torch.cuda.max_memory_allocated() if device.startswith("cuda") else None
    energy = _energy(lambda: method.predict(one), device, len(times))
    throughput, best = _throughput(method, scale, size, device, float(np.median(times)))
    preset_step, paper_step = _steps(method, scale, size, device)
    return Timing(
        device=torch.cuda.get_device_name()
        if device.startswith("cuda")
        else f"cpu, {torch.get_num_threads()} thread(s)",
        size=size,
        latency_median=float(np.median(times)),
        latency_p95=float(np.percentile(times, 95)),
        repeats=len(times),
        throughput=throughput,
        throughput_batch=best,
        peak_memory=peak,
        step_seconds=preset_step,
        step_seconds_paper=paper_step,
        energy_joules=energy,
    )


def _repeat(call: Callable[[], object], device: str, seconds: float, warm_up: int = 2) -> list[float]:
    for _ in range(warm_up):
        call()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < seconds and len(times) < 100):
        times.append(_timed(call, device))
    return times


def _timed(call: Callable[[], object], device: str) -> float:
    _synchronise(device)
    began = time.perf_counter()
    call()
    _synchronise(device)
    return time.perf_counter() - began


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _throughput(method: Method, scale: int, size: int, device: str, latency: float) -> tuple[float, int]:
    """The best slices per second and its batch size: larger batches are tried while they gain 5 % and fit."""
    best, best_batch = 1 / latency, 1
    for n in BATCHES[1:]:
        try:
            batch = synthetic_batch(scale, size, batch_size=n, device=device, joint=method.joint).without_target()
            times = _repeat(partial(method.predict, batch), device, 0.5, warm_up=1)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        rate = n / float(np.median(times))
        if rate < _GAIN * best:
            break
        best, best_batch = rate, n
    return best, best_batch


def _steps(method: Method, scale: int, size: int, device: str) -> tuple[float | None, float | None]:
    if not isinstance(method, TorchMethod):
        return None, None
    settings = method.settings
    pixels = settings.patch * scale if settings.patch else size
    return (
        _step(method, synthetic_batch(scale, pixels, batch_size=settings.batch_size, joint=method.joint), device),
        _step(method, synthetic_batch(scale, size, batch_size=PAPER_BATCH, joint=method.joint), device),
    )


def _step(method: TorchMethod, batch: Batch, device: str) -> float | None:
    update = Updater(method)
    for module in method.training_modules().values():
        module.train()
    there = batch.to(device)
    try:
        times = _repeat(lambda: method.training_step(there, update), device, 1.0, warm_up=1)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None
    return float(np.median(times))


def _energy(call: Callable[[], object], device: str, repeats: int) -> float | None:
    """Joules per call by the GPU's own counter (nvidia-ml-py); None on a CPU or without the package."""
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml
    except ImportError:
        return None
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(torch.device(device).index or 0)
    before = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    for _ in range(repeats):
        call()
    _synchronise(device)
    return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) - before) / 1000 / repeats
