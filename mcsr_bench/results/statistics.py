"""What may be concluded from scores. The unit is the patient; slices of one patient are not independent.

Volume scores -> mean over a patient's volumes -> mean over seeds; then paired comparisons between methods on their common patients,
against references that were fixed before looking. scipy and statsmodels do the work.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

GROUP = ("dataset", "scale", "preset", "protocol", "protocol_hash", "track", "contrast")
"""What must be equal for two scores to be compared at all."""

METHOD = ("method", "variant")

FEWEST_PATIENTS = 6
"""With fewer, the smallest p-value a sign-type test could give is above 0.03: no p-value is printed."""

TOO_FEW = "too few patients to test"
CONFIDENCE, POWER, ALPHA = 0.95, 0.80, 0.05
BOOTSTRAPS, BOOTSTRAP_SEED = 10_000, 0

COLUMNS = (
    *("dataset", "scale", "preset", "protocol", "contrast", "metric", "method", "variant", "reference", "n_patients"),
    *("mean_difference", "ci_low", "ci_high", "ci_boot_low", "ci_boot_high", "p_t", "p_t_holm", "p_wilcoxon", "d_z"),
    *("minimal_detectable", "protocol_hash", "track", "n_dropped", "n_comparisons", "reason", "p_slice_invalid"),
)
"""Of `comparisons`, and of ``tables/comparisons.csv``."""


def patient_scores(volumes: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per group, method, variant and patient, with the column ``score``.

    volumes: `Results.volumes`. The mean over a patient's volumes within a seed, then over seeds.
    """
    keys = [*GROUP, *METHOD, "patient_id"]
    per_seed = _means(volumes, [*keys, "seed"], metric)
    return _means(per_seed.rename(metric).reset_index(), keys, metric).rename("score").reset_index()


def _means(table: pd.DataFrame, keys: Sequence[str], metric: str) -> pd.Series:
    """Means by group; a group with a NaN in it is NaN: a score that is missing must not vanish from an average."""
    groups = table.groupby(list(keys), sort=True, dropna=False, observed=True)[metric]
    means = groups.mean()
    return means.mask(groups.count() < groups.size())


@dataclass(frozen=True)
class Comparison:
    """A method against a reference on their common patients: difference = method - reference. NaN where it is not defined."""

    n_patients: int
    n_dropped: int
    """Patients that only one of the two has."""
    mean_difference: float
    ci_low: float = np.nan
    ci_high: float = np.nan
    """95 % t interval of the mean difference."""
    ci_boot_low: float = np.nan
    ci_boot_high: float = np.nan
    """95 % BCa bootstrap interval over patients."""
    p_t: float = np.nan
    """Two-sided paired t-test (scipy.stats.ttest_rel)."""
    p_wilcoxon: float = np.nan
    """Two-sided Wilcoxon signed-rank test (scipy.stats.wilcoxon)."""
    d_z: float = np.nan
    """Cohen's d_z: mean over sample standard deviation of the differences."""
    sd: float = np.nan
    """Sample standard deviation of the differences."""
    reason: str = ""
    """Why the p-value is missing."""


def compare(method: pd.DataFrame, reference: pd.DataFrame, *, bootstrap: bool = True) -> Comparison:
    """Compare two methods' rows of `patient_scores` within one group.

    bootstrap: False leaves the bootstrap interval out (it takes most of the time).
    """
    pair = (
        method.set_index("patient_id")["score"]
        .to_frame("a")
        .join(reference.set_index("patient_id")["score"].rename("b"), how="outer")
        .sort_index()  # the bootstrap draws by position
    )
    common = pair.loc[sorted(set(method["patient_id"]) & set(reference["patient_id"]))]
    return compare_pairs(
        common["a"].to_numpy(np.float64),
        common["b"].to_numpy(np.float64),
        n_dropped=len(pair) - len(common),
        bootstrap=bootstrap,
    )


