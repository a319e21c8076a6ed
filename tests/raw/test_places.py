"""Headers that place a volume twice, in several spaces, or in another unit: compared where both volumes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nifti_files import dataset, refused
from numpy.typing import NDArray

from mcsr_bench.data.raw.lengths import fov_problem, thickness_of, unit_of
from mcsr_bench.data.raw.nifti import inspect
from mcsr_bench.data.registration import check_sizes
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Finding, Grid

pytestmark = pytest.mark.usefixtures("own_cache")
SHAPE = (32, 28, 6)
SCANNER = np.array([[-2.0, 0, 0, 31], [0, -2, 0, 25], [0, 0, 4, -12], [0, 0, 0, 1]])
MNI = np.diag([1.12, 1.1, 1.15, 1.0]) @ SCANNER + np.array([[0, 0, 0, 2], [0, 0, 0, -17], [0, 0, 0, 9], [0, 0, 0, 0]])
MIRROR = np.diag([-1.0, 1, 1, 1]) @ SCANNER
NEAR = SCANNER + np.array([[0, 0, 0, 3.0], [0] * 4, [0] * 4, [0] * 4])


def put(
    path: Path, sform: tuple[Any, int] | None, qform: tuple[Any, int] | None = None, unit: str = "mm", seed: int = 0
) -> Path:
    values = np.random.default_rng(seed).uniform(1, 100, SHAPE).astype(np.float32)
    image = nib.Nifti1Image(values, None)
    image.header.set_zooms(np.linalg.norm((qform or sform or (SCANNER,))[0][:3, :3], axis=0))
    image.set_sform(*(sform or (None, 0)))
    image.set_qform(*(qform or (None, 0)))
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def pair(root: Path, target: dict[str, Any], auxiliary: dict[str, Any]) -> tuple[str, list[Finding], list[Grid]]:
    """The difference of the two grids, the findings, and the grids."""
    put(root / "p_T2.nii", **target)
    put(root / "p_T1.nii", **auxiliary, seed=1)
    data = dataset(root)
    [case] = data.cases()
    grids = data.grids(case)
    return grids[0].difference(grids[1]), data.findings, list(grids)


def by_numpy(affine: NDArray[Any]) -> NDArray[Any]:
    """Position of the first voxel of the first axial slice, upright, for volumes whose axes run left, back (or right) and up."""
    corner = [0 if affine[0, 0] < 0 else SHAPE[0] - 1, 0, 0, 1]
    return np.asarray((affine @ corner)[:3])


S, Q = {"sform": (SCANNER, 1)}, {"qform": (SCANNER, 1), "sform": None}


@pytest.mark.parametrize(
    ("target", "auxiliary", "used", "told"),
    [
        (S, S, SCANNER, []),
        (S, Q, SCANNER, []),
        ({"sform": (MNI, 4), "qform": (SCANNER, 1)}, Q, SCANNER, ["info"]),
        (Q, {"sform": (MNI, 4), "qform": (SCANNER, 1)}, SCANNER, ["info"]),
        ({"sform": (MNI, 4), "qform": (SCANNER, 1)}, {"sform": (MNI, 4), "qform": (NEAR, 1)}, MNI, []),
        ({"sform": (SCANNER, 2), "qform": (SCANNER, 1)}, {"sform": (SCANNER, 2), "qform": (SCANNER, 1)}, SCANNER, []),
        ({"sform": (MIRROR, 1), "qform": (SCANNER, 1)}, S, SCANNER, ["warning"]),
        ({"sform": (NEAR, 1), "qform": (SCANNER, 1)}, S, SCANNER, ["warning"]),
    ],
)
def test_volumes_are_compared_in_a_space_that_both_name(
    tmp_path: Path, target: Any, auxiliary: Any, used: NDArray[Any], told: list[str]
) -> None:
    difference, findings, grids = pair(tmp_path, target, auxiliary)
    assert difference == ""
    for grid in grids:
        np.testing.assert_allclose(grid.matrix[:3, 3], by_numpy(used), atol=1e-4)
    found = [f for f in findings if f.code == "two-places"]
    assert [f.severity for f in found] == told
    assert all(f.marks == (f.severity == "warning") and "qform" in f.message for f in found)


def test_a_mirror_is_called_one_and_a_distance_measured(tmp_path: Path) -> None:
    for sform, words in ((MIRROR, "mirror each other"), (NEAR, "up to 3 mm apart in the scanner's space")):
        _, findings, _ = pair(tmp_path, {"sform": (sform, 1), "qform": (SCANNER, 1)}, S)
        [found] = [f for f in findings if f.code == "two-places"]
        assert words in found.message
        assert "the qform is used" in found.message


def test_a_mirrored_sform_of_a_box_about_the_centre_is_not_taken_for_the_same_place(tmp_path: Path) -> None:
    """Corners fall on corners: only the directions of the voxel axes tell."""
    centred = SCANNER.copy()
    centred[0, 3] = (SHAPE[0] - 1) / 2 * 2
    mirrored = np.diag([-1.0, 1, 1, 1]) @ centred
    target, auxiliary = {"sform": (mirrored, 1), "qform": (centred, 1)}, {"sform": (centred, 1)}
    put(tmp_path / "p_T2.nii", **target)
    values = np.asarray(nib.load(tmp_path / "p_T2.nii").dataobj)
    put(tmp_path / "p_T1.nii", **auxiliary, seed=1)
    data = dataset(tmp_path)
    [case] = data.cases()
    assert data.grids(case)[0].difference(data.grids(case)[1]) == ""
    # voxel axes run left and back: rows and columns as stored
    np.testing.assert_array_equal(next(data.read(case))[0].real, values[:, :, 0].T)


def test_without_a_common_space_places_are_compared_and_that_is_told(tmp_path: Path) -> None:
    difference, findings, _ = pair(tmp_path, {"sform": (MNI, 4)}, {"sform": (SCANNER, 1)})
    assert difference.startswith("positions up to")
    [found] = [f for f in findings if f.code == "two-places"]
    assert "p_T2.nii is placed in MNI 152 space and p_T1.nii in the scanner's space" in found.message
    assert found.marks
    assert [f for f in pair(tmp_path, {"sform": (SCANNER, 2)}, S)[1] if f.code == "two-places"] == []  # one place


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1), ("unknown", 1)])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_units_of_the_header_become_millimetres(tmp_path: Path, unit: str, factor: float, form: str) -> None:
    affine = np.diag([factor, factor, factor, 1]) @ SCANNER
    both: dict[str, Any] = {"sform": None, "unit": unit, form: (affine, 1)}
    difference, findings, grids = pair(tmp_path, both, S)
    assert difference == ""
    np.testing.assert_allclose(grids[0].voxel, (4, 2, 2), rtol=1e-5)
    np.testing.assert_allclose(inspect(tmp_path / "p_T2.nii").affine, SCANNER, rtol=1e-5, atol=1e-5)
    assert findings == []


def test_a_field_of_view_of_no_patient_is_told(tmp_path: Path) -> None:
    tiny = np.diag([1e-3, 1e-3, 1e-3, 1]) @ SCANNER
    difference, findings, _ = pair(tmp_path, *2 * [{"sform": (tiny, 1), "unit": "unknown"}])
    assert difference == ""
    assert [f.code for f in findings] == ["field-of-view"] * 2
    assert "p_T2.nii has a field of view of 0.064 x 0.056 x 0.024 mm, too small" in findings[0].message
    assert "no unit of lengths" in findings[0].message
    put(tmp_path / "p_T1.nii", (SCANNER, 1), unit="meter")
    refused(dataset(tmp_path), "p_T1.nii has no usable affine", "the unit in its header is meter")


def test_voxels_of_two_sizes_are_told(tmp_path: Path) -> None:
    """A tool that resampled and changed pixdim alone, or the sform alone."""
    path = put(tmp_path / "p_T2.nii", (SCANNER, 1))
    put(tmp_path / "p_T1.nii", (SCANNER, 1), seed=1)
    content = bytearray(path.read_bytes())
    content[80:84] = np.float32(1).tobytes()  # pixdim[1]
    path.write_bytes(content)
    data = dataset(tmp_path)
    data.cases()
    [found] = data.findings
    assert (found.code, found.marks) == ("two-places", True)
    assert "voxels of p_T2.nii are 1 x 2 x 4 mm by pixdim and 2 x 2 x 4 mm by its sform" in found.message


def grid(shape: tuple[int, int, int], edges: tuple[float, float, float]) -> Grid:
    return Grid(shape, tuple(tuple(row) for row in np.diag([*edges, 1.0]).tolist()))


@pytest.mark.parametrize(
    ("target", "auxiliary", "words"),
    [
        (((20, 64, 64), (4, 2, 2)), ((20, 64, 64), (0.004, 0.002, 0.002)), "the unit of one of them is wrong"),
        (((20, 64, 64), (0.004, 0.002, 0.002)), ((20, 64, 64), (4, 2, 2)), "spans 0.128 mm"),
        (
            ((20, 64, 64), (0.004, 0.002, 0.002)),
            ((20, 60, 60), (0.004, 0.002, 0.002)),
            "the target has a field of view of 0.128 mm",
        ),
        (((20, 64, 64), (4, 2, 2)), ((1, 70_000, 4_000), (4, 0.001, 0.03)), "1 x 70000 x 4000 voxels"),
        (((4, 4, 4), (50, 50, 50)), ((2, 100, 100), (2, 2, 2)), "more than 1000 of the auxiliary (2 x 2 x 2 mm)"),
    ],
)
def test_no_header_decides_how_much_memory_a_registration_takes(target: Any, auxiliary: Any, words: str) -> None:
    with pytest.raises(UserError) as error:
        check_sizes(grid(*target), grid(*auxiliary))
    assert words in str(error.value)


def test_usual_pairs_may_be_registered() -> None:
    check_sizes(grid((20, 320, 320), (6, 0.7, 0.7)), grid((260, 512, 512), (0.5, 0.5, 0.5)))
    check_sizes(grid((1, 320, 320), (5, 0.7, 0.7)), grid((40, 64, 64), (3, 4, 4)))


def test_a_pair_in_two_units_is_one_sentence(tmp_path: Path, here: Any) -> None:
    for i in range(3):
        put(tmp_path / f"p{i}_T2.nii", (SCANNER, 1), seed=i)
        put(tmp_path / f"p{i}_T1.nii", (np.diag([2e-3, 2e-3, 2e-3, 1]) @ SCANNER, 1), unit="unknown", seed=5 + i)
    out = here("prepare", "--dataset", "nifti", "--data-root", tmp_path, "--scale", 2, "--check", "--jobs", 1)
    assert out.returncode == 2
    assert "the unit of one of them is wrong" in out.stdout + out.stderr


def test_units_that_are_believed() -> None:
    assert fov_problem((220.0, 180.0)) == fov_problem((6.0, 6.0)) == ""
    assert "too large" in fov_problem((220_000.0, 10.0))
    assert unit_of((0.22, 0.18)) == ("metres", 1000.0)
    assert unit_of((220_000.0, 180_000.0)) == ("micrometres", 0.001)
    assert [thickness_of(z, 1000.0) for z in (0.005, 5.0)] == [5.0, 5.0]  # metres, and millimetres beside metres
    assert unit_of((220.0, 0.1)) == unit_of((1e-4, 1e-4)) == unit_of((2.0, 2.0)) == ("mm", 1.0)
