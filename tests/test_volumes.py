"""A user's NIfTI volumes: which axis is what, and the output in the place of the input."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch
import user_pairs as pairs
from numpy.typing import NDArray

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.predicting.files import predict_files
from mcsr_bench.predicting.nifti import upright
from mcsr_bench.weights.loading import load_method


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("low", [(12, 10), (9, 10), (7, 11)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_is_restored_where_it_lies(low: tuple[int, int], scale: int, suffix: str, tmp_path: Path) -> None:
    target, auxiliary, high = pairs.nifti_pair(tmp_path, low, scale, suffix)
    outcome = predict_files(pairs.trial(tmp_path, scale=scale), target, auxiliary, tmp_path / f"sr{suffix}")
    assert (outcome.slices, outcome.shape) == (
        3,
        (low[1] * scale, low[0] * scale),
    )  # upright: left-right along the columns
    assert outcome.notes == ("zerofill does not use the auxiliary.",)
    found, given = nibabel.load(tmp_path / f"sr{suffix}"), nibabel.load(target)
    np.testing.assert_allclose(found.get_fdata(), np.abs(high), rtol=1e-4)
    assert found.get_data_dtype() == np.float32
    centre_low = given.affine @ [low[0] // 2, low[1] // 2, 1, 1]
    centre_high = found.affine @ [low[0] * scale // 2, low[1] * scale // 2, 1, 1]
    np.testing.assert_allclose(centre_high, centre_low, atol=1e-4)
    np.testing.assert_allclose(found.header.get_zooms(), np.array([1.0, 1.25, 4.0]) / [scale, scale, 1], rtol=1e-5)
    np.testing.assert_allclose(found.affine, nibabel.load(auxiliary).affine, atol=1e-4)


def test_a_blob_stays_where_it_is_in_the_world(tmp_path: Path) -> None:
    """Its centre of gravity in millimetres, computed from voxels and affine, before and after."""
    H, W = 48, 40
    rows, columns = np.meshgrid(np.arange(H), np.arange(W), indexing="ij")
    blob = np.exp(-((rows - 28.3) ** 2 + (columns - 15.6) ** 2) / (2 * 3.0**2))
    lr = pairs.degraded(np.stack([blob, 2 * blob]).astype(np.complex64), 2).transpose(1, 2, 0)
    pairs.save(tmp_path / "t2.nii", lr, pairs.oblique())
    pairs.save(tmp_path / "t1.nii", np.stack([blob, blob], -1), pairs.finer(pairs.oblique(), lr.shape, (0, 1), 2))
    predict_files(pairs.trial(tmp_path), tmp_path / "t2.nii", tmp_path / "t1.nii", tmp_path / "sr.nii")

    def centre(path: Path) -> NDArray[np.float64]:
        image = nibabel.load(path)
        weight = image.get_fdata()
        where = np.stack(np.meshgrid(*map(np.arange, weight.shape), indexing="ij"), -1)
        mean = (weight[..., None] * where).sum((0, 1, 2)) / weight.sum()
        return nibabel.affines.apply_affine(image.affine, mean)

    np.testing.assert_allclose(centre(tmp_path / "sr.nii"), centre(tmp_path / "t2.nii"), atol=0.02)


def test_header_is_kept(tmp_path: Path) -> None:
    """qform and sform that differ, each of its own; units, description, codes."""
    target, auxiliary, _ = pairs.nifti_pair(tmp_path)
    image = nibabel.load(target)
    other = image.affine.copy()
    other[:3, 3] += 5
    image.set_qform(other, 1)
    image.set_sform(image.affine, 4)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"a scan"
    image.header["cal_max"] = 7
    nibabel.save(image, target)
    predict_files(pairs.trial(tmp_path), target, auxiliary, tmp_path / "sr.nii")
    found = nibabel.load(tmp_path / "sr.nii")
    (qform, q), (sform, s) = found.get_qform(coded=True), found.get_sform(coded=True)
    assert (int(q), int(s)) == (1, 4)
    np.testing.assert_allclose(sform, pairs.finer(nibabel.load(target).affine, image.shape, (0, 1), 2), atol=1e-4)
    np.testing.assert_allclose(qform[:3, 3] - sform[:3, 3], 5, atol=1e-3)
    assert found.header.get_xyzt_units() == ("mm", "sec")
    assert bytes(found.header["descrip"]).startswith(b"a scan")
    assert found.header["cal_max"] == 0


def test_nifti_2_stays_nifti_2_and_bytes_are_repeatable(tmp_path: Path) -> None:
    target, auxiliary, _ = pairs.nifti_pair(tmp_path)
    image = nibabel.load(target)
    nibabel.save(nibabel.Nifti2Image(np.asarray(image.dataobj), image.affine), target)
    for name in ("a.nii.gz", "b.nii.gz"):
        predict_files(pairs.trial(tmp_path, variant=name), target, auxiliary, tmp_path / name)
    assert isinstance(nibabel.load(tmp_path / "a.nii.gz"), nibabel.Nifti2Image)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slice_axis_is_where_the_sizes_agree(axis: int, tmp_path: Path) -> None:
    high = np.moveaxis(pairs.band_limited(5, (12, 10), 2), 0, axis)
    lr = np.moveaxis(pairs.degraded(np.moveaxis(high, axis, 0), 2), 0, axis)
    in_plane = tuple(a for a in range(3) if a != axis)
    target = pairs.save(tmp_path / "t2.nii", lr, pairs.oblique())
    auxiliary = pairs.save(
        tmp_path / "t1.nii", high, pairs.finer(pairs.oblique(), lr.shape, (in_plane[0], in_plane[1]), 2)
    )
    assert predict_files(pairs.trial(tmp_path), target, auxiliary, tmp_path / "sr.nii").slices == 5
    found = nibabel.load(tmp_path / "sr.nii")
    np.testing.assert_allclose(found.get_fdata(), np.abs(high), rtol=1e-4)
    np.testing.assert_allclose(found.affine, nibabel.load(auxiliary).affine, atol=1e-4)


@pytest.mark.parametrize("axis", [None, 0])
def test_slice_axis_without_auxiliary(axis: int | None, tmp_path: Path) -> None:
    """The one that the header names, else the last."""
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.float32), np.eye(4))
    image.header.set_dim_info(slice=axis)
    nibabel.save(image, tmp_path / "t2.nii")
    outcome = predict_files(pairs.trial(tmp_path), tmp_path / "t2.nii", None, tmp_path / "sr.nii")
    assert outcome.slices == (6 if axis is None else 4)
    assert nibabel.load(tmp_path / "sr.nii").shape == ((8, 10, 6) if axis is None else (4, 10, 12))


def orientations() -> list[NDArray[np.float64]]:
    """All 48 ways of storing a volume: permuted and mirrored axes."""
    out = []
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.zeros((4, 4))
            affine[list(axes), range(3)] = signs
            affine[3, 3] = 1
            out.append(affine)
    return out


def test_slices_are_upright_for_the_method_and_voxels_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """World coordinates as values: down the rows and along the columns they fall, whatever the order of the voxels."""
    down = {0: (2, 1), 1: (2, 0), 2: (1, 0)}  # world axes of rows and columns: sagittal, coronal, axial
    for affine in orientations():
        for axis in range(3):
            turn = upright(affine, axis)
            voxels = np.stack(np.meshgrid(np.arange(5), np.arange(7), np.arange(9), indexing="ij"), -1)
            world = nibabel.affines.apply_affine(affine, voxels)
            across = int(np.argmax(np.abs(affine[:3, axis])))
            for component, step in zip(down[across], (1, 2), strict=True):
                slices = turn.slices(world[..., component])
                assert (np.diff(slices, axis=step) == -1).all()
            np.testing.assert_array_equal(turn.voxels(turn.slices(world[..., 0])), world[..., 0])
    seen: list[Batch] = []
    zero_fill = type(load_method("zerofill", 2))
    usual = zero_fill.predict
    monkeypatch.setattr(zero_fill, "predict", lambda self, batch: (seen.append(batch), usual(self, batch))[1])
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    lr = np.zeros((8, 8, 1))
    lr[2, 5] = 1  # at the patient's right (x = -2) and posterior (y = -5) in LPS
    target = pairs.save(tmp_path / "t2.nii", lr, lps)
    auxiliary = pairs.save(tmp_path / "t1.nii", np.ones((16, 16, 1)), pairs.finer(lps, lr.shape, (0, 1), 2))
    predict_files(pairs.trial(tmp_path), target, auxiliary, tmp_path / "sr.nii")
    # Rows go from anterior to posterior, columns from the patient's right: in LPS y is the row and x the column, as stored.
    assert torch.argmax(seen[0].target_lr.abs()).item() == 5 * 8 + 2


def test_even_sizes_are_mirrored_about_the_centre_sample() -> None:
    """RAS: both in-plane axes are mirrored; the centre sample stays the centre sample."""
    data = np.zeros((8, 6, 1))
    data[4, 3] = 1
    slices = upright(np.eye(4), 2).slices(data)
    assert slices.shape == (1, 6, 8)
    assert slices[0, 3, 4] == 1
    data[4, 3], data[5, 3] = 0, 1
    assert upright(np.eye(4), 2).slices(data)[0, 3, 3] == 1


def test_compressed_output_is_compressed(tmp_path: Path) -> None:
    target, auxiliary, _ = pairs.nifti_pair(tmp_path)
    predict_files(pairs.trial(tmp_path), target, auxiliary, tmp_path / "sr.nii.gz")
    assert len(gzip.decompress((tmp_path / "sr.nii.gz").read_bytes())) == 352 + 4 * 24 * 20 * 3


# --- what cannot be


def refused(tmp_path: Path, folder: Path, target: Path, auxiliary: Path | None, to: str) -> str:
    with pytest.raises(UserError) as raised:
        predict_files(folder, target, auxiliary, tmp_path / to)
    assert r"\n" not in str(raised.value)  # how UserError shows a line break
    assert not list(tmp_path.glob("sr*"))
    return str(raised.value)


@pytest.mark.parametrize("keep", [100, 400, -1000, -5])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_nifti(keep: int, suffix: str, tmp_path: Path) -> None:
    target, auxiliary, _ = pairs.nifti_pair(tmp_path, suffix=suffix)
    target.write_bytes(target.read_bytes()[:keep])
    assert str(target) in refused(tmp_path, pairs.trial(tmp_path), target, auxiliary, f"sr{suffix}")


def test_nifti_volumes_that_are_no_magnitudes(tmp_path: Path) -> None:
    folder, ones = pairs.trial(tmp_path), np.ones((8, 8, 2), np.float32)
    for data, words in (
        (ones * 1j, "holds complex values"),
        (np.ones((8, 8, 2, 3), np.float32), "has 4 dimensions (8, 8, 2, 3)"),
        (ones * np.nan, "holds NaN or Inf"),
        (np.where(np.arange(8)[:, None, None] > 3, 1, -1) * ones, "magnitude images are not negative"),
    ):
        nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / "t.nii")
        assert words in refused(tmp_path, folder, tmp_path / "t.nii", None, "sr.nii")
    image = nibabel.Nifti1Image(ones, None)
    image.header.set_sform(np.zeros((4, 4)), 1)
    nibabel.save(image, tmp_path / "t.nii")
    assert "no usable affine" in refused(tmp_path, folder, tmp_path / "t.nii", None, "sr.nii")


def test_volumes_stored_another_way_round(tmp_path: Path) -> None:
    """Voxel for voxel, a mirrored auxiliary would be taken for the other side of the head."""
    target, auxiliary, _ = pairs.nifti_pair(tmp_path)
    folder, image = pairs.trial(tmp_path), nibabel.load(auxiliary)
    for i, code in enumerate("".join(nibabel.aff2axcodes(image.affine))):
        codes = list(nibabel.aff2axcodes(image.affine))
        codes[i] = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}[code]
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(codes)
        )
        nibabel.save(image.as_reoriented(turn), tmp_path / "other.nii")
        words = refused(tmp_path, folder, target, tmp_path / "other.nii", "sr.nii")
        assert f"its voxel axes run to {''.join(codes)}, those of {target} to " in words
    image.set_sform(None, 0)
    image.set_qform(None, 0)  # says nothing of directions: taken as the target's
    nibabel.save(image, tmp_path / "other.nii")
    assert predict_files(folder, target, tmp_path / "other.nii", tmp_path / "sr.nii").slices == 3


def test_a_claim_of_terabytes_is_not_believed(tmp_path: Path) -> None:
    folder = pairs.trial(tmp_path)
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.create_dataset("image", (4, 500_000, 100_000), np.float32, chunks=True)
    assert "4 x 500000 x 100000 voxels" in refused(tmp_path, folder, tmp_path / "t.h5", None, "sr.h5")
    header = nibabel.Nifti1Header()
    header.set_data_shape((32_767, 32_767, 500))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    (tmp_path / "t.nii").write_bytes(header.binaryblock + b"\0" * 4)
    assert "dimensions (32767, 32767, 500)" in refused(tmp_path, folder, tmp_path / "t.nii", None, "sr.nii")
