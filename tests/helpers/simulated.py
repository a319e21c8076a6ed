"""Experiments drawn from known distributions: how often the tests find what is not there, find what is, and cover the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mcsr_bench.results.inference import dominant, quantile, variance_terms
from mcsr_bench.results.statistics import BOOTSTRAPS

SEEDS, PATIENTS = (2, 3, 5), (6, 12, 45)
"""Of the cells of the tables."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations of PSNR in dB, as measured on brain-sim at 4x, preset quick: sanet and lyu, three seeds."""

    patients: float = 0.10
    """Of the difference of two methods over patients."""
    seeds_a: float = 0.14
    seeds_b: float = 0.14
    """Of a method's mean over seeds; 0: the method has no training."""
    residual: float = 0.07
    """Of patient and seed together."""


SPREADS = {
    "equal seeds": Spread(),
    "seeds .04 and .14 dB": Spread(seeds_a=0.04, seeds_b=0.14),
    "against no training": Spread(patients=0.47, seeds_b=0.0),
}


def rejections(spread: Spread, seeds: int, patients: int, *, effect: float = 0.0, repeats: int = 20_000) -> float:
    """The share of experiments with p < 0.05 where the methods differ by ``effect`` dB in truth."""
    rng = np.random.default_rng([seeds, patients, round(1000 * effect), round(1000 * spread.seeds_b)])
    trains = spread.seeds_b > 0
    shape = (repeats, seeds, patients)
    a = effect + rng.normal(0, spread.patients, (repeats, 1, patients)) + rng.normal(0, spread.seeds_a, (*shape[:2], 1))
    a = a + rng.normal(0, spread.residual, shape)
    b = np.zeros((repeats, 1, patients))
    if trains:
        b = rng.normal(0, spread.seeds_b, (*shape[:2], 1)) + rng.normal(0, spread.residual, shape)
    variances, freedom = variance_terms(a, b, b_trains=trains)
    t = np.abs(a.mean((1, 2)) - b.mean((1, 2))) / np.sqrt(variances.sum(-1))
    return float(np.mean(t > quantile(variances, freedom, 0.05)))


def weights_only(spread: Spread, seeds: int, patients: int, *, repeats: int = 20_000) -> float:
    """The share of false findings of the paired t-test over patients, read as a test of the methods."""
    rng = np.random.default_rng([seeds, patients, 7])
    d = rng.normal(0, np.hypot(spread.patients, spread.residual * np.sqrt(2 / seeds)), (repeats, patients))
    d = d + rng.normal(0, np.hypot(spread.seeds_a, spread.seeds_b) / np.sqrt(seeds), (repeats, 1))
    return float(np.mean(stats.ttest_1samp(d, 0, axis=1).pvalue < 0.05))


KINDS = ("normal", "skewed", "outlying")


def differences(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Differences of mean 0: "normal", "skewed" (exponential) or "outlying" (one patient in twenty is ten sd better)."""
    if kind == "skewed":
        return rng.exponential(1, shape) - 1
    d = rng.normal(0, 1, shape)
    return d + 10 * ((rng.random(shape) < 0.05) - 0.05) if kind == "outlying" else d


def coverage(kind: str, n: int, *, repeats: int = 2000, resamples: int = BOOTSTRAPS) -> tuple[float, float]:
    """How often the 95 % intervals, t and BCa, of n differences hold the true mean."""
    rng = np.random.default_rng([n, KINDS.index(kind)])
    d = differences(kind, (repeats, n), rng)
    half = stats.t.ppf(0.975, n - 1) * stats.sem(d, axis=1)
    low, high = bca(d, rng, resamples)
    return float(np.mean(np.abs(d.mean(1)) <= half)), float(np.mean((low <= 0) & (high >= 0)))


def bca(d: NDArray[np.float64], rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    """Efron's BCa interval of the mean of each row, (2, rows): many samples at once, as the library's takes one."""
    repeats, n = d.shape
    out = np.empty((2, repeats))
    for i, row in enumerate(d):
        means = np.sort(row[rng.integers(0, n, (resamples, n))].mean(1))
        z0 = stats.norm.ppf(np.clip(np.mean(means < row.mean()), 1 / resamples, 1 - 1 / resamples))
        u = row - row.mean()
        acceleration = np.sum(u**3) / (6 * np.sum(u**2) ** 1.5)
        z = z0 + stats.norm.ppf([0.025, 0.975])
        out[:, i] = np.quantile(means, stats.norm.cdf(z0 + z / (1 - acceleration * z)))
    return out


def marks(kind: str, n: int, *, repeats: int = 10_000) -> tuple[float, float, float]:
    """The share of null comparisons marked for one dominant patient, and of p < 0.05 among all and among the marked."""
    rng = np.random.default_rng([n, KINDS.index(kind), 1])
    d = differences(kind, (repeats, n), rng)
    false = stats.ttest_1samp(d, 0, axis=1).pvalue < 0.05
    marked = np.array([dominant(row) is not None for row in d])
    return float(marked.mean()), float(false.mean()), float(false[marked].mean())