def compare_pairs(
    a: NDArray[np.float64], b: NDArray[np.float64], *, n_dropped: int = 0, bootstrap: bool = True
) -> Comparison:
    """Compare paired scores, one per patient, two arrays (n,)."""
    from scipy import stats

    n = len(a)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Comparison(n, n_dropped, np.nan, reason="a score is not finite")
    d = a - b
    mean = float(np.mean(d)) if n else np.nan
    if n < FEWEST_PATIENTS:
        return Comparison(n, n_dropped, mean, reason=TOO_FEW)
    if np.ptp(d) <= 1e-12 * np.max(np.abs([a, b])):
        return Comparison(n, n_dropped, mean, reason="the same difference for every patient")
    sd = float(np.std(d, ddof=1))
    interval = stats.t.interval(CONFIDENCE, n - 1, loc=mean, scale=sd / np.sqrt(n))
    low, high = _bca(d) if bootstrap else (np.nan, np.nan)
    return Comparison(
        n,
        n_dropped,
        mean,
        ci_low=float(interval[0]),
        ci_high=float(interval[1]),
        ci_boot_low=low,
        ci_boot_high=high,
        p_t=float(stats.ttest_rel(a, b).pvalue),
        p_wilcoxon=float(stats.wilcoxon(a, b).pvalue),
        d_z=mean / sd,
        sd=sd,
    )


def comparisons(
    volumes: pd.DataFrame,
    metrics: Iterable[str],
    references: Sequence[str],
    *,
    slices: Callable[[], pd.DataFrame] | None = None,
    bootstrap: bool = True,
) -> pd.DataFrame:
    """Every method and variant against every reference (``METHOD`` or ``METHOD@VARIANT``), with the columns `COLUMNS`.

    Holm's correction and the minimal detectable difference (80 % power, two-sided) run over all methods and variants but the
    reference, per group, metric and reference. slices: gives `Results.slices`; where the protocol's test unit is the slice, the
    slice-level p-value is there as ``p_slice_invalid``: slices of one patient are not independent, so that it is not a p-value.
    """
    rows: list[dict[str, object]] = []
    for metric in metrics:
        if volumes.empty or metric not in volumes:
            continue
        scores = patient_scores(volumes, metric)
        by_slice = _slice_scores(slices, volumes, metric)
        for values, group in scores.groupby(list(GROUP), sort=True):
            head = dict(zip(GROUP, values, strict=True))
            by_row = dict(iter(group.groupby(list(METHOD), sort=True)))
            for reference in references:
                name, _, variant = reference.partition("@")
                base = by_row.get((name, variant))
                if base is None:
                    continue
                family = []
                for key, part in by_row.items():
                    if key == (name, variant):
                        continue
                    found = compare(part, base, bootstrap=bootstrap)
                    row = {**head, "metric": metric, "method": key[0], "variant": key[1], "reference": reference}
                    row |= asdict(found)
                    row["p_slice_invalid"] = _slice_p(
                        by_slice.get((*values, *key)), by_slice.get((*values, name, variant))
                    )
                    family.append(row)
                rows += _corrected(family)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values (statsmodels); NaN stays NaN and is not counted."""
    from statsmodels.stats.multitest import multipletests

    p = np.asarray(p_values, np.float64)
    out = np.full(len(p), np.nan)
    tested = np.isfinite(p)
    if tested.any():
        out[tested] = multipletests(p[tested], method="holm")[1]
    return [float(v) for v in out]


def minimal_detectable(sd: float, n: int, n_comparisons: int) -> float:
    """The mean difference that a paired t-test over n patients finds with 80 % power at 0.05 / n_comparisons, two-sided.

    sd: sample standard deviation of the differences, whose unit the result has.
    """
    return sd * _detectable_effect(n, n_comparisons) if np.isfinite(sd) else np.nan


@dataclass(frozen=True)
class Friedman:
    """Ranks of methods over blocks (datasets x scales)."""

    n_blocks: int
    statistic: float
    p: float
    mean_ranks: pd.Series
    """By method; 1 is best."""
    pairwise: pd.DataFrame
    """Nemenyi p-values between methods."""


def friedman(blocks: pd.DataFrame, *, higher_is_better: bool = True) -> Friedman | None:
    """Friedman's test with Nemenyi's comparisons; None with fewer than 3 methods or 2 blocks.

    blocks: a row per block, a column per method, mean scores. Incomplete rows are left out. scipy and scikit-posthocs.
    """
    complete = blocks.dropna()
    if complete.shape[0] < 2 or complete.shape[1] < 3:
        return None
    import scikit_posthocs
    from scipy import stats

    ranks = complete.rank(axis=1, ascending=not higher_is_better).mean()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ties in every block divide by zero: p is NaN then, with a reason
        test = stats.friedmanchisquare(*(complete[column] for column in complete))
        pairwise = scikit_posthocs.posthoc_nemenyi_friedman(complete.to_numpy())
    pairwise.index = pairwise.columns = complete.columns
    return Friedman(len(complete), float(test.statistic), float(test.pvalue), ranks, pairwise)


def spread(volumes: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Per group, method and variant: mean, n_patients, n_seeds, sd_patients and sd_seeds.

    sd_patients: over patients, of means over seeds. sd_seeds: over seeds, of means over patients; NaN with one seed.
    """
    keys = [*GROUP, *METHOD]
    one = volumes.groupby([*keys, "patient_id", "seed"], sort=True, observed=True)[metric].mean().reset_index()
    rows = []
    for values, part in one.groupby(keys, sort=True):
        patients = part.groupby("patient_id")[metric].mean()
        seeds = part.groupby("seed")[metric].mean()
        rows.append(
            {
                **dict(zip(keys, values, strict=True)),
                "mean": float(patients.mean()),
                "n_patients": len(patients),
                "n_seeds": len(seeds),
                "sd_patients": float(patients.std(ddof=1)),
                "sd_seeds": float(seeds.std(ddof=1)),
            }
        )
    return pd.DataFrame(rows)


