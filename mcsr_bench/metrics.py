"""Scores under metric ids; numpy float64, on magnitudes.

Peaks and masks come from the reference alone. Nothing is added to a denominator: raw MR data are near 1e-6, and every score here is
unchanged when prediction and reference are multiplied by the same number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.regions import Regions

Array = NDArray[np.float64]
Degrade = Callable[[NDArray[np.complexfloating]], NDArray[np.complexfloating]]
"""Complex HR slices (S, H, W) to complex LR slices (S, h, w)."""

SSIM_WINDOW = 7
HFEN_SIGMA, HFEN_SIZE = 1.5, 15


@dataclass(frozen=True)
class Metric:
    """What a metric id means."""

    id: str
    title: str
    unit: str
    higher_is_better: bool
    decimals: int
    """As printed in tables."""
    description: str
    revision: int = 1
    """Raised when its values change; the golden values in ``tests/golden/values.py`` belong to it. No protocol's hash holds it."""


_ALL = (
    Metric(
        "psnr@volume-max",
        "PSNR",
        "dB",
        True,
        2,
        "one mean squared error per volume; peak: maximum of the reference volume",
    ),
    Metric(
        "ssim@volume-max",
        "SSIM",
        "",
        True,
        4,
        "per slice, 7x7 uniform window, range: maximum of the reference volume; mean",
    ),
    Metric("nmse@volume", "NMSE", "", False, 5, "squared error over squared reference, one per volume"),
    Metric(
        "psnr@foreground",
        "PSNR, foreground",
        "dB",
        True,
        2,
        "error inside the object (Otsu, largest component, holes filled)",
    ),
    Metric(
        "psnr@high", "PSNR, high intensity", "dB", True, 2, "error in the brighter part of the foreground (second Otsu)"
    ),
    Metric("psnr@low", "PSNR, low intensity", "dB", True, 2, "error in the darker part of the foreground"),
    Metric(
        "psnr@boundary",
        "PSNR, boundaries",
        "dB",
        True,
        2,
        "error within 2 pixels of the foreground's or the brighter part's border",
    ),
    Metric(
        "hfen", "HFEN", "", False, 4, "high-frequency error: Laplacian of Gaussian, sigma 1.5, 15x15, per slice; mean"
    ),
    Metric("kspace-error", "k-space error", "", False, 5, "degraded prediction against the LR data, relative, complex"),
)

METRICS: dict[str, Metric] = {metric.id: metric for metric in _ALL}


def revisions() -> dict[str, int]:
    """The revision of every metric, by id."""
    return {metric.id: metric.revision for metric in METRICS.values()}


def psnr(prediction: Array, target: Array, *, peak: float) -> float:
    """Peak signal-to-noise ratio in dB over all elements; higher is better.

    prediction, target: magnitudes in the same unit, any equal shape. peak: the maximum of the target slice or volume, as the metric
    id states (the two differ by about 5 dB), so the caller must give it. Identical arrays give +inf, an empty array NaN. Raises
    ValueError when shapes differ or peak <= 0. Equals skimage.metrics.peak_signal_noise_ratio with data_range=peak.
    """
    _same_shape(prediction, target)
    if not peak > 0:
        raise ValueError(f"peak must be positive, not {peak}")
    if target.size == 0:
        return float("nan")
    mse = float(np.mean((prediction - target) ** 2, dtype=np.float64))
    return float("inf") if mse == 0 else float(10 * np.log10(peak**2 / mse))


def ssim(prediction: Array, target: Array, *, data_range: float) -> float:
    """Structural similarity of two images (H, W), -1..1, higher is better: 7x7 uniform window, K1 .01, K2 .03, sample covariance.

    data_range: the maximum of the target slice or volume. Raises ValueError when shapes differ or a side is under 7 pixels.
    Source: Wang et al., IEEE TIP 13:600, 2004, as in skimage.metrics.structural_similarity (its defaults for floats).
    """
    from skimage.metrics import structural_similarity

    _same_shape(prediction, target)
    if min(target.shape) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, not {target.shape}")
    return float(
        structural_similarity(target, prediction, win_size=SSIM_WINDOW, data_range=data_range, K1=0.01, K2=0.03)
    )


def nmse(prediction: Array, target: Array) -> float:
    """||prediction - target||^2 / ||target||^2; 0 is perfect. NaN for a target that is zero everywhere."""
    _same_shape(prediction, target)
    return _ratio(float(np.sum((prediction - target) ** 2)), float(np.sum(target**2)))


