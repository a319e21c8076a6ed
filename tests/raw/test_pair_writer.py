"""Writing "mcsr-pair" files: what goes in comes out, and nothing wrong goes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pair_files as files
import pytest
import torch

import mcsr_bench as mb
from mcsr_bench.data.raw.pair_file import images, kspace_slices, look

K = np.ones((2, 8, 8), np.complex64)


affine, turn = files.affine, files.turn


def test_what_is_written_is_read(tmp_path: Path) -> None:
    object_ = files.brain("T1", 1, 3, (12, 10))
    sens = np.stack([files.sensitivities(2, (12, 10))] * 3).astype(np.complex64)
    coils = files.to_kspace(object_[:, None] * sens).astype(np.complex64)
    single = files.to_kspace(files.brain("T2", 1, 2, (12, 10))).astype(np.complex64)
    path = mb.write_pair(
        tmp_path / "new" / "P.h5",
        {"T1": coils, "T2": single},
        patient_id="P-7",
        site="Here",
        scanner="A B",
        field_T=3,
        licence="ours",
        attributes={
            "T1": {"TR_ms": 500, "TE_ms": 9.5, "TI_ms": None, "affine": affine((4, 2, 2.2)), "fat_suppressed": False},
            "T2": {
                "FOV_mm": (24, 22),
                "voxel_mm": [6, 2, 2.2],
                "acquired_matrix": (12, 8),
                "affine": affine((6, 2, 2.2)),
            },
        },
        transforms={"T1_to_T2": turn(30, (1, 2, 3))},
        sens={"T1": sens},
        reference={"T1": np.abs(object_).astype(np.float32)},
    )
    found, problems = look(path)
    assert problems == []
    assert found is not None
    assert (found.patient_id, found.site, found.scanner, found.tesla, found.licence) == (
        "P-7",
        "Here",
        "A B",
        3,
        "ours",
    )
    t1, t2 = found.contrasts["T1"], found.contrasts["T2"]
    assert (t1.shape, t1.coils, t1.sens, t1.stored_shape) == ((3, 12, 10), 2, True, (3, 2, 12, 10))
    assert (t2.shape, t2.coils, t2.sens, t2.stored_shape) == ((2, 12, 10), 0, False, (2, 12, 10))
    assert (t2.fov, t2.acquired, t1.edges) == ((24, 22), (12, 8), pytest.approx((4, 2, 2.2)))
    np.testing.assert_array_equal(np.stack(list(kspace_slices(path, "T1", range(3)))), coils)
    np.testing.assert_array_equal(np.stack(list(kspace_slices(path, "T2", (1, 0)))), single[::-1, None])
    # with the sensitivities that made them, the coils give back the object
    np.testing.assert_allclose(np.stack(list(images(path, t1, range(3)))), object_, atol=2e-6)
    with h5py.File(path) as file:
        assert file["T1/reference"].dtype == np.float32
        assert file["T1"].attrs["contrast"] == "T1"
        assert "TI_ms" not in file["T1"].attrs
    again = tmp_path / "again.h5"
    for _ in range(2):
        mb.write_pair(again, {"T1": K, "T2": K}, patient_id="p", overwrite=True)
    assert again.read_bytes() == mb.write_pair(tmp_path / "b.h5", {"T1": K, "T2": K}, patient_id="p").read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kspace": {"T1": K, "T2": K.astype(complex)}}, "k-space of T2 is complex128; complex64 is needed"),
        ({"kspace": {"T1": K, "T2": np.abs(K)}}, "k-space of T2 is float32; complex64"),
        ({"kspace": {"T1": K, "T2": torch.from_numpy(K)}}, "T2 has torch.complex64, which is not a numpy type; a numpy array of"),
        ({"kspace": {"T1": K, "T2": [[1]]}}, "k-space of T2 is not an array but list"),
        ({"kspace": {"T1": K, "T2": K[0]}}, "k-space of T2 has rank 2; 3 or 4"),
        ({"kspace": {"T1": K, "T2": K[:0]}}, "k-space of T2 is empty"),
        ({"kspace": {"T1": K, "T2": np.where(np.arange(2)[:, None, None], K, np.nan).astype("c8")}}, "NaN or Inf in slice 0"),
        ({"kspace": {"T1": K}}, "k-space of 1 contrast, two are needed"),
        ({"kspace": {"T1": K, "a/b": K}}, "'a/b' cannot be the name of a contrast"),
        ({"kspace": {"T1": K, "transform": K}}, "'transform' cannot be the name"),
        ({"kspace": {"T1": K, "T2": K[:1]}}, "T1 has 2 slices and T2 1"),
        ({"kspace": {"T1": K, "T2": K[:, :6]}}, "the matrix of T1 is 8 x 8, that of T2 6 x 8"),
        ({"patient_id": ""}, "patient_id is empty"),
        ({"patient_id": 7}, "patient_id is 7 (int); it may be text"),
        ({"patient_id": "a\nb\0"}, "control characters"),
        ({"site": 3}, "site is 3 (int); it may be text"),
        ({"licence": "\udcff"}, "licence is not UTF-8"),
        ({"field_T": "3"}, "field_T is '3'; it may be a number or None"),
        ({"attributes": {"T1": {"fat_suppressed": "no"}}}, "fat_suppressed of T1 is 'no'"),
        ({"attributes": {"T1": {"contrast": "a\0"}}}, "contrast of T1 is longer"),
        ({"attributes": {"T1": {"acquired_matrix": (8, 1e300)}}}, "acquired_matrix of T1 is"),
        ({"field_T": -3.0}, "attribute 'field_T' is -3"),
        ({"path": "P.mat"}, "must end with .h5"),
        ({"attributes": {"T3": {}}}, "attributes are given for T3"),
        ({"attributes": {"T1": {"FOV": 1}}}, "T1 has no attribute 'FOV'; did you mean 'FOV_mm'?"),
        ({"attributes": {"T1": {"FOV_mm": 220}}}, "T1: attribute 'FOV_mm' must be 2 numbers"),
        ({"attributes": {"T1": {"FOV_mm": "wide"}}}, "FOV_mm of T1 is wide"),
        ({"attributes": {"T1": {"TE_ms": np.nan}}}, "T1: attribute 'TE_ms' is nan"),
        ({"attributes": {"T1": {"acquired_matrix": (8, 7.5)}}}, "acquired_matrix of T1 is"),
        ({"attributes": {"T1": {"affine": np.eye(3)}}}, "T1: attribute 'affine' must be 4 x 4 numbers"),
        ({"sens": {"T1": K[:, None]}}, "'T1/sens' has shape"),
        ({"sens": {"T3": K[:, None]}}, "sens are given for T3"),
        ({"sens": {"T1": K}}, "sens of T1 has rank 3; 4"),
        ({"reference": {"T1": np.ones((3, 8, 8), np.float32)}}, "'T1/reference' is not float32"),
        ({"reference": {"T1": np.ones((2, 8, 8))}}, "reference of T1 is float64"),
        ({"transforms": {"T1_to_T3": np.eye(4)}}, "'transform/T1_to_T3' is not named after two contrasts"),
        ({"transforms": {"a/../b": np.eye(4)}}, "not named after two contrasts"),
        ({"transforms": {"T1_to_T2": np.eye(4)}}, "means nothing without the affine"),
        ({"slice_maps": {"T1_to_T2": (0, 2)}}, "'slice_map/T1_to_T2' is not 2 numbers in 0..1"),
        ({"slice_maps": {"T1_to_T2": (0, 0.5)}}, "whole numbers are needed"),
    ],
)  # fmt: skip
def test_nothing_wrong_is_written(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    arguments = {"path": "P.h5", "kspace": {"T1": K, "T2": K}, "patient_id": "p"} | change
    with pytest.raises(mb.UserError) as error:
        mb.write_pair(tmp_path / arguments.pop("path"), arguments.pop("kspace"), **arguments)
    assert words in str(error.value)
    assert r"\n" not in str(error.value)  # how UserError shows a line break
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_stays_until_a_sound_one_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "P.h5"
    mb.write_pair(path, {"T1": K, "T2": K}, patient_id="old")
    before = path.read_bytes()
    with pytest.raises(mb.UserError, match="overwrite=True"):
        mb.write_pair(path, {"T1": K, "T2": K}, patient_id="new")
    with pytest.raises(mb.UserError, match="NaN"):
        mb.write_pair(path, {"T1": K, "T2": K * np.float32(np.nan)}, patient_id="new", overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    mb.write_pair(path, {"T1": K, "T2": K}, patient_id="new", overwrite=True)
    found, _ = look(path)
    assert found is not None
    assert found.patient_id == "new"


def test_the_order_of_bytes_is_no_matter(tmp_path: Path) -> None:
    values = files.to_kspace(files.brain("T1", 1, 2, (12, 10))).astype(np.complex64)
    path = mb.write_pair(tmp_path / "P.h5", {"T1": values, "T2": values.astype(">c8")}, patient_id="p")
    np.testing.assert_array_equal(np.concatenate(list(kspace_slices(path, "T2", range(2)))), values)
