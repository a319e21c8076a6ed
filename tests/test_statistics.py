"""Patient-level statistics against scipy, statsmodels and hand counts; what tests over slices really do, by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from mcsr_bench.results.inference import detectable
from mcsr_bench.results.ranks import friedman
from mcsr_bench.results.statistics import (
    COLUMNS,
    FEWEST_PATIENTS,
    TOO_FEW,
    compare,
    compare_pairs,
    comparisons,
    holm,
    patient_scores,
    seed_scores,
    spread,
)

GROUP = {"dataset": "d", "scale": 2, "preset": "quick", "protocol": "mcsr-1", "protocol_hash": "h", "track": "complex"}


def rows(method, scores, *, seed=0, contrast="T2", variant="", **group):
    """scores: by patient, one or several volumes' values each."""
    return [
        {
            **GROUP,
            **group,
            "contrast": contrast,
            "method": method,
            "variant": variant,
            "seed": seed,
            "patient_id": patient,
            "volume_id": f"{patient}-{k}",
            "m": value,
        }
        for patient, values in scores.items()
        for k, value in enumerate(np.atleast_1d(values))
    ]


def named(values):
    return {f"p{i:03d}": v for i, v in enumerate(values)}


def correlated(n, seed=0, better=0.3):
    rng = np.random.default_rng(seed)
    b = rng.normal(30, 2, n)
    return b + rng.normal(better, 0.4, n), b


def test_a_patient_counts_once_whatever_volumes_and_seeds_it_has():
    table = pd.DataFrame(
        rows("a", {"p1": [1.0, 2.0, 6.0], "p2": [4.0]}, seed=0) + rows("a", {"p1": [5.0], "p2": [8.0]}, seed=1)
    )
    found = patient_scores(table, "m").set_index("patient_id")["score"]
    assert dict(found) == {"p1": (3.0 + 5.0) / 2, "p2": (4.0 + 8.0) / 2}  # volumes first, then seeds


def test_a_nan_never_vanishes_from_an_average():
    table = pd.DataFrame(rows("a", {"p1": [1.0, np.nan], "p2": [4.0]}, seed=0) + rows("a", {"p2": [np.nan]}, seed=1))
    assert patient_scores(table, "m")["score"].isna().tolist() == [True, True]
    other = seed_scores(pd.DataFrame(rows("b", {"p1": [1.0], "p2": [2.0]})), "m")
    found = compare(seed_scores(table, "m"), other)
    # p1 is not in both seeds: a mean over what there is would mix patients with seeds.
    assert (found.n_patients, found.n_dropped, found.reason) == (1, 1, "a score is not finite")
    table = pd.DataFrame(rows("a", {"p1": [1.0, np.nan], "p2": [4.0]}))
    assert np.isnan(spread(table, "m").iloc[0][["mean", "sd_patients"]].astype(float)).all()


def test_contrasts_are_kept_apart():
    table = pd.DataFrame(rows("a", {"p1": 1.0}, contrast="T1") + rows("a", {"p1": 3.0}, contrast="T2"))
    assert sorted(patient_scores(table, "m")["score"]) == [1.0, 3.0]


def test_pairs_are_by_patient_over_common_patients():
    a, b = correlated(12)
    first = named(a) | {"extra": 99.0}
    second = dict(reversed(named(b).items()))
    table = seed_scores(pd.DataFrame(rows("a", first) + rows("b", second)), "m")
    found = compare(table[table["method"] == "a"], table[table["method"] == "b"], bootstrap=False)
    assert (found.n_patients, found.n_dropped) == (12, 1)
    assert found.mean_difference == pytest.approx(np.mean(a - b), rel=1e-12)
    assert found.p_t == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)
    assert found.p_t != pytest.approx(stats.ttest_ind(a, b).pvalue, rel=1e-3)


def test_every_number_of_a_comparison_by_its_formula():
    a, b = correlated(15, seed=3)
    d, n = a - b, 15
    found = compare_pairs(a, b)
    sd = np.sqrt(np.sum((d - d.mean()) ** 2) / (n - 1))
    t = d.mean() / (sd / np.sqrt(n))
    assert found.p_t == pytest.approx(2 * stats.t.sf(abs(t), n - 1), rel=1e-9)
    half = stats.t.ppf(0.975, n - 1) * sd / np.sqrt(n)
    assert (found.ci_low, found.ci_high) == pytest.approx((d.mean() - half, d.mean() + half), rel=1e-9)
    assert found.d_z == pytest.approx(d.mean() / sd, rel=1e-9)
    # Wilcoxon: the exact distribution of the signed-rank sum, counted over all 2^15 signs.
    ranks = stats.rankdata(np.abs(d))
    sums = np.zeros(1)
    for rank in ranks:
        sums = np.concatenate([sums, sums + rank])
    observed = ranks[d > 0].sum()
    tail = min(np.mean(sums <= observed), np.mean(sums >= observed))
    assert found.p_wilcoxon == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


