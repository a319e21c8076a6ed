"""Peak memory of McMRSR, which copies the neighbourhoods that match, against the textbook build, which unfolds all windows.

Each figure is of a process of its own, ``python tests/benchmarks/measured/memory.py WHOSE WHAT SIDE PRESET``: its peak beyond what
it held after a first run on images of 64 pixels, with which libraries are loaded. Linux alone.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve()
SCALE, SMALL, GOAL = 4, 16, 0.5


def main(whose: str, what: str, side: int, preset: str) -> None:
    """Print how many bytes a step (one slice) or a prediction needed beyond what was there, or ">" how many it did not get."""
    limit = _limit()
    import textbook
    import torch
    from floor import Call, batch_of, prediction_of, step_of
    from textbook_weights import images_of

    import mcsr_bench as mb
    from mcsr_bench.plugin.method import TorchMethod

    torch.set_num_threads(1)
    method = mb.load_method("mcmrsr", SCALE, preset)
    assert isinstance(method, TorchMethod)
    build = textbook.build("mcmrsr", SCALE, method.settings.model_dump())
    build.optimiser()

    def call(pixels: int) -> Call:
        batch = batch_of(method, pixels, 1)
        if whose == "ours":
            return (step_of if what == "step" else prediction_of)(method, batch)
        images = images_of(batch)
        return (lambda: build.step(images)) if what == "step" else (lambda: build.predict(images))

    call(SMALL)()
    run = call(side)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
    before, granted = _held("VmRSS"), _held("VmData")
    try:
        run()
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "alloc" not in str(error):
            raise
        print(">", limit - granted)
        return
    print(_held("VmHWM") - before)


def _limit() -> int:
    """At most so many bytes, nine tenths of the memory that is free now, so that what needs more fails by itself."""
    most = _kilobytes("/proc/meminfo", "MemAvailable") * 1024 * 9 // 10
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    return most


def _held(what: str) -> int:
    return _kilobytes("/proc/self/status", what) * 1024


def _kilobytes(path: str, name: str) -> int:
    [line] = [line for line in Path(path).read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1])


@dataclass(frozen=True)
class Peak:
    """What a step or prediction needed, in bytes; where it did not get it, how much it was refused."""

    size: int
    refused: bool = False

    def __str__(self) -> str:
        return f"{'more than ' if self.refused else ''}{self.size / 2**20:,.0f} MiB"


def peak(whose: str, what: str, side: int, preset: str) -> Peak:
    """Of a process of its own."""
    command = [sys.executable, str(HERE), whose, what, str(side), preset]
    # A fixed threshold: freed tensors go back to the system at once, whatever was freed before.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(done.stderr or f"ended with {done.returncode}")
    *refused, size = done.stdout.split()
    return Peak(int(size), bool(refused))


def section(quick: bool) -> str:
    """A prediction and a training step of one slice of HR 320; a step also of smaller ones, for machines that lack the memory."""
    from .page import judged, section_of, table

    preset, sides = ("quick", (16,)) if quick else ("paper", (80, 64, 40))
    rows = []
    for what, side in [("prediction", sides[0]), *(("step", side) for side in sides)]:
        ours, theirs = (peak(whose, what, side, preset) for whose in ("ours", "textbook"))
        over, goal = ours.size / theirs.size, GOAL if side == sides[0] else None
        share = f"{'less than ' if theirs.refused else ''}{judged(over, most=goal)}"
        if ours.refused or (theirs.refused and over > GOAL):
            share = "not known"
        label = "prediction" if what == "prediction" else "training step"
        rows.append((f"{label}, HR {SCALE * side} x {SCALE * side}", str(ours), str(theirs), share))
        print(*rows[-1], flush=True)
    head = ("`mcmrsr`, one slice", "ours", "textbook", "ours / textbook")
    prose = (
        f"Peak of resident memory of `mcmrsr` at 4x, preset {preset}, beyond that of network and images; "
        "each in a process of its own. The goal is of HR 320. *More than*: it was refused that much, nine tenths of what was free."
    )
    return section_of("Memory", prose, table(head, rows))


if __name__ == "__main__":
    sys.path[:1] = [str(HERE.parents[1]), str(HERE.parents[2] / "helpers")]
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
