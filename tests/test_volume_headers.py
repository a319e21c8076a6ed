"""What predict makes of headers: as the dataset of NIfTI files, or it says what it took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import user_pairs as pairs
from nifti_files import dataset

from mcsr_bench.errors import UserError
from mcsr_bench.predicting.files import predict_files
from mcsr_bench.predicting.volumes import read_pair

pytestmark = pytest.mark.usefixtures("own_cache")
LPS = np.diag([-2.0, -2.0, 4.0, 1.0])
VALUES = np.random.default_rng(3).integers(1, 200, (8, 10, 3)).astype(np.int16)


def file_of(path: Path, kind: str) -> Path:
    """One file of a kind that scanners and tools write."""
    image = nibabel.Nifti1Image(VALUES, LPS)
    if kind == "series of one":
        image = nibabel.Nifti1Image(VALUES[..., None], LPS)
    elif kind == "NIfTI-2":
        image = nibabel.Nifti2Image(VALUES, LPS)
    elif kind == "metres":
        image = nibabel.Nifti1Image(VALUES, np.diag([1e-3, 1e-3, 1e-3, 1]) @ LPS)
        image.header.set_xyzt_units("meter")
    elif kind == "scaled":
        image.header.set_slope_inter(0.37, 11)
        image.header["vox_offset"] = 352
        path.write_bytes(image.header.binaryblock + b"\0" * 4 + VALUES.tobytes(order="F"))
        return path
    elif kind == "big-endian":
        image = nibabel.Nifti1Image(VALUES, LPS, nibabel.Nifti1Header(endianness=">"))
    elif kind == "slightly negative":
        image = nibabel.Nifti1Image(VALUES - 20.0, LPS)
    elif kind == "double":
        image = nibabel.Nifti1Image(VALUES * np.pi, LPS)
    elif kind == "several volumes":
        image = nibabel.Nifti1Image(np.stack([VALUES, VALUES], -1), LPS)
    elif kind == "complex":
        image = nibabel.Nifti1Image(VALUES * 1j, LPS)
    elif kind == "colours":
        image = nibabel.Nifti1Image(np.zeros(VALUES.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")]), LPS)
    elif kind == "negative":
        image = nibabel.Nifti1Image(VALUES - 100.0, LPS)
    elif kind == "kilometres":
        image.header.set_xyzt_units("meter")
        image = nibabel.Nifti1Image(VALUES, LPS * 100, image.header)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(
    "kind", ["plain", "series of one", "NIfTI-2", "metres", "scaled", "big-endian", "slightly negative", "double"]
)
def test_predict_reads_what_the_dataset_does(tmp_path: Path, kind: str) -> None:
    target = file_of(tmp_path / "p_T2.nii", kind)
    nibabel.save(nibabel.Nifti1Image(VALUES, LPS), tmp_path / "p_T1.nii")
    data = dataset(tmp_path)
    expected = np.stack([pair[0] for pair in data.read(data.cases()[0])])
    # LPS: upright as it is stored, so that neither reader mirrors anything
    np.testing.assert_array_equal(read_pair(target, None, 2).target, expected)


@pytest.mark.parametrize("kind", ["several volumes", "complex", "colours", "negative", "kilometres"])
def test_predict_refuses_what_the_dataset_does(tmp_path: Path, kind: str) -> None:
    target = file_of(tmp_path / "p_T2.nii", kind)
    nibabel.save(nibabel.Nifti1Image(VALUES, LPS), tmp_path / "p_T1.nii")
    data = dataset(tmp_path)
    with pytest.raises(UserError) as of_dataset:
        list(data.read(data.cases()[0]))
    with pytest.raises(UserError) as of_predict:
        read_pair(target, None, 2)
    assert str(of_predict.value) in str(of_dataset.value)


@pytest.mark.parametrize("kind", ["series of one", "metres"])
def test_it_is_written_where_it_was(tmp_path: Path, kind: str) -> None:
    outcome = predict_files(pairs.trial(tmp_path), file_of(tmp_path / "t.nii", kind), None, tmp_path / "sr.nii")
    found = nibabel.load(tmp_path / "sr.nii")
    assert (found.shape, outcome.slices) == ((16, 20, 3), 3)
    factor = 1e-3 if kind == "metres" else 1.0
    np.testing.assert_allclose(found.header.get_zooms()[:3], factor * np.array([1, 1, 4]), rtol=1e-6)
    assert found.header.get_xyzt_units()[0] == ("meter" if kind == "metres" else "unknown")


@pytest.mark.parametrize(
    ("edges", "named", "across", "words"),
    [
        ((3, 2, 2), None, 0, "The first voxel axis, along which voxels are longest (3 x 2 x 2 mm), was taken"),
        ((2, 3, 2), None, 1, "The second voxel axis, along which"),
        ((2, 2, 2), None, 2, "The third voxel axis, the last (2 x 2 x 2 mm), was taken for the slice axis"),
        ((3, 2, 2), 0, 0, ""),
        (
            (3, 2, 2),
            2,
            2,
            "The slice axis is the third voxel axis, by the header's dim_info, and voxels of 3 x 2 x 2 mm are longest",
        ),
    ],
)
def test_a_guess_of_the_slice_axis_is_told(
    tmp_path: Path, edges: tuple[float, ...], named: int | None, across: int, words: str
) -> None:
    image = nibabel.Nifti1Image(np.ones((8, 8, 8), np.float32), np.diag([*edges, 1.0]))
    image.header.set_dim_info(slice=named)
    nibabel.save(image, tmp_path / "t.nii")
    outcome = predict_files(pairs.trial(tmp_path), tmp_path / "t.nii", None, tmp_path / "sr.nii")
    made = [16, 16, 16]
    made[across] = 8
    assert list(nibabel.load(tmp_path / "sr.nii").shape) == made
    assert [note.startswith(words) for note in outcome.notes] == ([True] if words else [])


def test_an_auxiliary_in_another_unit_and_space_lies_on_the_grid(tmp_path: Path) -> None:
    """The target counts metres and has an sform in a template's space besides; both qforms are the scanner's."""
    target, auxiliary, _ = pairs.nifti_pair(tmp_path)
    image = nibabel.load(target)
    metres = np.diag([1e-3, 1e-3, 1e-3, 1.0])
    changed = nibabel.Nifti1Image(np.asarray(image.dataobj), metres @ image.affine)
    changed.header.set_xyzt_units("meter")
    changed.set_qform(metres @ image.affine, 1)
    changed.set_sform(metres @ np.diag([1.2, 1.2, 1.2, 1.0]) @ image.affine, 4)
    nibabel.save(changed, target)
    other = nibabel.load(auxiliary)
    other.set_qform(other.affine, 1)
    other.set_sform(None, 0)
    nibabel.save(other, auxiliary)
    notes = predict_files(pairs.trial(tmp_path), target, auxiliary, tmp_path / "sr.nii.gz").notes
    assert not [note for note in notes if "mm off the target's grid" in note]
    assert [note for note in notes if "qform is used, because both volumes are placed in the scanner's space" in note]


def test_two_places_are_noted(tmp_path: Path) -> None:
    target, *_ = pairs.nifti_pair(tmp_path)
    image = nibabel.load(target)
    image.set_qform(image.affine, 1)
    image.set_sform(np.diag([-1.0, 1, 1, 1]) @ image.affine, 1)
    nibabel.save(image, target)
    notes = predict_files(pairs.trial(tmp_path), target, None, tmp_path / "sr.nii.gz").notes
    assert any(note.startswith("Sform and qform of t2.nii.gz mirror each other") for note in notes)


def test_a_header_without_a_place_is_told(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, None)
    nibabel.save(image, tmp_path / "t.nii")
    notes = predict_files(pairs.trial(tmp_path), tmp_path / "t.nii", None, tmp_path / "sr.nii").notes
    assert any("t.nii has neither sform nor qform" in note for note in notes)


def test_an_auxiliary_in_disguise_is_degraded_as_a_magnitude(tmp_path: Path) -> None:
    """What a trial of such data was given: of |auxiliary|, whatever the slope of the phase. By numpy."""
    image = np.abs(pairs.band_limited(2, (16, 16), 2))
    slope = np.exp(2j * np.pi * 13 * np.arange(32) / 32)
    for name, phase in (("plain", np.ones(32)), ("slope", slope)):
        pairs.hdf5(tmp_path / f"{name}.h5", image=(image * phase).astype(np.complex64))
    low = pairs.hdf5(tmp_path / "t.h5", image=pairs.degraded(image.astype(np.complex64), 2))
    found: dict[str, Any] = {n: read_pair(low, tmp_path / f"{n}.h5", 2) for n in ("plain", "slope")}
    np.testing.assert_allclose(found["slope"].auxiliary, image, atol=1e-5)
    assert "complex by name only" in found["slope"].notes[0]
