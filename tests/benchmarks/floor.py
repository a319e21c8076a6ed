"""What a training step costs beyond its convolutions and matrix products: ``python tests/benchmarks/floor.py --preset quick``.

The convolutions and products of a step, forward and backward, are recorded, and each is then timed alone on tensors of the same
shape and layout: their sum is the floor. Repeats are interleaved with whole steps, all on one thread and in CPU time, and medians
are divided. Read the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import mcsr_bench as mb
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.plugin.registry import methods
from mcsr_bench.protocol import MCSR_1
from mcsr_bench.training import Updater

_ATEN = torch.ops.aten
_COUNTED = {
    _ATEN.convolution.default,
    _ATEN.convolution_backward.default,
    _ATEN.mm.default,
    _ATEN.addmm.default,
    _ATEN.bmm.default,
    _ATEN.baddbmm.default,
}


class Recorder(TorchDispatchMode):
    """Counts the convolutions and matrix products below it, by operator and by shape and layout of what they get."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[tuple[Any, Any]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _COUNTED:
            self.calls[func, _frozen(args)] += 1
        return func(*args, **(kwargs or {}))


def _frozen(value: Any) -> Any:
    """Arguments that can be counted: of a tensor its shape and strides."""
    if isinstance(value, Tensor):
        return ("tensor", tuple(value.shape), value.stride())
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _made(value: Any) -> Any:
    """Arguments like those that were counted, of random numbers."""
    if isinstance(value, tuple) and value[:1] == ("tensor",):
        _, shape, stride = value
        size = 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
        return torch.randn(max(size, 1)).as_strided(shape, stride)
    return list(map(_made, value)) if isinstance(value, tuple) else value


def floor_calls(method: TorchMethod, batch: Batch, update: Updater) -> list[tuple[Callable[[], object], int]]:
    """Every different call of a training step, ready to be made again, and how often the step makes it."""
    with Recorder() as recorder:
        method.training_step(batch, update)
    out = []
    for (func, frozen), count in recorder.calls.items():
        args = [_made(value) for value in frozen]
        out.append((lambda func=func, args=args: func(*args), count))
    return out


def batch_of(method: TorchMethod, side: int, n: int) -> Batch:
    """Random slices: ``side`` LR pixels per side."""
    generator = torch.Generator().manual_seed(0)

    def images(pixels: int) -> Tensor:
        shape = (n, pixels, pixels)
        return torch.complex(torch.rand(shape, generator=generator), torch.rand(shape, generator=generator))

    large = side * method.scale
    low, high, other = images(side), images(large), images(large)
    return Batch.of(low, other, images(side), target=high, scale=method.scale, protocol=MCSR_1, joint=method.joint)


def spent(call: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def ratio(name: str, scale: int, preset: str, side: int, batch_size: int, repeats: int) -> tuple[float, float]:
    """CPU seconds of a training step, and its ratio to the floor."""
    method = mb.load_method(name, scale, preset)
    assert isinstance(method, TorchMethod)
    for module in method.training_modules().values():
        module.train()
    update, batch = Updater(method), batch_of(method, side, batch_size)
    method.training_step(batch, update)
    calls = floor_calls(method, batch, update)
    steps: list[float] = []
    floors: list[list[float]] = [[] for _ in calls]
    with torch.no_grad():
        for _ in range(repeats):
            with torch.enable_grad():
                steps.append(spent(lambda: method.training_step(batch, update)))
            for (call, count), times in zip(calls, floors, strict=True):
                call()
                times.append(count * spent(call))
    return median(steps), median(steps) / sum(map(median, floors))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=",".join(n for n in methods().names() if methods().card(n).trains))
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--side", type=int, default=32, help="LR pixels per side")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| method | step (CPU s) | over its convolutions and products |\n|---|---|---|")
    for name in asked.methods.split(","):
        seconds, over = ratio(name, asked.scale, asked.preset, asked.side, asked.batch, asked.repeats)
        print(f"| `{name}` | {seconds:.3f} | {over:.2f} |", flush=True)


if __name__ == "__main__":
    main()
