"""The fastmri-brain plugin, on small files in the real layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from mcsr_bench.data.one_case import read_case
from mcsr_bench.datasets.fastmri_brain import FastMRIBrain, FastMRIBrainSettings
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.cards import DatasetCard
from mcsr_bench.plugin.case import Finding, Stored
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.protocol import MCSR_1, SANET_2021

pytestmark = pytest.mark.usefixtures("own_cache")


def dataset(root: Path | None, **settings: Any) -> FastMRIBrain:
    return FastMRIBrain("fastmri-brain", FastMRIBrainSettings(**settings), root)


def finding(data: FastMRIBrain, code: str) -> Finding:
    (found,) = [f for f in data.findings if f.code == code]
    return found


def names(data: FastMRIBrain) -> list[tuple[str, str, str]]:
    """(patient, target file, auxiliary file) of every case, files without what they share."""
    return [
        (c.patient_id, *(Path(f).stem.removeprefix("file_brain_AX").replace("_200_20000", "-") for f in c.files))
        for c in data.cases()
    ]


def refused(data: FastMRIBrain, *words: str) -> None:
    with pytest.raises(UserError) as error:
        data.cases()
    text = str(error.value)
    for word in words:
        assert word in text, text
    assert r"\n" not in text  # how UserError shows a line break


def test_card_is_found_and_agrees_with_the_class() -> None:
    card = datasets().card("fastmri-brain")
    assert isinstance(card, DatasetCard)
    assert datasets().load("fastmri-brain") is FastMRIBrain
    assert (card.track, card.revision) == (FastMRIBrain.track, FastMRIBrain.revision)
    assert card.contrasts == dataset(None).contrasts


# --- pairs -----------------------------------------------------------------------------------------------------------


def test_pairs_are_by_patient_never_by_number(tmp_path: Path, fastmri_files: ModuleType) -> None:
    for number, acquisition, patient in (
        (1, "AXT2", "b"),
        (1, "AXT1", "a"),
        (2, "AXT1", "b"),
        (3, "AXT2", "a"),
        (4, "AXFLAIR", "a"),
        (5, "AXT2", "lonely"),
    ):
        fastmri_files.write_brain(tmp_path / "multicoil_train", number, acquisition, patient)
    (tmp_path / "multicoil_train" / "._file_brain_AXT1_200_2000001.h5").write_bytes(b"beside the file, by macOS")
    data = dataset(tmp_path)
    assert names(data) == [("b", "T2-01", "T1-02"), ("a", "T2-03", "T1-01")]
    assert data.cases()[0].volume_id == "file_brain_AXT2_200_2000001"
    assert "1 patients have not both T2 and T1" in finding(data, "unpaired").message
    assert {f.code for f in data.findings} == {"unpaired"}
    assert names(dataset(tmp_path, target="FLAIR")) == [("a", "FLAIR-04", "T1-01")]
    assert dataset(tmp_path, target="FLAIR").contrasts == ("FLAIR", "T1")


@pytest.mark.parametrize(
    ("there", "wanted", "expected"),
    [
        (("AXT1", "AXT1PRE", "AXT1POST"), "T1", "AXT1"),
        (("AXT1PRE", "AXT1POST"), "T1", "AXT1PRE"),
        (("AXT1", "AXT1PRE", "AXT1POST"), "T1PRE", "AXT1PRE"),
        (("AXT1", "AXT1PRE", "AXT1POST"), "T1POST", "AXT1POST"),
        (("AXT1POST",), "T1", None),
        (("AXT1",), "T1PRE", None),
    ],
)
def test_what_counts_as_t1(
    tmp_path: Path, fastmri_files: ModuleType, there: tuple[str, ...], wanted: str, expected: str | None
) -> None:
    for number, acquisition in enumerate(("AXT2", *there)):
        fastmri_files.write_brain(tmp_path, number, acquisition, "p", slices=1)
    data = dataset(tmp_path, auxiliary=wanted)
    if expected is None:
        refused(data, f"has T2 and {wanted} with the same voxels", ", ".join(sorted(("AXT2", *there))))
    else:
        assert f"_{expected}_" in data.cases()[0].files[1]


def test_the_same_file_is_no_pair(tmp_path: Path, fastmri_files: ModuleType) -> None:
    fastmri_files.write_brain(tmp_path, 1, "AXT1PRE", "p")
    refused(dataset(tmp_path, target="T1", auxiliary="T1PRE"), "no patient")


def test_the_first_of_several_files_by_name(tmp_path: Path, fastmri_files: ModuleType) -> None:
    for folder, number in (("multicoil_val", 7), ("multicoil_train", 8), ("multicoil_train", 9)):
        fastmri_files.write_brain(tmp_path / folder, number, "AXT1", "p")
    fastmri_files.write_brain(tmp_path, 1, "AXT2", "p")
    data = dataset(tmp_path)
    assert names(data) == [("p", "T2-01", "T1-07")]
    assert "2000007.h5 of 3" in finding(data, "several-files").message


def test_of_several_files_the_ones_that_fit(tmp_path: Path, fastmri_files: ModuleType) -> None:
    """Another pixel size, then another number of slices, then another slice thickness: the third T1 fits the second T2."""
    write = fastmri_files.write_brain
    write(tmp_path, 1, "AXT2", "p", pixel=(1.0, 1.0))
    write(tmp_path, 2, "AXT2", "p")
    write(tmp_path, 3, "AXT1", "p", slices=1)
    thick = write(tmp_path, 4, "AXT1", "p")
    set_thickness(fastmri_files, thick, "6")
    write(tmp_path, 5, "AXT1", "p")
    data = dataset(tmp_path)
    assert names(data) == [("p", "T2-02", "T1-05")]
    assert {f.code for f in data.findings} == {"several-files"}
    assert "2 times" in finding(data, "several-files").message
    (tmp_path / "file_brain_AXT1_200_2000005.h5").unlink()
    assert names(dataset(tmp_path)) == [("p", "T2-02", "T1-03")]  # fewer slices of the same voxels


def test_slices_of_another_thickness_are_not_the_same_voxels(tmp_path: Path, fastmri_files: ModuleType) -> None:
    fastmri_files.brain_tree(tmp_path, 2)
    (path,) = tmp_path.rglob("*AXT1_200_2000040.h5")
    set_thickness(fastmri_files, path, "4.55")
    assert len(dataset(tmp_path).cases()) == 2
    set_thickness(fastmri_files, path, "3")
    data = dataset(tmp_path, same_voxels=True)
    assert [c.patient_id for c in data.cases()] == ["p1"]
    assert "slices of 4.5 mm and of 3 mm" in finding(data, "geometry").message
    next(tmp_path.rglob("*AXT1_200_2000041.h5")).unlink()
    refused(dataset(tmp_path, same_voxels=True), "with the same voxels", "slices of 4.5 mm and of 3 mm")


def set_thickness(fastmri_files: ModuleType, path: Path, millimetres: str) -> None:
    """Write another slice thickness into a header: the last field of view in it is the reconstruction's."""
    with h5py.File(path) as f:
        text = f["ismrmrd_header"][()].decode()
    start = text.rindex("<z>", 0, text.index("</fieldOfView_mm></reconSpace>"))
    new = text[:start] + f"<z>{millimetres}</z>" + text[text.index("</fieldOfView_mm></reconSpace>") :]
    fastmri_files.replace(path, "ismrmrd_header", new.encode())


