"""The rows of the tables of scores: each role against its own image, under its own contrast."""

from pathlib import Path

import numpy as np
import pytest

from mcsr_bench.data.prepare import prepare
from mcsr_bench.data.scoring import region_of_interest, score_rows
from mcsr_bench.metrics import COMPANIONS, METRICS
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.plugin.registry import add_plugins
from mcsr_bench.protocol import MCSR_1


@pytest.fixture
def volume(own_cache):
    add_plugins(Path(__file__).parents[1] / "toys")
    [prepared] = prepare(load_dataset("toy"), MCSR_1, [2])
    return prepared.store.volumes["p03-v0"]


def test_each_role_is_scored_against_its_own_image(volume):
    truth = {role: np.abs(np.asarray(getattr(volume, role))).astype(np.float64) for role in ("target", "auxiliary")}
    half = {role: image / 2 for role, image in truth.items()}
    volumes, slices = score_rows(half, volume, MCSR_1, 2, {"target": "B", "auxiliary": "A"})
    assert [(row["role"], row["contrast"], row["volume_id"]) for row in volumes] == [
        ("target", "B", "p03-v0"),
        ("auxiliary", "A", "p03-v0"),
    ]
    for row in volumes:
        image = truth[row["role"]]
        error = np.mean((image / 2) ** 2)
        assert row["psnr@volume-max"] == pytest.approx(10 * np.log10(image.max() ** 2 / error), rel=1e-6)
        assert row["nmse@volume"] == pytest.approx(0.25, rel=1e-6)
        assert set(METRICS) <= set(row)
    assert [(row["role"], row["slice_index"]) for row in slices] == [
        (role, i) for role in ("target", "auxiliary") for i in volume.slice_index
    ]


def test_one_role_alone_has_rows_of_its_own_alone(volume):
    only = {"target": np.asarray(volume.target)}
    volumes, slices = score_rows(only, volume, MCSR_1, 2, {"target": "B", "auxiliary": "A"})
    assert {row["role"] for row in (*volumes, *slices)} == {"target"}
    assert volumes[0]["psnr@volume-max"] == np.inf
    assert volumes[0]["kspace-error"] == pytest.approx(0, abs=1e-6)


def test_the_region_of_interest_is_the_data_sets_cropped_and_without_empty_slices(own_cache):
    data = load_dataset("brain-sim", subjects=3, size=68, slices=3)
    [prepared] = prepare(data, MCSR_1, [4])
    for case in data.cases():
        volume = prepared.store.volumes[case.volume_id]
        images = np.abs(np.stack([target for target, _ in data.read(case)]))
        brain = np.stack(list(data.region_of_interest(case)))
        assert volume.shape == (64, 64)
        np.testing.assert_array_equal(region_of_interest(volume), brain[:, 2:66, 2:66])
        np.testing.assert_array_equal(np.abs(volume.target), images[:, 2:66, 2:66])
        # White matter, grey matter and CSF give signal; bone around them does not.
        assert np.median(images[brain]) > 5 * np.median(images[~brain])
        assert 0.1 < brain.mean() < 0.4


def test_without_one_it_is_the_foregrounds_of_both_contrasts(volume):
    """A disc in one contrast, a square in the other: neither shows all of the object."""
    y, x = np.meshgrid(np.arange(48), np.arange(48), indexing="ij")
    disc = ((y - 16) ** 2 + (x - 16) ** 2 < 100).astype(float)
    square = ((abs(y - 32) < 8) & (abs(x - 30) < 8)).astype(float)

    class Both:
        roi = None
        target, auxiliary = disc[None] * 1j, square[None]

    found = region_of_interest(Both())
    inside = (disc + square)[None] > 0
    assert (found & inside).sum() > 0.97 * inside.sum()
    assert (found & ~inside).sum() < 0.12 * inside.sum()
    assert volume.roi is None


def test_what_zero_filling_scores_is_stored_beside(volume):
    target, low = (np.asarray(x).astype(np.complex128) for x in (volume.target, volume.target_lr))
    H, W = target.shape[1:]
    h, w = low.shape[1:]
    centred = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(low, axes=(1, 2))), axes=(1, 2))
    padded = np.zeros(target.shape, complex)
    padded[:, H // 2 - h // 2 :, W // 2 - w // 2 :][:, :h, :w] = centred
    back = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(padded, axes=(1, 2))), axes=(1, 2))
    filled = np.abs(back) * (H * W) / (h * w)
    [row], _ = score_rows({"target": np.abs(target) * 0.9}, volume, MCSR_1, 2, {"target": "B", "auxiliary": "A"})
    truth, region = np.abs(target), region_of_interest(volume)
    expected = 10 * np.log10(truth.max() ** 2 / np.mean((filled - truth)[region] ** 2))
    assert row["psnr@roi/zerofill"] == pytest.approx(expected, abs=1e-3)
    squares = (0.1 * truth) ** 2
    assert row["error-share@roi"] == pytest.approx(squares[region].sum() / squares.sum(), rel=1e-4)
    assert set(COMPANIONS) <= set(row)
