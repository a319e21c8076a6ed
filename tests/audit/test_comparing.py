"""How far scores may be apart."""

import numpy as np
import pytest

from mcsr_bench.audit.comparing import agree
from mcsr_bench.metrics import METRICS


@pytest.mark.parametrize("same", [True, False])
def test_what_agrees(same):
    nan, inf = float("nan"), float("inf")
    said, now = np.array([nan, inf, 30.0, nan, inf, 30.0]), np.array([nan, inf, 30.0, 30.0, 30.0, inf])
    assert agree("psnr@roi", said, now, same_data=same).tolist() == [True] * 3 + [False] * 3
    small = np.array([1e-7, 2e-3])
    assert agree("kspace-error", small, np.array([9e-7, 2.1e-3]), same_data=same).tolist() == [True, False]
    assert agree("nmse@volume", small, np.array([9e-7, 2.1e-3]), same_data=same).tolist() == [False, False]


@pytest.mark.parametrize("column", [*METRICS, "ssim@roi/zerofill", "psnr@roi/zerofill"])
def test_tolerances_are_the_documented_ones(column):
    now = np.array([30.0])
    for same, ratio in ((True, 1e-6), (False, 1e-3 / 30 if column.startswith("psnr") else 10**1e-4 - 1)):
        found = [bool(agree(column, now * (1 + f * ratio), now, same_data=same)[0]) for f in (0.9, -0.9, 1.1, -1.1)]
        assert found == [True, True, False, False]
