"""What counts as a move: by hand from tables of t, and simulated where the truth is known."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from mcsr_bench.audit.regress_limits import LOSS, ROUNDING, allowed, moved, seeds_needed, smallest_loss

RECORDED = 10
IN_CI = {"comparisons": 5, "retrained": 2, "k": 1}
"""zerofill, bicubic, bspline and the two methods with the smallest s, one seed each: tests/audit/test_reported_numbers.py."""
ALL = {"comparisons": 11, "retrained": 7, "k": 3}
"""The default run: `tox -e regress`."""


def seeds(s, n=RECORDED):
    """n scores whose sample standard deviation is s to the last digit."""
    values = np.arange(n) - (n - 1) / 2
    return 30 + values * s / values.std(ddof=1)


@pytest.mark.parametrize(
    ("comparisons", "t"),
    [
        (1, 3.2498),
        (5, 4.2968),
        (10, 4.7809),
    ],  # two-sided 1 %, 0.2 % and 0.1 % points of t with 9 degrees of freedom, from a table
)
@pytest.mark.parametrize("k", [1, 3])
def test_what_is_allowed_is_the_formula(comparisons, t, k):
    want = t * 0.2 * math.sqrt(1 / k + 1 / 10)
    assert allowed(seeds(0.2), k, comparisons) == pytest.approx(want, rel=1e-4)
    for sign in (1, -1):
        for factor, is_moved in ((0.999, False), (1.001, True)):
            now = np.full(k, 30 + sign * factor * want)
            assert bool(moved(seeds(0.2), now, comparisons)) is is_moved


def test_without_training_rounding_is_allowed_and_no_more():
    for now, is_moved in ((30.0099, False), (29.9901, False), (30.0101, True), (29.9899, True)):
        assert bool(moved([30.0], [now], 11, retrained=False)) is is_moved
    assert float(allowed([30.0, 30.0, 30.0], 1, 11)) == ROUNDING == 0.01  # seeds that happen to be equal


@pytest.mark.parametrize("call", [IN_CI, ALL], ids=["CI", "all"])
def test_nothing_is_said_to_move_in_99_of_100_calls_where_nothing_did(call):
    rng = np.random.default_rng(20)
    where = (1000, call["retrained"])
    s = rng.uniform(0.02, 0.25, (*where, 1))
    recorded, now = (rng.normal(30, s, (*where, n)) for n in (RECORDED, call["k"]))
    assert moved(recorded, now, call["comparisons"]).any(-1).mean() < 0.01
    each = moved(*(rng.normal(30, 1, (200_000, n)) for n in (RECORDED, call["k"])), call["comparisons"]).mean()
    level = 0.01 / call["comparisons"]
    assert abs(each - level) < 4 * math.sqrt(level / 200_000)  # the level is met, not only kept


@pytest.mark.parametrize("call", [IN_CI, ALL], ids=["CI", "all"])
@pytest.mark.parametrize("s", [0.03, 0.06])
def test_half_a_db_is_found_in_95_of_100_calls_where_seeds_scatter_little(call, s):
    rng = np.random.default_rng(5)
    recorded, now = rng.normal(30, s, (1000, RECORDED)), rng.normal(30 - LOSS, s, (1000, call["k"]))
    assert moved(recorded, now, call["comparisons"]).mean() > 0.95


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_smallest_loss_is_what_is_found_with_95_percent(k):
    recorded = seeds(0.2)
    loss = smallest_loss(recorded, k, 5)
    effect = loss / (0.2 * math.sqrt(1 / k + 1 / 10)) / math.sqrt(10)
    power = TTestPower().power(effect, nobs=10, alpha=0.01 / 5, df=9, alternative="two-sided")
    assert power == pytest.approx(0.95, abs=1e-6)
    rng = np.random.default_rng(k)
    found = moved(rng.normal(30, 0.2, (50_000, 10)), rng.normal(30 - loss, 0.2, (50_000, k)), 5).mean()
    assert found == pytest.approx(0.95, abs=0.005)
    assert smallest_loss(np.full(10, 30.0), k, 5) == ROUNDING


@pytest.mark.parametrize(
    ("s", "comparisons"), [(0.05, 11), (0.06, 11), (0.09, 5), (0.15, 5), (0.2, 11), (0.23, 11), (0.3, 2)]
)
def test_the_seeds_needed_are_the_fewest_that_find_half_a_db(s, comparisons):
    needed = seeds_needed(seeds(s), comparisons)
    k = np.arange(1, 1001)
    power = stats.nct.sf(stats.t.isf(0.005 / comparisons, 9), 9, LOSS / (s * np.sqrt(1 / k + 0.1)))
    enough = k[power >= 0.95]
    assert needed == (enough[0] if len(enough) else None)
