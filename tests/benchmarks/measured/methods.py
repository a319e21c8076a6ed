"""A training step and a prediction of every trained method against a textbook build of it, and against the floor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import textbook
from floor import batch_of, floor_calls, interleaved, prediction_of, spent, step_of

import mcsr_bench as mb
from mcsr_bench.plugin.method import TorchMethod

from .apart import PREDICTION, SCALE, STEP, Apart
from .page import judged, section_of, table

WARM_UP = 2
"""Calls before the first that counts: by then the process has all the memory of a step."""
# Goals are of preset paper.
FLOOR_GOALS = {"sanet": 1.1, "minet": 1.1, "edsr": 1.1, "mcmrsr": 1.8}
"""Of a training step at preset paper: how many times its convolutions and products."""
TEXTBOOK_GOAL = 1.3


@dataclass(frozen=True)
class Measured:
    """CPU seconds of one thing that a method does."""

    method: str
    preset: str
    what: str
    ours: float
    textbook: float
    floor: float


def measure(name: str, preset: str, side: int, repeats: int) -> Iterator[Measured]:
    """A step with a batch of 2 and a prediction of one slice, ``side`` LR pixels per side."""
    method = mb.load_method(name, SCALE, preset)
    assert isinstance(method, TorchMethod)
    two, one = (batch_of(method, side, n) for n in (2, 1))
    with Apart(name, preset, side) as textbook_build:
        for what, run in {PREDICTION: prediction_of(method, one), STEP: step_of(method, two)}.items():
            both = [partial(spent, run), partial(textbook_build.spent, what)]
            for _ in range(WARM_UP):
                for timer in both:
                    timer()
            [ours, theirs], floor = interleaved(both, floor_calls(run), repeats)
            yield Measured(name, preset, what, ours, theirs, floor)


def section(quick: bool) -> str:
    """Both presets of all methods."""
    side = 16 if quick else 32
    repeats = {"quick": 3 if quick else 15, "paper": 1 if quick else 5}
    rows = []
    for preset, n in repeats.items():
        for name in textbook.NAMES:
            for m in measure(name, preset, side, n):
                limit = FLOOR_GOALS.get(name) if (preset, m.what) == ("paper", STEP) else None
                over, less = m.ours / m.floor, m.textbook / m.ours
                rows.append(
                    (
                        f"`{name}`, {preset}",
                        m.what,
                        f"{m.ours:.3f}",
                        judged(less, least=TEXTBOOK_GOAL if preset == "paper" else None),
                        judged(over, most=limit),
                    )
                )
                print(*rows[-1], flush=True)
    head = ("method, preset", "what", "ours (CPU s)", "textbook / ours", "ours / floor")
    prose = (
        f"A training step with two slices and a prediction of one, LR {side} x {side}. *Textbook*: the same network, loss and "
        "updates in plain PyTorch (`tests/helpers/textbook`), with the same weights, in a process that uses memory as Python does "
        "by itself (ours keeps what it frees, as the suite's workers do). *Floor*: the convolutions and matrix products "
        "of that step or prediction, each timed alone. Medians of interleaved repeats: "
        f"{repeats['quick']} at preset quick, {repeats['paper']} at paper."
    )
    return section_of("Methods at 4x", prose, table(head, rows))
