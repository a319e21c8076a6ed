"""What needs a GPU: step time by precision, and how near a step comes to the rate of a matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from floor import batch_of, step_of

import mcsr_bench as mb
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.system.precision import PRECISIONS, computing
from mcsr_bench.training.budget import counted_step_flop

from .page import section_of, table

METHODS = ("sanet", "minet", "edsr", "mcmrsr")
UNMEASURED = "unmeasured"
LATER = ("`--compile`", "resident data", "several devices")


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median time of a call on the GPU."""
    times = []
    for i in range(repeats + 3):
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if i >= 3:
            times.append(time.perf_counter() - began)
    return median(times)


def ceiling(precision: str, repeats: int) -> float:
    """FLOP/s of a large matrix product."""
    n = 8192
    a, b = torch.randn(2, n, n, device="cuda")
    with computing(precision, "cuda"):
        return 2 * n**3 / seconds(lambda: a @ b, repeats)


def rows(quick: bool) -> list[tuple[str, ...]]:
    """Per method steps per second and share of the ceiling, by precision; the same cells without a GPU."""
    if not torch.cuda.is_available():
        return [(f"`{name}`", *[UNMEASURED] * len(PRECISIONS)) for name in METHODS]
    repeats, side = (2, 24) if quick else (20, 80)
    tops = {precision: ceiling(precision, repeats) for precision in PRECISIONS}
    found = []
    for name in METHODS:
        method = mb.load_method(
            name, 4, "paper", batch_size=2, patch=side, **({"kspace_weight": 0.0} if name == "mcmrsr" else {})
        )
        assert isinstance(method, TorchMethod)
        flop = counted_step_flop(method)
        step = step_of(method.to("cuda"), batch_of(method, side, 2).to("cuda"))
        cells = []
        for precision in PRECISIONS:
            with computing(precision, "cuda"):
                one = seconds(step, repeats)
            rate = flop / one
            cells.append(f"{1 / one:.2f}/s, {rate / 1e12:.1f} TFLOP/s, {rate / tops[precision]:.0%} of a product")
        found.append((f"`{name}`", *cells))
    return found


def section(quick: bool) -> str:
    """One table, whose cells say so where no GPU was at hand."""
    have = torch.cuda.is_available()
    which = f"On one {torch.cuda.get_device_name()}." if have else "No GPU was at hand."
    cells = [(name, *[UNMEASURED] * len(PRECISIONS)) for name in LATER]
    head = ("training step, preset paper, HR 320, two slices", *PRECISIONS)
    return section_of("GPU", which, table(head, [*rows(quick), *cells]))
