"""In which numbers a training computes. What is scored is always predicted in float32."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from mcsr_bench.errors import UserError

if TYPE_CHECKING:
    import torch

PRECISIONS: Final = ("32", "tf32", "bf16")
"""What ``--precision`` allows: float32; float32 with products of 10 bits (GPUs); bfloat16 where torch's autocast uses it."""
FULL: Final = "full"
"""What the key of a trial calls the first two."""


def chosen_precision(asked: str | None, device: str) -> str:
    """The precision for a device; None: "tf32" on a GPU, "32" elsewhere. UserError for another word, and tf32 off a GPU."""
    gpu = device.startswith("cuda")
    if asked is None:
        return "tf32" if gpu else "32"
    if asked not in PRECISIONS:
        raise UserError(f"--precision {asked}: allowed are {', '.join(PRECISIONS)}")
    if asked == "tf32" and not gpu:
        raise UserError("--precision tf32: is a way in which NVIDIA's GPUs compute; this run is on a CPU")
    return asked


def kind_of(precision: str) -> str:
    """ "full", or "bf16": what changes results by more than the device does."""
    return precision if precision == "bf16" else FULL


@contextmanager
def computing(precision: str, device: torch.device | str, *, compiled: bool = False) -> Iterator[None]:
    """Compute so within a block; afterwards, and in an inner block of another precision, as that says.

    compiled: use the compiled form of modules that were compiled.
    """
    import torch

    there = "torch._dynamo" in sys.modules  # importing it takes a second, for nothing where nothing is compiled
    as_written = torch.compiler.set_stance("force_eager") if there and not compiled else nullcontext()

    coarse = precision != "32"
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    _allow_tf32("high" if coarse else "highest", convolutions=coarse)
    try:
        with as_written, torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        _allow_tf32(before[0], convolutions=before[1])


def _allow_tf32(products: str, *, convolutions: bool) -> None:
    import torch

    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions
