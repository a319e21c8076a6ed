"""K-space against the images beside it."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from mcsr_bench.data.inspection.reconstruction import difference


def test_the_root_sum_of_squares_of_the_middle_is_the_image(lab: ModuleType) -> None:
    rng = np.random.default_rng(3)
    coils = lab.ellipses((66, 41), 2) * (rng.normal(size=(3, 1, 1)) + 1j * rng.normal(size=(3, 1, 1)))
    kspace = lab.to_kspace(coils).astype(np.complex64)
    # Rows 66 to 32 and columns 41 to 21: from sample 33 - 16 and 20 - 10 on.
    image = np.sqrt((np.abs(coils) ** 2).sum(0))[17:49, 10:31].astype(np.float32)
    for size in (1, 1e-20, 1e15):
        apart, factor = difference(kspace, image * np.float32(size))
        assert apart < 1e-5
        assert factor == pytest.approx(size, rel=1e-5)
    assert difference(kspace, np.roll(image, 1, 0))[0] > 0.05
    assert difference(kspace, image[::-1])[0] > 0.05
    assert difference(kspace.swapaxes(1, 2), image)[0] > 0.05
    assert difference(kspace, np.zeros((67, 41), np.float32)) is None
    assert difference(kspace, image * 0) is None
    assert difference(kspace, image * np.nan) is None
    assert difference(kspace * 0, image) == (1.0, 0.0)
