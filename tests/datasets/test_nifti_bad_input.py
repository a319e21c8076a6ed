"""Bad input to the nifti plugin: a sentence for each."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_files import LPS, SHAPE, dataset, folder, refused, save

from mcsr_bench.data.prepare import prepare
from mcsr_bench.errors import UserError
from mcsr_bench.protocol import MCSR_1

pytestmark = pytest.mark.usefixtures("own_cache")


def test_no_data_root() -> None:
    refused(dataset(None), "--data-root")


def test_missing_data_root(tmp_path: Path) -> None:
    refused(dataset(tmp_path / "nowhere"), "nowhere", "no such folder")


def test_nothing_matches(tmp_path: Path) -> None:
    refused(dataset(tmp_path), "it holds no NIfTI file")
    save(tmp_path / "x" / "case7_flair.nii")
    refused(dataset(tmp_path), "nifti.target_pattern={patient}_T2.nii.gz", "case7_flair.nii")


def test_too_few_patients(tmp_path: Path) -> None:
    refused(dataset(folder(tmp_path, 2)), "at least 3 patients", "has 2", "--set nifti.split=slice")


def test_too_few_slices(tmp_path: Path) -> None:
    refused(dataset(folder(tmp_path, 1), split="slice"), "has 8 slices that are not empty, too few")


def test_other_grids_do_not_go_with_a_split_by_slice(tmp_path: Path) -> None:
    folder(tmp_path)
    save(tmp_path / "p1_T1.nii.gz", np.ones((10, 12, 9), np.float32))
    words = (
        "p1_T2.nii.gz",
        "p1_T1.nii.gz",
        "different grids (matrix 8 x 12 x 10 and 9 x 12 x 10)",
        "nifti.split=slice",
    )
    refused(dataset(tmp_path, split="slice"), *words)


def test_a_folder_and_a_link_to_itself_are_named(tmp_path: Path) -> None:
    folder(tmp_path)
    for name, make in (("p1_T1", Path.mkdir), ("p2_T2", lambda path: path.symlink_to(path.name))):
        (tmp_path / f"{name}.nii.gz").unlink()
        make(tmp_path / f"{name}.nii.gz")
    refused(dataset(tmp_path), "p1_T1.nii.gz: a folder, not a file", "p2_T2.nii.gz: a link that leads to itself")


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4, 2), (8, 8, 1, 4)])
def test_other_ranks(tmp_path: Path, shape: tuple[int, ...]) -> None:
    folder(tmp_path)
    save(tmp_path / "p1_T1.nii.gz", np.ones(shape, np.float32))
    refused(dataset(tmp_path), "p1_T1.nii.gz", f"has {len(shape)} dimensions")


def test_no_slices(tmp_path: Path) -> None:
    folder(tmp_path)
    save(tmp_path / "p1_T1.nii.gz", np.ones((8, 8, 0), np.float32))
    refused(dataset(tmp_path), "p1_T1.nii.gz has no slices")


def test_complex_and_colour_values(tmp_path: Path) -> None:
    folder(tmp_path)
    save(tmp_path / "p1_T1.nii.gz", np.ones(SHAPE, np.complex64))
    save(tmp_path / "p2_T1.nii.gz", np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])))
    refused(dataset(tmp_path), "p1_T1.nii.gz holds complex values", "p2_T1.nii.gz holds values of type")


def test_strongly_negative_values(tmp_path: Path) -> None:
    values = np.random.default_rng(5).standard_normal(SHAPE).astype(np.float32)
    data = dataset(folder(tmp_path, 3, values=values))
    with pytest.raises(UserError, match="magnitude images are not negative"):
        next(data.read(data.cases()[0]))


@pytest.mark.parametrize(("slope", "offset"), [(-1.0, 0.0), (-0.5, 40.0), (1.0, -200.0)])
def test_the_scaling_of_the_header_counts_for_the_sign(tmp_path: Path, slope: float, offset: float) -> None:
    """Stored are 1 to 100; with these scalings they reach from -100 to -1, from -10 to 39.5, from -199 to -100."""
    folder(tmp_path, 3, ".nii")
    stored = np.linspace(1, 100, int(np.prod(SHAPE))).reshape(SHAPE).astype(np.float32)
    image = nib.Nifti1Image(stored, LPS)
    image.header.set_slope_inter(slope, offset)
    image.header["vox_offset"] = 352
    (tmp_path / "p1_T2.nii").write_bytes(image.header.binaryblock + b"\0" * 4 + stored.tobytes(order="F"))
    data = dataset(tmp_path)
    with pytest.raises(UserError, match=r"p1_T2\.nii has values from -"):
        next(data.read(data.cases()[1]))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("how", ["truncated", "no NIfTI", "empty"])
def test_damaged_files_are_all_named_at_once(tmp_path: Path, suffix: str, how: str) -> None:
    folder(tmp_path, 4, suffix)
    bad = [tmp_path / f"p1_T1{suffix}", tmp_path / f"p2_T2{suffix}"]
    for path in bad:
        content = path.read_bytes()
        path.write_bytes({"truncated": content[: len(content) // 2], "no NIfTI": b"hello " * 99, "empty": b""}[how])
    words = {"truncated": "truncated", "no NIfTI": "not a NIfTI file", "empty": "not a NIfTI file"}[how]
    refused(dataset(tmp_path), *map(str, bad), words)


def test_a_broken_checksum_is_found_while_reading(tmp_path: Path) -> None:
    folder(tmp_path, 3)
    path = tmp_path / "p0_T2.nii.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    data = dataset(tmp_path)
    with pytest.raises(UserError, match=r"p0_T2\.nii\.gz is damaged or truncated"):
        list(data.read(data.cases()[0]))


def test_a_file_compressed_in_several_pieces_is_whole(tmp_path: Path) -> None:
    folder(tmp_path, 3)
    path = tmp_path / "p0_T2.nii.gz"
    raw = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(raw[:1000]) + gzip.compress(raw[1000:]))
    data = dataset(tmp_path)
    assert len(list(data.read(data.cases()[0]))) == SHAPE[2]


def test_a_header_without_orientation(tmp_path: Path) -> None:
    folder(tmp_path, 3)
    image = nib.Nifti1Image(np.ones(SHAPE, np.float32), LPS)
    image.header["sform_code"], image.header["srow_z"], image.header["vox_offset"] = 1, [0, 0, 0, 0], 352
    content = image.header.binaryblock + b"\0" * 4 + np.ones(SHAPE, np.float32).tobytes()
    (tmp_path / "p1_T1.nii.gz").write_bytes(gzip.compress(content))
    refused(dataset(tmp_path), "p1_T1.nii.gz has no usable affine")


@pytest.mark.parametrize(
    "pattern",
    [
        "T2.nii",
        "{patient}_T2",
        "{patient}_{contrast}.nii",
        "../{patient}.nii",
        "/{patient}.nii",
        "**/{patient}.nii",
        ".nii",
    ],
)
def test_bad_patterns(tmp_path: Path, pattern: str) -> None:
    refused(dataset(tmp_path, target_pattern=pattern), f"--set nifti.target_pattern={pattern}: a pattern")


def test_two_files_for_one_patient(tmp_path: Path) -> None:
    folder(tmp_path, 3)
    save(tmp_path / "p1_T2.nii")
    refused(dataset(tmp_path), "p1_T2.nii and", "p1_T2.nii.gz both match nifti.target_pattern for p1")


def test_one_file_for_both_contrasts(tmp_path: Path) -> None:
    save(tmp_path / "p0_T2.nii")
    refused(dataset(tmp_path, auxiliary_pattern="{patient}_T2.nii"), "p0_T2.nii matches both")


def test_names_that_are_no_identifiers(tmp_path: Path) -> None:
    save(tmp_path / "José M_T2.nii")
    refused(dataset(tmp_path), "José M", "may have letters, digits")


def test_a_file_too_small_for_the_scale_is_named(tmp_path: Path) -> None:
    large, small = (np.ones((n, n, 8), np.float32) for n in (32, 15))
    for i in range(4):
        for j, contrast in enumerate(("T1", "T2")):
            save(tmp_path / f"p{i}_{contrast}.nii.gz", (small if i == 2 else large) + i + j)
    with pytest.raises(UserError) as error:
        prepare(dataset(tmp_path), MCSR_1, [2])
    where = tmp_path / "p2_T2.nii.gz"
    assert str(error.value) == f"{where}: an image of 15 x 15 is too small for scale 2: at least 16 x 16 is needed"
