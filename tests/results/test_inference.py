"""Patients and seeds both random: against closed forms, numpy and published tables; and what the tests do, by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated import KINDS, SPREADS, coverage, rejections, weights_only

from mcsr_bench.results.inference import detectable, dominant, interval, p_value, quantile
from mcsr_bench.results.statistics import METHODS, WEIGHTS, compare_pairs, comparisons

GROUP = {"dataset": "d", "scale": 2, "preset": "small", "protocol": "p", "protocol_hash": "h", "track": "complex"}


def student(alpha, f):
    """The two-sided critical value: in closed form for one and two degrees of freedom, else from the density, integrated."""
    inside = 1 - alpha
    if f == 1:
        return np.tan(np.pi * inside / 2)
    if f == 2:
        return inside * np.sqrt(2 / (1 - inside**2))
    t = np.linspace(0, 400, 4_000_001)
    density = (1 + t**2 / f) ** (-(f + 1) / 2)
    area = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    total = area[-1] + density[-1] * t[-1] / f / (t[1] - t[0])  # the tail beyond: a power law
    return np.interp(inside, area / total, t)


def scores(seed=0, *, seeds=(3, 2), patients=6):
    """Two methods' scores, (seeds, patients) each."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(30, 2, patients)
    return [
        shared + gain + rng.normal(0, 0.3, patients) + rng.normal(0, 0.1, (m, 1)) + rng.normal(0, 0.05, (m, patients))
        for m, gain in zip(seeds, (0.8, 0.0), strict=True)
    ]


def by_hand(a, b):
    """The terms of the variance in plain loops: patients, seeds of a, seeds of b."""
    n = a.shape[1]
    d = [sum(a[:, i]) / len(a) - sum(b[:, i]) / len(b) for i in range(n)]
    means = [[sum(row) / n for row in x] for x in (a, b)]
    terms = []
    for values in (d, *means):
        centre = sum(values) / len(values)
        terms.append(sum((v - centre) ** 2 for v in values) / (len(values) - 1) / len(values))
    return sum(d) / n, terms, [n - 1, len(a) - 1, len(b) - 1]


def test_p_and_interval_solve_the_equation_of_cochran_and_cox():
    a, b = scores()
    found = compare_pairs(a, b)
    mean, terms, freedom = by_hand(a, b)
    assert freedom == [5, 2, 1]
    np.testing.assert_allclose(found.variances, terms, rtol=1e-9)
    assert (found.n_seeds, found.n_seeds_reference, found.about) == (3, 2, METHODS)

    def critical(alpha):
        return sum(v / sum(terms) * student(alpha, f) for v, f in zip(terms, freedom, strict=True))

    assert abs(mean) / np.sqrt(sum(terms)) == pytest.approx(critical(found.p_t), rel=1e-5)
    half = np.sqrt(sum(terms)) * critical(0.05)
    assert (found.ci_low, found.ci_high) == pytest.approx((mean - half, mean + half), rel=1e-5)
    assert found.p_weights == pytest.approx(stats.ttest_rel(a.mean(0), b.mean(0)).pvalue, rel=1e-12)
    assert found.p_weights < found.p_t


@pytest.mark.parametrize("seed", range(5))
def test_one_seed_is_scipys_paired_t_test_exactly(seed):
    a, b = (x[0] for x in scores(seed, patients=9))
    found = compare_pairs(a, b)
    assert found.p_t == found.p_weights == stats.ttest_rel(a, b).pvalue
    assert found.about == WEIGHTS
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), rel=1e-12)
    assert p_value(np.mean(a - b), found.variances, found.freedom) == pytest.approx(found.p_t, rel=1e-9)


def test_one_seed_on_either_side_leaves_the_test_over_patients():
    a, b = scores(seeds=(3, 1))
    for found in (compare_pairs(a, b), compare_pairs(b, a)):
        assert found.about == WEIGHTS
        assert found.p_t == pytest.approx(stats.ttest_rel(a.mean(0), b[0]).pvalue, rel=1e-12)


def test_a_method_without_training_has_no_seeds_to_vary():
    a, b = scores(seeds=(3, 1))
    one, three = (compare_pairs(a, x, b_trains=False) for x in (b, np.repeat(b, 3, 0)))
    assert one.p_t == pytest.approx(three.p_t, rel=1e-12)
    assert (one.about, one.freedom) == (METHODS, (5.0, 2.0))
    assert one.p_t > stats.ttest_rel(a.mean(0), b[0]).pvalue
    neither = compare_pairs(b, b[:, ::-1], a_trains=False, b_trains=False)
    assert (neither.about, neither.p_t) == (METHODS, neither.p_weights)