def test_the_bootstrap_is_bca_keyed_by_its_seed_and_not_given_for_few_patients():
    assert np.isnan(compare_pairs(*correlated(19)).ci_boot_low)
    d = np.random.default_rng(5).exponential(1, 20)  # skewed, so that BCa and percentile differ
    zero = np.zeros(20)
    found, again = compare_pairs(d, zero), compare_pairs(d, zero)
    assert (found.ci_boot_low, found.ci_boot_high) == (again.ci_boot_low, again.ci_boot_high)
    rng = np.random.default_rng(99)
    means = np.array([d[rng.integers(0, 20, 20)].mean() for _ in range(20_000)])
    z0 = stats.norm.ppf(np.mean(means < d.mean()))
    jack = np.array([np.delete(d, i).mean() for i in range(20)])
    centred = jack.mean() - jack
    acceleration = np.sum(centred**3) / (6 * np.sum(centred**2) ** 1.5)
    z = stats.norm.ppf([0.025, 0.975])
    levels = stats.norm.cdf(z0 + (z0 + z) / (1 - acceleration * (z0 + z)))
    by_hand = np.quantile(means, levels)
    np.testing.assert_allclose([found.ci_boot_low, found.ci_boot_high], by_hand, atol=0.02)
    assert found.ci_boot_low - found.ci_low > 0.02  # not the t interval under another name


@pytest.mark.parametrize(("n", "tested"), [(FEWEST_PATIENTS - 1, False), (FEWEST_PATIENTS, True)])
def test_few_patients_are_not_tested(n, tested):
    found = compare_pairs(*correlated(n), bootstrap=False)
    assert np.isfinite(found.p_t) == tested
    assert found.reason == ("" if tested else TOO_FEW)
    assert np.isfinite(found.mean_difference)


@pytest.mark.parametrize(("value", "reason"), [(np.inf, "not finite"), (5.0, "the same difference")])
def test_what_cannot_be_tested_says_why(value, reason):
    b = 30.0 + np.arange(8)
    found = compare_pairs(b + value, b)
    assert np.isnan(found.p_t)
    assert reason in found.reason


def test_holm_by_hand():
    # Sorted: .01*4, .02*3, .03*2, .2*1, made monotone.
    assert holm([0.03, 0.01, np.nan, 0.2, 0.02]) == pytest.approx([0.06, 0.04, np.nan, 0.2, 0.06], nan_ok=True)
    assert holm([np.nan]) == pytest.approx([np.nan], nan_ok=True)
    assert holm([]) == []
    p = np.random.default_rng(0).uniform(0, 0.2, 30).round(2)  # with ties
    assert holm(list(p)) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)


def test_a_family_is_all_methods_but_the_reference_per_group_and_metric():
    data = []
    for dataset in ("d", "e"):
        for k, (method, variant) in enumerate([("ref", ""), ("a", ""), ("a", "x"), ("b", "")]):
            data += rows(method, named(correlated(10, seed=k, better=0.2 * k)[0]), variant=variant, dataset=dataset)
    table = comparisons(pd.DataFrame(data), ["m"], ["ref", "a@x", "absent"], bootstrap=False)
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 2 * 2 * 3
    for (_, reference), family in table.groupby(["dataset", "reference"]):
        assert reference in ("ref", "a@x")
        assert list(family["p_t_holm"]) == pytest.approx(holm(list(family["p_t"])), rel=1e-9)
        assert set(family["n_comparisons"]) == {3}
        assert reference not in {
            f"{m}@{v}" if v else m for m, v in zip(family["method"], family["variant"], strict=True)
        }


