"""The uncertainty of a mean difference that has several sources: patients, and the seeds of either method.

The terms of the variance are independent and added. Their number of degrees of freedom differs, from 1 (two seeds) to the number of
patients less one, and the quantile of the sum is the mean of the terms' t quantiles, weighted by variance (Cochran and Cox, 1957,
section 4.14). With one term all of it is the t-test. Satterthwaite's degrees of freedom would reject up to 12 % at two seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE, POWER, ALPHA = 0.95, 0.80, 0.05

GRUBBS_LEVEL = 0.01
"""Two-sided, of the mark for one patient who dominates a comparison."""


def variance_terms(
    a: NDArray[np.float64], b: NDArray[np.float64], *, a_trains: bool = True, b_trains: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The terms of the variance of the mean difference, (..., K), and their degrees of freedom, (K,).

    a, b: scores, (..., seeds, patients), of the same patients. The first term is that of the patients; those of the seeds of
    each method that trains follow, where every one of them has at least two. With one seed on either side the variance is that of
    these weights alone.
    """
    n = a.shape[-1]
    terms = [(a.mean(-2) - b.mean(-2)).var(-1, ddof=1) / n]
    freedom = [n - 1]
    trained = [scores for scores, trains in ((a, a_trains), (b, b_trains)) if trains]
    if all(scores.shape[-2] > 1 for scores in trained):
        for scores in trained:
            m = scores.shape[-2]
            terms.append(scores.mean(-1).var(-1, ddof=1) / m)
            freedom.append(m - 1)
    return np.stack(terms, -1), np.array(freedom, np.float64)


def quantile(variances: ArrayLike, freedom: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """The two-sided critical value of a mean over its standard error, (...): variances (..., K), freedom (K,)."""
    from scipy import stats

    v = np.asarray(variances, np.float64)
    return np.asarray((v * stats.t.isf(alpha / 2, np.asarray(freedom))).sum(-1) / v.sum(-1))


def p_value(mean: float, variances: Sequence[float], freedom: Sequence[float]) -> float:
    """Two-sided: the level at which `quantile` is the mean over its standard error."""
    from scipy import optimize, stats

    t = abs(mean) / np.sqrt(np.sum(variances))
    # The weighted mean of quantiles lies between them, so that p lies between the terms' own.
    each = 2 * stats.t.sf(t, np.asarray(freedom))
    low, high = float(each.min()), float(each.max())
    if high - low <= 1e-15 * high or low == 0:
        return high
    root = optimize.brentq(
        lambda log_p: float(quantile(variances, freedom, np.exp(log_p))) - t, np.log(low), np.log(high), xtol=1e-13
    )
    return float(np.exp(root))


def interval(mean: float, variances: Sequence[float], freedom: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean."""
    half = float(np.sqrt(np.sum(variances)) * quantile(variances, freedom, 1 - CONFIDENCE))
    return mean - half, mean + half


def detectable(
    variances: Sequence[float],
    freedom: Sequence[float],
    n_comparisons: int,
    *,
    alpha: float = ALPHA,
    power: float = POWER,
) -> float:
    """The mean difference that the test finds with a power at alpha / n_comparisons, two-sided; in the unit of the scores.

    Each term has the non-centrality with which a t-test of its degrees of freedom has that power; the mean is weighted by variance.
    """
    from scipy import special, stats

    v, f = np.asarray(variances, np.float64), np.asarray(freedom, np.float64)
    shifts = special.nctdtrinc(f, 1 - power, stats.t.isf(alpha / n_comparisons / 2, f))
    return float(np.sqrt(v.sum()) * (v * shifts).sum() / v.sum())


def dominant(differences: NDArray[np.float64]) -> int | None:
    """The position of the one patient who dominates the differences (n,); None without such a one.

    Grubbs' statistic, the largest distance from the mean in standard deviations, beyond its two-sided 1 % point (Grubbs, 1969).
    """
    from scipy import stats

    n = len(differences)
    sd = differences.std(ddof=1) if n > 2 else 0.0
    if not sd > 0:
        return None
    distance = np.abs(differences - differences.mean()) / sd
    t2 = stats.t.isf(GRUBBS_LEVEL / (2 * n), n - 2) ** 2
    limit = (n - 1) / np.sqrt(n) * np.sqrt(t2 / (n - 2 + t2))
    return int(distance.argmax()) if distance.max() > limit else None