def test_tables_of_scores_give_the_same_whatever_their_order():
    a, b = scores(seeds=(3, 3), patients=8)
    table = [
        {**GROUP, "contrast": "T2", "method": name, "variant": "", "seed": s, "patient_id": f"p{i}", "m": x[s, i]}
        for name, x in (("a", a), ("b", b), ("plain", b[[0]]))
        for s in range(len(x))
        for i in range(8)
    ]
    shuffled = pd.DataFrame(table).sample(frac=1, random_state=0)
    found = comparisons(shuffled, ["m"], ["b"], untrained={"plain"}, bootstrap=False).set_index("method")
    expected = compare_pairs(a, b)
    assert found.loc["a", "p_t"] == pytest.approx(expected.p_t, rel=1e-9)
    assert list(found["about"]) == [METHODS, METHODS]
    assert list(found["n_seeds"]) == [3, 1]
    turned = comparisons(shuffled, ["m"], ["plain"], untrained={"plain"}, bootstrap=False).set_index("method")
    assert turned.loc["a", "p_t"] == pytest.approx(compare_pairs(a, b[[0]], b_trains=False).p_t, rel=1e-9)
    assert turned.loc["a", "about"] == METHODS
    assert found.loc["a", "minimal_detectable"] == pytest.approx(detectable(expected.variances, expected.freedom, 2))


def test_the_detectable_difference_with_seeds_is_found_at_least_four_times_in_five():
    """It errs on the safe side, as the test does."""
    rng = np.random.default_rng(3)
    true, freedom = np.array([0.4**2 / 12, 0.1**2 / 3, 0.1**2 / 3]), np.array([11, 2, 2])
    effect = detectable(true, freedom, 1)
    estimated = true * rng.chisquare(freedom, (20_000, 3)) / freedom
    mean = effect + rng.normal(0, np.sqrt(true.sum()), 20_000)
    power = np.mean(np.abs(mean) / np.sqrt(estimated.sum(-1)) > quantile(estimated, freedom, 0.05))
    assert 0.80 <= power < 0.97


def test_very_small_p_values_are_numbers():
    found = p_value(50.0, [1e-4, 1e-4], [44, 2])
    assert 0 < found < 1e-6
    low, high = interval(1.0, [0.01], [5])
    assert high - 1 == pytest.approx(0.1 * student(0.05, 5), rel=1e-5) == 1 - low


@pytest.mark.parametrize(("n", "limit"), [(6, 1.973), (10, 2.482), (20, 3.001)])
def test_one_dominant_patient_is_marked_by_grubbs_tables(n, limit):
    """The published upper 0.5 % points: two-sided 1 %."""
    rest = np.resize([-1.0, 1.0], n - 1)

    def statistic(x):
        d = np.append(rest, x)
        return abs(x - d.mean()) / d.std(ddof=1)

    low, high = 1.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if statistic(middle) < limit else (low, middle)
    for sign in (1, -1):
        assert dominant(sign * np.append(rest, high * 1.01)) == n - 1
        assert dominant(sign * np.append(rest, low * 0.99)) is None
    found = compare_pairs(30 + np.append(rest, 100.0), np.full(n, 30.0), patients=[f"p{i}" for i in range(n)])
    assert found.dominant_patient == f"p{n - 1}"


@pytest.mark.parametrize(
    ("spread", "seeds", "patients"),
    [("seeds .04 and .14 dB", 2, 45), ("equal seeds", 3, 12), ("against no training", 5, 6)],
)
def test_the_test_of_methods_finds_what_is_not_there_in_at_most_6_5_of_a_hundred(spread, seeds, patients):
    assert rejections(SPREADS[spread], seeds, patients) <= 0.065
    assert rejections(SPREADS[spread], 5, 45, effect=0.5) > 0.5
    assert weights_only(SPREADS[spread], seeds, 45) > 0.10  # what the test over patients alone would do


def test_intervals_cover_as_the_docs_say():
    assert KINDS[0] == "normal"
    t, bca = coverage("normal", 6, repeats=600, resamples=1000)
    assert abs(t - 0.95) < 0.03
    assert abs(bca - 0.86) < 0.04  # why it is not given for few patients
