"""Patient-level scores and paired tests against scipy and hand counts."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mcsr_bench.statistics import FEWEST_PATIENTS, TOO_FEW, compare, patient_scores

GROUP = {"dataset": "d", "scale": 2, "preset": "quick", "protocol": "mcsr-1", "protocol_hash": "h", "track": "complex"}


def rows(method, scores, *, seed=0, contrast="T2", volumes=1):
    """scores: by patient, one or ``volumes`` values each."""
    return [
        {
            **GROUP,
            "contrast": contrast,
            "method": method,
            "variant": "",
            "seed": seed,
            "patient_id": patient,
            "volume_id": f"{patient}-{k}",
            "m": value,
        }
        for patient, values in scores.items()
        for k, value in enumerate(np.atleast_1d(values))
    ]


def score_of(table, method="a"):
    return table[table["method"] == method].set_index("patient_id")["score"]


def test_a_patient_counts_once_whatever_volumes_and_seeds_it_has():
    table = pd.DataFrame(
        rows("a", {"p1": [1.0, 2.0, 6.0], "p2": [4.0]}, seed=0) + rows("a", {"p1": [5.0], "p2": [8.0]}, seed=1)
    )
    found = score_of(patient_scores(table, "m"))
    assert dict(found) == {"p1": (3.0 + 5.0) / 2, "p2": (4.0 + 8.0) / 2}  # volumes first, then seeds


def test_contrasts_are_kept_apart():
    table = pd.DataFrame(rows("a", {"p1": 1.0}, contrast="T1") + rows("a", {"p1": 3.0}, contrast="T2"))
    assert sorted(patient_scores(table, "m")["score"]) == [1.0, 3.0]


def test_the_test_is_scipys_paired_one_over_common_patients():
    rng = np.random.default_rng(0)
    b = rng.normal(30, 2, 12)
    a = b + rng.normal(0.3, 0.4, 12)
    first = {f"p{i:02d}": v for i, v in enumerate(a)} | {"extra": 99.0}
    second = {f"p{i:02d}": v for i, v in reversed(list(enumerate(b)))}  # order must not matter: pairs are by patient
    table = patient_scores(pd.DataFrame(rows("a", first) + rows("b", second)), "m")
    found = compare(table[table["method"] == "a"], table[table["method"] == "b"])
    assert (found.n_patients, found.n_dropped) == (12, 1)
    assert found.mean_difference == pytest.approx(np.mean(a - b), rel=1e-12)
    assert found.p_t == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)
    assert found.p_t != pytest.approx(stats.ttest_ind(a, b).pvalue, rel=1e-3)


@pytest.mark.parametrize(("n", "tested"), [(FEWEST_PATIENTS - 1, False), (FEWEST_PATIENTS, True)])
def test_few_patients_are_not_tested(n, tested):
    rng = np.random.default_rng(1)
    table = patient_scores(
        pd.DataFrame(
            rows("a", {f"p{i}": v for i, v in enumerate(rng.normal(size=n))})
            + rows("b", {f"p{i}": v for i, v in enumerate(rng.normal(size=n))})
        ),
        "m",
    )
    found = compare(table[table["method"] == "a"], table[table["method"] == "b"])
    assert (found.p_t is not None) == tested
    assert (found.reason == "") == tested
    assert tested or found.reason == TOO_FEW


@pytest.mark.parametrize("value", [float("inf"), 5.0])
def test_what_cannot_be_tested_says_why(value):
    one = {f"p{i}": 30.0 + i for i in range(8)}
    table = patient_scores(pd.DataFrame(rows("a", {k: v + value for k, v in one.items()}) + rows("b", one)), "m")
    found = compare(table[table["method"] == "a"], table[table["method"] == "b"])
    assert found.p_t is None
    assert found.reason in ("a score is not finite", "the same difference for every patient")
