"""The brain-sim plugin, its images: anatomy, phase, difficulty beside real data, individuality, use of the auxiliary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from shared_detail import real_slabs, shared_detail, spectrum_inside

from mcsr_bench.datasets.brain_sim import BrainSim, BrainSimSettings, likeness, template
from mcsr_bench.datasets.brain_sim.anatomy import TISSUE_NAMES, Subject, _OnPlanes
from mcsr_bench.datasets.brain_sim.fields import random_field
from mcsr_bench.datasets.brain_sim.simulate import generate_subject, slice_levels
from mcsr_bench.errors import UserError
from mcsr_bench.kspace import truncate

Images = NDArray[np.complex64]
Volumes = list[dict[str, Images]]
Array = NDArray[Any]

OPEN_MS = Path(__file__).parents[2].parent / "shared" / "data" / "open_ms"
REAL = OPEN_MS / "native"
ALIGNED = OPEN_MS / "mni"
N_COHORT = 9


@pytest.fixture(scope="module")
def cohort() -> Volumes:
    """Nine subjects as the data set hands them out, both contrasts."""
    data = BrainSim("brain-sim", BrainSimSettings())
    pairs = [zip(*data.read(case), strict=True) for case in data.cases()[:N_COHORT]]
    return [{"T2w": np.stack(target), "T1w": np.stack(auxiliary)} for target, auxiliary in pairs]


def spectrum(image: Array) -> Array:
    """Centred orthonormal FFT over the last two axes, numpy in double precision."""
    shifted = np.fft.ifftshift(image.astype(np.complex128), axes=(-2, -1))
    return np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1))


def centre(size: int, kept: int) -> slice:
    return slice(size // 2 - kept // 2, size // 2 - kept // 2 + kept)


def zero_filled(image: Array, scale: int) -> Array:
    """Magnitude of images (..., N, N) of which the central N/s x N/s samples of k-space are left."""
    kspace = spectrum(image)
    part = centre(image.shape[-1], image.shape[-1] // scale)
    kept = np.zeros_like(kspace)
    kept[..., part, part] = kspace[..., part, part]
    shifted = np.fft.ifft2(np.fft.ifftshift(kept, axes=(-2, -1)), norm="ortho")
    return np.asarray(np.abs(np.fft.fftshift(shifted, axes=(-2, -1))))


def psnr(image: Array, reference: Array, peak: float) -> float:
    error = image.astype(np.float64) - reference.astype(np.float64)
    return float(10 * np.log10(float(peak) ** 2 / np.mean(error**2)))


# --- anatomy -------------------------------------------------------------------------------------------------------------


def test_another_template_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "_CHECKSUM", 0x12345678)
    with pytest.raises(UserError, match=r"nilearn .* expected 12345678"):
        template.load_template.__wrapped__()


def test_the_template_is_what_nilearn_makes_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    read = template.icbm152()
    monkeypatch.setattr(template, "_FILE", ("moved.nii.gz",))
    made = template.icbm152()  # another nilearn may keep its file elsewhere
    data = np.asarray(read.dataobj, np.float32)
    assert np.array_equal(data / data.max(), np.asarray(made.dataobj, np.float32))
    assert np.array_equal(read.affine, made.affine)


def test_fields_at_selected_voxels_are_those_of_the_whole_grid() -> None:
    z, y, x = np.arange(3.0), np.arange(-30.0, 31.0, 4.0), np.arange(-20.0, 41.0, 3.0)
    planes = _OnPlanes(z, y, x)
    field = random_field(np.random.default_rng(0), 7.0, ((-2, 4), (-32, 32), (-22, 42)))
    whole = planes(field)
    assert np.array_equal(whole, field.on_grid(z, y, x).ravel())
    for some in (np.arange(whole.size) % 7 == 3, planes.full(whole).ravel() > 1.5, np.zeros(whole.size, bool)):
        planes.select(some)
        assert np.array_equal(planes(field), whole[some])
        assert np.array_equal(planes.full(planes(field)).ravel(), np.where(some, whole, 0))


def test_tissue_fractions_are_fractions_and_every_tissue_is_there() -> None:
    y, x = -18 - (np.arange(160) - 80) * 1.4375, -(np.arange(160) - 80) * 1.4375
    found = np.zeros(len(TISSUE_NAMES))
    for subject in range(3):
        head = Subject(np.random.default_rng(subject))
        fractions = head.tissues(np.array([18.0, 20.0]), y, x)
        total = fractions.sum(axis=0)
        assert fractions.min() >= -1e-6
        assert total.max() <= 1 + 1e-5
        assert total[0, 0] == 0
        np.testing.assert_allclose(total[70:90, 70:90], 1, atol=1e-5)  # no air inside the brain
        found = np.maximum(found, fractions.max(axis=(1, 2)))
    assert dict(zip(TISSUE_NAMES, found > 0.5, strict=True)) == dict.fromkeys(TISSUE_NAMES, True)


def test_csf_is_bright_on_t2w_and_dark_on_t1w_bone_dark_and_scalp_fat_bright_on_t2w_alone(cohort: Volumes) -> None:
    for volume in cohort[:4]:
        t1, t2 = np.abs(volume["T1w"][0]), np.abs(volume["T2w"][0])
        brain = np.zeros_like(t2, bool)
        brain[34:94, 44:84] = True
        ventricle = brain & (t2 > 0.85 * t2[brain].max())
        white = brain & (t2 < np.percentile(t2[brain], 30))
        assert t2[ventricle].mean() > 2 * t2[white].mean()
        assert t1[ventricle].mean() < 0.75 * t1[white].mean()
        # from the air inwards on the row through the middle of the head: scalp, bright where fat is not saturated, then dark bone
        first = int(np.argmax(t2[64] > 0.5 * t2[64, :40].max()))
        scalp, bone = (slice(first, first + 5), slice(first + 3, first + 12))
        assert t2[64, bone].min() < 0.35 * t2[64, scalp].max()
        assert t1[64, bone].min() < 0.2 * t1[white].mean()
        assert t1[64, scalp].max() < 0.8 * t1[white].mean()
        assert t2[64, scalp].max() > 1.3 * t2[white].mean()


def test_the_head_is_the_same_at_every_matrix_size() -> None:
    large, small = (np.abs(generate_subject(4, size=n, slices=2, contrasts=("T2w",))["T2w"]) for n in (128, 64))
    part = centre(128, 64)
    low = np.abs(np.fft.ifft2(np.fft.ifftshift(spectrum(large)[:, part, part], axes=(-2, -1)), norm="ortho")) / 2
    low = np.fft.fftshift(low, axes=(-2, -1))
    assert np.corrcoef(low.ravel(), small.ravel())[0, 1] > 0.97


def test_slices_lie_at_different_levels_in_ascending_order() -> None:
    levels = np.array([slice_levels(4, np.random.default_rng(i)) for i in range(20)])
    assert (np.diff(levels, axis=1) > 10).all()
    assert levels.min() >= 4
    assert levels.max() <= 54
    assert levels[:, 0].std() > 1
    assert slice_levels(1, np.random.default_rng(0)).shape == (1,)


def test_left_and_right_differ(cohort: Volumes) -> None:
    """The template is symmetric; the high frequencies of a subject's two halves must not be."""
    likeness = []
    for image in np.abs(np.concatenate([volume["T2w"] for volume in cohort])):
        detail = (image - ndimage.gaussian_filter(image, 2))[30:98, 34:94]
        likeness.append(best_correlation(detail, detail[:, ::-1]))
    assert np.mean(likeness) < 0.3
    assert max(likeness) < 0.6
    symmetric = detail + detail[:, ::-1]
    assert best_correlation(symmetric, symmetric[:, ::-1]) > 0.99  # the measure sees symmetry where there is some


