"""What a training step costs beyond its convolutions and matrix products: ``python tests/benchmarks/floor.py --preset quick``.

The convolutions and products of a step, forward and backward, are recorded, and each is then timed alone on tensors of the same
shape and layout: their sum is the floor. Repeats are interleaved with whole steps, all on one thread and in CPU time, and medians
are divided. Read the ratios, not the seconds. ``--predict``: the same of a prediction.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
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
from mcsr_bench.system.memory import keep_freed_memory
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


Call = Callable[[], object]
Timer = Callable[[], float]


def floor_calls(run: Call) -> list[tuple[Call, int]]:
    """Every different convolution and product that a call makes, ready to be made again, and how often it is made."""
    with Recorder() as recorder:
        run()
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


def spent(call: Call) -> float:
    """CPU seconds of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def interleaved(runs: Sequence[Timer], calls: Sequence[tuple[Call, int]], repeats: int) -> tuple[list[float], float]:
    """Median CPU seconds of each run, which says how many it took, and of convolutions and products together: the floor."""
    seconds: list[list[float]] = [[] for _ in runs]
    floors: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for run, times in zip(runs, seconds, strict=True):
            times.append(run())
        with torch.no_grad():
            for (call, count), times in zip(calls, floors, strict=True):
                call()
                times.append(count * spent(call))
    return list(map(median, seconds)), sum(map(median, floors))


def step_of(method: TorchMethod, batch: Batch) -> Call:
    """A training step, ready to be made; every call changes the weights."""
    update = Updater(method)

    def step() -> None:
        for module in method.training_modules().values():
            module.train()
        method.training_step(batch, update)

    return step


def prediction_of(method: TorchMethod, batch: Batch) -> Call:
    """A prediction of the slices of a batch, ready to be made."""
    given = batch.without_target()
    return lambda: method.predict(given)


def ratio(run: Call, repeats: int) -> tuple[float, float]:
    """CPU seconds of a call, and its ratio to the floor."""
    run()
    [seconds], floor = interleaved([lambda: spent(run)], floor_calls(run), repeats)
    return seconds, seconds / floor


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default=",".join(n for n in methods().names() if methods().card(n).trains))
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--side", type=int, default=32, help="LR pixels per side")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--predict", action="store_true", help="a prediction, not a training step")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as a worker does
    what = "prediction" if asked.predict else "step"
    print(f"| method | {what} (CPU s) | over its convolutions and products |\n|---|---|---|")
    for name in asked.methods.split(","):
        method = mb.load_method(name, asked.scale, asked.preset)
        assert isinstance(method, TorchMethod)
        batch = batch_of(method, asked.side, asked.batch)
        run = (prediction_of if asked.predict else step_of)(method, batch)
        seconds, over = ratio(run, asked.repeats)
        print(f"| `{name}` | {seconds:.3f} | {over:.2f} |", flush=True)


if __name__ == "__main__":
    main()
