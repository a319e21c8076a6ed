"""What may be concluded from scores. The unit is the patient; slices of one patient are not independent.

Volume scores -> mean over a patient's volumes -> paired comparisons between methods on their common patients, against
references that were fixed before looking. With several seeds of each trained method a test is about the methods: patients and
seeds are both random (`mcsr_bench.results.inference`). With one seed it is about these weights. scipy does the work.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mcsr_bench.results.inference import CONFIDENCE, detectable, dominant, interval, p_value, variance_terms

GROUP = ("dataset", "scale", "preset", "protocol", "protocol_hash", "track", "contrast")
"""What must be equal for two scores to be compared at all."""

METHOD = ("method", "variant")

FEWEST_PATIENTS = 6
"""With fewer, the smallest p-value a sign-type test could give is above 0.03: no p-value is printed."""

TOO_FEW = "too few patients to test"

FEWEST_FOR_BOOTSTRAP = 20
"""Patients. With fewer, the BCa interval that is called 95 % covers less: 91 % at 12, 85 % at 6."""

BOOTSTRAPS, BOOTSTRAP_SEED = 10_000, 0

WEIGHTS, METHODS = "these weights", "the methods"
"""What ``p_t``, its interval and the detectable difference are about."""

COLUMNS = (
    *("dataset", "scale", "preset", "protocol", "contrast", "metric", "method", "variant", "reference", "n_patients"),
    *("mean_difference", "ci_low", "ci_high", "ci_boot_low", "ci_boot_high", "p_t", "p_t_holm", "p_wilcoxon", "d_z"),
    *("minimal_detectable", "about", "p_weights", "n_seeds", "n_seeds_reference", "dominant_patient"),
    *("protocol_hash", "track", "n_dropped", "n_comparisons", "reason", "p_slice_invalid"),
    *("ci_weights_low", "ci_weights_high"),
)
"""Of `comparisons`, and of ``tables/comparisons.csv``."""


def patient_scores(volumes: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per group, method, variant and patient, with the column ``score``.

    volumes: `Results.volumes`. The mean over a patient's volumes within a seed, then over seeds.
    """
    keys = [*GROUP, *METHOD, "patient_id"]
    return _means(seed_scores(volumes, metric), keys, "score").rename("score").reset_index()


