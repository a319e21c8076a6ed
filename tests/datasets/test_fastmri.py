"""The fastmri plugin, on small files in the real layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from mcsr_bench.data.manifest import manifest, read_split, write_manifest
from mcsr_bench.data.prepare import prepare
from mcsr_bench.data.raw.header import parse
from mcsr_bench.data.raw.kspace_file import crop_shape, inspect
from mcsr_bench.data.raw.patients import components
from mcsr_bench.datasets.fastmri import FastMRI, FastMRISettings
from mcsr_bench.datasets.fastmri.pairs import published_lists
from mcsr_bench.plugin.cards import DatasetCard
from mcsr_bench.plugin.case import Finding, Stored
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.protocol import MCSR_1, SANET_2021

Tree = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("own_cache")


def dataset(root: Path | None, **settings: Any) -> FastMRI:
    return FastMRI("fastmri", FastMRISettings(**settings), root)


def finding(data: FastMRI, code: str) -> Finding:
    (found,) = [f for f in data.findings if f.code == code]
    return found


# --- the lists and the card ------------------------------------------------------------------------------------------


def test_shipped_lists_are_the_published_ones() -> None:
    lists = published_lists()
    assert (len(lists.train), len(lists.test)) == (227, 45)
    assert len(set(lists.names())) == 544
    folder = Path(__import__("mcsr_bench").__file__).parent / "datasets" / "fastmri"
    assert [hashlib.sha256((folder / f"pairs-{p}.csv").read_bytes()).hexdigest()[:16] for p in ("train", "val")] == [
        "9e36f6fc50ab4d64",
        "434ced7cc228547c",
    ]


def test_card_is_found_and_agrees_with_the_class() -> None:
    card = datasets().card("fastmri")
    assert isinstance(card, DatasetCard)
    assert datasets().load("fastmri") is FastMRI
    assert (card.track, card.revision) == (FastMRI.track, FastMRI.revision)
    assert card.contrasts == dataset(None).contrasts


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [(128, 64), (129, 75), (128, 72)])
def test_reading_equals_numpy(fastmri_tree: Tree, fastmri_files: ModuleType, raw: tuple[int, int]) -> None:
    data = dataset(fastmri_tree(2, 1, shape=raw, slices=2))
    for case in data.cases():
        assert (case.shape, case.n_slices) == ((64, 64), 2)
        slices = list(data.read(case))
        for which in (0, 1):
            with h5py.File(case.files[which], locking=False) as file:
                kspace = file["kspace"][()].astype(np.complex128)
                reference = file["reconstruction_esc"][()]
            expected = fastmri_files.crop(fastmri_files.to_image(kspace), (64, 64))
            got = np.stack([s[which] for s in slices])
            assert got.dtype == np.complex64
            np.testing.assert_allclose(got, expected, atol=1e-6 * np.abs(expected).max())
            np.testing.assert_allclose(np.abs(got), reference, atol=1e-6 * reference.max())


def test_target_is_fs_pd_and_the_setting_swaps(fastmri_tree: Tree, first_pair: tuple[str, str]) -> None:
    root = fastmri_tree(2, 1)
    usual, swapped = dataset(root), dataset(root, target="PD")
    (a, *_), (b, *_) = usual.cases(), swapped.cases()
    assert (usual.contrasts, swapped.contrasts) == (("FS-PD", "PD"), ("PD", "FS-PD"))
    assert (a.volume_id, b.volume_id) == (first_pair[1], first_pair[0])
    assert a.files == b.files[::-1]
    np.testing.assert_array_equal(next(usual.read(a))[0], next(swapped.read(b))[1])
    assert usual.fingerprint() != swapped.fingerprint()
    assert swapped.split(swapped.cases(), MCSR_1).test == (swapped.cases()[-1].volume_id,)


def test_published_numbers_are_those_of_fs_pd(fastmri_tree: Tree) -> None:
    root = fastmri_tree(3, 1, slices=1)
    said = [prepare(dataset(root, target=target), MCSR_1, [2])[0].data.reported_as for target in ("FS-PD", "PD")]
    assert said == ["fastMRI", ""]


def test_an_image_narrower_than_the_crop_becomes_a_square_of_its_width(fastmri_tree: Tree) -> None:
    data = dataset(fastmri_tree(2, 1, shape=(128, 56)))
    case = data.cases()[0]
    assert case.shape == (56, 56)
    assert next(data.read(case))[0].shape == (56, 56)
    assert finding(data, "crop").severity == "info"
    assert crop_shape((640, 372), (320, 320)) == (320, 320)
    assert crop_shape((640, 312), (320, 320)) == (312, 312)


def test_widths_may_differ_within_a_pair(
    fastmri_tree: Tree, fastmri_files: ModuleType, first_pair: tuple[str, str]
) -> None:
    root = fastmri_tree(2, 1, shape=(128, 68))
    fastmri_files.write_volume(
        fastmri_files.file_of(root, first_pair[0]), contrast="PD", patient_id="patient-000", shape=(128, 72)
    )
    case = dataset(root).cases()[0]
    target, auxiliary = next(dataset(root).read(case))
    assert target.shape == auxiliary.shape == case.shape == (64, 64)


def test_slice_counts_may_differ_and_the_smaller_counts(
    fastmri_tree: Tree, fastmri_files: ModuleType, first_pair: tuple[str, str]
) -> None:
    root = fastmri_tree(2, 1, slices=3)
    fastmri_files.write_volume(
        fastmri_files.file_of(root, first_pair[0]), contrast="PD", patient_id="patient-000", slices=2
    )
    data = dataset(root)
    case = data.cases()[0]
    assert case.n_slices == len(list(data.read(case))) == 2
    assert "3 slices" in finding(data, "slice-count").message
    assert not finding(data, "slice-count").marks


def test_without_a_reconstruction_the_header_gives_the_crop(fastmri_tree: Tree) -> None:
    assert dataset(fastmri_tree(2, 1, reconstruction=False)).cases()[0].shape == (64, 64)


def test_the_size_of_the_reconstruction_goes_before_the_headers(
    fastmri_tree: Tree, fastmri_files: ModuleType, first_pair: tuple[str, str]
) -> None:
    root = fastmri_tree(2, 1)
    for name in first_pair:
        for key in ("reconstruction_esc", "reconstruction_rss"):
            fastmri_files.replace(fastmri_files.file_of(root, name), key, np.zeros((3, 48, 40), np.float32))
    data = dataset(root)
    case = data.cases()[0]
    assert case.shape == next(data.read(case))[0].shape == (48, 40)
    assert "48 x 40, header 64 x 64" in finding(data, "crop").message


def test_unacquired_columns_are_found_by_the_header(fastmri_tree: Tree) -> None:
    data = dataset(fastmri_tree(2, 1, acquired=50))
    data.cases()
    assert "50 of 64 acquired" in finding(data, "zero-columns").message


def test_header_numbers_of_a_real_one(fastmri_files: ModuleType) -> None:
    got = parse(fastmri_files.header((640, 372), (320, 320), acquired=332).encode())
    # padding_left = 372//2 - 166 = 20, padding_right = 20 + 331 + 1 = 352
    assert (got.encoded, got.recon, got.acquired_columns) == ((640, 372), (320, 320), 352 - 20)


@pytest.mark.parametrize("coils", [None, 3])
def test_stored_says_how_it_lies_in_the_file(fastmri_tree: Tree, coils: int | None) -> None:
    data = dataset(fastmri_tree(2, 1, shape=(128, 68), acquired=50, coils=coils, slices=2))
    case = data.cases()[0]
    between = () if coils is None else (3,)
    for kind in ("target", "auxiliary"):
        assert data.stored(case, kind) == Stored((2, *between, 128, 68), "complex64", coils or 1, (128, 50))


def test_pixels_are_the_encoded_field_of_view_over_the_encoded_matrix(
    fastmri_tree: Tree, fastmri_files: ModuleType, first_pair: tuple[str, str]
) -> None:
    path = fastmri_files.file_of(fastmri_tree(2, 1), first_pair[0])
    assert inspect(path).pixel == (280 / 128, 161 / 64)
    for spoilt in ("0", "-3", "nan", "wide", ""):
        text = fastmri_files.header((128, 64), (64, 64)).replace("<x>280<", f"<x>{spoilt}<")
        fastmri_files.replace(path, "ismrmrd_header", text.encode())
        assert inspect(path).pixel is None


def test_a_pair_of_other_voxels_is_kept_with_a_mark(
    fastmri_tree: Tree, fastmri_files: ModuleType, first_pair: tuple[str, str]
) -> None:
    root = fastmri_tree(3, 1)
    path = fastmri_files.file_of(root, first_pair[0])
    assert inspect(path).thickness == 4.5
    fastmri_files.write_volume(path, contrast="PD", patient_id="patient-000", fov=(320, 184))
    data = dataset(root)
    assert len(data.cases()) == 4
    found = finding(data, "geometry")
    assert (found.severity, found.marks) == ("warning", True)
    assert "1 of 4 pairs do not have the same voxels" in found.message
    assert found.message.endswith("2.188 x 2.516 mm and 2.5 x 2.875 mm")


@pytest.mark.parametrize("coils", [None, 3])
def test_kspace_that_is_not_that_of_the_files_own_images_is_told(
    here: Callable[..., Any], fastmri_tree: Tree, fastmri_files: ModuleType, coils: int | None
) -> None:
    """Conjugated, for one: the image is mirrored, and nothing else shows it."""
    root = fastmri_tree(2, 1, coils=coils, acquired=60)
    names = fastmri_files.published("train")
    paths = [fastmri_files.file_of(root, name) for name in names[0]]
    fastmri_files.edit(paths[0], lambda f: f["kspace"].__setitem__(..., f["kspace"][()].conj()))
    fastmri_files.edit(paths[1], lambda f: f["kspace"].__setitem__(..., f["kspace"][()] * 1e3))
    command = ("prepare", "--dataset", "fastmri", "--data-root", root, "--scale", 2, "--jobs", 1, "--check", "--json")
    told = json.loads(here(*command).stdout)["findings"]
    found = {(f["severity"], f["file"]): f["message"] for f in told if f["code"] == "reconstruction"}
    assert set(found) == {("warning", str(paths[0])), ("info", str(paths[1]))}
    assert "are not those of its k-space" in found["warning", str(paths[0])]
    assert "are 0.001 times those of its k-space" in found["info", str(paths[1])]


@pytest.mark.parametrize(("said", "thickness"), [("160", 4.5 / 160), ("0", None), ("nan", None), ("", None)])
def test_slices_of_a_slab_are_a_part_of_it(
    fastmri_tree: Tree, fastmri_files: ModuleType, first_pair: tuple[str, str], said: str, thickness: float | None
) -> None:
    path = fastmri_files.file_of(fastmri_tree(2, 1), first_pair[0])
    before, after = fastmri_files.header((128, 64), (64, 64)).rsplit("<z>1</z></matrixSize>", 1)
    fastmri_files.replace(path, "ismrmrd_header", f"{before}<z>{said}</z></matrixSize>{after}".encode())
    assert inspect(path).thickness == thickness


def test_multicoil_keeps_the_phase_of_the_object(fastmri_files: ModuleType, fastmri_tree: Tree) -> None:
    root = fastmri_tree(2, 1, coils=6, slices=1)
    data = dataset(root)
    case = data.cases()[0]
    assert finding(data, "coils").marks
    got = next(data.read(case))[0].astype(np.complex128)
    shape = (128, 64)
    truth = fastmri_files.knee("FS-PD", 0, 1, shape, (64, 64))[0]
    truth = truth * np.sqrt((np.abs(fastmri_files.sensitivities(6, shape)) ** 2).sum(0))
    truth = fastmri_files.crop(truth, (64, 64))
    truth *= np.exp(1j * np.angle(np.vdot(truth, got)))  # one constant phase is open
    assert np.linalg.norm(got - truth) / np.linalg.norm(truth) < 0.03
    assert np.linalg.norm(np.abs(got) - truth) / np.linalg.norm(truth) > 0.3  # that phase is not trivial


def test_multicoil_reading_combines_at_full_field_of_view_and_crops_then(
    fastmri_tree: Tree, fastmri_files: ModuleType
) -> None:
    data = dataset(fastmri_tree(2, 1, coils=4, slices=2, flat=True))
    case = data.cases()[1]
    for index, pair in enumerate(data.read(case)):
        for which, got in enumerate(pair):
            with h5py.File(case.files[which], locking=False) as file:
                coil_images = fastmri_files.to_image(file["kspace"][index].astype(np.complex128))
            expected = fastmri_files.crop(fastmri_files.combine(coil_images), (64, 64))
            np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def test_order_and_fingerprint_do_not_depend_on_where_files_lie(fastmri_tree: Tree) -> None:
    tree, flat = dataset(fastmri_tree(3, 2)), dataset(fastmri_tree(3, 2, name="flat", flat=True))

    def named(data: FastMRI) -> list[tuple[str, str, int]]:
        return [(c.patient_id, c.volume_id, c.n_slices) for c in data.cases()]

    assert named(tree) == named(flat)
    assert tree.fingerprint() == flat.fingerprint() == dataset(tree.data_root).fingerprint()


def test_one_changed_byte_changes_the_fingerprint(
    fastmri_tree: Tree, first_pair: tuple[str, str], fastmri_files: ModuleType
) -> None:
    root = fastmri_tree(2, 1)
    before = dataset(root).fingerprint()
    fastmri_files.edit(fastmri_files.file_of(root, first_pair[0]), lambda f: f["kspace"].__setitem__((0, 0, 0), 1j))
    assert dataset(root).fingerprint() != before


def test_a_broken_memory_of_digests_costs_nothing_but_time(fastmri_tree: Tree, own_cache: Path) -> None:
    root = fastmri_tree(2, 1)
    before = dataset(root).fingerprint()
    (own_cache / "digests.json").write_text("[1, 2")
    assert dataset(root).fingerprint() == before


# --- patients and splits ---------------------------------------------------------------------------------------------


def test_components_follow_chains() -> None:
    got = components([("d", "c"), ("b", "a"), ("x", "x"), ("c", "b"), ("z", "y")])
    assert got == {"a": "a", "b": "a", "c": "a", "d": "a", "x": "x", "y": "y", "z": "y"}


def test_mismatch_is_kept_with_a_mark_and_links_patients(fastmri_tree: Tree, fastmri_files: ModuleType) -> None:
    root = fastmri_tree(4, 2)
    names = fastmri_files.published("train")
    fastmri_files.set_patient(
        fastmri_files.file_of(root, names[0][0]), "patient-001"
    )  # pair 0: patients 1 and 0; pair 1: patients 1 and 2
    fastmri_files.set_patient(fastmri_files.file_of(root, names[1][1]), "patient-002")
    data = dataset(root)
    cases = data.cases()
    assert [c.patient_id for c in cases] == [f"patient-00{i}" for i in (0, 0, 0, 3, 4, 5)]
    dropping = dataset(root, mismatch="drop")
    assert [c.patient_id for c in dropping.cases()] == [f"patient-00{i}" for i in (2, 3, 4, 5)]
    for which, done in ((data, "kept"), (dropping, "left out")):
        *each, together = [f for f in which.findings if f.code == "patient-mismatch"]
        assert together.marks
        assert "2 of 6" in together.message
        assert [(f.severity, f.marks, f.file) for f in each] == [
            ("warning", False, str(fastmri_files.file_of(root, names[i][1]))) for i in (0, 1)
        ]
        assert each[0].message == (
            f"{names[0][1]} is of patient patient-000 and {names[0][0]} of patient-001, but the two are a pair, which is {done}"
        )
        assert "of patient patient-002 and" in each[1].message


def test_mcsr_1_leaves_out_train_pairs_that_touch_the_test_list(fastmri_tree: Tree, fastmri_files: ModuleType) -> None:
    root = fastmri_tree(5, 2)
    train, val = fastmri_files.published("train"), fastmri_files.published("val")
    fastmri_files.set_patient(
        fastmri_files.file_of(root, train[0][0]), "patient-001"
    )  # 0 - 1 - 5, and 5 is tested: a chain over both lists
    fastmri_files.set_patient(fastmri_files.file_of(root, train[1][1]), "patient-005")
    data = dataset(root)
    cases = data.cases()
    split = data.split(cases, MCSR_1)
    split.check(cases)
    assert split.patient_disjoint
    assert split.test == (val[0][1], val[1][1])
    assert {*split.train, *split.validation} == {train[i][1] for i in (2, 3, 4)}
    assert len(split.validation) == 1
    assert "2 of 5" in finding(data, "train-touches-test").message
    assert finding(data, "train-touches-test").file.endswith(".h5")
    assert split == dataset(root).split(cases, MCSR_1)
    # given back as a file, it is the same split: the pairs that were left out do not join the tested patients
    made = manifest(data, split, cases)
    assert set(made.left_out) == {train[0][1], train[1][1]}
    write_manifest(root / "split.json", made)
    again = dataset(root)
    back = read_split(root / "split.json", again, cases)
    assert (back.train, back.validation, back.test) == (split.train, split.validation, split.test)
    assert again.findings == []


def test_sanet_2021_keeps_them_and_marks(fastmri_tree: Tree, fastmri_files: ModuleType) -> None:
    root = fastmri_tree(3, 2)
    fastmri_files.set_patient(fastmri_files.file_of(root, fastmri_files.published("train")[0][0]), "patient-004")
    data = dataset(root)
    cases = data.cases()
    split = data.split(cases, SANET_2021)
    split.check(cases)
    assert (len(split.train), split.validation, split.patient_disjoint) == (3, split.test, False)
    assert finding(data, "train-touches-test").marks


def test_validation_is_carved_by_patient_and_follows_the_seed(fastmri_tree: Tree, fastmri_files: ModuleType) -> None:
    root = fastmri_tree(8, 1, slices=1, shape=(64, 32), recon=(32, 32))
    names = fastmri_files.published("train")
    for i in range(0, 8, 2):  # four patients with two pairs each
        for name in names[i + 1]:
            fastmri_files.set_patient(fastmri_files.file_of(root, name), f"patient-00{i}")
    cases = dataset(root).cases()
    splits = [dataset(root, validation_fraction=0.25, split_seed=s).split(cases, MCSR_1) for s in range(6)]
    for split in splits:
        split.check(cases)
        assert (len(split.train), len(split.validation)) == (6, 2)
    assert len({s.validation for s in splits}) > 1


def test_a_part_of_the_published_lists_is_used_and_marked(
    fastmri_tree: Tree, first_pair: tuple[str, str], fastmri_files: ModuleType
) -> None:
    root = fastmri_tree(3, 2)
    fastmri_files.file_of(root, first_pair[0]).unlink()
    data = dataset(root)
    assert len(data.cases()) == 4
    assert "2 of 227 train pairs and 2 of 45 val pairs" in finding(data, "absent-pairs").message
    assert finding(data, "absent-pairs").marks


def test_own_lists(own_lists: Callable[..., FastMRI]) -> None:
    data = own_lists()
    cases = data.cases()
    assert [c.volume_id for c in cases] == ["b0", "b1", "b2", "b3"]
    split = data.split(cases, MCSR_1)
    split.check(cases)
    assert (len(split.train), len(split.validation), split.test) == (2, 1, ("b3",))
    assert {f.code for f in data.findings} == {"own-lists"}
    assert finding(data, "own-lists").marks
    sanet = data.split(cases, SANET_2021)
    assert (sanet.train, sanet.validation, sanet.test) == (("b0", "b1", "b2"), ("b3",), ("b3",))


def test_single_coil_goes_first_where_both_are_there(fastmri_tree: Tree) -> None:
    root = fastmri_tree(2, 1)
    fastmri_tree(2, 1, coils=3)
    data = dataset(root)
    assert "singlecoil_train" in data.cases()[0].files[0]
    assert not finding(data, "coils").marks
    assert "multicoil_train" in dataset(root, coils="multicoil").cases()[0].files[0]
