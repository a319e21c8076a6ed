"""Whether k-space is stored as it is read: against the images that its publisher reconstructed from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft


def difference(kspace: NDArray[np.complex64], image: NDArray[np.float32]) -> tuple[float, float] | None:
    """How far the root sum of squares of k-space (coils, H, W) is from a magnitude image (h, w) of its middle.

    Returns the norm of what is left after the best factor over the norm of the image, and that factor; None where the image is
    larger, empty or not finite: then it cannot be compared.
    """
    h, w = image.shape
    H, W = kspace.shape[-2:]
    unit = float(np.abs(image).max(initial=0))
    if h > H or w > W or not np.isfinite(unit) or unit == 0:
        return None
    top, left = H // 2 - h // 2, W // 2 - w // 2
    total = np.zeros((h, w))
    for coil in kspace:
        size = np.abs(fft.fftshift(fft.ifft2(fft.ifftshift(coil), norm="ortho"))[top : top + h, left : left + w])
        total += (size.astype(np.float64) / unit) ** 2
    ours, theirs = np.sqrt(total), image.astype(np.float64) / unit
    energy = float((ours * ours).sum())
    factor = float((ours * theirs).sum()) / energy if np.isfinite(energy) and energy > 0 else 0.0
    return float(np.linalg.norm(factor * ours - theirs) / np.linalg.norm(theirs)), factor
