"""Slices that occur twice: a signature per slice that survives scaling and rounding, and the search for equal ones."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_GRID = 8
_SCALE = 32767
_SAME = 0.005
"""Relative difference up to which two slices are the same: rounding to integers, not another noise."""


def signature(size: NDArray[np.float32]) -> str | None:
    """128 bytes in base64 that identify the image, up to a factor; None for a slice with next to nothing on it.

    size: magnitude (H, W). The image times a fixed pattern of random signs, summed over 8 x 8 blocks: images that differ by a
    share d of their norm have signatures that differ by about d.
    """
    H, W = size.shape
    if min(H, W) < _GRID or np.count_nonzero(size > 0.05 * size.max()) < max(16, 0.005 * size.size):
        return None
    rows, columns = (np.arange(_GRID) * n // _GRID for n in (H, W))
    sums = np.add.reduceat(np.add.reduceat(size * _signs(H, W), rows, axis=0, dtype=np.float64), columns, axis=1)
    norm = float(np.linalg.norm(size)) * 2
    return base64.b64encode(np.clip(np.round(sums / norm * _SCALE), -_SCALE, _SCALE).astype("<i2").tobytes()).decode()


def thinned(texts: Sequence[str], most: int) -> list[int]:
    """Positions of at most about ``most`` signatures, chosen by what is on the slices: a copy of a volume keeps the same ones."""
    share = -(-len(texts) // most)
    strongest = [np.argsort(np.abs(_numbers(text)))[-2:] for text in texts]
    return [i for i, (second, first) in enumerate(strongest) if (first + 7 * second) % share == 0]


def _numbers(text: str) -> NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(text), "<i2").astype(np.float64)


@lru_cache(maxsize=8)
def _signs(H: int, W: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(np.random.SeedSequence([H, W, 5021]))
    return (2 * rng.integers(0, 2, (H, W)) - 1).astype(np.float32)


def equal_pairs(signatures: Sequence[tuple[tuple[int, ...], str]]) -> Iterator[tuple[int, int]]:
    """Positions (i, j), i < j, of equal signatures of images of the same shape; signatures: (shape, text) per slice."""
    values = np.array([_numbers(text) for _, text in signatures])
    if not len(values):
        return
    # Candidates share a diagonal of blocks after coarse rounding; every diagonal crosses the middle of the image.
    cell = 0.1 * np.linalg.norm(values, axis=1, keepdims=True) / _GRID + 1
    coarse = np.round(values / cell).astype(np.int32).reshape(-1, _GRID, _GRID)
    across = np.arange(_GRID)
    seen: set[tuple[int, int]] = set()
    for band in range(_GRID):
        buckets: dict[tuple[tuple[int, ...], bytes], list[int]] = defaultdict(list)
        for i, key in enumerate(coarse[:, across, (across + band) % _GRID]):
            buckets[signatures[i][0], key.tobytes()].append(i)
        for bucket in buckets.values():
            for j in bucket[1:]:  # with the first alone: a slice that occurs a hundred times gives a hundred pairs
                i = bucket[0]
                if (i, j) not in seen and _alike(values[i], values[j]):
                    seen.add((i, j))
    yield from sorted(seen)


def _alike(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    return float(np.linalg.norm(a - b)) <= _SAME * float(np.linalg.norm(a)) + 1
