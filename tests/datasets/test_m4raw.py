"""The m4raw plugin, on small files in the real layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import m4raw_files as made
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mcsr_bench.datasets.m4raw import M4Raw, M4RawSettings
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.cards import DatasetCard
from mcsr_bench.plugin.case import Finding, Stored
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.protocol import MCSR_1, SANET_2021

pytestmark = pytest.mark.usefixtures("own_cache")


H, W = made.SHAPE


def dataset(root: Path | None, **settings: Any) -> M4Raw:
    return M4Raw("m4raw", M4RawSettings(**settings), root)


def finding(data: M4Raw, code: str) -> Finding:
    (found,) = [f for f in data.findings if f.code == code]
    return found


def codes(data: M4Raw) -> set[str]:
    return {f.code for f in data.findings}


def volume(data: M4Raw, which: int = 0, case: int = 0) -> NDArray[np.complex64]:
    """Target (0) or auxiliary (1) of a case, (S, H, W)."""
    return np.stack([pair[which] for pair in data.read(data.cases()[case])])


def refused(data: M4Raw, *words: str) -> None:
    with pytest.raises(UserError) as error:
        data.cases()
    text = str(error.value)
    for word in words:
        assert word in text, text
    assert r"\n" not in text  # how UserError shows a line break


def relative(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def phases(root: Path, contrast: str, of: list[Any], **options: Any) -> list[NDArray[np.complex64]]:
    """The repetitions of a contrast of subject 2022061000, with a phase each."""
    return [
        made.write_scan(root / f"2022061000_{contrast}{i:02d}.h5", contrast, phase=p, **options)
        for i, p in enumerate(of, start=1)
    ]


def test_card_is_found_and_agrees_with_the_class() -> None:
    card = datasets().card("m4raw")
    assert isinstance(card, DatasetCard)
    assert datasets().load("m4raw") is M4Raw
    assert (card.track, card.revision, card.contrasts) == (M4Raw.track, M4Raw.revision, dataset(None).contrasts)


# --- files and subjects ----------------------------------------------------------------------------------------------


def test_cases_are_the_subjects_of_both_folders_by_name(tmp_path: Path) -> None:
    root = made.write_tree(tmp_path, 4)
    made.write_subject(root, "2022061009", ("FLAIR", "T1"))
    (root / "multicoil_train" / "2022061000_GRE01.h5").write_bytes(b"no scan that is read")
    data = dataset(root)
    cases = data.cases()
    assert [c.volume_id for c in cases] == ["2022061000", "2022061001", "2022061002", "2022061003"]
    assert [c.patient_id for c in cases] == [c.volume_id for c in cases]
    assert {(c.n_slices, c.shape) for c in cases} == {(3, (H, W))}
    assert [Path(f).name for f in cases[2].files] == ["2022061002_T201.h5", "2022061002_T101.h5"]
    assert "2022061000_GRE01.h5" in finding(data, "ignored-files").message
    assert finding(data, "ignored-files").severity == "info"
    assert "1 subjects have not both T2 and T1" in finding(data, "unpaired").message
    assert codes(data) == {"ignored-files", "unpaired", "header"}
    flair = dataset(root, target="FLAIR")
    assert [Path(c.files[0]).name for c in flair.cases()] == ["2022061009_FLAIR01.h5"]
    assert flair.contrasts == ("FLAIR", "T1")


def test_stored_and_raw_kspace_are_those_of_the_first_repetition(tmp_path: Path) -> None:
    first, *_ = phases(tmp_path, "T2", [0, 1, 2])
    phases(tmp_path, "T1", [0])
    data = dataset(tmp_path)
    (case,) = data.cases()
    np.testing.assert_array_equal(np.stack([data.raw_kspace(case, "target", i) for i in range(case.n_slices)]), first)
    assert data.stored(case, "target") == Stored((3, 3, H, W), "complex64", 3, None)  # its header says nothing
    assert "no 'ismrmrd_header'" not in finding(data, "header").message
    assert "encodedSpace" in finding(data, "header").message


def test_a_full_header_says_what_was_acquired(tmp_path: Path, fastmri_files: ModuleType) -> None:
    made.write_tree(tmp_path, 1, header=fastmri_files.header((H, W), (H, W), acquired=30), acquired=(5, 35))
    data = dataset(tmp_path)
    (case,) = data.cases()
    assert data.stored(case, "auxiliary").acquired == (H, 30)
    assert "header" not in codes(data)


def test_files_without_header_are_read_and_without_patient_refused(tmp_path: Path) -> None:
    made.write_tree(tmp_path / "a" / "b", 2, header=None)
    data = dataset(tmp_path / "a")
    assert [c.patient_id for c in data.cases()] == ["2022061000", "2022061001"]
    assert "no 'ismrmrd_header'" in finding(data, "header").message
    made.write_scan(tmp_path / "a" / "b" / "multicoil_train" / "2022061000_T202.h5", "T2", patient_id=None)
    refused(dataset(tmp_path / "a"), "2022061000_T202.h5 has no attribute 'patient_id'")


# --- reading ---------------------------------------------------------------------------------------------------------


def test_the_mean_equals_numpy(tmp_path: Path) -> None:
    """One coil, one phase per slice and repetition: the whole of the reading in float64."""
    scans = phases(tmp_path, "T2", [0.0, 2.0, -2.5], coils=1, noise=2.0)
    phases(tmp_path, "T1", [0.0], coils=1)
    got = volume(dataset(tmp_path, phase="global"))
    assert got.dtype == np.complex64
    for index in range(3):
        first, *others = (scan[index, 0].astype(np.complex128) for scan in scans)
        total = first.copy()
        for other in others:
            inner = np.vdot(first, other)
            assert abs(np.angle(inner)) > 1.5  # the phases are really there
            total += other * np.conj(inner) / abs(inner)
        np.testing.assert_allclose(got[index], made.to_image(total / 3), atol=1e-5 * np.abs(got).max())


def test_coils_of_the_mean_are_combined_once(tmp_path: Path, fastmri_files: ModuleType) -> None:
    scans = phases(tmp_path, "T2", [0.0, 0.0], coils=4, noise=3.0)
    phases(tmp_path, "T1", [0.0], coils=4)
    got = volume(dataset(tmp_path, phase="none"))
    mean = made.to_image(np.mean([s.astype(np.complex128) for s in scans], axis=0))
    for index in range(3):
        expected = fastmri_files.combine(mean[index])
        np.testing.assert_allclose(got[index], expected, atol=1e-5 * np.abs(expected).max())
    truth = np.abs(made.head("T2", 0, 3))
    assert relative(np.abs(got), truth) < 0.1


def test_the_mean_has_less_noise_than_one_scan(tmp_path: Path) -> None:
    phases(tmp_path / "noisy", "T2", [0.0, 0.6, -0.4], noise=8.0)
    phases(tmp_path / "noisy", "T1", [0.0])
    truth = volume(dataset(made.write_tree(tmp_path / "clean", 1)))
    one, mean = (relative(volume(dataset(tmp_path / "noisy", repetitions=r)), truth) for r in ("first", "mean"))
    assert 0.5 < mean / one < 0.66  # 1 / sqrt(3) = 0.577


def test_phases_between_repetitions_are_taken_off(tmp_path: Path) -> None:
    y, x = made.grid(made.SHAPE)
    slow = 1.2 * y + 0.8 * x * y
    for name, second in (("same", 0.0), ("one", 2.6), ("slow", slow)):
        phases(tmp_path / name, "T2", [0.0, second])
        phases(tmp_path / name, "T1", [0.0])
    truth = volume(dataset(tmp_path / "same", phase="none"))

    def error(name: str, phase: str) -> float:
        return relative(volume(dataset(tmp_path / name, phase=phase)), truth)

    assert error("one", "none") > 0.5
    assert error("one", "global") < 1e-5
    assert error("one", "smooth") < 1e-5
    assert error("slow", "global") > 0.1
    assert error("slow", "smooth") < 0.03
    assert error("same", "smooth") < 1e-5


def test_one_repetition_alone(tmp_path: Path) -> None:
    first, *_ = phases(tmp_path, "T2", [0.0, 1.0, 2.0], coils=1, noise=5.0)
    phases(tmp_path, "T1", [0.0], coils=1)
    data = dataset(tmp_path, repetitions="first")
    assert [Path(f).name for f in data.cases()[0].files] == ["2022061000_T201.h5", "2022061000_T101.h5"]
    expected = made.to_image(first[:, 0].astype(np.complex128))
    np.testing.assert_allclose(volume(data), expected, atol=1e-5 * np.abs(expected).max())
    assert data.fingerprint() != dataset(tmp_path).fingerprint()


def test_off_centre_kspace_is_rolled_to_the_centre(tmp_path: Path) -> None:
    centred = made.write_tree(tmp_path / "centred", 1)
    off = made.write_tree(tmp_path / "off", 1, offset=(3, -2))
    data, left = dataset(off), dataset(off, recentre=False)
    np.testing.assert_allclose(volume(data), volume(dataset(centred)), atol=1e-3)
    assert np.abs(volume(data)).max() > 50
    found = finding(data, "off-centre")
    assert (found.severity, found.marks) == ("warning", True)
    assert "2 of 2 volumes" in found.message
    assert "+3 rows, -2 columns off; it is rolled" in found.message
    # What is left off centre has the same magnitude at full resolution, and another LR image.
    np.testing.assert_allclose(np.abs(volume(left)), np.abs(volume(data)), rtol=0.05, atol=3.0)
    lr, left_lr = (np.abs(MCSR_1.degrade(torch.from_numpy(volume(d)), 4).numpy()) for d in (data, left))
    assert relative(left_lr, lr) > 0.05
    assert "left there" in finding(left, "off-centre").message
    for which, moved in ((data, (0, 0)), (left, (3, -2))):
        energy = sum((np.abs(which.raw_kspace(which.cases()[0], "auxiliary", i)) ** 2).sum(0) for i in range(2))
        assert np.unravel_index(np.argmax(energy), (H, W)) == (H // 2 + moved[0], W // 2 + moved[1])
    assert "off-centre" not in codes(dataset(centred))


def test_a_peak_one_sample_off_is_the_objects_own(tmp_path: Path) -> None:
    data = dataset(made.write_tree(tmp_path, 1, offset=(1, -1)))
    kspace = data.raw_kspace(data.cases()[0], "target", 0)
    assert "off-centre" not in codes(data)
    truth = np.abs(volume(dataset(tmp_path, recentre=False)))
    np.testing.assert_array_equal(np.abs(volume(data)), truth)
    energy = (np.abs(kspace) ** 2).sum(0)
    assert np.unravel_index(energy.argmax(), energy.shape) == (H // 2 + 1, W // 2 - 1)


def test_kspace_without_the_zero_frequency_in_the_middle_is_refused(tmp_path: Path) -> None:
    made.write_tree(tmp_path, 1, offset=(H // 2, W // 2))
    refused(dataset(tmp_path), "2022061000_T201.h5", "largest at (0, 0), far from the centre (24, 20)")


@pytest.mark.parametrize(("move", "noise"), [(0, 6.0), (0, 20.0), (4, 0.0), (4, 20.0)])
def test_a_repetition_that_moved_is_told(tmp_path: Path, move: int, noise: float) -> None:
    """At 0.3 T one scan may have a signal-to-noise ratio of 3, here noise of 20: that is not motion."""
    shape = (96, 96)
    root = made.write_tree(tmp_path, 1, noise=noise, shape=shape)
    made.write_scan(root / "multicoil_train" / "2022061000_T203.h5", "T2", move=move, noise=noise, shape=shape)
    data = dataset(root)
    data.cases()
    if move:
        found = finding(data, "repetition-motion")
        assert (found.severity, found.marks) == ("warning", True)
        assert "1 repetitions" in found.message
        assert found.message.endswith("2022061000_T203")
    else:
        assert "repetition-motion" not in codes(data)


def test_nan_in_a_repetition_names_its_file(tmp_path: Path) -> None:
    root = made.write_tree(tmp_path, 1)
    with h5py.File(root / "multicoil_train" / "2022061000_T103.h5", "r+") as file:
        file["kspace"][2, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match=r"2022061000_T103\.h5: slice 2 holds NaN"):
        volume(dataset(root))


# --- what is refused or told -----------------------------------------------------------------------------------------


def test_bad_roots_and_settings(tmp_path: Path) -> None:
    refused(dataset(None), "--data-root")
    refused(dataset(tmp_path / "gone"), "no such folder")
    refused(dataset(tmp_path), "no subject has both T2 and T1", "no file is named like 2022061003_T201.h5")
    refused(dataset(tmp_path, auxiliary="T2"), "m4raw.target and m4raw.auxiliary are both T2")
    made.write_subject(tmp_path, "2022061000", ("T1",))
    refused(dataset(tmp_path), "1 subjects are there")


def test_repetitions_of_different_shape_and_broken_files_are_named_at_once(tmp_path: Path) -> None:
    root = made.write_tree(tmp_path, 3)
    train = root / "multicoil_train"
    made.write_scan(train / "2022061000_T202.h5", "T2", slices=2)
    made.write_scan(train / "2022061001_T102.h5", "T1", coils=2)
    (root / "multicoil_val" / "2022061002_T103.h5").write_bytes(b"nothing")
    refused(
        dataset(root),
        "2022061000_T202.h5 has k-space 2 x 3 x 48 x 40 (slices, coils, H, W), 2022061000_T201.h5 3 x 3 x 48 x 40",
        "2022061001_T102.h5 has k-space 3 x 2 x 48 x 40",
        "2022061002_T103.h5 is not an HDF5 file",
    )
    dataset(root, repetitions="first").cases()


def test_contrasts_of_different_size_are_refused_and_of_other_slice_counts_told(tmp_path: Path) -> None:
    made.write_subject(tmp_path / "a", "s1", ("T1",), shape=(48, 48))
    made.write_subject(tmp_path / "a", "s1", ("T2",))
    refused(dataset(tmp_path / "a"), "s1_T201.h5 and s1_T101.h5 differ in size: 48 x 40 and 48 x 48")
    made.write_subject(tmp_path / "b", "s1", ("T1",), slices=2)
    made.write_subject(tmp_path / "b", "s1", ("T2",))
    data = dataset(tmp_path / "b")
    assert len(volume(data)) == data.cases()[0].n_slices == 2
    assert "the first 2 are used" in finding(data, "slice-count").message


def test_a_scan_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    root = made.write_tree(tmp_path, 1)
    made.write_scan(root / "2022061000_T201.h5", "T2")
    refused(dataset(root), "repetition 1 of T2 of subject 2022061000 is there twice", "take one away")


def test_zero_kspace_is_refused(tmp_path: Path) -> None:
    root = made.write_tree(tmp_path, 1)
    with h5py.File(root / "multicoil_train" / "2022061000_T101.h5", "r+") as file:
        file["kspace"][...] = 0
    refused(dataset(root), "2022061000_T101.h5", "zero everywhere")


def test_fewer_repetitions_and_another_contrast_inside_are_told(tmp_path: Path) -> None:
    root = made.write_tree(tmp_path, 2)
    (root / "multicoil_train" / "2022061001_T203.h5").unlink()
    with h5py.File(root / "multicoil_train" / "2022061000_T101.h5", "r+") as file:
        file.attrs["acquisition"] = "AXFLAIR"
    data = dataset(root)
    data.cases()
    assert "1 of 2 subjects have fewer than 3 repetitions of T2" in finding(data, "repetitions").message
    assert "'AXFLAIR', not 'AXT1'" in finding(data, "contrast-mismatch").message
    assert finding(data, "contrast-mismatch").marks


# --- patients and splits ---------------------------------------------------------------------------------------------


def test_patient_ids_that_contradict_the_names(tmp_path: Path) -> None:
    root = made.write_tree(tmp_path, 3)
    with h5py.File(root / "multicoil_train" / "2022061001_T101.h5", "r+") as file:
        other = h5py.File(root / "multicoil_train" / "2022061000_T101.h5").attrs["patient_id"]
        file.attrs["patient_id"] = other
    data = dataset(root)
    assert [c.patient_id for c in data.cases()] == ["2022061000", "2022061000", "2022061002"]
    several, shared = [f for f in data.findings if f.code == "patient-mismatch"]
    assert several.marks
    assert shared.marks
    assert "1 of 3 subjects have different patient_id" in several.message
    assert "2 subjects share a patient_id" in shared.message


@pytest.mark.parametrize("same", [False, True])
def test_a_patient_id_for_every_file_or_one_for_all_says_nothing(tmp_path: Path, same: bool) -> None:
    root = made.write_tree(tmp_path, 3)
    for path in root.rglob("*.h5"):
        with h5py.File(path, "r+") as file:
            file.attrs["patient_id"] = "anonymous" if same else path.stem
    data = dataset(root)
    assert [c.patient_id for c in data.cases()] == ["2022061000", "2022061001", "2022061002"]
    assert finding(data, "patient-mismatch").marks == same  # one person many times would leak between the parts


def test_split_is_by_patient_and_follows_the_seed(tmp_path: Path) -> None:
    root = made.write_tree(tmp_path, 10, slices=1, coils=1, shape=(16, 16))
    data = dataset(root)
    cases = data.cases()
    split = data.split(cases, MCSR_1)
    split.check(cases)
    assert [len(p) for p in (split.train, split.validation, split.test)] == [7, 1, 2]
    assert len({dataset(root, split_seed=s).split(cases, MCSR_1).test for s in range(5)}) > 1
    published = data.split(cases, SANET_2021)
    assert (published.validation, published.test) == (split.test, split.test)


def test_one_changed_byte_of_any_repetition_changes_the_fingerprint(tmp_path: Path) -> None:
    root = made.write_tree(tmp_path, 1)
    seen = [dataset(root).fingerprint()]
    assert dataset(root).fingerprint() == seen[0]
    for name in ("T103", "T202"):
        with h5py.File(root / "multicoil_train" / f"2022061000_{name}.h5", "r+") as file:
            file["kspace"][0, 0, 0, 0] = 1j
        seen.append(dataset(root).fingerprint())
    assert all(a != b for a, b in pairwise(seen))


# --- by the commands that people type --------------------------------------------------------------------------------


def test_conformance_and_a_table(here: Callable[..., Any], tmp_path: Path) -> None:
    root = made.write_tree(tmp_path / "data", 4, shape=(32, 32), offset=(2, 0), noise=1.0)
    checked = here("check", "m4raw", "--data-root", root)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    common = ("--dataset", "m4raw", "--scale", 2, "--data-root", root)
    inspected = here("prepare", *common, "--jobs", 1, "--check", "--json")
    assert inspected.returncode == 0, inspected.stderr
    assert {f["code"] for f in json.loads(inspected.stdout)["findings"]} == {"header", "off-centre"}
    ran = here(
        *("run", "--methods", "zerofill,bicubic", "--preset", "quick", "--jobs", 1, "--out", tmp_path / "r"), *common
    )
    assert ran.returncode == 0, ran.stderr
    assert "rolled to the centre" in ran.stdout
    record = json.loads((tmp_path / "r" / "m4raw" / "x2" / "zerofill" / "seed0" / "trial.json").read_text())["data"]
    assert (record["target"], record["auxiliary"], record["real"]) == ("T2", "T1", True)
    reported = here("report", tmp_path / "r", "--to", tmp_path / "report", "--formats", "md,csv")
    assert reported.returncode == 0, reported.stderr
