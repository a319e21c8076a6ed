"""Volumes of two contrasts on two grids, and the names that public data sets give their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nifti_files import LPS, SHAPE, dataset, folder, refused, save

from mcsr_bench.datasets.nifti.orientation import orientation
from mcsr_bench.plugin.loading import load_dataset

pytestmark = pytest.mark.usefixtures("own_cache")
OBLIQUE = np.array([[0.2, -1.9, 0.4, 7], [-1.8, -0.3, 0.5, -9], [0.3, 0.4, 3.1, 2], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SRA"])
def test_the_grid_says_where_every_voxel_of_a_slice_lies(axis: Any, codes: str) -> None:
    """Volumes of world coordinates: the value of each voxel is its own position."""
    turned = nib.orientations.ornt_transform(nib.io_orientation(OBLIQUE), nib.orientations.axcodes2ornt(codes))
    affine = OBLIQUE @ nib.orientations.inv_ornt_aff(turned, SHAPE)
    shape = tuple(np.array(SHAPE)[np.argsort(turned[:, 0])])
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = indices @ affine[:3, :3].T + affine[:3, 3]
    turn = orientation(affine, axis)
    grid = turn.grid(shape, affine)
    for s, r, c in ((0, 0, 0), (2, 3, 1), tuple(n - 1 for n in grid.shape)):
        there = [float(turn.plane(world[..., k], s)[r, c]) for k in range(3)]
        np.testing.assert_allclose(grid.matrix @ [s, r, c, 1], [*there, 1], atol=1e-9)


def test_other_grids_are_told_and_read_each_by_itself(tmp_path: Path) -> None:
    folder(tmp_path)
    thin = np.random.default_rng(9).uniform(1, 9, (7, 11, 16)).astype(np.float32)
    save(tmp_path / "p1_T1.nii.gz", thin, affine=np.diag([-3.0, -2.2, 1.5, 1.0]))
    data = dataset(tmp_path)
    cases = {case.volume_id: case for case in data.cases()}
    here, there = data.grids(cases["p1"])
    assert here.difference(there) == "matrix 8 x 12 x 10 and 16 x 11 x 7"
    np.testing.assert_allclose([here.voxel, there.voxel], [(3, 2, 2), (1.5, 2.2, 3.0)], rtol=1e-6)
    assert (cases["p1"].n_slices, cases["p1"].shape) == (8, (12, 10))
    slices = np.stack(list(data.read_contrast(cases["p1"], "auxiliary")))
    np.testing.assert_array_equal(slices.real, thin.transpose(2, 1, 0))
    assert data.stored(cases["p1"], "auxiliary").shape == (16, 11, 7)
    assert not np.subtract(*(g.matrix for g in data.grids(cases["p0"]))).any()


@pytest.mark.parametrize(("apart", "told"), [(0.19, ""), (0.5, "positions up to 0.5 mm apart")])
def test_a_tenth_of_a_voxel_is_one_grid(tmp_path: Path, apart: float, told: str) -> None:
    folder(tmp_path)
    moved = LPS.copy()
    moved[0, 3] = apart
    save(tmp_path / "p1_T1.nii.gz", affine=moved)
    data = dataset(tmp_path)
    here, there = data.grids(data.cases()[1])
    assert here.difference(there) == told


def test_the_same_grid_stored_the_other_way_round_needs_no_registration(tmp_path: Path) -> None:
    folder(tmp_path)
    old = nib.load(tmp_path / "p1_T1.nii.gz")
    ras = nib.orientations.ornt_transform(nib.io_orientation(old.affine), nib.orientations.axcodes2ornt("RAS"))
    flipped = old.as_reoriented(ras)
    assert not np.allclose(flipped.affine, old.affine)
    before = np.stack([a for _, a in dataset(tmp_path).read(dataset(tmp_path).cases()[1])])
    nib.save(flipped, tmp_path / "p1_T1.nii.gz")
    data = dataset(tmp_path)
    case = data.cases()[1]
    here, there = data.grids(case)
    # RAS runs the other way in rows and columns, and what is shown does not
    assert here.difference(there) == ""
    np.testing.assert_array_equal(np.stack([a for _, a in data.read(case)]), before)


@pytest.mark.parametrize("known", [True, False])
def test_folders_behind_links_are_looked_into_once(tmp_path: Path, known: bool) -> None:
    """As a choice of patients is often made: links to their folders. One of them leads in a circle, one is there twice."""
    names = (
        {}
        if known
        else {"target_pattern": "BraTS2021_{patient}_t2.nii.gz", "auxiliary_pattern": "BraTS2021_{patient}_t1.nii.gz"}
    )
    root = tmp_path / "chosen"
    for i in range(4):
        folder_of = (root if i == 0 else tmp_path / "all") / f"BraTS2021_{i:05d}"
        for k, word in enumerate(("t1", "t2")):
            save(folder_of / f"BraTS2021_{i:05d}_{word}.nii.gz", seed=10 * i + k)
    for i in (1, 3):
        (root / f"BraTS2021_{i:05d}").symlink_to(tmp_path / "all" / f"BraTS2021_{i:05d}")
    (root / "again").symlink_to(tmp_path / "all" / "BraTS2021_00003")
    (root / "circle").symlink_to(root)
    data = dataset(root, recursive=not known, **names)
    before = "BraTS2021_" if known else ""
    assert [case.patient_id for case in data.cases()] == [before + n for n in ("00000", "00001", "00003")]


@pytest.mark.parametrize("recursive", [False, True])
def test_hidden_files_are_not_looked_at(tmp_path: Path, recursive: bool) -> None:
    """What macOS leaves beside files that it copied, and checkpoints of notebooks."""
    folder(tmp_path, 3)
    (tmp_path / "._p1_T2.nii.gz").write_bytes(b"Mac OS X")
    save(tmp_path / ".ipynb_checkpoints" / "p1_T2.nii.gz")
    data = dataset(tmp_path, recursive=recursive)
    assert [case.patient_id for case in data.cases()] == ["p0", "p1", "p2"]


def test_a_pattern_of_ones_own_is_not_replaced(tmp_path: Path) -> None:
    for word in ("t1n", "t2w"):
        save(tmp_path / f"BraTS-GLI-00007-000-{word}.nii.gz")
    refused(dataset(tmp_path, target_pattern="{patient}_x.nii.gz"), "no two files")


def body(shift: float, contrast: int, voxel: tuple[float, float, float], shape: tuple[int, int, int]) -> Any:
    """A NIfTI image of ellipsoids in the patient: the same in both contrasts, whatever the grid."""
    affine = np.diag([-voxel[0], -voxel[1], voxel[2], 1.0])
    affine[:3, 3] = [voxel[0] * shape[0] / 2, voxel[1] * shape[1] / 2, -voxel[2] * shape[2] / 2]
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    rng = np.random.default_rng(3)
    values = np.zeros(shape)
    for _ in range(14):
        centre, radii, bright = rng.uniform(-24, 24, 3), rng.uniform(6, 24, 3), rng.uniform(20, 100, 2)
        centre[1] += shift
        soft = 1 / (1 + np.exp(6 * ((((grid - centre) / radii) ** 2).sum(-1) - 1)))
        values += bright[contrast] * soft
    return nib.Nifti1Image(values.astype(np.float32), affine)


@pytest.mark.parametrize("name", [pytest.param("nifti", marks=pytest.mark.slow), "ixi"])
def test_from_files_on_two_grids_to_a_table(here: Callable[..., Any], tmp_path: Path, name: str) -> None:
    """prepare --check, run and report, with registration; the auxiliary is registered to where it is."""
    pytest.importorskip("SimpleITK")
    root = tmp_path / "data"
    root.mkdir()
    for i in range(3):
        nib.save(body(i - 1, 0, (1.25, 1.25, 3), (48, 48, 20)), root / f"IXI00{i}-HH-1{i}-T2.nii.gz")
        nib.save(body(i - 1, 1, (1.6, 1.5, 1.5), (44, 46, 42)), root / f"IXI00{i}-HH-1{i}-T1.nii.gz")
    conforms = here("check", name, "--data-root", root)
    assert conforms.returncode == 0, conforms.stdout
    options = ("--dataset", name, "--data-root", root, "--scale", 2, "--jobs", 1)
    refusal = here("prepare", *options, "--register", "none")
    assert refusal.returncode == 2
    assert "are on different grids" in refusal.stderr
    checked = here("prepare", *options, "--check")
    assert checked.returncode == 0, checked.stderr
    assert "registered onto the target (rigid) in 3 of 3 cases" in checked.stdout
    out = tmp_path / "run"
    run = here("run", "--methods", "zerofill,bicubic", "--preset", "quick", *options, "--out", out)
    assert run.returncode == 0, run.stderr
    assert "registered onto the target (rigid) in 3 of 3 cases" in run.stdout
    table = (out / name / "registration.csv").read_text().splitlines()
    assert len(table) == 4
    assert here("report", out, "--to", tmp_path / "report", "--formats", "md").returncode == 0
    data = load_dataset(name, root)
    assert data.contrasts == ("T2", "T1")
