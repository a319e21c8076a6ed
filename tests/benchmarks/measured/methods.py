"""A training step and a prediction of every trained method against a textbook build of it, and against the floor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import textbook
from floor import Call, batch_of, floor_calls, interleaved, prediction_of, step_of
from textbook_weights import copy_weights, images_of

import mcsr_bench as mb
from mcsr_bench.plugin.method import TorchMethod

from .page import judged, section_of, table

SCALE = 4
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
    build = textbook.build(name, SCALE, method.settings.model_dump())
    copy_weights(method, build)
    build.optimiser()
    two, one = (batch_of(method, side, n) for n in (2, 1))
    two_images, one_image = images_of(two), images_of(one)
    runs: dict[str, tuple[Call, Call]] = {
        "prediction": (prediction_of(method, one), lambda: build.predict(one_image)),
        "training step": (step_of(method, two), lambda: build.step(two_images)),
    }
    for what, both in runs.items():
        for run in both:
            run()
        [ours, theirs], floor = interleaved(both, floor_calls(both[0]), repeats)
        yield Measured(name, preset, what, ours, theirs, floor)


def section(quick: bool) -> str:
    """Both presets of all methods."""
    side = 16 if quick else 32
    repeats = {"quick": 3 if quick else 15, "paper": 1 if quick else 3}
    rows = []
    for preset, n in repeats.items():
        for name in textbook.NAMES:
            for m in measure(name, preset, side, n):
                limit = FLOOR_GOALS.get(name) if (preset, m.what) == ("paper", "training step") else None
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
        "updates in plain PyTorch (`tests/helpers/textbook`), with the same weights. *Floor*: the convolutions and matrix products "
        "of that step or prediction, each timed alone. Medians of interleaved repeats: "
        f"{repeats['quick']} at preset quick, {repeats['paper']} at paper."
    )
    return section_of("Methods at 4x", prose, table(head, rows))
