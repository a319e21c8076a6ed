"""What headers and names of NIfTI volumes say that a reader of a result should know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nifti_files import LPS, dataset, folder, save

from mcsr_bench.plugin.case import Finding

pytestmark = pytest.mark.usefixtures("own_cache")
VOXELS = {"LPS": "axial", "PIR": "sagittal", "LIP": "coronal"}
"""Orientations whose last voxel axis goes from slice to slice, and the slices they are."""


def remarks(root: Path, code: str, **settings: Any) -> list[Finding]:
    data = dataset(root, **settings)
    data.cases()
    return [f for f in data.findings if f.code == code]


def affine(codes: str, voxel: tuple[float, float, float]) -> Any:
    """Voxel axes along these directions, with these edges."""
    turn = nib.orientations.axcodes2ornt(codes)
    out = np.eye(4)
    for axis, ((world, sign), edge) in enumerate(zip(turn, voxel, strict=True)):
        out[:3, axis] = 0
        out[int(world), axis] = sign * edge
    assert "".join(nib.aff2axcodes(out)) == codes
    return out


@pytest.mark.parametrize("codes", VOXELS)
@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_thick_slices_that_are_cut_across_are_told(tmp_path: Path, codes: str, axis: Any) -> None:
    folder(tmp_path, 3, affine=affine(codes, (0.5, 0.6, 3)))
    found = remarks(tmp_path, "slice-axis", axis=axis)
    if axis == VOXELS[codes]:
        assert found == []
        return
    assert [f.marks for f in found] == [True, True]
    assert found[0].message.startswith(f"3 of 3 volumes of T2 were acquired in other slices than the {axis} ones")
    assert f"in {VOXELS[codes]} ones of 3 mm" in found[0].message
    assert f"nifti.axis={VOXELS[codes]} cuts" in found[0].message
    assert " x 3 mm" in found[0].message or "3 x " in found[0].message
    assert remarks(tmp_path, "slice-axis", axis=VOXELS[codes]) == []


def test_only_thick_slices_count_and_each_contrast_by_itself(tmp_path: Path) -> None:
    folder(tmp_path, 3, affine=affine("PIR", (0.94, 0.94, 1.2)))  # as IXI's T1
    assert remarks(tmp_path, "slice-axis") == []
    save(tmp_path / "p1_T1.nii.gz", affine=affine("PIR", (0.94, 0.94, 5)))
    [found] = remarks(tmp_path, "slice-axis")
    assert found.message.startswith("1 of 3 volumes of T1 ")
    assert found.file.endswith("p1_T1.nii.gz")


def test_a_header_without_a_place_is_told(tmp_path: Path) -> None:
    folder(tmp_path, 3)
    assert remarks(tmp_path, "no-geometry") == []
    image = nib.load(tmp_path / "p2_T2.nii.gz")
    image.set_sform(None, 0)
    image.set_qform(LPS, 1)
    nib.save(image, tmp_path / "p2_T2.nii.gz")
    assert remarks(tmp_path, "no-geometry") == []  # one of the two is enough
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "p2_T2.nii.gz")
    [found] = remarks(tmp_path, "no-geometry")
    assert found.message.startswith("1 of 3 volumes of T2 have neither sform nor qform")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("sub-{}_ses-1", "sub-{}_ses-2"),
        ("sub-{}_ses-baseline", "sub-{}_ses-followup"),
        ("sub-{}_acq-gre", "sub-{}_acq-tse"),
        ("P{}_visit1", "P{}_visit2"),
        ("P{}-V01", "P{}-V02"),
        ("patient{}_study1", "patient{}_study2"),
        ("BraTS-GLI-0000{}-000", "BraTS-GLI-0000{}-101"),
    ],
)
def test_visits_that_are_taken_for_patients_are_told(tmp_path: Path, first: str, second: str) -> None:
    names = [pattern.format(i) for i in range(3) for pattern in (first, second)]
    for name in names:
        for contrast in ("T1", "T2"):
            save(tmp_path / f"{name}_{contrast}.nii")
    [found] = remarks(tmp_path, "visits")
    assert found.marks
    assert found.message.startswith(f"6 patients may be visits of 3, such as {names[0]} and {names[1]}")
    assert "{visit} in nifti.target_pattern" in found.message


@pytest.mark.parametrize("pattern", ["study_scan{}", "sub-{}", "site{}_001", "sub-{}_ses-1", "vera_v{}", "P{}_visitor"])
def test_patients_are_not_taken_for_visits(tmp_path: Path, pattern: str) -> None:
    """A prefix of all names is the study's, and one visit of each patient is none too many."""
    for i in range(3):
        for contrast in ("T1", "T2"):
            save(tmp_path / f"{pattern.format(i)}_{contrast}.nii")
    assert remarks(tmp_path, "visits") == []


def test_with_the_visit_in_the_pattern_nothing_is_left_to_tell(tmp_path: Path) -> None:
    for i in range(3):
        for visit in "12":
            for contrast in ("T1", "T2"):
                save(tmp_path / f"sub-{i}_ses-{visit}_{contrast}.nii")
    names = {
        f"{k}_pattern": f"sub-{{patient}}_ses-{{visit}}_{c}.nii" for k, c in (("target", "T2"), ("auxiliary", "T1"))
    }
    assert remarks(tmp_path, "visits", **names) == []
    assert {c.patient_id for c in dataset(tmp_path, **names).cases()} == {"0", "1", "2"}
