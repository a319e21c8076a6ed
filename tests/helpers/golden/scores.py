"""Golden values of what is concluded from scores: scores by formula, and statistics written out, without scipy.stats."""

import math

import numpy as np
from scipy import special


def volume_scores():
    """(patient, volume, slice, seed) to the scores of two methods: 7 patients of two volumes, three slices, two seeds."""
    rows = {}
    for patient in range(7):
        for volume in range(2):
            for slice_index in range(3):
                for seed in range(2):
                    x = 30 + (7 * patient + 3 * volume + 5 * slice_index) % 11 / 4 + seed / 8
                    y = x + ((5 * patient + 2 * volume + slice_index + 3 * seed) % 9 - 3) / 16
                    rows[patient, volume, slice_index, seed] = (x, y)
    return rows


def unit_of_the_test():
    """One number per patient: the mean over volumes, then over seeds; and the slices that sanet-2021 tests."""
    rows = volume_scores()
    out = {}
    for method, name in enumerate(("reference", "method")):
        scores = [
            np.mean([np.mean([rows[p, v, 1, seed][method] for v in range(2)]) for seed in range(2)]) for p in range(7)
        ]
        out[f"patients of the {name}"] = [float(s) for s in scores]
    slices = [
        np.mean([rows[p, v, s, seed][1] - rows[p, v, s, seed][0] for seed in range(2)])
        for p in range(7)
        for v in range(2)
        for s in range(3)
    ]
    out["p over slices, sanet-2021"] = two_sided(np.array(slices))
    return out


def two_sided(d):
    """p of the one-sample t test, by the incomplete beta function."""
    t2, free = len(d) * d.mean() ** 2 / d.var(ddof=1), len(d) - 1
    return float(special.betainc(free / 2, 0.5, free / (free + t2)))


def compared_scores():
    """Paired scores of 24 patients."""
    k = np.arange(24)
    reference = 30 + (7 * k * k + 3 * k) % 29 / 8
    return reference + ((5 * k * k + 11 * k) % 41 - 14) / 64 + k / 1024, reference


def comparison():
    a, b = compared_scores()
    d, n = a - b, len(a)
    mean, sd = d.mean(), d.std(ddof=1)
    low, high = 0.0, 100.0
    for _ in range(200):  # the quantile of t at 97.5 %
        middle = (low + high) / 2
        outside = special.betainc((n - 1) / 2, 0.5, (n - 1) / (n - 1 + middle**2))
        low, high = (middle, high) if outside > 0.05 else (low, middle)
    half = low * sd / math.sqrt(n)
    return {
        "mean difference": float(mean),
        "t interval": [float(mean - half), float(mean + half)],
        "p of t": two_sided(d),
        "p of Wilcoxon": signed_ranks(d),
        "d_z": float(mean / sd),
        "BCa interval": bca(d),
    }


def signed_ranks(d):
    """The exact two-sided p: how many of the 2^n choices of signs give a sum of ranks as far out; no ties, no zeros."""
    order = np.abs(d).argsort().argsort() + 1
    assert len(set(np.abs(d))) == len(d)
    total = int(order.sum())
    ways = [1] + [0] * total
    for rank in range(1, len(d) + 1):
        ways = [w + (ways[k - rank] if k >= rank else 0) for k, w in enumerate(ways)]
    smaller = min(int(order[d > 0].sum()), int(order[d < 0].sum()))
    return min(1.0, 2 * sum(ways[: smaller + 1]) / 2 ** len(d))


def bca(d):
    """Efron's bias-corrected and accelerated interval of the mean, 10 000 samples of seed 0."""
    n = len(d)
    means = np.sort(d[np.random.default_rng(0).integers(0, n, (10_000, n))].mean(axis=1))
    share = ((means < d.mean()).sum() + (means <= d.mean()).sum()) / (2 * len(means))
    left_out = (d.sum() - d) / (n - 1)
    pull = left_out.mean() - left_out
    acceleration = (pull**3).sum() / (6 * (pull**2).sum() ** 1.5)
    bias = special.ndtri(share)
    out = []
    for tail in (0.025, 0.975):
        z = bias + special.ndtri(tail)
        level = special.ndtr(bias + z / (1 - acceleration * z))
        out.append(float(np.percentile(means, 100 * level)))
    return out


def computed():
    """Every value, by what it belongs to and its own name."""
    return {"test": unit_of_the_test(), "comparison": comparison()}
