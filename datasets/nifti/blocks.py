"""Splitting one volume by slices: contiguous blocks with gaps between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.data.raw.nifti import Volume, magnitude, samples
from mcsr_bench.errors import UserError

from .orientation import Orientation

Part = Literal["train", "validation", "test"]
_ORDER: tuple[Part, ...] = ("train", "validation", "train", "test", "train")


@dataclass(frozen=True)
class Block:
    """Slices start .. stop - 1 of a volume, for one part of the split."""

    part: Part
    start: int
    stop: int

    @property
    def suffix(self) -> str:
        """Its first and last slice, for the name of a case."""
        return f"s{self.start:03d}-{self.stop - 1:03d}"


def cut(
    first: int, stop: int, *, validation: float, test: float, gap: int, what: str, name: str = "nifti"
) -> list[Block]:
    """Cut slices first .. stop - 1 into train, validation, train, test, train, ``gap`` slices unused at each cut.

    validation, test: their fractions. The middle of a volume, where most anatomy is, is shared out to all parts; its ends go to
    train. Gaps are taken from train. UserError, with ``what`` as its subject, for too few slices; name: of the dataset.
    """
    n = stop - first
    sizes = {"validation": max(1, round(validation * n)), "test": max(1, round(test * n))}
    train = n - sum(sizes.values()) - gap * (len(_ORDER) - 1)
    if train < 3:
        raise UserError(
            f"{what} has {n} slices that are not empty, too few for {name}.split=slice with {name}.gap={gap}"
        )
    shares = iter([train // 3 + (i < train % 3) for i in range(3)])
    out: list[Block] = []
    start = first
    for part in _ORDER:
        end = start + (next(shares) if part == "train" else sizes[part])
        out.append(Block(part, start, end))
        start = end + gap
    return out


def occupied(volume: Volume, turn: Orientation) -> NDArray[np.bool_]:
    """For every slice, whether more than a hundredth of its pixels exceed a twentieth of the volume's maximum."""
    with samples(volume) as stored:
        n = turn.shape(volume.shape)[0]
        peak = max(float(magnitude(turn.plane(stored, k), volume).real.max()) for k in range(n))
        content = [(magnitude(turn.plane(stored, k), volume).real > 0.05 * peak).mean() for k in range(n)]
    return np.array(content) > 0.01
