"""Hot voxels: found by numpy's percentile of the whole volume, said, and kept from emptying a volume."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mcsr_bench.data.inspection import Content, Inspector, findings
from mcsr_bench.data.inspection.brightest import Brightest
from mcsr_bench.plugin.case import Case
from mcsr_bench.plugin.loading import load_dataset

OPEN_MS = Path(__file__).parents[2].parent / "shared" / "data" / "open_ms" / "native"


def tissue(shape=(6, 48, 40), seed=0):
    """A bright disc on a dark ground."""
    S, H, W = shape
    y, x = np.meshgrid(np.linspace(-1, 1, H), np.linspace(-1, 1, W), indexing="ij")
    rng = np.random.default_rng(seed)
    return ((y**2 + x**2 < 0.5) * (1 + 0.2 * np.sin(5 * x)) + 0.05 * rng.random((S, H, W))).astype(np.float32)


def hot(volume, times):
    out = volume.copy()
    out[2, 24, 20] = times * volume.max()
    return out


@pytest.mark.parametrize("shape", [(1, 8, 9), (6, 48, 40), (30, 20, 64)])
@pytest.mark.parametrize("uneven", [False, True])
def test_the_percentile_is_that_of_the_whole_volume(shape, uneven):
    volume = np.random.default_rng(1).exponential(size=shape).astype(np.float32)
    if uneven:
        volume[0] *= 50  # all of the brightest are in the first slice
    found = Brightest(len(volume))
    for image in volume:
        found.add(image)
    assert found.percentile == pytest.approx(np.percentile(volume.astype(np.float64), 99.9), rel=1e-9)
    assert found.highest == volume.max()
    assert found.robust == pytest.approx(min(volume.max(), 3 * np.percentile(volume.astype(np.float64), 99.9)))


def codes(volume, auxiliary=None):
    inspector = Inspector(Case("p", "v", *(len(volume), volume.shape[1:])), ("T2w", "T1w"), "magnitude")
    for index, image in enumerate(volume):
        inspector.add("target", index, image.astype(np.complex64))
        inspector.add("auxiliary", index, (image if auxiliary is None else auxiliary[index]).astype(np.complex64))
    return {finding.code: finding for finding in findings([inspector.facts()], [2])}


@pytest.mark.parametrize(("times", "is_hot"), [(1, False), (2, False), (10, True), (30, True)])
def test_a_hot_voxel_is_found_and_marks_tables(times, is_hot):
    found = codes(hot(tissue(), times))
    assert ("hot-voxel" in found) is is_hot
    if is_hot:
        volume = hot(tissue(), times).astype(np.float64)
        assert found["hot-voxel"].marks
        ratio = volume.max() / np.percentile(volume, 99.9)
        assert f"{ratio:.3g} times the 99.9th percentile" in found["hot-voxel"].message


@pytest.mark.parametrize("times", [10, 30, 1000])
def test_a_hot_voxel_does_not_empty_a_volume(times):
    occupied = []
    for volume in (tissue(), hot(tissue(), times)):
        volume[5] = 0.001
        content = Content(0.05, 0.01, len(volume))
        for image in volume:
            content.add(image.astype(np.complex64))
        occupied.append(content.occupied())
    assert occupied[0] == occupied[1] == [True] * 5 + [False]


def test_simulated_brains_have_none():
    data = load_dataset("brain-sim", subjects=3, size=64)
    for case in data.cases()[:2]:
        for volume in np.abs(np.stack(list(data.read(case)))).transpose(1, 0, 2, 3):
            assert "hot-voxel" not in codes(volume)


@pytest.mark.skipif(not OPEN_MS.is_dir(), reason=f"the real volumes are not in {OPEN_MS}")
def test_real_brains_have_none():
    for path in sorted(OPEN_MS.glob("*.nii.gz")):
        volume = np.asarray(nib.load(path).dataobj, dtype=np.float64)
        assert volume.max() < 3 * np.percentile(volume, 99.9), path.name


def test_a_value_that_no_scanner_gives_is_refused():
    found = codes(hot(tissue(), 1e20))["hot-voxel"]
    assert found.severity == "error"
    assert "a damaged value" in found.message


def test_a_contrast_that_is_not_scored_may_have_one():
    assert "hot-voxel" not in codes(tissue(), hot(tissue(seed=1), 10))
    assert codes(tissue(), hot(tissue(seed=1), 1e20))["hot-voxel"].severity == "error"
