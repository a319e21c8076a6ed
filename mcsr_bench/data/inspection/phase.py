"""Whether a complex image has a phase of its own, or is a magnitude in complex numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

OWN = 0.02
"""Radians, root mean square over the foreground: below it, phase is absent. A magnitude in disguise reads less than 0.015
at a signal-to-noise ratio of 10, and nothing without noise; what scanners measure reads tenths."""


@dataclass(frozen=True)
class Phase:
    """The phase of an image, apart from a constant and a slope."""

    rms: float
    """Of what is left after constant and slope, in radians, weighted by the signal's energy."""
    slope: tuple[float, float]
    """Down the rows and along the columns, in samples by which k-space is shifted: from -n/2 to n/2 of an axis of n."""

    @property
    def own(self) -> bool:
        """Whether it is more than what noise makes of a magnitude in complex numbers."""
        return self.rms >= OWN


def typical_phase(images: Iterable[NDArray[np.complex64]]) -> Phase | None:
    """The phase of the slice whose deviation is the middle one; None where nothing stands out from the noise in any."""
    found = sorted((p for p in map(phase_of, images) if p), key=lambda p: p.rms)
    return found[len(found) // 2] if found else None


def phase_of(image: NDArray[np.complex64]) -> Phase | None:
    """The phase of a complex image (H, W); None where nothing stands out from the noise.

    Works on the squared image, in which negative values of a real image are positive and white noise averages out. A line is
    fitted to its phase over longer and longer distances, and what is left is averaged over a sixteenth of the image.

    Measured on simulated brains of 32 to 320 pixels: a smooth phase of 0.02 to 0.15 rad reads up to 15 % less, because the average
    flattens it; a straight one reads below 0.015 rad where the signal (99th percentile) is 10 times the noise, below 0.035 rad at 5
    times.
    """
    size = np.abs(image)
    top = float(np.percentile(size, 99))
    if not top > 0:
        return None
    z = (image / np.float32(top)).astype(np.complex128)
    squared = z * z / np.maximum(np.abs(z), 1e-12)
    slope = np.zeros(2)
    for axis, n in enumerate(image.shape):
        moved = np.moveaxis(squared, axis, 0)
        for lag in [1, *(k for k in (4, n // 16, n // 8, n // 4) if 1 < k < n)]:
            steps = np.exp(-1j * slope[axis] * np.arange(n))[:, None]
            straight = moved * steps
            product = (straight[lag:] * straight[:-lag].conj()).sum()
            slope[axis] += float(np.angle(product)) / lag if abs(product) > 0 else 0.0
    y, x = (np.arange(n) - n // 2 for n in image.shape)
    left = squared * np.exp(-1j * (slope[0] * y[:, None] + slope[1] * x[None, :]))
    left *= np.exp(-1j * np.angle(left.sum()))
    width = [max(3, n // 16 | 1) for n in image.shape]
    # The two colours of a chessboard have independent noise: what both maps of the phase share is phase.
    white = (y[:, None] + x[None, :]) % 2 == 0
    halves = [_smooth(np.where(colour, left, 0), width) for colour in (white, ~white)]
    # Where there is only noise its squares average out, and with them their weight.
    strength = np.abs(halves[0] + halves[1])
    weight = np.where(strength > 0.15 * np.percentile(strength, 99), strength**2, 0)
    weight /= weight.sum()
    first, second = (a - (weight * a).sum() for a in (np.angle(half) / 2 for half in halves))
    rms = float(np.sqrt(max(0.0, (weight * first * second).sum())))
    # Squares hide half of the way: of a slope and the one that is N/2 samples further, the image itself tells.
    steps = [np.exp(-0.5j * s * axis) for s, axis in zip(slope, (y, x), strict=True)]
    turned = [[step, step * (-1.0) ** axis] for step, axis in zip(steps, (y, x), strict=True)]
    sums = [[abs((down[:, None] * z * along).sum()) for along in turned[1]] for down in turned[0]]
    half = np.unravel_index(int(np.argmax(sums)), (2, 2))
    shift = [float(s / 2 * n / (2 * np.pi) + h * n / 2) for s, n, h in zip(slope, image.shape, half, strict=True)]
    down, along = (v - n if v > n / 2 else v for v, n in zip(shift, image.shape, strict=True))
    return Phase(rms, (down, along))


def _smooth(x: NDArray[np.complex128], width: list[int]) -> NDArray[np.complex128]:
    """The mean over a box, twice: a triangle over each axis."""
    real, imag = (ndimage.uniform_filter(ndimage.uniform_filter(part, width), width) for part in (x.real, x.imag))
    return np.asarray(real + 1j * imag)
