"""The brain-sim plugin, its alignment: what residual motion and misalignment do, against independent registrations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, optimize
from skimage.registration import phase_cross_correlation

from mcsr_bench.datasets.brain_sim import BrainSim, BrainSimSettings, simulate
from mcsr_bench.datasets.brain_sim.motion import Displacement, displaced
from mcsr_bench.datasets.brain_sim.simulate import FIELD_OF_VIEW, displacement_of, generate_subject

Array = NDArray[Any]


def dataset(**settings: Any) -> BrainSim:
    return BrainSim("brain-sim", BrainSimSettings(subjects=3, slices=1, **settings))


def auxiliary(subject: int, by: Displacement | None = None, size: int = 64) -> Array:
    displacements = {"T1w": by} if by else None
    images = generate_subject(subject, size=size, slices=1, contrasts=("T1w",), displacements=displacements)
    return images["T1w"][0]


def finer(image: Array) -> Array:
    n = len(image)
    return np.fft.ifft2(np.fft.ifftshift(np.pad(np.fft.fftshift(np.fft.fft2(image)), n // 2))) * 4


def registered(fixed: Array, moved: Array) -> Array:
    """The rigid displacement that leads from one image to the other: (down, right) in mm and degrees counter-clockwise, by least
    squares from a phase correlation on. The complex images are zero-filled to twice the matrix, where splines are good enough."""
    fixed, moved = (np.abs(finer(image)) for image in (fixed, moved))
    n = len(fixed)
    start, *_ = phase_cross_correlation(moved, fixed, upsample_factor=20)
    rows, columns = np.mgrid[:n, :n] - n // 2
    inner = np.hypot(rows, columns) < 0.45 * n

    def difference(parameters: Array) -> Array:
        down, right, degrees = parameters
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        # a point of the head at (y, x) is seen at R (y, x) + shift; counter-clockwise leads from down to right
        y, x = c * rows - s * columns + down, s * rows + c * columns + right
        return (ndimage.map_coordinates(moved, [y + n // 2, x + n // 2], order=3) - fixed)[inner]

    found = optimize.least_squares(difference, [*start, 0.0]).x
    return np.asarray(found * [FIELD_OF_VIEW / n, FIELD_OF_VIEW / n, 1])


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No noise, and no coil, which stays where it is: the head alone."""
    monkeypatch.setattr(simulate, "_NOISE", (0, 0))
    monkeypatch.setattr(simulate.Receiver, "on_plane", lambda *at: np.complex64(1))


def components(by: Displacement) -> Array:
    return np.array([by.down_mm, by.right_mm, by.degrees])


@pytest.mark.parametrize("by", [Displacement(12, -7, 0), Displacement(0, 0, 8), Displacement(-3, 5, -4)])
def test_the_displacement_found_in_the_images_is_the_one_asked_for(by: Displacement) -> None:
    np.testing.assert_allclose(registered(auxiliary(2), auxiliary(2, by)), components(by), atol=0.15)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_residual_motion_found_in_the_images_is_the_recorded_one(number: int, bare: None) -> None:
    data = dataset(size=64)
    case = data.cases()[number]
    truth = data.displacement(case)
    moved = next(iter(data.read(case)))[1]
    np.testing.assert_allclose(registered(auxiliary(number), moved), components(truth), atol=0.05)


def test_a_smooth_object_is_where_the_formula_has_it() -> None:
    """Blobs whose displaced centres are worked out by hand, on a grid of 1 mm."""
    y, x = np.mgrid[:96, :96] - 48.0

    def blobs(centres: list[tuple[float, float]]) -> Array:
        return sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 18) for a, b in centres).astype(np.float32)

    c, s = np.cos(np.deg2rad(10)), np.sin(np.deg2rad(10))
    centres = [(20.0, 3.0), (-11.0, 14.5), (0.0, -25.0)]
    expected = blobs([(c * a - s * b + 1.3, s * a + c * b - 2.6) for a, b in centres])
    np.testing.assert_allclose(displaced(blobs(centres), Displacement(1.3, -2.6, 10), 96), expected, atol=1e-4)


def test_shifting_the_head_is_shifting_the_field_of_view_the_other_way(
    bare: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The anatomy itself, sampled elsewhere: no interpolation takes part. What differs are edges finer than the sampling."""
    still, moved = auxiliary(1), auxiliary(1, Displacement(0.37, -0.71))
    monkeypatch.setattr(simulate, "_CENTRE", (-18.0 + 0.37, -0.71))  # anterior and the patient's right are positive
    expected = auxiliary(1)
    assert np.linalg.norm(moved - expected) < 0.3 * np.linalg.norm(still - expected)


def test_without_motion_the_contrasts_are_aligned_and_the_target_never_moves() -> None:
    still, moving = dataset(size=32, motion_mm=0, motion_deg=0), dataset(size=32)
    plain = generate_subject(1, size=32, slices=1)
    case = still.cases()[1]
    assert still.displacement(case) == Displacement()
    target, aligned = next(iter(still.read(case)))
    assert (target == plain["T2w"][0]).all()
    assert (aligned == plain["T1w"][0]).all()
    target, moved = next(iter(moving.read(case)))
    assert (target == plain["T2w"][0]).all()
    assert (moved != plain["T1w"][0]).any()


def test_residual_motion_is_gaussian_each_subject_s_own_and_the_seed_s() -> None:
    drawn = np.array([components(displacement_of(i, motion_mm=0.45, motion_deg=0.3)) for i in range(2000)])
    np.testing.assert_allclose(drawn.std(axis=0), [0.45, 0.45, 0.3], rtol=0.05)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.03)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.06
    assert len(np.unique(drawn)) == drawn.size
    again = displacement_of(7, motion_mm=0.45, motion_deg=0.3)
    assert (components(again) == drawn[7]).all()
    assert displacement_of(7, seed=1, motion_mm=0.45, motion_deg=0.3) != again
    assert components(displacement_of(7, motion_mm=0.9)) == pytest.approx([2 * again.down_mm, 2 * again.right_mm, 0])
    quarter = BrainSimSettings()
    assert quarter.motion_mm / (FIELD_OF_VIEW / quarter.size) == pytest.approx(0.25, abs=0.001)
    assert quarter.motion_deg == 0.3


def test_misalignment_has_exactly_the_asked_size_and_residual_motion_comes_on_top() -> None:
    for subject in range(20):
        on_purpose = displacement_of(subject, misalignment_mm=9, misalignment_deg=5)
        assert np.hypot(on_purpose.down_mm, on_purpose.right_mm) == pytest.approx(9)
        assert abs(on_purpose.degrees) == 5
        motion = displacement_of(subject, motion_mm=0.45, motion_deg=0.3)
        both = displacement_of(subject, misalignment_mm=9, misalignment_deg=5, motion_mm=0.45, motion_deg=0.3)
        np.testing.assert_allclose(components(both), components(on_purpose) + components(motion))
    assert len({displacement_of(s, misalignment_deg=5).degrees for s in range(20)}) == 2
