"""How well two volumes on one grid are aligned."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Real = NDArray[np.floating[Any]]


def mutual_information(a: Real, b: Real, bins: int = 64) -> float:
    """Of two equally many intensities, in nats (Shannon, joint histogram from 0; the brightest thousandth share the last bin)."""
    edges = [np.linspace(0, max(float(np.quantile(v, 0.999)), 1e-30), bins + 1) for v in (a, b)]
    x, y = (np.minimum(v, e[-1]).ravel() for v, e in zip((a, b), edges, strict=True))
    joint = np.histogram2d(x, y, bins=edges)[0]
    p = joint / joint.sum()
    product_of_parts = p.sum(axis=1, keepdims=True) * p.sum(axis=0, keepdims=True)
    there = p > 0
    return float((p[there] * np.log(p[there] / product_of_parts[there])).sum())


def closeness(a: Real, b: Real, seen: NDArray[np.bool_]) -> float:
    """Mutual information of two volumes (S, H, W) smoothed in plane, in which one interpolation more or less does not count.

    seen: where to look; -1 where that is nowhere. On few or small slices an optimiser may walk off: this is what its result is
    judged by.
    """
    if not seen.any():
        return -1.0
    x, y = (gaussian_filter(v.astype(np.float64), (0, 1, 1))[seen] for v in (a, b))
    return mutual_information(x, y)


def edge_shift(a: Real, b: Real) -> tuple[float, float]:
    """How many (rows, columns) the content of ``b`` is shifted from that of ``a``, both (S, H, W): one shift for all slices.

    Phase correlation of gradient magnitudes, summed over the slices, read between pixels: independent of mutual information, and
    of contrast as far as edges are where tissues meet. Looks no further than four pixels.
    """
    H, W = a.shape[1:]
    reach = min(4, (min(H, W) - 3) // 2)
    if reach < 1:
        return 0.0, 0.0
    window = np.hanning(H)[:, None] * np.hanning(W)
    # two contrasts agree on edges at low frequencies; the others hold noise
    low = np.exp(-(np.fft.fftfreq(H)[:, None] ** 2 + np.fft.fftfreq(W) ** 2) / (2 * 0.15**2))
    cross = np.zeros((H, W), dtype=np.complex128)
    for one, other in zip(a, b, strict=True):
        p, q = (np.fft.fft2(np.hypot(*np.gradient(v.astype(np.float64))) * window) for v in (one, other))
        cross += q * p.conj()
    size = np.abs(cross)
    if not size.any():
        return 0.0, 0.0
    peak = np.fft.fftshift(np.fft.ifft2(cross / np.maximum(size, 1e-12 * size.max()) * low).real)
    near = peak[H // 2 - reach - 1 : H // 2 + reach + 2, W // 2 - reach - 1 : W // 2 + reach + 2]
    i, j = (int(v) + 1 for v in np.unravel_index(int(near[1:-1, 1:-1].argmax()), (2 * reach + 1,) * 2))
    return i - 1 - reach + _vertex(near[i - 1 : i + 2, j]), j - 1 - reach + _vertex(near[i, j - 1 : j + 2])


def _vertex(values: NDArray[np.float64]) -> float:
    """The position between -0.5 and 0.5 of a peak of which three samples are given: exact for a Gaussian."""
    if values.min() <= 0:
        return 0.0
    low, middle, high = np.log(values)
    bend = low - 2 * middle + high
    return 0.0 if bend >= 0 else float(np.clip((low - high) / (2 * bend), -0.5, 0.5))
