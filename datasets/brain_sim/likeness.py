"""How much two contrasts have in common inside the brain: the measure by which brain-sim was set beside real brains."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mcsr_bench.kspace import truncate, zero_fill

_BINS = 48
_QUANTILES = (0.005, 0.995)
_SEMI_AXES = (38 / 128, 30 / 128)  # rows and columns, as shares of the field of view of 230 mm: 68 and 54 mm
_DARK = 0.02  # of the maximum of the target

REAL = (0.59, -0.76)
"""`shared_detail` of one real patient: T2w and T1w, aligned on the MNI grid, skull removed (open_ms, patient 07), four slabs of
4 mm at 8 to 50 mm, truncated to 128 x 128 over 230 mm."""


def detail(images: NDArray[np.complexfloating], scale: int = 4) -> NDArray[np.float64]:
    """The high frequencies of complex images (S, N, N): |x| - |x zero-filled from N / scale|. float64 (S, N, N), their unit."""
    rows, columns = images.shape[-2:]
    low = zero_fill(truncate(torch.from_numpy(images), (rows // scale, columns // scale)), (rows, columns))
    return np.asarray(np.abs(images) - np.abs(low.numpy()), np.float64)


def ellipse(rows: int, columns: int) -> NDArray[np.bool_]:
    """(rows, columns), true in an ellipse about the centre that lies inside the brain when the field of view is 230 mm."""
    y, x = (np.arange(n) - n // 2 for n in (rows, columns))
    inside = (y[:, None] / (_SEMI_AXES[0] * rows)) ** 2 + (x[None, :] / (_SEMI_AXES[1] * columns)) ** 2 < 1
    return np.asarray(inside)


def shared_detail(target: NDArray[np.complexfloating], auxiliary: NDArray[np.complexfloating]) -> tuple[float, float]:
    """Mutual information in nats and correlation of the `detail` of two volumes (S, N, N), in the `ellipse` of all slices.

    Values are clipped at their .5 and 99.5 % quantiles; pixels where the target is below 2 % of its maximum are left out; the
    histogram is 48 x 48. Four slices of independent noise have about 0.07 nats.
    """
    strength = np.abs(target)
    inside = ellipse(*target.shape[-2:]) & (strength > _DARK * strength.max())
    first, second = (detail(v)[inside] for v in (target, auxiliary))
    first, second = (np.clip(v, *np.quantile(v, _QUANTILES)) for v in (first, second))
    joint = np.histogram2d(first, second, _BINS)[0] / first.size
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    information = np.sum(joint[there] * np.log(joint[there] / expected[there]))
    return float(information), float(np.corrcoef(first, second)[0, 1])
