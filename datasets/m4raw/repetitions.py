"""Repeated scans of one contrast: where the centre of their k-space is, whether they agree, and their complex mean."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcsr_bench.data.raw.kspace_file import Volume, combined, kspace_slice, kspace_slices
from mcsr_bench.errors import UserError
from mcsr_bench.kspace import crop_centre, pad_centre, to_image, to_kspace

Phase = Literal["smooth", "global", "none"]

CALIBRATION = 24
"""Central k-space samples per axis that a slow phase difference is taken from."""


@dataclass(frozen=True)
class Look:
    """What a few slices of a contrast's repetitions show."""

    offset: tuple[int, int]
    """Where the energy of k-space peaks, in samples from (H // 2, W // 2)."""
    agreement: tuple[float, ...]
    """Of every repetition but the first: how its magnitude correlates with the first one's, -1..1."""
    empty: bool
    """Whether all samples that were looked at are zero."""


def look(volumes: Sequence[Volume]) -> Look:
    """The peak from three slices of the first repetition, agreement from the middle slice of all.

    Reads nothing else. Raises UserError when a file cannot be read.
    """
    n = min(v.slices for v in volumes)
    middle = kspace_slice(volumes[0].path, n // 2)
    energy = _energy(middle)
    for index in sorted({n // 4, 3 * n // 4} - {n // 2}):
        energy += _energy(kspace_slice(volumes[0].path, index))
    H, W = energy.shape
    row, column = (int(i) for i in np.unravel_index(int(np.argmax(energy)), energy.shape))
    empty = not energy.any()
    reference = low_magnitude(middle)
    return Look(
        offset=(0, 0) if empty else (row - H // 2, column - W // 2),
        agreement=tuple(correlation(reference, low_magnitude(kspace_slice(v.path, n // 2))) for v in volumes[1:]),
        empty=empty,
    )


def mean_images(
    files: Sequence[Path], shape: tuple[int, int], offset: tuple[int, int], phase: Phase
) -> Generator[NDArray[np.complex64], None, None]:
    """The slices of the complex mean of repetitions, complex64 ``shape`` each; one slice of each file is in memory at a time.

    offset: k-space is rolled by minus this, so that the sample there is at (H // 2, W // 2). The coil images of the repetitions
    are averaged, then combined once. Raises UserError, naming the file, for what cannot be read and for NaN or Inf.
    """
    with ExitStack() as stack:
        streams = [stack.enter_context(closing(kspace_slices(file))) for file in files]
        for index, samples in enumerate(zip(*streams, strict=False)):
            total: Tensor | None = None
            reference: Tensor | None = None
            for file, one in zip(files, samples, strict=True):
                if not np.isfinite(one).all():
                    raise UserError(f"{file}: slice {index} holds NaN or Inf")
                coils = to_image(torch.from_numpy(np.roll(one, (-offset[0], -offset[1]), axis=(-2, -1))))
                if reference is None or total is None:
                    reference, total = coils, coils.clone()
                else:
                    total += coils * phase_difference(coils, reference, phase).conj()
            if total is not None:
                yield combined(total / len(files), shape)


def phase_difference(coils: Tensor, reference: Tensor, how: Phase) -> Tensor:
    """exp(i phase) by which coil images (C, H, W) lead the reference's: (H, W) or one number, the same for every coil.

    global: of the inner product over coils and pixels. smooth: of the inner product over coils at each pixel, at the resolution of
    the central CALIBRATION samples of its k-space (triangular window). none: 1. Where nothing is known, 1.
    """
    if how == "none":
        return torch.ones((), dtype=coils.dtype)
    # Products of raw values near 1e-20 would leave float32.
    product = (reference.to(torch.complex128).conj() * coils.to(torch.complex128)).sum(0)
    if how == "global":
        product = product.sum()
    else:
        H, W = product.shape
        n = (min(CALIBRATION, H), min(CALIBRATION, W))
        # A triangle's kernel is nowhere negative: an equal phase everywhere stays that phase, in the background too.
        rows, columns = (1 - (torch.arange(k, dtype=torch.float64) - k // 2).abs() / max(1, k // 2) for k in n)
        centre = crop_centre(to_kspace(product), n) * rows[:, None] * columns[None, :]
        product = to_image(pad_centre(centre, (H, W)))
    size = product.abs()
    unit = torch.where(size > 0, product / size.clamp_min(torch.finfo(torch.float64).tiny), torch.ones_like(product))
    return unit.to(coils.dtype)


def low_magnitude(kspace: NDArray[np.complex64]) -> NDArray[np.float64]:
    """Root sum of squares of the coil images of k-space (C, H, W) at a quarter of the resolution and the noise: (H//4, W//4)."""
    H, W = kspace.shape[-2:]
    coils = to_image(crop_centre(torch.from_numpy(kspace), (max(1, H // 4), max(1, W // 4)))).to(torch.complex128)
    return np.asarray(coils.abs().square().sum(0).sqrt().numpy())


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's correlation of two images; 1 where one is constant or not finite, for that is found elsewhere."""
    x, y = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float((x * y).sum()) / scale if np.isfinite(scale) and scale > 0 else 1.0


def _energy(kspace: NDArray[np.complex64]) -> NDArray[np.float64]:
    """Squared magnitude over all coils, (H, W); NaN and Inf count as 0, because they are found when all is read."""
    size = np.abs(kspace.astype(np.complex128)) ** 2
    return np.asarray(np.where(np.isfinite(size), size, 0).sum(0))
