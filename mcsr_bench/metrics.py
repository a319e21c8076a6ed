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

from mcsr_bench.regions import NAMES, Mask, Regions

Array = NDArray[np.float64]
Degrade = Callable[[NDArray[np.complexfloating]], NDArray[np.complexfloating]]
"""Complex HR slices (S, H, W) to complex LR slices (S, h, w)."""

SSIM_WINDOW = 7
HFEN_SIGMA, HFEN_SIZE = 1.5, 15
ROBUST_PERCENTILE = 99.9


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
    Metric(
        "psnr@roi",
        "PSNR, ROI",
        "dB",
        True,
        2,
        "error inside the region of interest: the data set's (of a head, the brain), or the foregrounds of both contrasts together",
    ),
    Metric(
        "ssim@roi",
        "SSIM, ROI",
        "",
        True,
        4,
        "mean of the SSIM map over the pixels of the region of interest",
    ),
    Metric(
        "psnr@robust",
        "PSNR, robust peak",
        "dB",
        True,
        2,
        "as psnr@volume-max; peak: 99.9th percentile of the reference volume, which one hot voxel does not move",
    ),
    Metric("nmse@volume", "NMSE", "", False, 5, "squared error over squared reference, one per volume"),
    Metric(
        "psnr@foreground",
        "PSNR, foreground",
        "dB",
        True,
        2,
        "error inside the object (Otsu on the smoothed reference, largest component, holes filled)",
        revision=2,
    ),
    Metric(
        "psnr@high",
        "PSNR, high intensity",
        "dB",
        True,
        2,
        "error in the brighter part of the foreground (second Otsu)",
        revision=2,
    ),
    Metric("psnr@low", "PSNR, low intensity", "dB", True, 2, "error in the darker part of the foreground", revision=2),
    Metric(
        "psnr@boundary",
        "PSNR, boundaries",
        "dB",
        True,
        2,
        "error in the pixels on both sides of the foreground's and the brighter part's border",
        revision=2,
    ),
    Metric(
        "hfen", "HFEN", "", False, 4, "high-frequency error: Laplacian of Gaussian, sigma 1.5, 15x15, per slice; mean"
    ),
    Metric("kspace-error", "k-space error", "", False, 5, "degraded prediction against the LR data, relative, complex"),
)

METRICS: dict[str, Metric] = {metric.id: metric for metric in _ALL}

REGIONAL = ("ssim@roi", *(f"psnr@{name}" for name in NAMES))
"""The metrics of regions. Zero-filling scores beside them, because what is easy in a region is easy for every method."""


def of_zero_filling(metric: str) -> str:
    """The column that holds a regional metric of |zero-filled|."""
    return f"{metric}/zerofill"


def share_of_error(region: str) -> str:
    """The column that holds how much of a volume's squared error is in a region, 0..1."""
    return f"error-share@{region}"


COMPANIONS = (*map(of_zero_filling, REGIONAL), *map(share_of_error, NAMES))
"""The columns of volumes that stand beside those of the metrics."""


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
    return ssim_map(prediction, target, data_range=data_range)[0]


