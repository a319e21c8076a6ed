"""Bad input to the fastmri plugin: one test for each, a sentence for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mcsr_bench.data.raw.header import parse
from mcsr_bench.datasets.fastmri import FastMRI, FastMRISettings
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Case, Finding
from mcsr_bench.protocol import MCSR_1

Tree = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("own_cache")


def dataset(root: Path | None, **settings: Any) -> FastMRI:
    return FastMRI("fastmri", FastMRISettings(**settings), root)


def finding(data: FastMRI, code: str) -> Finding:
    (found,) = [f for f in data.findings if f.code == code]
    return found


def refused(data: FastMRI, *words: str) -> str:
    with pytest.raises(UserError) as error:
        data.cases()
    text = str(error.value)
    for word in words:
        assert word in text, text
    assert r"\n" not in text  # how UserError shows a line break
    return text


def test_no_data_root() -> None:
    refused(dataset(None), "--data-root")


def test_missing_data_root(tmp_path: Path) -> None:
    refused(dataset(tmp_path / "nowhere"), "nowhere", "no such folder")


def test_empty_data_root(tmp_path: Path) -> None:
    refused(dataset(tmp_path), "none of the 227 pairs", "--data-root")


def test_absent_val_list(fastmri_tree: Tree) -> None:
    refused(dataset(fastmri_tree(2, 0)), "none of the 45 pairs of the published val list")


def test_a_part_of_the_single_coil_files_beside_all_multi_coil_ones(fastmri_tree: Tree) -> None:
    root = fastmri_tree(2, 1, coils=2, slices=1)
    fastmri_tree(0, 1, slices=1)
    refused(dataset(root), "none of the 227 pairs of the published train list", "unless --set fastmri.coils=multicoil")
    assert len(dataset(root, coils="multicoil").cases()) == 3


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("not HDF5", "is not an HDF5 file"),
        ("empty file", "is not an HDF5 file"),
        ("truncated", "is damaged or truncated"),
        ("no kspace", "has no 'kspace'"),
        ("kspace is a group", "has no 'kspace'"),
        ("rank 2", "of rank 2; (slices, H, W)"),
        ("rank 5", "of rank 5"),
        ("no slices", "has no slices"),
        ("empty axis", "has an empty 'kspace'"),
        ("real", "complex k-space is needed"),
        ("huge", "beyond 1 GiB"),
        ("half written", "2 of its 3 blocks were never written"),
        ("never written", "was never written"),
        ("mask", "looks like a test-set file"),
        ("no header", "has no 'ismrmrd_header'"),
        ("number as header", "has a broken 'ismrmrd_header': it is not text"),
        ("broken header", "has a broken 'ismrmrd_header': it is not well-formed XML"),
        ("small", "too small for a crop to 64 x 64"),
        ("no patient", "has no attribute 'patient_id'"),
        ("swapped", "is listed as PD, but its acquisition is CORPDFS_FBK"),
    ],
)
def test_bad_file(
    fastmri_tree: Tree, first_pair: tuple[str, str], how: str, words: str, fastmri_files: ModuleType
) -> None:
    root = fastmri_tree(2, 1)
    fastmri_files.spoil(root, first_pair[0], how)
    refused(dataset(root), f"{first_pair[0]}.h5", words)


@pytest.mark.parametrize("how", ["folder", "link"])
def test_a_folder_or_a_link_to_nowhere_is_no_absent_file(
    fastmri_tree: Tree, first_pair: tuple[str, str], how: str, fastmri_files: ModuleType
) -> None:
    root = fastmri_tree(2, 1)
    path = fastmri_files.file_of(root, first_pair[0])
    path.unlink()
    if how == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    refused(dataset(root), f"{first_pair[0]}.h5")


def test_all_bad_files_are_named_at_once(fastmri_tree: Tree, fastmri_files: ModuleType) -> None:
    root = fastmri_tree(3, 1)
    (a, b), (c, _), _ = fastmri_files.published("train")[:3]
    for name, how in ((a, "no kspace"), (b, "truncated"), (c, "real")):
        fastmri_files.spoil(root, name, how)
    refused(dataset(root), f"{a}.h5", f"{b}.h5", f"{c}.h5")


def test_contrasts_that_differ_in_shape_after_the_crop(
    fastmri_tree: Tree, fastmri_files: ModuleType, first_pair: tuple[str, str]
) -> None:
    root = fastmri_tree(2, 1)
    fastmri_files.write_volume(
        fastmri_files.file_of(root, first_pair[0]), contrast="PD", patient_id="patient-000", shape=(128, 56)
    )
    refused(dataset(root), *first_pair, "differs in shape after the crop: 56 x 56 and 64 x 64")


def test_single_and_multi_coil_files_do_not_mix(fastmri_tree: Tree, fastmri_files: ModuleType) -> None:
    root = fastmri_tree(2, 1, flat=True)
    pair = fastmri_files.published("train")[1]
    fastmri_files.write_pair(root, pair, patient_id="patient-001", coils=2)
    refused(dataset(root), "they do not mix")
    refused(dataset(root, coils="singlecoil"), "must be (slices, H, W)", f"{pair[0]}.h5")


def test_unknown_contrast_is_told_and_marks(
    fastmri_tree: Tree, first_pair: tuple[str, str], fastmri_files: ModuleType
) -> None:
    root = fastmri_tree(2, 1)
    fastmri_files.edit(fastmri_files.file_of(root, first_pair[1]), lambda f: f.attrs.__setitem__("acquisition", "AXT2"))
    data = dataset(root)
    data.cases()
    assert "'AXT2', not 'CORPDFS_FBK'" in finding(data, "acquisition").message
    assert finding(data, "acquisition").marks


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (">372<", ">many<", "not a whole number"),
        (">372<", ">0<", "not a whole number in 1..65536"),
        (">372<", ">99999999<", "not a whole number in 1..65536"),
        ("reconSpace", "otherSpace", "has no encoding/reconSpace/matrixSize/x"),
        ("<center>", "<middle>", "not well-formed"),
        ("<?xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><?xml", "document type"),
        ("<center>166<", "<center>400<", "beyond its maximum"),
    ],
)
def test_broken_headers(fastmri_files: ModuleType, old: str, new: str, words: str) -> None:
    text = fastmri_files.header((640, 372), (320, 320), acquired=332)
    assert old in text
    with pytest.raises(ValueError, match=words):
        parse(text.replace(old, new).encode())


def test_header_in_another_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        parse('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16"))


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (b"\x89HDF\r\n\x1a\n\xff\xfe", "is not a text file"),
        (b"a0,b0\0", "is not a text file"),
        ("\n\n", "has no pairs"),
        ("a0\n", "has 1 columns"),
        ("a0,b0,1,2\n", "line 1 has 4 columns"),
        ("pd,fspd,score\n", "is not a number"),
        ("a0,b0,nan\n", "is not a number"),
        ("a0,../b0\n", "is not a file name"),
        ("a0,b0\na1,b0.h5\n", "line 2: b0 is already used in line 1"),
        ("a0,b0\na1,a1\n", "line 2: a1 is already used in line 2"),
        ("a0,b0\na1,b3\n", "share 1 files: b3"),
    ],
)
def test_bad_own_list(own_lists: Callable[..., FastMRI], train: str | bytes, words: str) -> None:
    refused(own_lists(train), "train_pairs", words)


def test_own_list_that_is_absent_or_alone(own_lists: Callable[..., FastMRI], tmp_path: Path) -> None:
    root = own_lists().data_root
    refused(dataset(root, train_pairs="gone.csv", test_pairs="gone.csv"), "fastmri.train_pairs: gone.csv: no such file")
    refused(dataset(root, train_pairs=str(tmp_path), test_pairs="gone.csv"), "a folder, not a file")
    refused(dataset(root, test_pairs=f"{tmp_path}/test.csv"), "fastmri.train_pairs is not")


def test_own_list_names_all_absent_files_at_once(own_lists: Callable[..., FastMRI]) -> None:
    text = refused(
        own_lists("a0,b0\ngone1,b1\na2,gone2\n", "a3,gone3\n"), "3 of the files", "gone1.h5, gone2.h5, gone3.h5"
    )
    assert "b1" not in text
    refused(own_lists("".join(f"x{i},y{i}\n" for i in range(9))), "18 of the files", "y4.h5 and 8 more")


def test_own_lists_that_share_a_patient(own_lists: Callable[..., FastMRI], fastmri_files: ModuleType) -> None:
    data = own_lists()
    assert data.data_root is not None
    fastmri_files.set_patient(data.data_root / "a3.h5", "p1")
    refused(data, "share patients", "a1/b1 with a3/b3", "p1")
    fastmri_files.set_patient(data.data_root / "a3.h5", "other")
    data.cases()


def test_too_few_train_patients(fastmri_tree: Tree) -> None:
    data = dataset(fastmri_tree(1, 1))
    with pytest.raises(UserError, match="at least 2 are needed"):
        data.split(data.cases(), MCSR_1)


def test_dropping_every_pair(fastmri_tree: Tree, fastmri_files: ModuleType) -> None:
    root = fastmri_tree(2, 1)
    fastmri_files.set_patient(fastmri_files.file_of(root, fastmri_files.published("val")[0][0]), "somebody")
    refused(dataset(root, mismatch="drop"), "leaves no test pair")


def test_a_file_that_breaks_while_it_is_read(
    fastmri_tree: Tree, first_pair: tuple[str, str], fastmri_files: ModuleType
) -> None:
    root = fastmri_tree(2, 1)
    data = dataset(root)
    case: Case = data.cases()[0]
    fastmri_files.spoil(root, first_pair[1], "truncated")
    with pytest.raises(UserError, match=rf"/{first_pair[1]}\.h5 is damaged or truncated"):
        list(data.read(case))