def _bca(d: NDArray[np.float64]) -> tuple[float, float]:
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate samples give NaN, which the table then shows
        result = stats.bootstrap(
            (d,),
            np.mean,
            n_resamples=BOOTSTRAPS,
            confidence_level=CONFIDENCE,
            method="BCa",
            vectorized=True,
            rng=np.random.default_rng(BOOTSTRAP_SEED),
        )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _corrected(family: list[dict[str, object]]) -> Iterator[dict[str, object]]:
    p_values = [float(row["p_t"]) for row in family]  # type: ignore[arg-type]
    tested = int(np.isfinite(p_values).sum())
    for row, adjusted in zip(family, holm(p_values), strict=True):
        n, sd = int(row["n_patients"]), float(row["sd"])  # type: ignore[call-overload, arg-type]
        smallest = minimal_detectable(sd, n, tested) if tested else np.nan
        yield {**row, "p_t_holm": adjusted, "n_comparisons": tested, "minimal_detectable": smallest}


@cache
def _detectable_effect(n: int, n_comparisons: int) -> float:
    from statsmodels.stats.power import TTestPower

    return float(TTestPower().solve_power(nobs=n, alpha=ALPHA / n_comparisons, power=POWER, alternative="two-sided"))


def _slice_scores(
    slices: Callable[[], pd.DataFrame] | None, volumes: pd.DataFrame, metric: str
) -> dict[tuple[object, ...], pd.Series]:
    """Per group, method and variant under a protocol that tests slices: scores by volume and slice, mean over seeds."""
    from mcsr_bench.protocol import PROTOCOLS

    by_slice = [name for name, protocol in PROTOCOLS.items() if protocol.test_unit == "slice"]
    if slices is None or not volumes["protocol"].isin(by_slice).any():
        return {}
    table = slices()
    part = table[table["protocol"].isin(by_slice)]
    keys = [*GROUP, *METHOD]
    where = ["volume_id", "slice_index"]
    means = part.groupby([*keys, *where], sort=True, observed=True)[metric].mean().reset_index()
    groups: dict[tuple[object, ...], pd.Series] = {}
    for key, one in means.groupby(keys, sort=False):
        groups[tuple(key)] = one.set_index(where)[metric]
    return groups


def _slice_p(method: pd.Series | None, reference: pd.Series | None) -> float:
    """The paired t-test over slices that papers print. Not a p-value: slices of a patient are not independent."""
    if method is None or reference is None:
        return np.nan
    from scipy import stats

    a, b = method.align(reference, join="inner")
    return float(stats.ttest_rel(a, b).pvalue) if len(a) > 1 else np.nan