def test_the_attribute_is_believed_and_a_name_that_contradicts_it_is_told(
    tmp_path: Path, fastmri_files: ModuleType
) -> None:
    fastmri_files.write_brain(tmp_path, 1, "AXT2", "p", name="AXT1")
    fastmri_files.write_brain(tmp_path, 2, "AXT1", "p", name="AXT2")
    data = dataset(tmp_path)
    assert "AXT1_200_2000001" in data.cases()[0].files[0]
    found = finding(data, "contrast-mismatch")
    assert (found.severity, found.marks) == ("warning", True)
    assert "2 of 2 files" in found.message


def test_the_name_stands_in_for_an_attribute_that_says_nothing(tmp_path: Path, fastmri_files: ModuleType) -> None:
    fastmri_files.write_brain(tmp_path, 1, "", "p", name="AXT2")
    fastmri_files.write_brain(tmp_path, 2, "brain t1", "p", name="AXT1PRE")
    fastmri_files.write_brain(tmp_path, 3, "DWI", "p", name="AXT25")
    data = dataset(tmp_path)
    assert names(data) == [("p", "T2-01", "T1PRE-02")]
    assert "1 of 3 files are of no known contrast" in finding(data, "acquisition").message
    assert "contrast-mismatch" not in {f.code for f in data.findings}


# --- geometry --------------------------------------------------------------------------------------------------------


