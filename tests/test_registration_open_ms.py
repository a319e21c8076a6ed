"""Registration of real volumes on different grids, against the transforms that come with them (affine, made by others)."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mcsr_bench.data import registration
from mcsr_bench.plugin.case import Grid

pytest.importorskip("SimpleITK", reason='registration needs pip install "mcsr-bench[register]"')
NATIVE = Path(__file__).parents[1].parent / "shared" / "data" / "open_ms" / "native"
needs_open_ms = pytest.mark.skipif(not NATIVE.is_dir(), reason=f"the real volumes are not in {NATIVE}")


def read(path):
    """(slices, rows, columns) complex64 in the order of the file, and its grid."""
    image = nib.load(path)
    values = np.asarray(image.dataobj, dtype=np.float32).transpose(2, 1, 0).astype(np.complex64)
    return values, Grid(values.shape, tuple(map(tuple, image.affine[:, [2, 1, 0, 3]].tolist())))


def shipped(path):
    """An ITK affine as a matrix from RAS+ mm in FLAIR to RAS+ mm in the other contrast."""
    lines = [line.partition(":")[2].split() for line in path.read_text().splitlines()]
    values, centre = (np.array(line, dtype=np.float64) for line in lines[-2:])
    out = np.eye(4)
    out[:3, :3] = values[:9].reshape(3, 3)
    out[:3, 3] = values[9:] + centre - out[:3, :3] @ centre
    lps = np.diag([-1.0, -1, 1, 1])
    return lps @ out @ lps


@needs_open_ms
@pytest.mark.parametrize(
    ("study", "contrast"),
    [("patient03_study2", "T1W"), pytest.param("patient12_study1", "T2W", marks=pytest.mark.slow)],
)
def test_the_shipped_transforms_are_met(monkeypatch, study, contrast):
    found = {}
    estimate = registration.estimate

    def spy(*given):
        found.update(estimate(*given))
        return found

    monkeypatch.setattr(registration, "estimate", spy)
    target, here = read(NATIVE / f"{study}_FLAIR.nii.gz")
    auxiliary, there = read(NATIVE / f"{study}_{contrast}.nii.gz")
    out, result = registration.register(target, here, auxiliary, there)
    frame = registration.right_angled(here)
    ours = frame @ found["rigid"] @ np.linalg.inv(frame)
    theirs = shipped(NATIVE / f"{study}_{contrast}_intrastudy_to_FLAIR.txt")
    head = np.argwhere(np.abs(target) > 0.1 * np.quantile(np.abs(target), 0.99))[::500]
    points = np.c_[head @ here.matrix[:3, :3].T + here.matrix[:3, 3], np.ones(len(head))]

    def apart(a, b):
        return np.linalg.norm((points @ (a - b).T)[:, :3], axis=1).mean()

    # Theirs also stretches the slices, by a hundredth: no rigid motion comes closer than 0.1 to 0.5 mm. Slices are 3 mm thick.
    assert apart(ours, theirs) < 0.9
    assert apart(ours, theirs) < 0.8 * apart(np.eye(4), theirs)
    assert result.residual_px < 0.25
    assert result.mutual_information_after > result.mutual_information_before
    assert out.shape == target.shape
    assert out.real.min() >= 0
