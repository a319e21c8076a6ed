"""Whether a complex image has a phase of its own, or is a magnitude in complex numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

OWN = 0.05
"""Radians, root mean square over the foreground: a smooth phase below that is none."""


@dataclass(frozen=True)
class Phase:
    """The phase of an image, apart from a constant and a slope."""

    rms: float
    """Of what is left after constant and slope, in radians, weighted by the signal's energy."""
    slope: tuple[float, float]
    """Down the rows and along the columns, in samples by which k-space is shifted."""


def phase_of(image: NDArray[np.complex64]) -> Phase | None:
    """The phase of a complex image (H, W); None where nothing stands out from the noise.

    Works on the squared image, in which negative values of a real image are positive and white noise averages out. A line is
    fitted to its phase over longer and longer distances, and what is left is averaged over a sixteenth of the image, so that
    noise does not pass for phase: at a signal-to-noise ratio of 5 it adds less than 0.02 rad.
    """
    size = np.abs(image)
    top = float(np.percentile(size, 99))
    if not top > 0:
        return None
    foreground = size > 0.15 * top
    z = np.where(foreground, image / np.float32(top), 0).astype(np.complex128)
    squared = z * z / np.maximum(np.abs(z), 1e-12)
    slope = np.zeros(2)
    for axis, n in enumerate(image.shape):
        turned = np.moveaxis(squared, axis, 0)
        for lag in [1, *(k for k in (4, n // 16, n // 8, n // 4) if 1 < k < n)]:
            steps = np.exp(-1j * slope[axis] * np.arange(n))[:, None]
            straight = turned * steps
            product = (straight[lag:] * straight[:-lag].conj()).sum()
            slope[axis] += float(np.angle(product)) / lag if abs(product) > 0 else 0.0
    y, x = (np.arange(n) - n // 2 for n in image.shape)
    left = squared * np.exp(-1j * (slope[0] * y[:, None] + slope[1] * x[None, :]))
    left *= np.exp(-1j * np.angle(left.sum()))
    spread = [max(0.7, n / 32) for n in image.shape]
    smooth = ndimage.gaussian_filter(left.real, spread) + 1j * ndimage.gaussian_filter(left.imag, spread)
    weight = np.where(foreground, np.abs(z) ** 2, 0)
    angle = np.angle(smooth) / 2
    middle = (weight * angle).sum() / weight.sum()
    rms = float(np.sqrt((weight * (angle - middle) ** 2).sum() / weight.sum()))
    shift = [float(s / 2 * n / (2 * np.pi)) for s, n in zip(slope, image.shape, strict=True)]
    return Phase(rms, (shift[0], shift[1]))