def test_pairs_of_different_size_are_cropped_to_what_both_have(tmp_path: Path, fastmri_files: ModuleType) -> None:
    fastmri_files.write_brain(tmp_path, 1, "AXT2", "p", shape=(80, 48), recon=(40, 34), coils=1)
    fastmri_files.write_brain(tmp_path, 2, "AXT1", "p", shape=(64, 36), recon=(32, 36), coils=1, slices=1)
    data = dataset(tmp_path)
    (case,) = data.cases()
    assert (case.shape, case.n_slices) == ((32, 34), 1)
    assert "40 x 34" in finding(data, "crop").message
    assert "the first 1 are used" in finding(data, "slice-count").message
    assert finding(data, "slice-count").marks
    slices = list(data.read(case))
    assert len(slices) == 1
    for got, file in zip(slices[0], case.files, strict=True):
        with h5py.File(file) as f:
            image = fastmri_files.to_image(f["kspace"][0, 0].astype(np.complex128))
        np.testing.assert_allclose(got, fastmri_files.crop(image, (32, 34)), atol=1e-5 * np.abs(image).max())


@pytest.mark.parametrize(("pixel", "fits"), [((1.0, 1.0), True), ((1.015, 0.985), True), ((1.0, 1.03), False)])
def test_pixels_must_agree_within_two_per_cent(
    tmp_path: Path, fastmri_files: ModuleType, pixel: tuple[float, float], fits: bool
) -> None:
    fastmri_files.brain_tree(tmp_path, 1, pixel=(1.0, 1.0))
    fastmri_files.write_brain(tmp_path, 1, "AXT2", "q", pixel=(1.0, 1.0))
    fastmri_files.write_brain(tmp_path, 2, "AXT1", "q", pixel=pixel)
    assert dataset(tmp_path).grids(dataset(tmp_path).cases()[0]) is not None
    data = dataset(tmp_path, same_voxels=True)
    assert [c.patient_id for c in data.cases()] == (["q", "p0"] if fits else ["p0"])
    if fits:
        assert data.findings == []
    else:
        found = finding(data, "geometry")
        assert (found.severity, found.marks) == ("warning", True)
        assert "1 of 2 pairs" in found.message
        assert "1 x 1 mm and 1 x 1.03 mm" in found.message


def write_two_grids(fastmri_files: ModuleType, root: Path, n: int = 1) -> Path:
    """T2 of 48 x 40 pixels of 1 mm, 10 slices; T1 of the same heads in pixels of 1.25 mm, 5 slices; both 4.5 mm thick."""
    for i in range(n):
        write = fastmri_files.write_brain
        write(
            root, 2 * i, "AXT2", f"p{i}", seed=i, shape=(96, 44), recon=(48, 40), pixel=(1.0, 1.0), slices=10, coils=2
        )
        write(
            root,
            2 * i + 1,
            "AXT1",
            f"p{i}",
            seed=i,
            shape=(78, 36),
            recon=(38, 32),
            pixel=(1.25, 1.25),
            slices=5,
            coils=2,
        )
    return root