def test_the_minimal_detectable_difference_is_found_four_times_in_five():
    n, sd = 10, 0.7
    found = detectable([sd**2 / n], [n - 1], 3)
    solved = TTestPower().solve_power(nobs=n, alpha=0.05 / 3, power=0.8, alternative="two-sided")
    assert found == pytest.approx(sd * solved, rel=1e-4)
    rng = np.random.default_rng(0)
    d = rng.normal(found, sd, (4000, n))
    t = d.mean(1) / (d.std(1, ddof=1) / np.sqrt(n))
    detected = np.mean(2 * stats.t.sf(np.abs(t), n - 1) < 0.05 / 3)
    assert detected == pytest.approx(0.80, abs=0.02)


def test_friedman_is_scipys_over_complete_blocks_and_ranks_the_best_first():
    rng = np.random.default_rng(2)
    blocks = pd.DataFrame(rng.normal(size=(7, 4)) + np.arange(3, -1, -1), columns=list("abcd"))
    blocks.loc[6, "a"] = np.nan
    found = friedman(blocks)
    complete = blocks.iloc[:6]
    expected = stats.friedmanchisquare(*(complete[c] for c in complete))
    assert (found.n_blocks, found.statistic, found.p) == (
        6,
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue),
    )
    assert list(found.mean_ranks.sort_values().index) == list("abcd")
    # Nemenyi: studentised range of the difference of mean ranks.
    difference = abs(found.mean_ranks["a"] - found.mean_ranks["d"]) / np.sqrt(4 * 5 / (6 * 6))
    p = stats.studentized_range.sf(difference * np.sqrt(2), 4, np.inf)
    assert found.pairwise.loc["a", "d"] == pytest.approx(p, abs=1e-3)
    assert friedman(blocks[["a", "b"]]) is None
    assert friedman(blocks.iloc[:5]) is None
    assert list(friedman(blocks, higher_is_better=False).mean_ranks.sort_values().index) == list("dcba")


def test_spread_over_patients_and_seeds():
    table = pd.DataFrame(
        rows("a", {"p1": 1.0, "p2": 3.0}, seed=0)
        + rows("a", {"p1": 2.0, "p2": 6.0}, seed=1)
        + rows("b", {"p1": 1.0, "p2": 2.0})
    )
    found = spread(table, "m").set_index("method")
    assert found.loc["a", "sd_patients"] == pytest.approx(np.std([1.5, 4.5], ddof=1))
    assert found.loc["a", "sd_seeds"] == pytest.approx(np.std([2.0, 4.0], ddof=1))
    assert found.loc["a", "n_seeds"] == 2
    assert np.isnan(found.loc["b", "sd_seeds"])


def test_the_patient_test_errs_in_five_of_a_hundred_the_slice_test_in_many_more():
    """1000 null experiments: 12 patients of 20 slices; a patient's slices share most of their difference."""
    rng = np.random.default_rng(1)
    patient, slice_ = 0, 0
    for _ in range(1000):
        shared = rng.normal(0, 0.5, (12, 1))
        difference = shared + rng.normal(0, 0.5, (12, 20))
        scores = 30 + rng.normal(0, 2, (12, 20))
        found = compare_pairs((scores + difference).mean(1), scores.mean(1), bootstrap=False)
        patient += found.p_t < 0.05
        slice_ += stats.ttest_rel((scores + difference).ravel(), scores.ravel()).pvalue < 0.05
    assert abs(patient / 1000 - 0.05) < 0.014
    assert slice_ / 1000 > 0.36  # what the field's habit costs: 36 to 65 false findings in a hundred


def test_slice_p_values_exist_only_where_the_protocol_has_them_and_are_called_invalid():
    rng = np.random.default_rng(4)
    for protocol, there in (("mcsr-1", False), ("sanet-2021", True)):
        a, b = ({f"p{i}": rng.normal(30 + i, 1, 3) for i in range(8)} for _ in range(2))
        table = pd.DataFrame(rows("a", a, protocol=protocol) + rows("b", b, protocol=protocol))
        by_slice = table.assign(slice_index=table["volume_id"].str[-1].astype(int))
        by_slice["volume_id"] = by_slice["patient_id"]
        found = comparisons(table, ["m"], ["b"], slices=lambda table=by_slice: table, bootstrap=False).iloc[0]
        assert np.isfinite(found["p_slice_invalid"]) == there
        if there:
            expected = stats.ttest_rel(np.concatenate(list(a.values())), np.concatenate(list(b.values()))).pvalue
            assert found["p_slice_invalid"] == pytest.approx(expected, rel=1e-9)