def log_filter(image: Array) -> Array:
    """Laplacian of Gaussian of an image (H, W): 15x15 samples, sigma 1.5 pixels, made to sum to zero; edges repeated.

    Source: Ravishankar and Bresler, IEEE TMI 30:1028, 2011 (their high-frequency error norm).
    """
    from scipy.ndimage import convolve

    axis = np.arange(HFEN_SIZE) - HFEN_SIZE // 2
    square = axis[:, None] ** 2 + axis[None, :] ** 2
    gauss = np.exp(-square / (2 * HFEN_SIGMA**2))
    kernel = gauss / gauss.sum() * (square - 2 * HFEN_SIGMA**2) / HFEN_SIGMA**4
    return np.asarray(convolve(image, kernel - kernel.mean(), mode="nearest"))


def hfen(prediction: Array, target: Array) -> float:
    """|LoG(prediction) - LoG(target)| / |LoG(target)| of two images (H, W); 0 is perfect. NaN for a constant target."""
    _same_shape(prediction, target)
    reference = log_filter(target)
    return _ratio(float(np.linalg.norm(log_filter(prediction) - reference)), float(np.linalg.norm(reference)))


class Reference:
    """What a volume is scored against, with what can be computed from it once."""

    def __init__(self, image: NDArray[np.number]) -> None:
        """image: (S, H, W), complex or a magnitude. Raises ValueError when it is not finite or zero everywhere."""
        if image.ndim != 3 or not np.isfinite(image).all():
            raise ValueError(f"a reference is a finite volume (S, H, W), not {image.shape}")
        self.image = image.astype(np.complex128)
        self.magnitude: Array = np.abs(self.image)
        self.peak = float(self.magnitude.max())
        if self.peak == 0:
            raise ValueError("the reference volume is zero everywhere")

    @cached_property
    def regions(self) -> Regions:
        """Foreground, its brighter and darker part, and the boundaries."""
        return Regions.of(self.magnitude)

    @cached_property
    def phase(self) -> NDArray[np.complex128]:
        """exp(i phase), lent to magnitude predictions for the k-space error."""
        return np.exp(1j * np.angle(self.image))

    @cached_property
    def log_filtered(self) -> list[Array]:
        """`log_filter` of every slice."""
        return [log_filter(image) for image in self.magnitude]


@dataclass(frozen=True)
class VolumeScores:
    """Scores by metric id: of the volume, and of each of its slices (with the volume's peak and masks)."""

    volume: dict[str, float]
    slices: list[dict[str, float]]


def score_volume(
    prediction: NDArray[np.number], reference: Reference, *, lr: NDArray[np.complexfloating], degrade: Degrade
) -> VolumeScores:
    """Every metric of a predicted volume.

    prediction: (S, H, W). If complex, its magnitude is scored and its own phase enters the k-space error; if real, it is taken
    as the magnitude that the method claims, negative values included, and the reference's phase is lent. lr: the LR data
    (S, h, w). degrade: the protocol's operator. A region that a volume or slice does not have scores NaN. Raises ValueError
    when shapes differ or the prediction is not finite.
    """
    _same_shape(prediction, reference.magnitude)
    if not np.isfinite(prediction).all():
        raise ValueError("the prediction holds NaN or Inf")
    if np.iscomplexobj(prediction):
        image = prediction.astype(np.complex128)
        magnitude = np.abs(image)
    else:
        magnitude = prediction.astype(np.float64)
        image = magnitude * reference.phase
    misfit = degrade(image) - lr
    truth, peak = reference.magnitude, reference.peak
    slices = []
    for i in range(len(truth)):
        filtered = reference.log_filtered[i]
        slices.append(
            {
                "psnr@volume-max": psnr(magnitude[i], truth[i], peak=peak),
                "ssim@volume-max": ssim(magnitude[i], truth[i], data_range=peak),
                "nmse@volume": nmse(magnitude[i], truth[i]),
                **{
                    f"psnr@{n}": psnr(magnitude[i][m[i]], truth[i][m[i]], peak=peak)
                    for n, m in reference.regions.items()
                },
                "hfen": _ratio(
                    float(np.linalg.norm(log_filter(magnitude[i]) - filtered)), float(np.linalg.norm(filtered))
                ),
                "kspace-error": _ratio(float(np.linalg.norm(misfit[i])), float(np.linalg.norm(lr[i]))),
            }
        )
    volume = {
        "psnr@volume-max": psnr(magnitude, truth, peak=peak),
        "ssim@volume-max": float(np.mean([row["ssim@volume-max"] for row in slices])),
        "nmse@volume": nmse(magnitude, truth),
        **{f"psnr@{name}": psnr(magnitude[mask], truth[mask], peak=peak) for name, mask in reference.regions.items()},
        "hfen": float(np.mean([row["hfen"] for row in slices])),
        "kspace-error": _ratio(float(np.linalg.norm(misfit)), float(np.linalg.norm(lr))),
    }
    return VolumeScores(volume, slices)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else float("nan")


def _same_shape(a: NDArray[np.number], b: NDArray[np.number]) -> None:
    if a.shape != b.shape:
        raise ValueError(f"prediction {a.shape} and reference {b.shape} differ in shape")
