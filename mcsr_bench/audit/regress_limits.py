"""How far a score may be from the reported one before it has moved, and what loss is found then.

A method that is trained again scores otherwise with another seed. Its recorded seeds (n, with standard deviation s) say by how
much: the mean of k new seeds lies within t(1 - level / (2 K); n - 1) s sqrt(1/k + 1/n) of theirs, in all but one of 100 calls,
whatever number K of comparisons a call makes. Without training nothing may move but by rounding.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcsr_bench.results.inference import detectable

ROUNDING = 0.01
"""dB: what scores of equal weights differ by on another machine."""
LEVEL = 0.01
"""The share of calls that say of anything that it moved where nothing did, at most."""
LOSS, POWER = 0.5, 0.95
"""The loss (dB) that should be found, and how often."""


def allowed(recorded: ArrayLike, k: int, comparisons: int) -> NDArray[np.float64]:
    """How far the mean of k new seeds may be from that of the recorded ones, in dB, (...).

    recorded: scores of n >= 2 seeds, (..., n), in dB. comparisons: how many numbers the call compares. Never less than `ROUNDING`.
    """
    from scipy import stats

    seeds = np.asarray(recorded, np.float64)
    n = seeds.shape[-1]
    limit = stats.t.isf(LEVEL / (2 * comparisons), n - 1) * seeds.std(-1, ddof=1) * math.sqrt(1 / k + 1 / n)
    return np.maximum(limit, ROUNDING)


def moved(recorded: ArrayLike, now: ArrayLike, comparisons: int, *, retrained: bool = True) -> NDArray[np.bool_]:
    """Whether scores have moved, up or down, (...).

    recorded: (..., n), now: (..., k): scores of seeds, in dB. retrained: False for methods without training, where n may be 1 and
    `ROUNDING` alone is allowed.
    """
    before, after = np.asarray(recorded, np.float64), np.asarray(now, np.float64)
    limit = allowed(before, after.shape[-1], comparisons) if retrained else ROUNDING
    return np.asarray(np.abs(after.mean(-1) - before.mean(-1)) > limit)


def smallest_loss(recorded: ArrayLike, k: int, comparisons: int) -> float:
    """The loss in dB that `moved` finds with `POWER`; recorded: (n,)."""
    seeds = np.asarray(recorded, np.float64)
    variance = float(seeds.var(ddof=1)) * (1 / k + 1 / len(seeds))
    if variance == 0:
        return ROUNDING
    return max(detectable([variance], [len(seeds) - 1], comparisons, alpha=LEVEL, power=POWER), ROUNDING)


def seeds_needed(recorded: ArrayLike, comparisons: int) -> int | None:
    """How many new seeds find a loss of `LOSS` with `POWER`; None where no number of them does: more recorded ones are needed."""
    n = len(np.asarray(recorded))
    with_one = smallest_loss(recorded, 1, comparisons)
    if with_one <= LOSS:
        return 1
    left = (LOSS / with_one) ** 2 * (1 + 1 / n) - 1 / n  # 1 / k, since the loss goes with sqrt(1 / k + 1 / n)
    if left <= 0:
        return None
    k = math.ceil(1 / left)
    return k if smallest_loss(recorded, k, comparisons) <= LOSS else k + 1