def best_correlation(a: Array, b: Array) -> float:
    """The highest correlation coefficient of two images over all cyclic shifts."""
    a, b = a - a.mean(), b - b.mean()
    product = np.fft.ifft2(np.fft.fft2(a) * np.conj(np.fft.fft2(b))).real
    return float(product.max() / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_noise_of_a_subject_lies_between_1_2_and_2_4_per_cent(cohort: Volumes) -> None:
    for volume in cohort[:6]:
        for images in volume.values():
            corners = np.stack([images[:, :8, :8], images[:, :8, -8:], images[:, -8:, :8], images[:, -8:, -8:]])
            level = np.sqrt(np.mean(np.abs(corners) ** 2)) / np.percentile(np.abs(images), 99)
            assert 0.010 < level < 0.029


# --- phase ---------------------------------------------------------------------------------------------------------------


def test_the_phase_is_no_ramp_and_not_shared_by_the_contrasts(cohort: Volumes) -> None:
    for volume in cohort[:4]:
        left = []
        for images in volume.values():
            image = images[1].astype(np.complex128)
            flat = remove_linear_phase(image)
            assert np.linalg.norm(flat.imag) > 0.1 * np.linalg.norm(flat)
            # Hermitian k-space is what a magnitude image has: K(-k) = conj K(k)
            kspace = spectrum(flat)[1:, 1:]
            odd = kspace - np.conj(kspace[::-1, ::-1])
            assert np.linalg.norm(odd) > 0.2 * np.linalg.norm(kspace)
            left.append(flat)
        difference = remove_linear_phase(left[0] * np.conj(left[1]))
        assert np.linalg.norm(difference.imag) > 0.1 * np.linalg.norm(difference)


def remove_linear_phase(image: Array) -> Array:
    """Take off the constant and the slope that bring the image nearest to a real positive one (by its k-space peak, finely)."""
    n = image.shape[0]
    fine = np.abs(np.fft.fft2(image, s=(8 * n, 8 * n)))
    peak = np.array(np.unravel_index(fine.argmax(), fine.shape)) / 8
    rows, columns = np.mgrid[:n, :n]
    flat = image * np.exp(-2j * np.pi * (rows * peak[0] + columns * peak[1]) / n)
    return np.asarray(flat * np.exp(-1j * np.angle(flat.sum())))


# --- difficulty and individuality ----------------------------------------------------------------------------------------


def difficulty(volumes: list[Array]) -> dict[int, tuple[float, float]]:
    """Per scale, PSNR in dB of zero-filling, peak = volume maximum, mean over volumes: (everywhere, inside the brain alone).

    The brain is taken as the ellipse in the head's bounding box whose axes are 0.8 of the box's: skull and scalp lie outside.
    """
    out = {}
    for scale in (2, 4):
        everywhere, inside = [], []
        for volume in volumes:
            magnitude = np.abs(volume).astype(np.float64)
            error = (zero_filled(volume, scale) - magnitude) ** 2
            brain = np.stack([inner_ellipse(image > 0.12 * np.percentile(magnitude, 99)) for image in magnitude])
            everywhere.append(10 * np.log10(magnitude.max() ** 2 / error.mean()))
            inside.append(10 * np.log10(magnitude.max() ** 2 / error[brain].mean()))
        out[scale] = (float(np.mean(everywhere)), float(np.mean(inside)))
    return out


def inner_ellipse(head: Array) -> Array:
    axes = []
    for axis in (0, 1):
        extent = np.flatnonzero(head.any(axis=1 - axis))
        middle, half = (extent[0] + extent[-1]) / 2, (extent[-1] - extent[0]) / 2
        axes.append(((np.arange(head.shape[axis]) - middle) / half) ** 2)
    return np.asarray(axes[0][:, None] + axes[1][None, :] < 0.8**2)


def test_zero_filling_is_as_hard_as_on_real_t2w_at_the_same_matrix(cohort: Volumes) -> None:
    """Mean over volumes: 26-29 dB at 2x and 21-24 dB at 4x, everywhere and inside the brain alone."""
    found = difficulty([v["T2w"] for v in cohort])
    assert all(26 < value < 29 for value in found[2])
    assert all(21 < value < 24 for value in found[4])


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real volumes to compare with are not in {REAL}")
def test_the_asked_difficulty_is_that_of_the_real_volumes() -> None:
    """The middle half of the slices (the others are air or neck), truncated to 128 x 128 like the simulated ones."""
    found = difficulty([truncated(volume[len(volume) // 4 : 3 * len(volume) // 4]) for volume in real_heads()])
    assert all(26 < value < 29 for value in found[2])
    assert all(21 < value < 24 for value in found[4])


def real_heads() -> list[Array]:
    """T2w of three patients as the scanner wrote them: float64 (S, H, W), about 0.5 mm, with skull and scalp."""
    paths = sorted(REAL.glob("*_T2W.nii.gz"))
    assert len(paths) == 3
    volumes = [np.squeeze(np.asarray(nibabel.load(p).dataobj, dtype=np.float64)) for p in paths]  # type: ignore[attr-defined]
    return [np.moveaxis(volume, int(np.argmin(volume.shape)), 0) for volume in volumes]


def truncated(volume: Array) -> Array:
    return truncate(torch.from_numpy(volume.astype(np.complex64)), (128, 128)).abs().numpy()


REAL_SPECTRUM = (-10.4, -14.3, -17.3, -19.5, -21.2, -22.5)


def test_the_spectrum_inside_the_brain_falls_as_that_of_real_t2w(cohort: Volumes) -> None:
    found = np.mean([spectrum_inside(v["T2w"]) for v in cohort], axis=0)
    np.testing.assert_allclose(found, REAL_SPECTRUM, atol=1)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real volumes to compare with are not in {REAL}")
def test_the_asked_spectrum_is_that_of_the_real_volumes() -> None:
    """The mean of three patients: four slices each, in a field of view of 230 mm with the head in the middle."""
    found = []
    for volume in real_heads():
        chosen = volume[[int(len(volume) * f) for f in (0.45, 0.55, 0.65, 0.75)]].swapaxes(
            1, 2
        )  # rows from front to back
        missing = [max(chosen.shape) - n for n in chosen.shape[1:]]  # square pixels
        image = truncated(np.pad(chosen, ((0, 0), *((m // 2, m - m // 2) for m in missing))))
        for axis in (1, 2):
            head = np.flatnonzero((image > 0.1 * image.max()).any(axis=(0, 3 - axis)))
            image = np.roll(image, 64 - (head[0] + head[-1]) // 2, axis)
        found.append(spectrum_inside(image))
    np.testing.assert_allclose(np.mean(found, axis=0), REAL_SPECTRUM, atol=0.2)


def neighbour_gain(training: list[Array], test: Array, scale: int) -> tuple[float, float]:
    """Gain in dB over zero-filling of adding a training slice's high frequencies, in place: (most similar LR, best of all).

    Every training slice is first moved to where its zero-filled image fits the test slice's best. Means over the test slices.
    """
    library = [(low, high - low) for v in training for low, high in zip(zero_filled(v, scale), np.abs(v), strict=True)]
    similar, oracle = [], []
    for low, high in zip(zero_filled(test, scale), np.abs(test), strict=True):
        candidates = []
        for other, detail in library:
            product = np.fft.ifft2(np.fft.fft2(low) * np.conj(np.fft.fft2(other))).real
            shift = tuple(int(i) for i in np.unravel_index(product.argmax(), product.shape))
            distance = float(np.mean((np.roll(other, shift, (0, 1)) - low) ** 2))
            candidates.append((distance, psnr(low + np.roll(detail, shift, (0, 1)), high, 1)))
        plain = psnr(low, high, 1)
        similar.append(min(candidates)[1] - plain)
        oracle.append(max(c[1] for c in candidates) - plain)
    return float(np.mean(similar)), float(np.mean(oracle))


@pytest.mark.parametrize("scale", [2, 4])
def test_the_nearest_training_subject_s_high_frequencies_gain_nothing(cohort: Volumes, scale: int) -> None:
    images = [v["T2w"] for v in cohort]
    for test in images[:3]:
        similar, oracle = neighbour_gain(images[3:], test, scale)
        assert similar < -0.5
        assert oracle < 0
    # The baseline does gain where a training subject shares the test subject's folding: here the same head, moved.
    twin = np.roll(images[0], (3, -5), (1, 2))
    assert neighbour_gain([*images[3:5], twin], images[0], scale)[0] > 10


def test_inside_the_brain_the_contrasts_share_what_those_of_real_brains_share(cohort: Volumes) -> None:
    """Mutual information of the high frequencies .45 to .65 nats, correlation -.65 to -.85; with perfect alignment, more."""
    found = [shared_detail(v["T2w"], v["T1w"]) for v in cohort]
    np.testing.assert_allclose([likeness.shared_detail(v["T2w"], v["T1w"]) for v in cohort], found, atol=0.002)
    information, correlation = np.mean(found, axis=0)
    assert 0.45 < information < 0.65
    assert -0.85 < correlation < -0.65
    moved, aligned = cohort[6], generate_subject(6)  # moved by half a pixel
    assert shared_detail(aligned["T2w"], aligned["T1w"])[0] > shared_detail(moved["T2w"], moved["T1w"])[0] + 0.1


@pytest.mark.skipif(not ALIGNED.is_dir(), reason=f"the real volumes to compare with are not in {ALIGNED}")
def test_the_asked_share_is_that_of_a_real_brain() -> None:
    """One patient, aligned and without skull: .59 nats and -.76."""
    t2, t1 = (real_slabs(ALIGNED / f"patient07_{name}.nii.gz") for name in ("T2", "T1"))
    assert shared_detail(t2, t1) == pytest.approx(likeness.REAL, abs=0.005)
    assert likeness.shared_detail(t2, t1) == pytest.approx(shared_detail(t2, t1), abs=1e-5)


def test_the_measure_of_shared_detail_knows_independence_and_identity() -> None:
    first, second = np.random.default_rng(0).standard_normal((2, 6, 128, 128)) + 20
    information, correlation = shared_detail(first, second)
    assert information < 0.07
    assert abs(correlation) < 0.02
    information, correlation = shared_detail(first, 60 - first)
    assert information > 2
    assert correlation < -0.999


@pytest.mark.parametrize("scale", [2, 4])
def test_the_auxiliary_contrast_helps(cohort: Volumes, scale: int) -> None:
    """By over 2 dB inside the brain: least squares from 5 x 5 patches to the missing high frequencies, learnt on six subjects,
    tested on three others. In the scalp the sign is the other one: a linear filter cannot serve both."""
    rows, columns = np.mgrid[:128, :128] - 64
    inside = np.broadcast_to((rows / 38) ** 2 + (columns / 30) ** 2 < 1, cohort[0]["T2w"].shape)
    designs: dict[bool, list[Array]] = {False: [], True: []}
    missing = []
    for volume in cohort:
        low, high = zero_filled(volume["T2w"], scale), np.abs(volume["T2w"])
        auxiliary = np.abs(volume["T1w"])
        detail = (auxiliary - zero_filled(volume["T1w"], scale)) / auxiliary.std()
        missing.append(((high - low) / low.std())[inside])
        own, other = (patches(image)[inside] for image in (low / low.std(), detail))
        designs[False].append(own)
        designs[True].append(np.hstack([own, other]))
    gain = {}
    for with_auxiliary, parts in designs.items():
        weights = np.linalg.lstsq(np.vstack(parts[3:]), np.concatenate(missing[3:]), rcond=None)[0]
        error = np.concatenate([m - p @ weights for m, p in zip(missing[:3], parts[:3], strict=True)])
        gain[with_auxiliary] = 10 * np.log10(np.mean(np.concatenate(missing[:3]) ** 2) / np.mean(error**2))
    assert gain[True] > gain[False] + 2


def patches(images: Array) -> Array:
    """The 5 x 5 neighbourhood of every pixel: (S, H, W) to (S, H, W, 25)."""
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    return np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2)).reshape(*images.shape, 25)