def test_other_voxels_are_another_grid_with_the_same_centre(tmp_path: Path, fastmri_files: ModuleType) -> None:
    """fastMRI's T2 often has smaller pixels than its T1: leaving such pairs out would leave few patients."""
    data = dataset(write_two_grids(fastmri_files, tmp_path))
    (case,) = data.cases()
    assert (case.shape, case.n_slices) == ((48, 40), 10)
    found = finding(data, "geometry")
    assert found.marks
    assert "1 of 1 pairs do not have the same voxels, so that the auxiliary is registered" in found.message
    assert "1 x 1 mm and 1.25 x 1.25 mm" in found.message
    grids = data.grids(case)
    assert grids is not None
    assert [g.shape for g in grids] == [(10, 48, 40), (5, 38, 32)]
    for grid, voxel in zip(grids, ((4.5, 1.0, 1.0), (4.5, 1.25, 1.25)), strict=True):
        np.testing.assert_allclose(grid.voxel, voxel)
        n, H, W = grid.shape
        # in k-space's grid sample N // 2 is the centre, whatever the field of view; slices have theirs between two
        np.testing.assert_allclose(grid.matrix @ [(n - 1) / 2, H // 2, W // 2, 1], [0, 0, 0, 1], atol=1e-9)
    for kind, file, shape in zip(("target", "auxiliary"), case.files, ((48, 40), (38, 32)), strict=True):
        with h5py.File(file) as f:
            coil_images = fastmri_files.to_image(f["kspace"][-1].astype(np.complex128))
        expected = fastmri_files.crop(fastmri_files.combine(coil_images), shape)
        *_, last = data.read_contrast(case, kind)
        np.testing.assert_allclose(last, expected, atol=1e-5 * np.abs(expected).max())


def test_an_auxiliary_of_other_voxels_comes_to_lie_where_it_is(tmp_path: Path, fastmri_files: ModuleType) -> None:
    """The same head drawn on the target's grid is the truth: a pixel to any side, the auxiliary agrees less with it.

    Nothing is asked across the slices, which are nearly alike in this head.
    """
    pytest.importorskip("SimpleITK")
    common: dict[str, Any] = {"seed": 4, "slices": 6, "coils": 2}
    fastmri_files.write_brain(tmp_path, 0, "AXT2", "p", shape=(128, 60), recon=(64, 56), pixel=(1, 1), **common)
    fastmri_files.write_brain(tmp_path, 1, "AXT1", "p", shape=(98, 46), recon=(48, 42), pixel=(4 / 3, 4 / 3), **common)
    data = dataset(tmp_path)
    (case,) = data.cases()
    pairs, registration = read_case(data, case, None)
    moved = np.abs([auxiliary for _, auxiliary in pairs])
    found = registration()
    assert found is not None
    assert np.hypot(*found["shift_px"]) < 0.5
    drawn = np.abs(fastmri_files.knee("PD", 4, 6, (128, 60), (64, 56)))
    received = np.sqrt((np.abs(fastmri_files.sensitivities(2, (128, 60))) ** 2).sum(0))
    truth = fastmri_files.crop(drawn * received, (64, 56))

    def agreement(down: int, along: int) -> float:
        inner = (slice(1, -1), slice(8, -8), slice(8, -8))
        here = np.roll(moved, (down, along), (1, 2))[inner]
        return float(np.corrcoef(here.ravel(), truth[inner].ravel())[0, 1])

    assert agreement(0, 0) > 0.85  # each drawing has noise of its own
    assert all(agreement(*step) < agreement(0, 0) - 0.01 for step in ((1, 0), (-1, 0), (0, 1), (0, -1)))


def test_other_voxels_are_registered_or_left_out(
    here: Callable[..., Any], tmp_path: Path, fastmri_files: ModuleType
) -> None:
    pytest.importorskip("SimpleITK")
    root = write_two_grids(fastmri_files, tmp_path / "d", 3)
    common = ("--dataset", "fastmri-brain", "--data-root", root, "--scale", 2, "--jobs", 1, "--check")
    checked = here("prepare", *common, "--json")
    assert checked.returncode == 0, checked.stderr
    seen = json.loads(checked.stdout)
    assert {f["code"] for f in seen["findings"]} >= {"geometry", "registered"}
    assert len(seen["datasets"][0]["registrations"]) == 3
    refusal = here("prepare", *common, "--register", "none")
    assert "are on different grids" in refusal.stdout
    assert refusal.returncode == 2
    left = here("prepare", *common, "--set", "fastmri-brain.same_voxels=true")
    assert left.returncode == 2
    assert "has T2 and T1 with the same voxels" in left.stdout


def test_without_a_field_of_view_only_equal_sizes_are_a_pair(tmp_path: Path, fastmri_files: ModuleType) -> None:
    fastmri_files.brain_tree(tmp_path, 2)
    fastmri_files.write_brain(tmp_path / "multicoil_train", 18, "AXT2", "p1", shape=(64, 36), recon=(32, 36))
    for path in tmp_path.rglob("*AXT2*.h5"):
        with h5py.File(path) as f:
            text = f["ismrmrd_header"][()].replace(b"fieldOfView_mm", b"somethingElse")
        fastmri_files.replace(path, "ismrmrd_header", text)
    data = dataset(tmp_path)
    assert [c.patient_id for c in data.cases()] == ["p0"]
    assert "32 x 36 and 32 x 32, and a header does not give" in finding(data, "geometry").message


# --- reading ---------------------------------------------------------------------------------------------------------


def test_reading_combines_coils_at_full_field_of_view_and_crops_then(tmp_path: Path, fastmri_files: ModuleType) -> None:
    data = dataset(fastmri_files.brain_tree(tmp_path, 2))
    case = data.cases()[1]
    assert data.stored(case, "target") == Stored((2, 3, 64, 32), "complex64", 3, (64, 32))
    for index, pair in enumerate(data.read(case)):
        for which, got in enumerate(pair):
            assert got.dtype == np.complex64
            with h5py.File(case.files[which]) as file:
                coil_images = fastmri_files.to_image(file["kspace"][index].astype(np.complex128))
            expected = fastmri_files.crop(fastmri_files.combine(coil_images), (32, 32))
            np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())
    with h5py.File(case.files[1]) as file:
        np.testing.assert_array_equal(
            np.stack([data.raw_kspace(case, "auxiliary", i) for i in range(case.n_slices)]), file["kspace"][()]
        )


def test_registration_knows_the_voxels(tmp_path: Path, fastmri_files: ModuleType) -> None:
    """In cubes of 1 mm a tilt between thick slices would not be rigid."""
    data = dataset(fastmri_files.brain_tree(tmp_path, 2, pixel=(0.75, 0.5)))
    case = data.cases()[0]
    grids = data.grids(case)
    assert grids is not None
    assert grids[0] == grids[1]
    assert grids[0].shape == (2, 32, 32)
    np.testing.assert_allclose(grids[0].voxel, (4.5, 0.75, 0.5))
    np.testing.assert_array_equal(list(data.read_contrast(case, "auxiliary")), [pair[1] for pair in data.read(case)])
    with h5py.File(case.files[1]) as f:
        text = f["ismrmrd_header"][()].replace(b"fieldOfView_mm", b"somethingElse")
    fastmri_files.replace(Path(case.files[1]), "ismrmrd_header", text)
    assert data.grids(case) is None


def test_split_and_fingerprint(tmp_path: Path, fastmri_files: ModuleType) -> None:
    root = fastmri_files.brain_tree(tmp_path, 10, slices=1, shape=(32, 16), recon=(16, 16), coils=1)
    data = dataset(root)
    cases = data.cases()
    split = data.split(cases, MCSR_1)
    split.check(cases)
    assert [len(p) for p in (split.train, split.validation, split.test)] == [7, 1, 2]
    assert len({dataset(root, split_seed=s).split(cases, MCSR_1).test for s in range(5)}) > 1
    published = data.split(cases, SANET_2021)
    assert (published.validation, published.test) == (split.test, split.test)
    seen = [data.fingerprint(), dataset(root, target="T1", auxiliary="T2").fingerprint()]
    fastmri_files.edit(Path(cases[4].files[1]), lambda f: f["kspace"].__setitem__((0, 0, 0, 0), 1j))
    seen.append(dataset(root).fingerprint())
    assert all(a != b for a, b in pairwise([*seen, seen[0]]))


# --- what is refused -------------------------------------------------------------------------------------------------


def test_bad_roots_settings_and_files(tmp_path: Path, fastmri_files: ModuleType) -> None:
    refused(dataset(None), "--data-root")
    refused(dataset(tmp_path / "gone"), "no such folder")
    refused(dataset(tmp_path), "no HDF5 file is in", "multicoil_val")
    refused(dataset(tmp_path, auxiliary="T2"), "are both T2")
    root = fastmri_files.brain_tree(tmp_path, 3)
    fastmri_files.spoil(root, "file_brain_AXT1_200_2000040", "truncated")
    fastmri_files.spoil(root, "file_brain_AXT2_200_2000018", "no patient")
    fastmri_files.write_brain(root, 17, "AXT2", "p2")
    fastmri_files.write_brain(root, 50, "AXT2", "p9", coils=None)
    refused(
        dataset(root),
        "AXT1_200_2000040.h5 is damaged or truncated",
        "AXT2_200_2000018.h5 has no attribute 'patient_id'",
        f"file_brain_AXT2_200_2000017.h5 is there twice, in {root} and {root / 'multicoil_val'}",
        "file_brain_AXT2_200_2000050.h5 has 'kspace' without coils",
    )


# --- by the commands that people type --------------------------------------------------------------------------------


def test_conformance_and_a_table(here: Callable[..., Any], tmp_path: Path, fastmri_files: ModuleType) -> None:
    root = fastmri_files.brain_tree(tmp_path / "data", 3)
    fastmri_files.write_brain(root, 60, "AXT2", "p3", shape=(80, 40), recon=(40, 40))
    fastmri_files.write_brain(root, 61, "AXT1", "p3", shape=(80, 40), recon=(40, 40))
    checked = here("check", "fastmri-brain", "--data-root", root)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    common = ("--dataset", "fastmri-brain", "--scale", 2, "--data-root", root, "--jobs", 1)
    inspected = here("prepare", *common, "--check", "--json")
    assert inspected.returncode == 0, inspected.stderr
    assert {f["code"] for f in json.loads(inspected.stdout)["findings"]} == set()
    ran = here(*("run", "--methods", "zerofill,bicubic", "--preset", "quick", "--out", tmp_path / "r"), *common)
    assert ran.returncode == 0, ran.stderr
    folder = tmp_path / "r" / "fastmri-brain" / "x2" / "zerofill" / "seed0"
    record = json.loads((folder / "trial.json").read_text())["data"]
    assert (record["target"], record["auxiliary"], record["real"]) == ("T2", "T1", True)
    reported = here("report", tmp_path / "r", "--to", tmp_path / "report", "--formats", "md,csv")
    assert reported.returncode == 0, reported.stderr
