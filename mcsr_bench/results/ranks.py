"""Ranks of methods: over independent blocks with Friedman's test, over all pairs on one block, or as they are."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from mcsr_bench.results.inference import ALPHA
from mcsr_bench.results.statistics import TOO_FEW, compare, holm

FEWEST_BLOCKS = 6
"""Independent ones, with patients of their own: two scales of the same patients are one block."""

FEWEST_METHODS = 3


@dataclass(frozen=True)
class Friedman:
    """Ranks of methods over independent blocks (data sets)."""

    n_blocks: int
    statistic: float
    p: float
    mean_ranks: pd.Series
    """By method; 1 is best."""
    pairwise: pd.DataFrame
    """Nemenyi p-values between methods."""


def friedman(blocks: pd.DataFrame, *, higher_is_better: bool = True) -> Friedman | None:
    """Friedman's test with Nemenyi's comparisons; None with fewer than 3 methods or 6 complete blocks.

    blocks: a row per block, a column per method, mean scores; the blocks share no patient. Incomplete rows are left out. scipy and
    scikit-posthocs.
    """
    complete = blocks.dropna()
    if complete.shape[0] < FEWEST_BLOCKS or complete.shape[1] < FEWEST_METHODS:
        return None
    import scikit_posthocs
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ties in every block divide by zero: p is NaN then, with a reason
        test = stats.friedmanchisquare(*(complete[column] for column in complete))
        pairwise = scikit_posthocs.posthoc_nemenyi_friedman(complete.to_numpy())
    pairwise.index = pairwise.columns = complete.columns
    ranks = mean_ranks(complete, higher_is_better=higher_is_better)
    return Friedman(len(complete), float(test.statistic), float(test.pvalue), ranks, pairwise)


def mean_ranks(scores: pd.DataFrame, *, higher_is_better: bool = True) -> pd.Series:
    """The mean rank of each column over the complete rows; 1 is best, ties share a rank."""
    return patient_ranks(scores, higher_is_better=higher_is_better).mean()


def patient_ranks(scores: pd.DataFrame, *, higher_is_better: bool = True) -> pd.DataFrame:
    """The rank of each column in every complete row; 1 is best, ties share a rank."""
    return scores.dropna().rank(axis=1, ascending=not higher_is_better)


@dataclass(frozen=True)
class Standing:
    """A method among others."""

    rank: int | None
    """1 + the number of methods that are significantly better; None where it cannot be said."""
    reason: str = ""
    """Why there is no rank, as a clause."""


FEWEST_SEEDS = 3
"""Of a trained method, for a rank."""


def standings(
    scores: pd.DataFrame, *, higher_is_better: bool = True, untrained: Collection[str] = ()
) -> tuple[dict[str, Standing], pd.DataFrame]:
    """Ranks over all pairs of methods, patients and seeds random, with Holm's correction; and the pairs.

    scores: rows of `mcsr_bench.results.statistics.seed_scores` of one group, told apart by ``method``. A trained method with fewer
    than 3 seeds, and one with a score that is not finite, takes no part. The pairs have method, other, mean_difference, ci_low,
    ci_high, p and p_holm.
    """
    found: dict[str, Standing] = {}
    parts = {str(name): part for name, part in scores.groupby("method", sort=True)}
    for name, part in parts.items():
        seeds = part["seed"].nunique()
        if name not in untrained and seeds < FEWEST_SEEDS:
            found[name] = Standing(None, f"{seeds} of the {FEWEST_SEEDS} seeds that a rank needs")
        elif not np.isfinite(part["score"]).all():
            found[name] = Standing(None, "a score is not finite")
    rows = []
    reason = ""
    for one, other in combinations([name for name in parts if name not in found], 2):
        c = compare(
            parts[one],
            parts[other],
            method_trains=one not in untrained,
            reference_trains=other not in untrained,
            bootstrap=False,
        )
        reason = c.reason if c.reason == TOO_FEW else reason
        rows.append((one, other, c.mean_difference, c.ci_low, c.ci_high, c.p_t))
    pairs = pd.DataFrame(rows, columns=["method", "other", "mean_difference", "ci_low", "ci_high", "p"])
    pairs["p_holm"] = holm(pairs["p"].to_numpy(float))
    sign = 1 if higher_is_better else -1
    better = dict.fromkeys(parts, 0)
    for pair in pairs.itertuples():
        if pair.p_holm < ALPHA:
            better[pair.other if sign * pair.mean_difference > 0 else pair.method] += 1
    for name in parts:
        found.setdefault(name, Standing(None, reason) if reason else Standing(1 + better[name]))
    return found, pairs
