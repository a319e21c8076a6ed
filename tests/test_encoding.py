"""Volumes in files: what pairs of float16 keep, at the magnitudes that raw MR data have."""

import numpy as np
import pytest

from mcsr_bench.data.encoding import PairVolume, decode, encode, open_volume, write_volume


def image(scale: float, seed: int = 0, shape: tuple[int, int] = (6, 5)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (scale * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))).astype(np.complex64)


@pytest.mark.parametrize("scale", [1e-43, 1e-40, 1e-35, 1e-12, 1e-6, 3e-4, 1.0, 1e6, 1e37])
def test_a_pair_keeps_eleven_bits_of_each_part_at_any_scale(scale):
    before = image(scale)
    after = decode(*encode(before))
    assert after.dtype == np.complex64
    peak = max(np.abs(before.real).max(), np.abs(before.imag).max())
    for part in ("real", "imag"):
        a, b = getattr(before, part).astype(np.float64), getattr(after, part).astype(np.float64)
        # half a unit in the last place of 11 bits, and of float16's smallest step under a top of at least 2**14
        assert (np.abs(a - b) <= np.maximum(np.abs(a) * 2.0**-11, peak * 2.0**-24 / 2.0**14)).all()


def test_the_scale_is_a_power_of_two_so_that_what_fits_is_exact():
    before = (np.arange(12).reshape(3, 4) - 5j).astype(np.complex64) * np.float32(2.0**-30)
    pairs, scale = encode(before)
    assert np.log2(float(scale)) == round(np.log2(float(scale)))
    np.testing.assert_array_equal(decode(pairs, scale), before)
    np.testing.assert_array_equal(decode(*encode(np.zeros((2, 2), np.complex64))), 0)


def test_a_bare_float16_would_lose_such_data():
    before = image(1e-6)
    bare = before.real.astype(np.float16).astype(np.float64)
    ours = decode(*encode(before)).real
    error = [np.mean((x - before.real.astype(np.float64)) ** 2) for x in (bare, ours)]
    assert error[1] < error[0] / 1e3


@pytest.mark.parametrize("dtype", ["complex64", "float16-pair"])
def test_a_volume_is_read_back_by_any_index(tmp_path, dtype):
    slices = [image(10.0**-k, seed=k) for k in range(4)]
    path = tmp_path / "00000.npy"
    write_volume(path, iter(slices), (4, 6, 5), dtype)
    assert not list(tmp_path.glob("*.part"))
    volume = open_volume(path)
    whole = np.asarray(volume)
    assert volume.shape == (4, 6, 5)
    assert len(volume) == 4
    assert isinstance(volume, PairVolume) == (dtype == "float16-pair")
    np.testing.assert_allclose(whole, np.stack(slices), rtol=0 if dtype == "complex64" else 2e-3)
    for index in (2, -1, slice(1, 3), (1, slice(2, 4)), (slice(0, 2), 3), (0, 1, 2), ([0, 3], slice(None), 2)):
        np.testing.assert_array_equal(volume[index], whole[index])


def test_pairs_take_half_the_disk(tmp_path):
    sizes = []
    for dtype in ("complex64", "float16-pair"):
        folder = tmp_path / dtype
        folder.mkdir()
        write_volume(folder / "a.npy", (image(1, k, (64, 64)) for k in range(8)), (8, 64, 64), dtype)
        sizes.append(sum(p.stat().st_size for p in folder.iterdir()))
    assert sizes[1] < 0.52 * sizes[0]