def seed_scores(volumes: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per group, method, variant, patient and seed, with the column ``score``: the mean over the patient's volumes."""
    return _means(volumes, [*GROUP, *METHOD, "patient_id", "seed"], metric).rename("score").reset_index()


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
    """Patients that some trial of the two lacks."""
    mean_difference: float
    n_seeds: int = 1
    n_seeds_reference: int = 1
    about: str = WEIGHTS
    """`WEIGHTS` or `METHODS`."""
    ci_low: float = np.nan
    ci_high: float = np.nan
    """95 % interval of the mean difference; of the t-test, where it is about these weights."""
    ci_weights_low: float = np.nan
    ci_weights_high: float = np.nan
    """95 % interval of ``p_weights``."""
    ci_boot_low: float = np.nan
    ci_boot_high: float = np.nan
    """95 % BCa bootstrap interval over patients, of these weights; from 20 patients on."""
    p_t: float = np.nan
    """Two-sided, with patients and seeds random (`mcsr_bench.results.inference`); with one seed it is ``p_weights``."""
    p_weights: float = np.nan
    """Two-sided paired t-test over patients, of these weights (scipy.stats.ttest_rel)."""
    p_wilcoxon: float = np.nan
    """Two-sided Wilcoxon signed-rank test over patients, of these weights (scipy.stats.wilcoxon)."""
    d_z: float = np.nan
    """Cohen's d_z of these weights: mean over sample standard deviation of the patients' differences."""
    dominant_patient: str = ""
    """The one patient who dominates the differences (`mcsr_bench.results.inference.dominant`), or empty."""
    variances: tuple[float, ...] = ()
    """The terms of the variance of the mean difference: patients, then the seeds of either method."""
    freedom: tuple[float, ...] = ()
    """Their degrees of freedom."""
    reason: str = ""
    """Why the p-value is missing."""


def compare(
    method: pd.DataFrame,
    reference: pd.DataFrame,
    *,
    method_trains: bool = True,
    reference_trains: bool = True,
    bootstrap: bool = True,
) -> Comparison:
    """Compare two methods' rows of `seed_scores` within one group, on the patients that every trial of the two has.

    method_trains, reference_trains: False for a method without training, which has no seeds to vary. bootstrap: False leaves the
    bootstrap interval out (it takes most of the time).
    """
    a, b = (_whole(rows) for rows in (method, reference))
    common = a.columns.intersection(b.columns).sort_values()  # the bootstrap draws by position
    everyone = set(method["patient_id"]) | set(reference["patient_id"])
    return compare_pairs(
        a[common].to_numpy(np.float64),
        b[common].to_numpy(np.float64),
        patients=list(common),
        n_dropped=len(everyone) - len(common),
        a_trains=method_trains,
        b_trains=reference_trains,
        bootstrap=bootstrap,
    )


def _whole(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores, a row per seed and a column per patient that all seeds have."""
    seeds = rows["seed"].nunique()
    part = rows[rows.groupby("patient_id")["seed"].transform("size") == seeds]
    return part.pivot(index="seed", columns="patient_id", values="score")


def compare_pairs(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    *,
    patients: Sequence[str] | None = None,
    n_dropped: int = 0,
    a_trains: bool = True,
    b_trains: bool = True,
    bootstrap: bool = True,
) -> Comparison:
    """Compare scores of the same patients: two arrays (n,), or (seeds, n) each with its own number of seeds.

    patients: their names; else they are called by position.
    """
    from scipy import stats

    a, b = np.atleast_2d(a), np.atleast_2d(b)
    n = a.shape[1]
    head = Comparison(n, n_dropped, np.nan, n_seeds=len(a), n_seeds_reference=len(b))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return replace(head, reason="a score is not finite")
    over_seeds = a.mean(0), b.mean(0)
    d = over_seeds[0] - over_seeds[1]
    head = replace(head, mean_difference=float(np.mean(d)) if n else np.nan)
    if n < FEWEST_PATIENTS:
        return replace(head, reason=TOO_FEW)
    if np.ptp(d) <= 1e-12 * np.max(np.abs(over_seeds)):
        return replace(head, reason="the same difference for every patient")
    terms, freedom = (
        tuple(map(float, values)) for values in variance_terms(a, b, a_trains=a_trains, b_trains=b_trains)
    )
    p_weights = float(stats.ttest_rel(*over_seeds).pvalue)
    ci_low, ci_high = interval(head.mean_difference, terms, freedom)
    weights_low, weights_high = interval(head.mean_difference, terms[:1], freedom[:1])
    ci_boot_low, ci_boot_high = _bca(d) if bootstrap and n >= FEWEST_FOR_BOOTSTRAP else (np.nan, np.nan)
    at = dominant(d)
    return replace(
        head,
        about=WEIGHTS if len(terms) == 1 and (a_trains or b_trains) else METHODS,
        ci_low=ci_low,
        ci_high=ci_high,
        ci_weights_low=weights_low,
        ci_weights_high=weights_high,
        ci_boot_low=ci_boot_low,
        ci_boot_high=ci_boot_high,
        p_t=p_weights if len(terms) == 1 else p_value(head.mean_difference, terms, freedom),
        p_weights=p_weights,
        p_wilcoxon=float(stats.wilcoxon(*over_seeds).pvalue),
        d_z=head.mean_difference / float(np.std(d, ddof=1)),
        dominant_patient="" if at is None else str(patients[at] if patients else at),
        variances=terms,
        freedom=freedom,
    )


def mean_interval(scores: pd.DataFrame, *, trains: bool = True) -> tuple[float, float]:
    """The 95 % interval of one method's mean score over patients, patients and seeds random; NaN where it is not defined.

    scores: its rows of `seed_scores` in one group. With one seed it is of these weights. NaN with fewer than 6 patients.
    """
    table = _whole(scores).to_numpy(np.float64)
    if table.shape[1] < FEWEST_PATIENTS or not np.isfinite(table).all():
        return np.nan, np.nan
    terms, freedom = variance_terms(table, np.zeros((1, table.shape[1])), a_trains=trains, b_trains=False)
    if not terms.sum() > 0:
        return np.nan, np.nan
    return interval(float(table.mean()), tuple(map(float, terms)), tuple(map(float, freedom)))


def prediction_interval(scores: ArrayLike) -> tuple[float, float]:
    """The 95 % interval in which one further seed's mean falls, from the means of at least 3 seeds, (m,); NaN with fewer."""
    from scipy import stats

    x = np.asarray(scores, np.float64)
    if x.size < 3 or not np.isfinite(x).all():
        return np.nan, np.nan
    half = float(stats.t.isf((1 - CONFIDENCE) / 2, x.size - 1) * x.std(ddof=1) * np.sqrt(1 + 1 / x.size))
    return float(x.mean()) - half, float(x.mean()) + half


def comparisons(
    volumes: pd.DataFrame,
    metrics: Iterable[str],
    references: Sequence[str],
    *,
    untrained: Collection[str] = (),
    slices: Callable[[], pd.DataFrame] | None = None,
    bootstrap: bool = True,
) -> pd.DataFrame:
    """Every method and variant against every reference (``METHOD`` or ``METHOD@VARIANT``), with the columns `COLUMNS`.

    Holm's correction and the minimal detectable difference (80 % power, two-sided) run over all methods and variants in ``volumes``
    but the reference, per group, metric and reference: give the rows of one table. untrained: the methods without training, which
    have no seeds to vary. slices: gives `Results.slices`; where the protocol's test unit is the slice, the
    slice-level p-value is there as ``p_slice_invalid``: slices of one patient are not independent, so that it is not a p-value.
    """
    rows: list[dict[str, object]] = []
    for metric in metrics:
        if volumes.empty or metric not in volumes:
            continue
        scores = seed_scores(volumes, metric)
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
                    trains = {"method_trains": key[0] not in untrained, "reference_trains": name not in untrained}
                    found = compare(part, base, **trains, bootstrap=bootstrap)
                    row = {**head, "metric": metric, "method": key[0], "variant": key[1], "reference": reference}
                    row |= asdict(found)
                    row["p_slice_invalid"] = _slice_p(
                        by_slice.get((*values, *key)), by_slice.get((*values, name, variant))
                    )
                    family.append(row)
                rows += _corrected(family)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values (Holm, 1979); NaN stays NaN and is not counted."""
    p = np.asarray(p_values, np.float64)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    out = np.full(len(p), np.nan)
    out[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return [float(v) for v in out]


def sample_sd(scores: ArrayLike) -> float:
    """The sample standard deviation; NaN where it is not defined: for one score, or one that is not finite."""
    x = np.asarray(scores, np.float64)
    return float(x.std(ddof=1)) if x.size > 1 and np.isfinite(x).all() else np.nan


def spread(volumes: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Per group, method and variant: mean, n_patients, n_seeds, sd_patients and sd_seeds.

    sd_patients: over patients, of means over seeds. sd_seeds: over seeds, of means over patients; NaN with one seed.
    """
    keys = [*GROUP, *METHOD]
    rows = []
    for values, part in seed_scores(volumes, metric).groupby(keys, sort=True):
        patients, seeds = (_means(part, [key], "score") for key in ("patient_id", "seed"))
        rows.append(
            {
                **dict(zip(keys, values, strict=True)),
                "mean": float(patients.mean(skipna=False)),
                "n_patients": len(patients),
                "n_seeds": len(seeds),
                "sd_patients": sample_sd(patients),
                "sd_seeds": sample_sd(seeds),
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
        variances, freedom = row["variances"], row["freedom"]
        smallest = detectable(variances, freedom, tested) if variances else np.nan  # type: ignore[arg-type]
        yield {**row, "p_t_holm": adjusted, "n_comparisons": tested, "minimal_detectable": smallest}


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
