"""k-space operators against closed forms and numpy in float64; complex values are compared, magnitudes hide a crop that is off."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mcsr_bench import kspace

SIZES = [((64, 64), (32, 32)), ((65, 63), (32, 16)), ((101, 100), (14, 50)), ((48, 80), (16, 40)), ((33, 47), (11, 15))]


def harmonic(shape, ky, kx, dtype=torch.complex128):
    """exp(2 pi i (ky*y + kx*x)) with y, x in units of the field of view, from the centre sample: known on every grid."""
    axes = [(torch.arange(n, dtype=torch.float64) - n // 2) / n for n in shape]
    return torch.exp(2j * torch.pi * (ky * axes[0][:, None] + kx * axes[1][None, :])).to(dtype)


def random_image(shape, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=shape) + 1j * rng.normal(size=shape))


@pytest.mark.parametrize(("size", "small"), SIZES)
def test_the_fft_is_the_centred_orthonormal_one_of_numpy(size, small):
    x = random_image(size).numpy()
    expected = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(x), norm="ortho"))
    assert_close(kspace.to_kspace(torch.from_numpy(x)), torch.from_numpy(expected))
    assert_close(kspace.to_image(torch.from_numpy(expected)), torch.from_numpy(x))
    assert small[0] < size[0]


@pytest.mark.parametrize(("size", "small"), SIZES)
def test_truncation_keeps_a_constant_constant(size, small):
    ones = torch.ones(size, dtype=torch.complex128)
    assert_close(kspace.truncate(ones, small), torch.ones(small, dtype=torch.complex128))
    factor = np.sqrt(np.prod(size) / np.prod(small))
    assert_close(kspace.truncate(ones, small, keep_amplitude=False), factor * torch.ones(small, dtype=torch.complex128))


@pytest.mark.parametrize(("size", "small"), SIZES)
@pytest.mark.parametrize("k", [(0, 0), (1, 0), (0, -2), (3, 2), (-4, 5)])
def test_truncation_gives_the_same_harmonic_on_the_coarser_grid(size, small, k):
    assert_close(kspace.truncate(harmonic(size, *k), small), harmonic(small, *k))


@pytest.mark.parametrize(("size", "small"), SIZES)
def test_an_impulse_at_the_centre_stays_at_the_centre(size, small):
    impulse = torch.zeros(size, dtype=torch.complex128)
    impulse[size[0] // 2, size[1] // 2] = 1
    low = kspace.truncate(impulse, small)
    expected = torch.zeros(small, dtype=torch.complex128)
    expected[small[0] // 2, small[1] // 2] = np.prod(small) / np.prod(size)
    assert_close(low, expected)


@pytest.mark.parametrize(("size", "small"), SIZES)
def test_a_linear_phase_does_not_move(size, small):
    """A smooth object with a linear phase of a fraction of a cycle: LR equals the band-limited object on its own grid."""
    spectrum = {(ky, kx): complex(1 / (1 + ky**2 + kx**2), 0.1 * ky) for ky in range(-3, 4) for kx in range(-3, 4)}
    image = sum(a * harmonic(size, *k) for k, a in spectrum.items())
    expected = sum(a * harmonic(small, *k) for k, a in spectrum.items())
    assert_close(kspace.truncate(image, small), expected)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("small", [(15, 17), (16, 16), (9, 20), (20, 9)])
def test_real_images_stay_real_but_for_the_nyquist_row_and_column(scale, small):
    size = (small[0] * scale, small[1] * scale)
    low = kspace.truncate(random_image(size).real, small)
    spectrum = kspace.to_kspace(low)
    for axis, n in enumerate(small):
        if n % 2 == 0:
            spectrum.select(axis, 0).zero_()  # the lone Nyquist line
    assert kspace.to_image(spectrum).imag.abs().max() < 1e-12
    if all(n % 2 for n in small):
        assert low.imag.abs().max() < 1e-12
    else:
        assert low.imag.abs().max() > 1e-6


@pytest.mark.parametrize(("size", "small"), SIZES)
def test_truncation_undoes_zero_filling(size, small):
    low = random_image(small)
    assert_close(kspace.truncate(kspace.zero_fill(low, size), small), low)
    plain = kspace.zero_fill(low, size, keep_amplitude=False)
    assert_close(kspace.truncate(plain, small, keep_amplitude=False), low)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("small", [(8, 8), (7, 9), (8, 11)])
@pytest.mark.parametrize("symmetry", ["rows", "columns", "transpose"])
def test_reflections_about_the_centre_sample_commute_with_truncation(scale, small, symmetry):
    size = (small[0] * scale, small[1] * scale)
    image = random_image(size)
    apply = {
        "rows": lambda x: kspace.reflect(x, -2),
        "columns": lambda x: kspace.reflect(x, -1),
        "transpose": kspace.transpose,
    }[symmetry]
    target = small[::-1] if symmetry == "transpose" else small
    one = kspace.to_kspace(kspace.truncate(apply(image), target))
    two = kspace.to_kspace(apply(kspace.truncate(image, small)))
    for axis, n in enumerate(target):
        if n % 2 == 0:
            one.select(axis, 0).zero_()
            two.select(axis, 0).zero_()
    assert_close(one, two)


def test_a_plain_flip_does_not_commute():
    """The trap: flipped LR and flipped HR are s - 1 pixels apart."""
    image = random_image((32, 32))
    one = kspace.truncate(torch.flip(image, (-2,)), (8, 8))
    two = torch.flip(kspace.truncate(image, (8, 8)), (-2,))
    assert (one - two).abs().max() > 0.1


@pytest.mark.parametrize(("size", "small"), [(64, 32), (60, 15), (45, 15), (63, 21), (128, 32)])
def test_hr_samples_lie_where_truncation_puts_them(size, small):
    """A linear function of position, sampled at both grids through a harmonic's phase."""
    scale = size // small
    positions = kspace.lr_coordinates(size, small)
    for i in range(small):  # LR sample i is HR sample s*i + N//2 - s*(n//2)
        j = scale * i + size // 2 - scale * (small // 2)
        if 0 <= j < size:
            assert positions[j] == pytest.approx(i, abs=1e-12)
    phase = np.angle(harmonic((size, size), 1, 0).numpy()[:, 0])
    low = harmonic((small, small), 1, 0).numpy()[:, 0]
    expected = 2 * np.pi * (positions - small // 2) / small
    np.testing.assert_allclose(np.exp(1j * phase), np.exp(1j * expected), atol=1e-12)
    np.testing.assert_allclose(low, np.exp(2j * np.pi * (np.arange(small) - small // 2) / small), atol=1e-12)


def test_crops_that_cannot_be_had_are_refused():
    with pytest.raises(ValueError, match="cannot crop"):
        kspace.crop_centre(torch.zeros(8, 8), (9, 4))
    with pytest.raises(ValueError, match="cannot pad"):
        kspace.pad_centre(torch.zeros(8, 8), (9, 4))


def coil_images(shape=(48, 40), coils=4):
    """A smooth complex object behind known smooth sensitivities of unit norm."""
    y, x = np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij")
    thing = np.exp(-((y / 0.25) ** 2 + (x / 0.2) ** 2)) * (1 + 0.3 * np.cos(9 * y) * np.cos(7 * x))
    thing = thing * np.exp(1j * (0.7 + 1.5 * y - 2 * x + 3 * x * y))
    angles = 2 * np.pi * np.arange(coils) / coils
    maps = np.stack([np.exp(-((y - 0.6 * np.sin(a)) ** 2 + (x - 0.6 * np.cos(a)) ** 2) + 1j * a) for a in angles])
    maps /= np.sqrt((np.abs(maps) ** 2).sum(0))
    return torch.from_numpy(thing), torch.from_numpy(maps * thing)


def test_coil_combination_keeps_magnitude_and_phase_of_the_object():
    thing, coils = coil_images()
    combined = kspace.combine_coils(coils)
    assert combined.shape == thing.shape
    inside = thing.abs() > 0.2 * thing.abs().max()
    assert ((combined.abs() - thing.abs()).abs()[inside] / thing.abs()[inside]).max() < 0.02
    turn = (combined / thing)[inside]
    turn = turn / turn.abs()
    # The reference coil leaves a constant (and its own smooth phase): what is left must not vary with the object's phase.
    assert torch.angle(turn / turn.mean()).abs().max() < 0.15
    assert torch.angle(thing[inside]).std() > 0.3
    # Root sum of squares would have lost it:
    assert torch.angle(coils.abs().square().sum(0).sqrt()).abs().max() == 0


def test_coil_combination_does_not_depend_on_a_common_phase_scale_or_coil_order():
    _, coils = coil_images()
    one = kspace.combine_coils(coils)
    assert_close(kspace.combine_coils(coils * 1e-6), one * 1e-6)
    assert_close(kspace.combine_coils(coils.flip(0)).abs(), one.abs())
    assert_close(kspace.combine_coils(coils[:1]), coils[0])


def loops(coils, shape):
    """Receive fields (coils, H, W) of current loops around the field of view, by Biot and Savart: their phases turn in space."""
    y, x = np.meshgrid(*[(np.arange(n) - n // 2) / (n // 2) for n in shape], indexing="ij")
    at = np.stack([x, y, np.zeros(shape)], -1)
    fields = []
    for turn in 2 * np.pi * np.arange(coils) / coils:
        out, along = np.array([np.cos(turn), np.sin(turn), 0]), np.array([-np.sin(turn), np.cos(turn), 0])
        field = np.zeros((*shape, 3))
        for angle in 2 * np.pi * np.arange(32) / 32:
            to = at - 1.5 * out - 0.4 * (np.cos(angle) * along + np.sin(angle) * np.array([0, 0, 1]))
            field += (
                np.cross(np.cos(angle) * np.array([0, 0, 1]) - np.sin(angle) * along, to)
                / np.linalg.norm(to, axis=-1, keepdims=True) ** 3
            )
        fields.append(field[..., 0] - 1j * field[..., 1])
    return np.stack(fields)


@pytest.mark.parametrize("coils", [4, 8, 16])
def test_coil_combination_of_turning_fields_has_the_energy_of_all_coils_and_no_singular_phase(coils):
    shape = (48, 40)
    y, x = np.meshgrid(*[(np.arange(n) - n // 2) / (n // 2) for n in shape], indexing="ij")
    inside = (y / 0.85) ** 2 + (x / 0.8) ** 2 < 1
    thing = (0.5 + 0.3 * np.cos(9 * y) * np.cos(7 * x)) * inside * np.exp(1j * (0.5 + 0.8 * x + 0.6 * x * y))
    images = loops(coils, shape) * thing
    combined = kspace.combine_coils(torch.from_numpy(images)).numpy()
    energy = np.sqrt((np.abs(images) ** 2).sum(0))
    assert (np.abs(combined)[inside] / energy[inside]).min() > 0.97
    # Around no four neighbours does the phase turn by 2 pi: there, an LR image would have a hole.
    corners = [combined[:-1, :-1], combined[1:, :-1], combined[1:, 1:], combined[:-1, 1:]]
    turns = sum(np.angle(b * a.conj()) for a, b in zip(corners, [*corners[1:], corners[0]], strict=True))
    all_inside = inside[:-1, :-1] & inside[1:, :-1] & inside[1:, 1:] & inside[:-1, 1:]
    assert np.abs(turns[all_inside]).max() < 1
    # And what the truncation keeps of it is what it keeps of the thing itself with these magnitudes.
    lr, expected = (
        kspace.truncate(torch.from_numpy(x), (24, 20)).abs().numpy()
        for x in (combined, np.abs(combined) * np.exp(1j * np.angle(thing)))
    )
    assert np.abs(lr - expected).max() < 0.05 * expected.max()
