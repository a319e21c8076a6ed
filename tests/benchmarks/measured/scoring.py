"""Scoring of a volume against PSNR and SSIM of scikit-image, slice by slice."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from floor import interleaved, spent
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mcsr_bench import metrics
from mcsr_bench.data.scoring import score_prediction
from mcsr_bench.protocol import MCSR_1

from .data import SCALE, prepared_toy
from .page import section_of, table

Array = NDArray[np.float64]


def by_skimage(prediction: Array, truth: Array, peak: float) -> None:
    """PSNR and SSIM of every slice, as in `mcsr_bench.metrics`: peak of the volume, uniform window of 7 x 7."""
    for image, target in zip(prediction, truth, strict=True):
        peak_signal_noise_ratio(target, image, data_range=peak)
        structural_similarity(target, image, win_size=7, data_range=peak, K1=0.01, K2=0.03)


def by_suite(prediction: Array, truth: Array, peak: float) -> None:
    """The same two by the suite's functions."""
    for image, target in zip(prediction, truth, strict=True):
        metrics.psnr(image, target, peak=peak)
        metrics.ssim(image, target, data_range=peak)


def section(quick: bool) -> str:
    """The same two metrics, all metrics, and all of what a trial computes."""
    repeats, slices = (3, 2) if quick else (9, 8)
    with tempfile.TemporaryDirectory() as name:
        _, prepared = prepared_toy(Path(name), size=320, patients=5, slices=slices)
        volume = next(iter(prepared.store.volumes.values()))
        complex_truth, low = np.array(volume.target), np.array(volume.target_lr)
        truth = np.abs(complex_truth).astype(np.float64)
        prediction = truth + 0.01 * truth.max() * np.random.default_rng(0).normal(size=truth.shape)
        peak = float(truth.max())

        def degrade(image: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
            return MCSR_1.degrade(torch.from_numpy(image), SCALE).numpy()

        runs = [
            lambda: by_skimage(prediction, truth, peak),
            lambda: by_suite(prediction, truth, peak),
            lambda: metrics.score_volume(prediction, metrics.Reference(complex_truth), lr=low, degrade=degrade),
            lambda: score_prediction(prediction, volume, MCSR_1, SCALE),
        ]
        for run in runs:
            run()
        seconds, _ = interleaved([partial(spent, run) for run in runs], [], repeats)
    names = (
        "scikit-image: PSNR and SSIM",
        "PSNR and SSIM",
        f"all {len(metrics.METRICS)} metrics (`score_volume`)",
        "all of a trial: regions of both contrasts, zero-filling beside (`score_prediction`)",
    )
    rows = [
        (name, f"{1000 * one / slices:.1f}", f"{one / seconds[0]:.2f}")
        for name, one in zip(names, seconds, strict=True)
    ]
    prose = (
        "A volume of 320 x 320 against scikit-image's PSNR and SSIM, slice by slice, with the same window and peak. "
        "There is no goal: the suite computes more."
    )
    return section_of("Scoring", prose, table(("what", "ms per slice", "over scikit-image"), rows))
