"""Ranks of methods: over independent blocks with Friedman's test, or as they are where there are too few for one."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import pandas as pd

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
    return scores.dropna().rank(axis=1, ascending=not higher_is_better).mean()
