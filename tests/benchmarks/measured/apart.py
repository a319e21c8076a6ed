"""A textbook build in a process of its own, as it would run outside of the suite, whose workers keep the memory that they free.

``python tests/benchmarks/measured/apart.py METHOD PRESET SIDE`` does what each line of its standard input says, and writes how many
CPU seconds it took.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

HERE = Path(__file__).resolve()
SCALE = 4
PREDICTION, STEP = "prediction", "training step"


class Apart:
    """The textbook build of a method with its weights at a preset: a prediction of one slice, and a step with two."""

    def __init__(self, method: str, preset: str, side: int) -> None:
        """side: LR pixels per side."""
        self._process = subprocess.Popen(
            [sys.executable, str(HERE), method, preset, str(side)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def spent(self, what: str) -> float:
        """CPU seconds of `PREDICTION` or `STEP`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def main(name: str, preset: str, side: int) -> None:
    """Answer until standard input ends."""
    import textbook
    import torch
    from floor import batch_of, spent
    from textbook_weights import copy_weights, images_of

    import mcsr_bench as mb
    from mcsr_bench.plugin.method import TorchMethod

    torch.set_num_threads(1)
    method = mb.load_method(name, SCALE, preset)
    assert isinstance(method, TorchMethod)
    build = textbook.build(name, SCALE, method.settings.model_dump())
    copy_weights(method, build)
    build.optimiser()
    one, two = (images_of(batch_of(method, side, n)) for n in (1, 2))
    calls = {PREDICTION: lambda: build.predict(one), STEP: lambda: build.step(two)}
    for line in sys.stdin:
        print(spent(calls[line.strip()]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
