"""The nifti plugin, on small volumes, and on real ones where they are there."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nifti_files import LPS, SHAPE, dataset, folder, refused, save

from mcsr_bench.datasets.nifti import NIfTI
from mcsr_bench.datasets.nifti.blocks import cut
from mcsr_bench.datasets.nifti.orientation import orientation
from mcsr_bench.plugin.cards import DatasetCard
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.protocol import MCSR_1, SANET_2021

MNI = Path(__file__).parents[2].parent / "shared" / "data" / "open_ms" / "mni"
needs_open_ms = pytest.mark.skipif(not MNI.is_dir(), reason=f"the real volumes are not in {MNI}")
pytestmark = pytest.mark.usefixtures("own_cache")


def test_card_is_found_and_agrees_with_the_class() -> None:
    card = datasets().card("nifti")
    assert isinstance(card, DatasetCard)
    assert datasets().load("nifti") is NIfTI
    assert (card.track, card.revision, card.contrasts) == (NIfTI.track, NIfTI.revision, dataset(None).contrasts)


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64, ">i2"])
def test_reading_equals_nibabel(tmp_path: Path, suffix: str, dtype: Any) -> None:
    values = np.random.default_rng(1).integers(0, 200, SHAPE).astype(dtype)
    folder(tmp_path, 1, suffix, values=values)
    data = dataset(tmp_path)
    (case,) = data.cases()
    assert (case.patient_id, case.volume_id, case.n_slices, case.shape) == ("p0", "p0", 8, (12, 10))
    expected = np.asarray(nib.load(tmp_path / f"p0_T2{suffix}").dataobj, dtype=np.float64)  # LPS: rows run along y
    for k, pair in enumerate(data.read(case)):
        for got in pair:
            assert got.dtype == np.complex64
            np.testing.assert_array_equal(got, expected[:, :, k].T)
    assert k == 7


def test_scaling_of_the_header_is_applied(tmp_path: Path) -> None:
    folder(tmp_path, 1, ".nii")
    stored = np.random.default_rng(2).integers(0, 1000, SHAPE).astype(np.int16)
    image = nib.Nifti1Image(stored, LPS)
    image.header.set_slope_inter(0.25, 7)
    image.header.set_data_dtype(np.int16)
    image.header["vox_offset"] = 352
    raw = image.header.binaryblock + b"\0" * 4 + stored.tobytes(order="F")
    (tmp_path / "p0_T2.nii").write_bytes(raw)
    data = dataset(tmp_path)
    got = np.stack([target for target, _ in data.read(data.cases()[0])])
    expected = nib.load(tmp_path / "p0_T2.nii").get_fdata()
    assert expected.max() > 200  # the header's scaling is really in the file
    np.testing.assert_allclose(got.real, expected.transpose(2, 1, 0), rtol=1e-6)


def test_a_series_of_one_volume_is_that_volume(tmp_path: Path) -> None:
    folder(tmp_path, 1)
    data = dataset(tmp_path)
    before = [pair[0] for pair in data.read(data.cases()[0])]
    values = np.asarray(nib.load(tmp_path / "p0_T2.nii.gz").dataobj)
    save(tmp_path / "p0_T2.nii.gz", values[..., None])
    np.testing.assert_array_equal([pair[0] for pair in data.read(data.cases()[0])], before)


WORLDS = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SRA", "ILP"])
@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_every_storage_order_gives_the_same_upright_slices(codes: str, axis: Any) -> None:
    world = np.stack(np.meshgrid(*(np.arange(n) for n in (5, 6, 7)), indexing="ij"), -1)  # RAS+ coordinates as values
    to = nib.orientations.ornt_transform(*(nib.orientations.axcodes2ornt(tuple(c)) for c in ("RAS", codes)))
    affine = nib.orientations.inv_ornt_aff(to, (5, 6, 7))  # stored index to RAS+ index
    stored = np.stack([nib.orientations.apply_orientation(world[..., i], to) for i in range(3)], -1)
    assert nib.aff2axcodes(affine) == tuple(codes)
    turn = orientation(affine, axis)
    across, rows, columns = WORLDS[axis]
    s, h, w = turn.shape(stored.shape[:3])
    for k in range(s):
        plane = np.stack([turn.plane(stored[..., i], k) for i in range(3)], -1)
        assert (plane[..., across] == k).all()  # slices ascend in RAS+
        assert (plane[..., rows] == np.arange(h)[::-1, None]).all()  # rows and columns descend
        assert (plane[..., columns] == np.arange(w)[::-1]).all()


def test_oblique_volumes_take_the_closest_axis() -> None:
    turn = np.deg2rad(25)
    affine = np.eye(4)
    affine[:3, :3] = [[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]]
    assert orientation(affine, "axial").axes == (2, 1, 0)
    assert orientation(affine[:, [0, 2, 1, 3]], "axial").axes == (1, 2, 0)


def test_small_negative_values_become_zero(tmp_path: Path) -> None:
    values = np.full(SHAPE, 10, np.float32)
    values[0, 0, 0] = -1.9
    folder(tmp_path, 1, values=values)
    data = dataset(tmp_path)
    target, _ = next(data.read(data.cases()[0]))
    assert (target[0, 0], target.real.min()) == (0, 0)


def test_nan_is_left_for_the_engine_to_find(tmp_path: Path) -> None:
    values = np.full(SHAPE, 10, np.float64)
    values[0, 0, 0], values[0, 0, 1] = np.nan, 1e300
    folder(tmp_path, 1, values=values)
    data = dataset(tmp_path)
    slices = [target for target, _ in data.read(data.cases()[0])]
    assert np.isnan(slices[0][0, 0].real)
    assert np.isinf(slices[1][0, 0].real)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_memory_does_not_grow_with_the_volume(tmp_path: Path, suffix: str) -> None:
    values = np.zeros((64, 64, 256), np.float32)
    values[..., ::7] = 5
    folder(tmp_path, 1, suffix, values=values)
    data = dataset(tmp_path)
    (case,) = data.cases()
    tracemalloc.start()
    for _ in data.read(case):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes * 0.75  # a piece of the copy (1 MB) and some slices, out of 4 MB


# --- finding files ---------------------------------------------------------------------------------------------------


def test_order_does_not_depend_on_when_files_were_written(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        save(tmp_path / f"{name}_T2.nii")
        save(tmp_path / f"{name}_T1.nii.gz")
    assert [c.volume_id for c in dataset(tmp_path).cases()] == ["a", "b", "c"]


@pytest.mark.parametrize("recursive", [False, True])
def test_brats_layout(tmp_path: Path, recursive: bool) -> None:
    for case in ("00000-000", "00000-001", "00002-000"):
        for contrast in ("t1n", "t1c", "t2w"):
            save(tmp_path / f"BraTS-GLI-{case}" / f"BraTS-GLI-{case}-{contrast}.nii.gz")
    above = "" if recursive else "BraTS-GLI-{patient}-{visit}/"
    names = {
        f"{key}_pattern": f"{above}BraTS-GLI-{{patient}}-{{visit}}-{contrast}.nii.gz"
        for key, contrast in (("target", "t2w"), ("auxiliary", "t1n"))
    }
    cases = dataset(tmp_path, recursive=recursive, **names).cases()
    assert [(c.patient_id, c.volume_id) for c in cases] == [
        ("00000", "00000-000"),
        ("00000", "00000-001"),
        ("00002", "00002-000"),
    ]


def test_wildcards_and_special_characters(tmp_path: Path) -> None:
    save(tmp_path / "sub-1[a]_20200101_T2.nii")
    save(tmp_path / "sub-1[a]_20200102_T1.nii")
    settings = {"target_pattern": "sub-{patient}[a]_*_T2.nii", "auxiliary_pattern": "sub-{patient}[a]_*_T1.nii"}
    assert [c.volume_id for c in dataset(tmp_path, **settings).cases()] == ["1"]


def test_files_without_partner_are_left_out_with_a_finding(tmp_path: Path) -> None:
    folder(tmp_path, 2)
    (tmp_path / "p0_T1.nii.gz").unlink()
    data = dataset(tmp_path)
    assert [c.volume_id for c in data.cases()] == ["p1"]
    assert [(f.code, f.marks) for f in data.findings] == [("unpaired", False)]


@pytest.mark.parametrize("recursive", [False, True])
def test_hidden_files_are_no_data(tmp_path: Path, recursive: bool) -> None:
    """What an interrupted fetch has begun, and the companions that macOS puts beside files."""
    folder(tmp_path, 2)
    for name in ("._p0", "._p9", ".part/unpacking-a/p0", ".part/unpacking-a/p7"):
        for contrast in ("T1", "T2"):
            path = tmp_path / f"{name}_{contrast}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half of it")
    data = dataset(tmp_path, recursive=recursive)
    assert [c.volume_id for c in data.cases()] == ["p0", "p1"]
    assert data.findings == []


def test_contrasts_have_the_names_that_are_set() -> None:
    assert dataset(None, target="FLAIR", auxiliary="T1w").contrasts == ("FLAIR", "T1w")


def test_fingerprint_follows_bytes_and_cuts(tmp_path: Path) -> None:
    folder(tmp_path, 3)
    before = dataset(tmp_path).fingerprint()
    assert dataset(tmp_path).fingerprint() == before
    assert dataset(tmp_path, axis="coronal").fingerprint() != before
    swapped = dataset(tmp_path, target_pattern="{patient}_T1.nii", auxiliary_pattern="{patient}_T2.nii")
    assert swapped.fingerprint() != before
    save(tmp_path / "p1_T1.nii.gz", seed=99)
    assert dataset(tmp_path).fingerprint() != before


# --- splits ----------------------------------------------------------------------------------------------------------


def test_split_by_patient_keeps_visits_together(tmp_path: Path) -> None:
    for patient in range(10):
        for visit in "ab":
            for contrast in ("T1", "T2"):
                save(tmp_path / f"{patient}_{visit}_{contrast}.nii")
    names = {"target_pattern": "{patient}_{visit}_T2.nii", "auxiliary_pattern": "{patient}_{visit}_T1.nii"}
    data = dataset(tmp_path, **names)
    cases = data.cases()
    split = data.split(cases, MCSR_1)
    split.check(cases)
    assert [len(p) for p in (split.train, split.validation, split.test)] == [14, 2, 4]
    assert set(split.test) == set(data.split(cases[::-1], MCSR_1).test)
    assert len({dataset(tmp_path, split_seed=s, **names).split(cases, MCSR_1).test for s in range(5)}) > 1


def test_sanet_2021_chooses_on_the_test_part(tmp_path: Path) -> None:
    data = dataset(folder(tmp_path, 5))
    cases = data.cases()
    split = data.split(cases, SANET_2021)
    split.check(cases)
    assert split.validation == split.test == data.split(cases, MCSR_1).test
    assert not split.patient_disjoint


def test_blocks_are_contiguous_disjoint_and_apart() -> None:
    blocks = cut(0, 100, validation=0.1, test=0.2, gap=3, what="x")
    assert [(b.part, b.start, b.stop) for b in blocks] == [
        ("train", 0, 20),
        ("validation", 23, 33),
        ("train", 36, 55),
        ("test", 58, 78),
        ("train", 81, 100),
    ]
    for n in range(17, 60):
        blocks = cut(5, 5 + n, validation=0.1, test=0.2, gap=2, what="x")
        assert blocks[0].start == 5
        assert blocks[-1].stop == 5 + n
        assert all(b.start - a.stop == 2 for a, b in pairwise(blocks))
        assert all(b.stop > b.start for b in blocks)


def test_split_by_slice_marks_and_reads_the_right_slices(tmp_path: Path) -> None:
    root = folder(tmp_path, 1, values=np.random.default_rng(3).uniform(1, 9, (4, 5, 20)).astype(np.float32))
    whole = dataset(root)
    everything = [target for target, _ in whole.read(whole.cases()[0])]
    data = dataset(root, split="slice", gap=1)
    cases = data.cases()
    split = data.split(cases, MCSR_1)
    split.check(cases)
    assert not split.patient_disjoint
    assert [f.message for f in data.findings if f.marks] == [f"not patient-disjoint: {split.rule}"]
    assert cases[0].volume_id == "p0-s000-003"
    assert split.test == ("p0-s012-015",)
    for case in cases:
        start = int(case.volume_id.split("-s")[1][:3])
        got = [target for target, _ in dataset(root, split="slice", gap=1).read(case)]
        np.testing.assert_array_equal(got, everything[start : start + case.n_slices])


def test_split_by_slice_cuts_off_empty_ends_first(tmp_path: Path) -> None:
    target, auxiliary = (np.zeros((4, 5, 40), np.float32) for _ in "ta")
    target[..., 12:39], auxiliary[..., 4:32] = 1, 1
    target[..., :12] = 0.04  # darker than a twentieth of the maximum
    save(tmp_path / "p_T2.nii.gz", target)
    save(tmp_path / "p_T1.nii.gz", auxiliary)
    cases = dataset(tmp_path, split="slice", gap=1).cases()
    # both have slices 12 .. 31
    assert (cases[0].volume_id, cases[-1].volume_id) == ("p-s012-015", "p-s029-031")


@needs_open_ms
def test_real_volumes_by_default_names() -> None:
    data = dataset(MNI, split="slice")
    cases = data.cases()
    split = data.split(cases, MCSR_1)
    split.check(cases)
    assert {c.patient_id for c in cases} == {"patient07"}
    assert {c.shape for c in cases} == {(218, 182)}
    (case,) = [c for c in cases if c.volume_id in split.test]
    start = int(case.volume_id.split("-s")[1][:3])
    for which, contrast in enumerate(("T2", "T1")):
        expected = np.asarray(nib.load(MNI / f"patient07_{contrast}.nii.gz").dataobj)[
            :, ::-1, start
        ].T  # stored L, A, S
        np.testing.assert_array_equal(next(data.read(case))[which], np.maximum(expected, 0))
    refused(dataset(MNI), "at least 3 patients", "--set nifti.split=slice")