def ssim_map(prediction: Array, target: Array, *, data_range: float) -> tuple[float, Array]:
    """`ssim` and the map (H, W) that it is the mean of, without the 3 pixels at each border. Arguments and errors: `ssim`."""
    from skimage.metrics import structural_similarity

    _same_shape(prediction, target)
    if min(target.shape) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs images of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, not {target.shape}")
    mean, local = structural_similarity(
        target, prediction, win_size=SSIM_WINDOW, data_range=data_range, K1=0.01, K2=0.03, full=True
    )
    return float(mean), np.asarray(local)


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

    def __init__(self, image: NDArray[np.number], roi: Mask | None = None) -> None:
        """image: (S, H, W), complex or a magnitude. roi: the region of interest (S, H, W); None: the foreground.

        Raises ValueError when the image is not finite or zero everywhere.
        """
        if image.ndim != 3 or not np.isfinite(image).all():
            raise ValueError(f"a reference is a finite volume (S, H, W), not {image.shape}")
        self.image = image.astype(np.complex128)
        self.magnitude: Array = np.abs(self.image)
        self.peak = float(self.magnitude.max())
        self.robust_peak = float(np.percentile(self.magnitude, ROBUST_PERCENTILE))
        self._roi = roi
        if self.peak == 0:
            raise ValueError("the reference volume is zero everywhere")

    @cached_property
    def regions(self) -> Regions:
        """Region of interest, foreground, its brighter and darker part, and the boundaries."""
        return Regions.of(self.magnitude, self._roi)

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
    prediction: NDArray[np.number],
    reference: Reference,
    *,
    lr: NDArray[np.complexfloating],
    degrade: Degrade,
    zero_filled: Array | None = None,
) -> VolumeScores:
    """Every metric of a predicted volume.

    prediction: (S, H, W). If complex, its magnitude is scored and its own phase enters the k-space error; if real, it is taken
    as the magnitude that the method claims, negative values included, and the reference's phase is lent. lr: the LR data
    (S, h, w). degrade: the protocol's operator. zero_filled: the magnitude of the zero-filled LR data (S, H, W); with it the
    volume's scores also hold the columns of `of_zero_filling` and `share_of_error`. A region that a volume or slice does not have
    scores NaN. Raises ValueError when shapes differ or the prediction is not finite.
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
    truth, everything = reference.magnitude, slice(None)
    maps = _ssim_maps(magnitude, reference)
    slices = []
    for i in range(len(truth)):
        filtered = reference.log_filtered[i]
        error = float(np.linalg.norm(log_filter(magnitude[i]) - filtered))
        slices.append(
            _whole(magnitude, reference, i)
            | {"ssim@volume-max": maps[i][0]}
            | _regional(magnitude, reference, maps, slice(i, i + 1))
            | {"hfen": _ratio(error, float(np.linalg.norm(filtered)))}
            | {"kspace-error": _ratio(float(np.linalg.norm(misfit[i])), float(np.linalg.norm(lr[i])))}
        )
    volume = (
        _whole(magnitude, reference, everything)
        | {name: float(np.mean([row[name] for row in slices])) for name in ("ssim@volume-max", "hfen")}
        | _regional(magnitude, reference, maps, everything)
        | {"kspace-error": _ratio(float(np.linalg.norm(misfit)), float(np.linalg.norm(lr)))}
    )
    ordered = [{name: row[name] for name in METRICS} for row in (volume, *slices)]
    if zero_filled is not None:
        base = _regional(zero_filled, reference, _ssim_maps(zero_filled, reference), everything)
        ordered[0] |= {of_zero_filling(name): base[name] for name in REGIONAL}
        ordered[0] |= _shares(magnitude, reference)
    return VolumeScores(ordered[0], ordered[1:])


def _whole(magnitude: Array, reference: Reference, part: int | slice) -> dict[str, float]:
    here, truth = magnitude[part], reference.magnitude[part]
    return {
        "psnr@volume-max": psnr(here, truth, peak=reference.peak),
        "psnr@robust": psnr(here, truth, peak=reference.robust_peak) if reference.robust_peak > 0 else float("nan"),
        "nmse@volume": nmse(here, truth),
    }


def _ssim_maps(magnitude: Array, reference: Reference) -> list[tuple[float, Array]]:
    pairs = zip(magnitude, reference.magnitude, strict=True)
    return [ssim_map(image, truth, data_range=reference.peak) for image, truth in pairs]


def _regional(magnitude: Array, reference: Reference, maps: list[tuple[float, Array]], part: slice) -> dict[str, float]:
    out = {}
    for name, mask in reference.regions.items():
        inside = mask[part]
        out[f"psnr@{name}"] = psnr(magnitude[part][inside], reference.magnitude[part][inside], peak=reference.peak)
    local = np.stack([one for _, one in maps[part]])[reference.regions.roi[part]]
    return out | {"ssim@roi": float(local.mean()) if local.size else float("nan")}


def _shares(magnitude: Array, reference: Reference) -> dict[str, float]:
    squares = (magnitude - reference.magnitude) ** 2
    total = float(squares.sum())
    return {share_of_error(name): _ratio(float(squares[mask].sum()), total) for name, mask in reference.regions.items()}


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else float("nan")


def _same_shape(a: NDArray[np.number], b: NDArray[np.number]) -> None:
    if a.shape != b.shape:
        raise ValueError(f"prediction {a.shape} and reference {b.shape} differ in shape")
