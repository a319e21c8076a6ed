"""What part of k-space was acquired, and where its centre is: planted and found."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import ndimage, signal

from mcsr_bench.plugin.case import Stored


@pytest.mark.parametrize("n", [6, 9, 32, 38, 44, 51, 58, 61])
@pytest.mark.parametrize("axis", [-2, -1])
def test_zero_filled_k_space_is_counted_to_the_row(lab: ModuleType, n: int, axis: int) -> None:
    pairs = lab.volume((64, 64))
    raw = [tuple(lab.keep(lab.to_kspace(im)[None], n, axis) for im in p) for p in pairs]
    facts = lab.inspect(pairs, raw=raw)
    expected = [64, 64]
    expected[axis] = n
    assert lab.acquired(facts) == expected
    found = lab.of(facts, (4,))
    assert [(f.severity, f.code, f.file, f.marks) for f in found] == [
        ("error" if n < 20 else "warning", "zero-filled", "p1-v1-t2.h5", True),
        ("warning", "zero-filled", "p1-v1-t1.h5", True),
    ]
    assert f"{expected[0]} x {expected[1]} of 64 x 64" in found[0].message


def test_nearly_zero_is_zero(lab: ModuleType) -> None:
    rng = np.random.default_rng(0)
    pairs = lab.volume((64, 64))
    raw = [
        tuple(lab.keep(lab.to_kspace(im), 44, -2)[None] + lab.noise((1, 64, 64), 1e-4, rng) for im in p) for p in pairs
    ]
    assert lab.acquired(lab.inspect(pairs, raw=raw)) == [44, 64]


@pytest.mark.parametrize("level", [0.02, 0.1])
@pytest.mark.parametrize(("shape", "share"), [((64, 64), 0.5), ((64, 48), 0.85), ((100, 128), 0.7), ((128, 101), 0.92)])
def test_a_zero_filled_image_is_found(lab: ModuleType, shape: tuple[int, int], share: float, level: float) -> None:
    n = round(shape[0] * share)
    pairs = [
        tuple(lab.to_image(lab.keep(lab.to_kspace(im), n, -2)) for im in p) for p in lab.volume(shape, 2, level=level)
    ]
    for track in ("complex", "magnitude"):
        facts = lab.inspect(pairs if track == "complex" else lab.magnitudes(pairs), track=track)
        for kind in ("target", "auxiliary"):
            assert lab.acquired(facts, kind)[0] == pytest.approx(n, abs=3)
            assert lab.acquired(facts, kind)[1] == shape[1]
        assert {f.code for f in lab.of(facts)} == {"zero-filled"}


def test_a_crop_of_the_image_does_not_hide_it(lab: ModuleType) -> None:
    pairs = [tuple(lab.to_image(lab.keep(lab.to_kspace(im), 90, -1)) for im in p) for p in lab.volume((128, 128))]
    cropped = [tuple(im[24:104, 24:104] for im in p) for p in pairs]
    for track in ("complex", "magnitude"):
        facts = lab.inspect(cropped if track == "complex" else lab.magnitudes(cropped), track=track)
        assert lab.acquired(facts)[1] == pytest.approx(80 * 90 / 128, abs=2)
        assert lab.acquired(facts)[0] == 80


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5])
def test_a_smoothed_image_is_not_zero_filled(lab: ModuleType, sigma: float) -> None:
    pairs = [
        tuple(ndimage.gaussian_filter(im.real, sigma) + 1j * ndimage.gaussian_filter(im.imag, sigma) for im in p)
        for p in lab.volume((64, 80))
    ]
    assert lab.of(lab.inspect(pairs)) == []
    assert lab.of(lab.inspect(lab.magnitudes(pairs), track="magnitude")) == []


@pytest.mark.parametrize(
    ("share", "scales", "severity", "named"),
    [
        (0.70, (2, 3, 4), "warning", ""),
        (0.55, (2, 3, 4), "error", "at scale 2,"),
        (0.55, (3, 4), "warning", ""),
        (0.40, (2, 3, 4), "error", "at scale 2, 3,"),
        (0.28, (4,), "error", "at scale 4,"),
    ],
)
def test_too_little_to_be_high_resolution_is_refused_for_the_scales_it_concerns(
    lab: ModuleType, share: float, scales: tuple[int, ...], severity: str, named: str
) -> None:
    # 1.25 / s of an axis: 0.625, 0.417, 0.3125
    pairs = lab.volume((100, 100), 1)
    raw = [tuple(lab.keep(lab.to_kspace(im)[None], round(100 * share), -1) for im in p) for p in pairs]
    target, auxiliary = lab.of(lab.inspect(pairs, raw=raw), scales)
    assert (target.code, target.severity) == ("zero-filled", severity)
    assert named in target.message
    assert auxiliary.severity == "warning"


@pytest.mark.parametrize(("size", "scale"), [(64, 2), (48, 3), (64, 4), (64, 8)])
def test_the_border_of_what_is_refused_is_five_quarters_of_the_lr_image(lab: ModuleType, size: int, scale: int) -> None:
    pairs = lab.volume((size, size), 1)
    for n in range(round(1.25 * size / scale) - 2, round(1.25 * size / scale) + 3):
        raw = [tuple(lab.keep(lab.to_kspace(im)[None], n, -2) for im in p) for p in pairs]
        facts = lab.inspect(pairs, raw=raw)
        assert lab.acquired(facts) == [n, size]
        assert (lab.of(facts, (scale,))[0].severity == "error") == (n < 1.25 * size / scale)


@pytest.mark.parametrize("share", [0.12, 0.28, 0.35])
def test_a_magnitude_interpolated_from_a_small_matrix_is_refused(lab: ModuleType, share: float) -> None:
    n = round(128 * share)
    pairs = [tuple(lab.to_image(lab.keep(lab.to_kspace(im), n, -2)) for im in p) for p in lab.volume((128, 96), 2)]
    facts = lab.inspect(lab.magnitudes(pairs), track="magnitude")
    assert lab.acquired(facts) == [pytest.approx(n, abs=3), 96]
    found = lab.of(facts, (2, 3))[0]
    assert (found.code, found.severity) == ("zero-filled", "error")
    assert "at scale 2, 3," in found.message


@pytest.mark.parametrize("window", [("tukey", 0.3), ("tukey", 0.5), "hann", "hamming"])
@pytest.mark.parametrize("shape", [(64, 48), (65, 81), (128, 100)])
def test_apodised_k_space_is_not_zero_filled(lab: ModuleType, shape: tuple[int, int], window: Any) -> None:
    weight = np.ones(shape)
    for axis, n in enumerate(shape):  # symmetric about sample n // 2
        taper = signal.get_window(window, 2 * (n // 2) + 1, fftbins=False)[:n]
        weight *= taper[:, None] if axis == 0 else taper
    kspace = [tuple(weight * lab.to_kspace(im) for im in p) for p in lab.volume(shape, level=0.05)]
    images = [tuple(lab.to_image(k) for k in p) for p in kspace]
    assert lab.of(lab.inspect(images)) == []
    assert lab.of(lab.inspect(images, raw=[tuple(k[None] for k in p) for p in kspace])) == []


@pytest.mark.parametrize(("N", "low", "high"), [(64, 16, 0), (64, 0, 12), (64, 28, 0), (32, 8, 0)])
@pytest.mark.parametrize("raw", [True, False])
def test_partial_fourier_is_told_from_zero_filling(lab: ModuleType, N: int, low: int, high: int, raw: bool) -> None:
    pairs = lab.volume((N, 48))
    kspace = [tuple(lab.to_kspace(im)[None].copy() for im in p) for p in pairs]
    for p in kspace:
        for k in p:
            k[:, :low] = 0
            k[:, N - high :] = 0
    images = [tuple(lab.to_image(k[0]) for k in p) for p in kspace]
    facts = lab.inspect(images, raw=kspace if raw else ())
    assert {f.code for f in lab.of(facts)} == {"partial-fourier"}
    assert all(f.marks and f.severity == "warning" and "rows" in f.message for f in lab.of(facts))
    edges = facts["contrasts"]["target"]["edges"][0]
    assert (edges["low"], edges["high"]) == pytest.approx((low, high), abs=0 if raw else 2)


@pytest.mark.parametrize("raw", [True, False])
def test_a_shifted_echo_is_off_centre(lab: ModuleType, raw: bool) -> None:
    pairs = lab.volume((64, 48))
    kspace = [tuple(np.roll(lab.to_kspace(im), (3, -2), (0, 1))[None] for im in p) for p in pairs]
    images = [tuple(lab.to_image(k[0]) for k in p) for p in kspace]
    straight = lab.inspect(pairs)["contrasts"]["target"]["centre"]
    facts = lab.inspect(images, raw=kspace if raw else ())
    assert facts["contrasts"]["target"]["centre"] == pytest.approx([straight[0] + 3, straight[1] - 2], abs=0.3)
    assert [(f.code, f.severity, f.marks) for f in lab.of(facts)] == [("off-centre", "warning", True)] * 2


def test_one_sample_off_is_let_pass(lab: ModuleType) -> None:
    pairs = [tuple(im * np.exp(2j * np.pi * lab.grid((64, 64))[0] / 64) for im in p) for p in lab.volume((64, 64))]
    assert "off-centre" not in {f.code for f in lab.of(lab.inspect(pairs))}


def test_a_header_that_says_otherwise_is_told(lab: ModuleType) -> None:
    pairs = lab.volume((64, 64))
    raw = [tuple(lab.keep(lab.to_kspace(im)[None], 48, -1) for im in p) for p in pairs]
    true, false = (Stored((3, 1, 64, 64), "complex64", 1, (64, n)) for n in (48, 60))
    found = lab.of(lab.inspect(pairs, raw=raw, stored=(true, false)))
    assert [(f.severity, f.code, f.file) for f in found if f.code != "zero-filled"] == [
        ("info", "header-acquired", "p1-v1-t1.h5")
    ]
    assert "64 x 60 of 64 x 64" in found[-1].message
    assert "64 x 48 of 64 x 64" in found[-1].message
