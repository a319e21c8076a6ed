"""Floor 3: what may be concluded from scores. The unit is the patient; slices of one patient are no independent observations.

Volume scores -> mean over a patient's volumes -> mean over seeds; then paired tests between methods on their common patients,
against a reference that was fixed before looking.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

GROUP = ("dataset", "scale", "preset", "protocol", "protocol_hash", "track", "contrast")
"""What must be equal for two scores to be compared at all."""

METHOD = ("method", "variant")

FEWEST_PATIENTS = 6
"""With fewer, the smallest p-value a sign-type test could give is above 0.03: no p-value is printed."""

TOO_FEW = "too few patients to test"


def patient_scores(volumes: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row per group, method, variant and patient, with the column ``score``.

    volumes: `Results.volumes`. The mean over a patient's volumes within a seed, then over seeds.
    """
    keys = [*GROUP, *METHOD, "patient_id"]
    per_seed = volumes.groupby([*keys, "seed"], sort=True, dropna=False)[metric].mean()
    return per_seed.groupby(keys, sort=True).mean().rename("score").reset_index()


@dataclass(frozen=True)
class Comparison:
    """A method against a reference on their common patients: difference = method - reference."""

    n_patients: int
    n_dropped: int
    """Patients that only one of the two has."""
    mean_difference: float
    p_t: float | None
    """Two-sided paired t-test over patients; None where there is nothing to test."""
    reason: str = ""
    """Why there is no p-value."""


def compare(method: pd.DataFrame, reference: pd.DataFrame) -> Comparison:
    """Compare two methods' rows of `patient_scores` within one group (scipy.stats.ttest_rel over patients)."""
    from scipy.stats import ttest_rel

    pair = (
        method.set_index("patient_id")["score"]
        .to_frame("a")
        .join(reference.set_index("patient_id")["score"].rename("b"), how="outer")
    )
    common = pair[pair["a"].notna() & pair["b"].notna()]
    n, dropped = len(common), len(pair) - len(common)
    a, b = common["a"].to_numpy(np.float64), common["b"].to_numpy(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Comparison(n, dropped, float("nan"), None, "a score is not finite")
    difference = float(np.mean(a - b)) if n else float("nan")
    if n < FEWEST_PATIENTS:
        return Comparison(n, dropped, difference, None, TOO_FEW)
    if np.ptp(a - b) == 0:
        return Comparison(n, dropped, difference, None, "the same difference for every patient")
    return Comparison(n, dropped, difference, float(ttest_rel(a, b).pvalue))
