"""Every metric id against scikit-image or numpy written out by hand, in float64."""

import json

import numpy as np
import pytest
from scipy import ndimage
from skimage import filters
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from mcsr_bench import metrics
from mcsr_bench.metrics import METRICS, Reference, score_volume
from mcsr_bench.regions import Regions

IDS = [
    "psnr@volume-max", "ssim@volume-max", "psnr@roi", "ssim@roi", "psnr@robust", "nmse@volume", "psnr@foreground",
    "psnr@high", "psnr@low", "psnr@boundary", "hfen",
    "kspace-error",
]  # fmt: skip


def degrade(image, scale=2):
    """The protocol's operator, written out in numpy."""
    H, W = image.shape[-2:]
    h, w = H // scale, W // scale
    k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
    k = k[..., H // 2 - h // 2 :, W // 2 - w // 2 :][..., :h, :w]
    low = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(k, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
    return low * np.sqrt(h * w / (H * W))


def phantom(shape=(3, 48, 40), seed=0):
    """A disc of two intensities on a dark ground, with texture and phase; another, smaller bright blob apart from it."""
    S, H, W = shape
    y, x = np.meshgrid((np.arange(H) - H // 2) / H, (np.arange(W) - W // 2) / W, indexing="ij")
    disc = (y**2 + x**2 < 0.12) * (1.0 + 1.0 * (x > 0.05))
    disc[(y**2 + (x + 0.1) ** 2) < 0.002] = 0  # a hole
    disc[:3, :3] = 3.0  # brighter than all, but a component of its own
    rng = np.random.default_rng(seed)
    magnitude = np.stack([disc * (1 + 0.1 * k) for k in range(S)]) + 0.02 * np.abs(rng.normal(size=shape))
    return magnitude * np.exp(1j * (0.4 + 2 * x - y))


def noisy(truth, seed=1, level=0.1):
    return np.abs(truth) + level * np.random.default_rng(seed).normal(size=truth.shape)


def scores(prediction, truth, roi=None, zero_filled=None):
    return score_volume(prediction, Reference(truth, roi), lr=degrade(truth), degrade=degrade, zero_filled=zero_filled)


def smoothed(volume, sigma=1.5):
    """A Gaussian in every slice, as a sum over shifted images; edges repeated."""
    r = 6
    g = np.exp(-(np.arange(-r, r + 1) ** 2) / (2 * sigma**2))
    g /= g.sum()
    for axis in (1, 2):
        width = [(r, r) if a == axis else (0, 0) for a in range(3)]
        padded, n = np.pad(volume, width, mode="edge"), volume.shape[axis]
        volume = sum(g[k] * np.take(padded, range(k, k + n), axis) for k in range(2 * r + 1))
    return volume


def masks(t):
    """Foreground, high, low and boundary, by scikit-image's Otsu and brute force."""
    m = smoothed(t)
    parts, n = ndimage.label(m > filters.threshold_otsu(m), np.ones((3, 3, 3)))
    biggest = max(range(1, n + 1), key=lambda k: (parts == k).sum())
    foreground = np.stack([ndimage.binary_fill_holes(image) for image in parts == biggest])
    high = foreground & (m > filters.threshold_otsu(m[foreground]))
    return n, {
        "foreground": foreground,
        "high": high,
        "low": foreground & ~high,
        "boundary": hand_boundary(foreground, high),
    }


def hand_psnr(a, b, peak):
    return 10 * np.log10(peak**2 / np.mean((a - b) ** 2))


@pytest.mark.parametrize("shape", [(3, 48, 40), (1, 32, 32), (2, 33, 50)])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_metric_equals_an_independent_computation(shape, seed):
    truth = phantom(shape, seed)
    t, p = np.abs(truth), noisy(truth, seed + 5)
    out = scores(p, truth)
    peak = t.max()
    expected = {
        "psnr@volume-max": peak_signal_noise_ratio(t, p, data_range=peak),
        "ssim@volume-max": np.mean([structural_similarity(a, b, data_range=peak) for a, b in zip(t, p, strict=True)]),
        "nmse@volume": ((t - p) ** 2).sum() / (t**2).sum(),
    }
    n, regions = masks(t)
    assert n > 1
    for name, mask in {**regions, "roi": regions["foreground"]}.items():
        assert mask.any()
        expected[f"psnr@{name}"] = hand_psnr(p[mask], t[mask], peak)
    local = [structural_similarity(a, b, data_range=peak, full=True)[1] for a, b in zip(t, p, strict=True)]
    expected["ssim@roi"] = np.stack(local)[regions["foreground"]].mean()
    ordered = np.sort(t.ravel())
    at = 0.999 * (t.size - 1)
    robust = ordered[int(at)] + (at - int(at)) * (ordered[int(at) + 1] - ordered[int(at)])
    expected["psnr@robust"] = hand_psnr(p, t, robust)
    expected["hfen"] = np.mean(
        [np.linalg.norm(hand_log(a) - hand_log(b)) / np.linalg.norm(hand_log(b)) for a, b in zip(p, t, strict=True)]
    )
    low_data, image = degrade(truth), p * truth / t
    expected["kspace-error"] = np.linalg.norm(degrade(image) - low_data) / np.linalg.norm(low_data)
    assert list(out.volume) == IDS == list(METRICS)
    for name in IDS:
        assert out.volume[name] == pytest.approx(expected[name], abs=1e-6), name


def hand_boundary(foreground, high):
    """Brute force: a pixel is in the band if it shares an edge with one on the other side of either border, in the slice."""
    out = np.zeros_like(foreground)
    _, H, W = foreground.shape
    for mask in (foreground, high):
        for s, i, j in np.argwhere(foreground):
            near = [
                mask[s, i + a, j + b] != mask[s, i, j]
                for a, b in ((-1, 0), (1, 0), (0, -1), (0, 1))
                if 0 <= i + a < H and 0 <= j + b < W
            ]
            out[s, i, j] |= any(near)
    return out


def hand_log(image, sigma=1.5, size=15):
    """The second derivatives of a Gaussian by symbols, then a plain sum over shifted, edge-padded images."""
    r = size // 2
    y, x = np.mgrid[-r : r + 1, -r : r + 1].astype(float)
    g = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    g /= g.sum()
    kernel = ((x**2 - sigma**2) / sigma**4 + (y**2 - sigma**2) / sigma**4) * g
    kernel -= kernel.mean()
    padded = np.pad(image, r, mode="edge")
    H, W = image.shape
    return sum(kernel[a, b] * padded[a : a + H, b : b + W] for a in range(size) for b in range(size))


def test_the_log_kernel_is_that_of_scipy_up_to_its_mean():
    image = np.zeros((41, 41))
    image[20, 20] = 1
    ours, scipys = metrics.log_filter(image), ndimage.gaussian_laplace(image, 1.5, truncate=10)
    assert np.linalg.norm(ours - scipys) < 0.02 * np.linalg.norm(scipys)
    np.testing.assert_allclose(metrics.log_filter(np.full((20, 20), 7.0)), 0, atol=1e-12)


@pytest.mark.parametrize("kind", ["complex", "magnitude"])
def test_the_reference_itself_scores_perfectly(kind):
    truth = phantom()
    out = scores(truth if kind == "complex" else np.abs(truth), truth)
    for row in (out.volume, *out.slices):
        for name, value in row.items():
            metric = METRICS[name]
            perfect = {"ssim@volume-max": 1.0, "ssim@roi": 1.0}.get(name, np.inf if metric.higher_is_better else 0.0)
            if name.startswith("psnr"):
                assert value > 250 or value == np.inf, name  # |exp(i phase) * magnitude| rounds in the last bit
            else:
                assert value == pytest.approx(perfect, abs=1e-12), name


def test_slices_are_scored_with_the_volumes_peak_and_masks():
    truth = phantom()
    t, p = np.abs(truth), noisy(truth)
    out = scores(p, truth)
    for i, row in enumerate(out.slices):
        assert row["psnr@volume-max"] == pytest.approx(hand_psnr(p[i], t[i], t.max()))
        assert row["nmse@volume"] == pytest.approx(normalized_mse_by_hand(p[i], t[i]))
    assert out.volume["ssim@volume-max"] == pytest.approx(np.mean([row["ssim@volume-max"] for row in out.slices]))
    mean_square = np.mean([10 ** (-row["psnr@volume-max"] / 10) for row in out.slices])
    assert out.volume["psnr@volume-max"] == pytest.approx(-10 * np.log10(mean_square))
    # The convention matters: with slice maxima the same images score elsewhere.
    assert (
        abs(np.mean([hand_psnr(a, b, b.max()) for a, b in zip(p, t, strict=True)]) - out.volume["psnr@volume-max"])
        > 0.3
    )


def normalized_mse_by_hand(p, t):
    return ((p - t) ** 2).sum() / (t**2).sum()


def test_scores_do_not_change_with_the_unit():
    """fastMRI values are near 1e-6: an epsilon in a denominator would show here."""
    truth = phantom()
    p = noisy(truth)
    one, tiny = scores(p, truth).volume, scores(p * 1e-6, truth * 1e-6).volume
    assert tiny == pytest.approx(one, rel=1e-9)


def test_masks_come_from_the_reference_only():
    truth = phantom()
    before = [mask.copy() for _, mask in Reference(truth).regions.items()]
    reference = Reference(truth)
    score_volume(noisy(truth, level=3), reference, lr=degrade(truth), degrade=degrade)
    for (_, mask), old in zip(reference.regions.items(), before, strict=True):
        np.testing.assert_array_equal(mask, old)
    regions = reference.regions
    assert not (regions.high & regions.low).any()
    np.testing.assert_array_equal(regions.high | regions.low, regions.foreground)
    assert not (regions.boundary & ~regions.foreground).any()
    assert not regions.foreground[:, :3, :3].any()  # the bright corner is another component
    assert regions.foreground[0, 24, 16]  # the hole at (0, -0.1) is filled


def test_errors_are_found_where_they_are():
    truth = phantom()
    regions = Regions.of(np.abs(truth))
    p = np.abs(truth).copy()
    p[regions.low & ~regions.boundary] += 0.1
    out = scores(p, truth).volume
    assert out["psnr@high"] > 250
    assert out["psnr@boundary"] > 250
    assert out["psnr@low"] < 40


def test_a_slice_without_a_region_scores_nan_there():
    truth = phantom()
    truth[0] = 0.001
    out = scores(noisy(truth), truth)
    assert np.isnan(out.slices[0]["psnr@foreground"])
    assert np.isfinite(out.volume["psnr@foreground"])


def test_the_phase_of_a_complex_prediction_counts_in_k_space_only():
    truth = phantom()
    turned = truth * np.exp(0.5j)
    out = scores(turned, truth).volume
    assert out["psnr@volume-max"] > 250
    assert out["kspace-error"] == pytest.approx(abs(np.exp(0.5j) - 1), abs=1e-9)


def test_a_real_prediction_is_scored_as_it_is():
    """A negative "magnitude" is an error, not a magnitude."""
    truth = np.abs(phantom())
    assert scores(-truth, truth).volume["nmse@volume"] == pytest.approx(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: metrics.psnr(t, t[:1], peak=1), "differ in shape"),
        (lambda t: metrics.psnr(t, t, peak=0), "peak must be positive"),
        (lambda t: scores(np.full_like(t, np.nan), t), "NaN or Inf"),
        (lambda t: scores(t[:1], t), "differ in shape"),
        (lambda t: Reference(t * 0), "zero everywhere"),
        (lambda t: Reference(t[0]), "a reference is a finite volume"),
        (lambda t: metrics.ssim(t[0, :5], t[0, :5], data_range=1), "at least 7 x 7"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.abs(phantom()))


def test_nmse_equals_scikit_images_nmse_up_to_its_root():
    truth = np.abs(phantom())
    assert metrics.nmse(truth + 0.1, truth) == pytest.approx(normalized_root_mse(truth, truth + 0.1) ** 2)


def test_every_metric_has_a_revision_and_list_shows_it(here):
    rows = json.loads(here("list", "metrics", "--json").stdout)
    assert {row["name"]: row["revision"] for row in rows} == {name: metric.revision for name, metric in METRICS.items()}
    assert all(type(metric.revision) is int and metric.revision >= 1 for metric in METRICS.values())


def test_a_region_of_interest_that_the_data_give_is_scored():
    truth = phantom()
    t, p = np.abs(truth), noisy(truth)
    roi = np.zeros(t.shape, bool)
    roi[1:, 10:20, 5:30] = True
    out = scores(p, truth, roi)
    assert out.volume["psnr@roi"] == pytest.approx(hand_psnr(p[roi], t[roi], t.max()))
    assert np.isnan(out.slices[0]["psnr@roi"])
    assert np.isnan(out.slices[0]["ssim@roi"])
    assert out.volume["psnr@foreground"] == scores(p, truth).volume["psnr@foreground"]


def test_what_zero_filling_scores_and_where_the_error_is_stand_beside():
    truth = phantom()
    t, p, base = np.abs(truth), noisy(truth), noisy(truth, seed=9, level=0.3)
    out = scores(p, truth, zero_filled=base)
    alone = scores(base, truth).volume
    assert list(out.volume)[: len(IDS)] == IDS
    assert list(out.slices[0]) == IDS
    for name in metrics.REGIONAL:
        assert out.volume[f"{name}/zerofill"] == alone[name]
    squares = (p - t) ** 2
    for name, mask in masks(t)[1].items():
        assert out.volume[f"error-share@{name}"] == pytest.approx(squares[mask].sum() / squares.sum())
    assert out.volume["error-share@high"] + out.volume["error-share@low"] == pytest.approx(
        out.volume["error-share@foreground"]
    )


def test_one_hot_voxel_moves_the_peak_and_not_the_robust_one():
    truth = np.abs(phantom())
    hot = truth.copy()
    hot[1, 20, 20] = 10 * truth.max()
    before, after = (scores(v + 0.05 * (truth - truth.mean()), v).volume for v in (truth, hot))
    assert after["psnr@volume-max"] - before["psnr@volume-max"] == pytest.approx(20, abs=0.1)
    assert after["psnr@robust"] == pytest.approx(before["psnr@robust"], abs=0.1)


def head(shape=(3, 96, 96), seed=0):
    """A head like a brain's: a bright ring, a shell, and tissue of two intensities in folds, blurred a little."""
    S, H, W = shape
    y, x = np.meshgrid(np.linspace(-1, 1, H), np.linspace(-1, 1, W), indexing="ij")
    r, angle = np.hypot(y / 0.85, x / 0.7), np.arctan2(y, x)
    folds = (r + 0.08 * np.cos(11 * angle)) < 0.55
    one = np.where(r < 0.75, np.where(folds, 0.45, 0.75), np.where(r < 0.85, 0.1, 0.0))
    one = np.where((r >= 0.85) & (r < 0.95), 1.0, one)
    return np.stack([ndimage.gaussian_filter(one * (1 + 0.02 * k), 0.7) for k in range(S)])


def test_noise_does_not_draw_the_masks_and_the_boundary_is_narrow():
    """Noise of 5 % of the maximum."""
    truth = head()
    rng = np.random.default_rng(0)
    level = 0.05 * truth.max()
    noisy_head = np.abs(truth + level * (rng.normal(size=truth.shape) + 1j * rng.normal(size=truth.shape)))
    clean, seen = Regions.of(truth), Regions.of(noisy_head)
    for name in ("foreground", "high", "low"):
        a, b = getattr(clean, name), getattr(seen, name)
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.9, name
    assert clean.boundary.sum() < 0.4 * clean.foreground.sum()
