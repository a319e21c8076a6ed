"""The layout "mcsr-pair": what the validator finds, how two contrasts go together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pair_files as files
import pytest

import mcsr_bench as mb
from mcsr_bench.data.raw.pair_file import images, look, validate
from mcsr_bench.data.raw.pair_remarks import centre_remarks, remarks

K = np.ones((2, 8, 8), np.complex64)
Change = Callable[[h5py.File], Any]


put, affine, turn = files.put, files.affine, files.turn


# --- the validator ---------------------------------------------------------------------------------------------------


def attribute(group: str, key: str, value: Any) -> Change:
    return lambda file: file[group].attrs.__setitem__(key, value)


def fixed_text(value: bytes) -> Change:
    """``site`` as text that claims to be UTF-8."""

    def change(file: h5py.File) -> None:
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(len(value))
        kind.set_cset(h5py.h5t.CSET_UTF8)
        where = h5py.h5a.create(file["/"].id, b"scanner", kind, h5py.h5s.create(h5py.h5s.SCALAR))
        where.write(np.array(value), mtype=kind)

    return change


def half_written(file: h5py.File) -> None:
    del file["T1/kspace"]
    file.create_dataset("T1/kspace", (2, 32, 32), "c8", chunks=(1, 32, 32))[1] = 1


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2, 32, 32), "c8")
    layout[:] = h5py.VirtualSource("other.h5", "k", (2, 32, 32))
    del file["T1/kspace"]
    file["T1"].create_virtual_dataset("kspace", layout)


def outside(file: h5py.File) -> None:
    del file["T1/kspace"]
    file["T1"].create_dataset("kspace", (2, 32, 32), "c8", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def both(*changes: Change) -> Change:
    return lambda file: [change(file) for change in changes]


AFFINES = both(
    attribute("T1", "affine", affine((5, 6.875, 6.875))), attribute("T2", "affine", affine((5, 6.875, 6.875)))
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.attrs.__delitem__("format"), "it has no format='mcsr-pair'"),
        (lambda f: f.attrs.__setitem__("format", "zarr"), "'format' is 'zarr'"),
        (lambda f: f.attrs.__setitem__("version", 2), "'version' is 2; this release reads 1"),
        (lambda f: f.attrs.__delitem__("version"), "'version' is absent"),
        (lambda f: f.attrs.__delitem__("patient_id"), "no attribute 'patient_id'"),
        (lambda f: f.attrs.__setitem__("patient_id", "  "), "no attribute 'patient_id'"),
        (lambda f: f.attrs.__setitem__("patient_id", 7), "'patient_id' is 7; text is needed"),
        (lambda f: f.attrs.__setitem__("patient_id", h5py.Empty("S1")), "'patient_id' is empty"),
        (lambda f: f.attrs.__setitem__("scanner", f.ref), "'scanner' is neither text nor numbers"),
        (fixed_text(b"M\xfcnchen"), "'scanner' is not UTF-8 text"),
        (lambda f: f.__delitem__("T2"), "k-space of 1 contrast, two are needed"),
        (lambda f: f.move("T2/kspace", "T2/ksp"), "there is no 'kspace' in T2"),
        (lambda f: f.move("T2", "T2*"), "the contrast 'T2*' needs a name"),
        (lambda f: put(f, "T1/kspace", np.ones((2, 32, 32), np.complex128)), "'T1/kspace' is complex128; complex64"),
        (lambda f: put(f, "T1/kspace", np.ones((2, 32, 32), np.float32)), "'T1/kspace' is float32; complex64"),
        (lambda f: put(f, "T1/kspace", np.ones((32, 32), np.complex64)), "'T1/kspace' has rank 2"),
        (lambda f: put(f, "T1/kspace", np.ones((0, 32, 32), np.complex64)), "'T1/kspace' is empty"),
        (lambda f: (f.__delitem__("T1/kspace"), f.create_group("T1/kspace")), "'T1/kspace' is not an HDF5 dataset"),
        (
            lambda f: (f.__delitem__("T1/kspace"), f.create_dataset("T1/kspace", (2, 99999, 99999), "c8", chunks=(1, 9, 9))),
            "beyond 1 GiB in one slice",
        ),
        (
            lambda f: (f.__delitem__("T1/kspace"), f.create_dataset("T1/kspace", (10**9, 2, 2), "c8", chunks=True)),
            "beyond 4096 slices",
        ),
        (
            lambda f: (f.__delitem__("T1/kspace"), f.create_dataset("T1/kspace", (2, 32, 32), "c8")),
            "it was never written",
        ),
        (half_written, "1 of its 2 blocks were never written"),
        (
            lambda f: (f.__delitem__("T1/kspace"), f.create_dataset("T1/kspace", (2, 32, 32), "c8", chunks=(1, 32, 32))),
            "2 of its 2 blocks were never written",
        ),
        (lambda f: f.__setitem__("T1/sens", np.ones((2, 2, 32, 32), np.complex64)), "'T1/sens' has shape (2, 2, 32, 32)"),
        (lambda f: f.__setitem__("T1/sens", np.ones((2, 32, 32), np.complex64)), "'T1/sens' has shape (2, 32, 32)"),
        (lambda f: f.__setitem__("T1/reference", np.ones((2, 8, 8))), "'T1/reference' is not float32 (2, h, w)"),
        (attribute("T1", "FOV_mm", (240.0, 220.0)), "field of view of T1 is 240 x 220 mm, that of T2 220 x 220"),
        (attribute("T1", "FOV_mm", (220.0, 0.0)), "'FOV_mm' is 220, 0; above zero"),
        (attribute("T1", "FOV_mm", (220.0, np.inf)), "above zero"),
        (attribute("T1", "FOV_mm", "220"), "'FOV_mm' must be 2 numbers"),
        (attribute("T1", "voxel_mm", (5.0, 6.0, 6.875)), "FOV_mm is 220 x 220, but 32 x 32 voxels of voxel_mm span 192 x 220"),
        (attribute("T1", "affine", affine((5, 6.875, 3))), "voxels of the affine span 220 x 96 mm"),
        (
            both(attribute("T1", "affine", affine((5, 6.875, 6.875))), attribute("T1", "voxel_mm", (3, 6.875, 6.875))),
            "voxel_mm is 3 x 6.875 x 6.875, but the affine has voxels of 5 x 6.875 x 6.875",
        ),
        (attribute("T1", "affine", np.full((4, 4), np.nan)), "'affine' holds NaN"),
        (attribute("T1", "affine", np.diag([1e300, 1, 1, 1])), "more than a kilometre"),
        (attribute("T1", "affine", np.zeros((4, 4))), "'affine' must have the last row 0 0 0 1"),
        (attribute("T1", "affine", np.diag([1.0, 1, 0, 1])), "'affine' has voxel edges of"),
        (attribute("T1", "affine", [[1.0, 1, 0, 0], [0, 0, 1, 0], [0, 0.1, 0, 0], [0, 0, 0, 1]]), "in one plane"),
        (attribute("T1", "fat_suppressed", "no"), "'fat_suppressed' must be true or false"),
        (attribute("T1", "acquired_matrix", (31.5, 32)), "whole numbers are needed"),
        (both(AFFINES, lambda f: f.__setitem__("transform/T1_to_T2", np.diag([1.1, 1, 1, 1]))), "it scales or shears"),
        (both(AFFINES, lambda f: f.__setitem__("transform/T1_to_T2", np.diag([-1.0, 1, 1, 1]))), "it mirrors"),
        (both(AFFINES, lambda f: f.__setitem__("transform/T1_to_T2", np.eye(3))), "not a 4 x 4 array"),
        (
            both(AFFINES, *(lambda f, k=k: f.__setitem__(f"transform/{k}", np.eye(4)) for k in ("T1_to_T2", "T2_to_T1"))),
            "in the other direction too",
        ),
        (
            both(
                AFFINES,
                lambda f: f.__setitem__("transform/T1_to_T2", np.eye(4)),
                lambda f: f.__setitem__("slice_map/T1_to_T2", [0, 1]),
            ),
            "a slice map and a transform",
        ),
        (lambda f: f.__setitem__("slice_map/T1_to_T2", [0, 2]), "'slice_map/T1_to_T2' is not 2 numbers in 0..1"),
        (lambda f: f.__setitem__("slice_map/T1_to_T2", [-1, 0]), "'slice_map/T1_to_T2' is not 2 numbers in 0..1"),
        (lambda f: f.__setitem__("slice_map/T1_to_T2", [0.0, 1.0]), "whole numbers"),
        (lambda f: f.__setitem__("slice_map", [0, 1]), "'slice_map' is not a group"),
        (lambda f: (f.move("T1/kspace", "k"), f.__setitem__("T1/kspace", h5py.SoftLink("/k"))), "'T1/kspace' is a link"),
        (lambda f: (f.__delitem__("T1"), f.__setitem__("T1", h5py.ExternalLink("o.h5", "/T1"))), "'T1' is a link"),
        (lambda f: f.__setitem__("T1/sens", h5py.ExternalLink("o.h5", "/s")), "'T1/sens' is a link"),
        (lambda f: f.__setitem__("T1/reference", h5py.SoftLink("/nowhere")), "'T1/reference' is a link"),
        (lambda f: f.__setitem__("transform", h5py.ExternalLink("o.h5", "/t")), "'transform' is a link"),
        (virtual, "'T1/kspace' is kept in other files"),
        (outside, "'T1/kspace' is kept in other files"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_so(tmp_path: Path, change: Change, words: str) -> None:
    files.write_patient(tmp_path / "P.h5", change=change)
    problems = validate(tmp_path / "P.h5")
    assert any(words in problem for problem in problems), problems
    assert all(problem.startswith("P.h5") and "\n" not in problem for problem in problems)


def test_a_sound_file_has_no_problems(tmp_path: Path) -> None:
    files.write_patient(tmp_path / "P.h5", coils=2, change=AFFINES)
    assert validate(tmp_path / "P.h5") == []


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all" * 100, None])
def test_another_kind_of_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "P.h5"
    files.write_patient(path)
    path.write_bytes(path.read_bytes()[:3000] if content is None else content)
    [problem] = validate(path)
    assert ("is damaged or truncated" if content is None else "is not an HDF5 file") in problem
    assert "cannot be read" in validate(tmp_path / "absent.h5")[0] or "absent.h5" in validate(tmp_path / "absent.h5")[0]


def test_an_attribute_that_claims_too_much_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "P.h5"
    with h5py.File(path, "w", libver="latest") as file:  # the older format has no attributes of this size
        file.attrs.update({"format": "mcsr-pair", "version": 1, "patient_id": "p", "licence": np.zeros(10**5)})
        file["T1/kspace"] = file["T2/kspace"] = K
    assert validate(path) == ["P.h5: attribute 'licence' claims 800000 bytes"]


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    change = both(
        lambda f: f.attrs.__delitem__("patient_id"),
        attribute("T1", "TE_ms", -1),
        attribute("T2", "affine", np.zeros((4, 4))),
        lambda f: f.__setitem__("T1/reference", np.ones(3)),
    )
    files.write_patient(tmp_path / "P.h5", change=change)
    assert len(validate(tmp_path / "P.h5")) == 4


def test_nan_is_found_when_its_slice_is_read(tmp_path: Path) -> None:
    path = tmp_path / "P.h5"
    files.write_patient(path, change=lambda f: f["T1/kspace"].__setitem__((1, 0, 0), np.nan))
    found, _ = look(path)
    assert found is not None
    slices = images(path, found.contrasts["T1"], range(2))
    next(slices)
    with pytest.raises(mb.UserError, match=r"P.h5: 'T1/kspace' holds NaN or Inf in slice 1"):
        next(slices)


# --- two contrasts ---------------------------------------------------------------------------------------------------


def test_fields_of_view_may_differ_by_two_percent(tmp_path: Path) -> None:
    for fov, n in ((224.0, 0), (225.0, 1)):  # of 220: 1.8 % and 2.2 % of the larger one
        files.write_patient(tmp_path / "P.h5", change=attribute("T1", "FOV_mm", (fov, 220.0)))
        assert len(validate(tmp_path / "P.h5")) == n


def test_the_field_of_view_follows_from_the_voxels(tmp_path: Path) -> None:
    change = both(attribute("T1", "FOV_mm", (96.0, 192.0)), lambda f: f["T2"].attrs.__delitem__("FOV_mm"))
    for voxel, n in (((5, 3, 6), 0), ((5, 6, 3), 1)):
        files.write_patient(tmp_path / "P.h5", change=both(change, attribute("T2", "voxel_mm", voxel)))
        assert len(validate(tmp_path / "P.h5")) == n


def test_a_third_contrast_harms_nobody_who_does_not_use_it(tmp_path: Path) -> None:
    path = tmp_path / "P.h5"
    files.write_patient(
        path, contrasts=("T1", "T2", "PD"), change=lambda f: put(f, "PD/kspace", np.ones((5, 8, 8), np.complex64))
    )
    assert validate(path, [("T2", "T1")]) == []
    assert len(validate(path, [("T2", "PD")])) == 2
    assert "no contrast FLAIR" in validate(path, [("T2", "FLAIR")])[0]


def test_grids_are_compared_in_the_target_space(tmp_path: Path) -> None:
    path = tmp_path / "P.h5"
    change = both(
        attribute("T1", "affine", affine((5, 6.875, 6.875), (10, 0, 0))),
        attribute("T2", "affine", affine((5, 6.875, 6.875))),
        lambda f: f.__setitem__("transform/T1_to_T2", turn(90, (0, 0, 7))),
    )
    files.write_patient(path, change=change)
    found, _ = look(path)
    assert found is not None
    grids = found.grids("T2", "T1")
    assert grids is not None
    np.testing.assert_allclose(grids[0].matrix, affine((5, 6.875, 6.875)))
    # index (0, 0, 0) of T1 lies at (10, 0, 0): a quarter turn from right to front takes it to (0, 10, 0), the shift up by 7
    np.testing.assert_allclose(grids[1].matrix @ (0, 0, 0, 1), (0, 10, 7, 1), atol=1e-12)
    np.testing.assert_allclose(grids[1].matrix @ (1, 0, 0, 1), (0, 10, 12, 1), atol=1e-12)
    np.testing.assert_allclose(grids[1].matrix @ (0, 1, 0, 1), (6.875, 10, 7, 1), atol=1e-12)
    back = found.grids("T1", "T2")
    assert back is not None
    np.testing.assert_allclose(back[1].matrix, np.linalg.inv(turn(90, (0, 0, 7))) @ affine((5, 6.875, 6.875)))


def test_voxels_alone_give_grids_with_a_common_centre(tmp_path: Path) -> None:
    path = tmp_path / "P.h5"
    change = both(
        lambda f: put(f, "T1/kspace", np.ones((2, 16, 16), np.complex64)),
        attribute("T1", "voxel_mm", (5, 13.75, 13.75)),
        attribute("T2", "voxel_mm", (5, 6.875, 6.875)),
    )
    files.write_patient(path, change=change)
    found, problems = look(path)
    assert problems == []
    assert found is not None
    grids = found.grids("T2", "T1")
    assert grids is not None
    for grid, centre in zip(grids, ((0.5, 16, 16), (0.5, 8, 8)), strict=True):
        np.testing.assert_allclose(grid.matrix @ (*centre, 1), (0, 0, 0, 1), atol=1e-12)
    assert grids[0].difference(grids[1])
    files.write_patient(path)
    found, _ = look(path)
    assert found is not None
    assert found.grids("T2", "T1") is None


def test_an_explicit_slice_map_joins_unequal_numbers_of_slices(tmp_path: Path) -> None:
    path = tmp_path / "P.h5"
    change = both(
        lambda f: put(f, "T1/kspace", np.ones((5, 32, 32), np.complex64)),
        lambda f: f.__setitem__("slice_map/T1_to_T2", [4, 1]),
    )
    files.write_patient(path, change=change)
    assert validate(path) == []
    assert validate(path, [("T2", "T1")]) == []
    assert "cannot be inverted" in validate(path, [("T1", "T2")])[0]
    found, _ = look(path)
    assert found is not None
    assert found.slice_map("T1", "T2") == (4, 1)
    files.write_patient(path, slices=3, change=lambda f: f.__setitem__("slice_map/T1_to_T2", [1, 2, 0]))
    found, problems = look(path, [("T1", "T2")])
    assert problems == []
    assert found is not None
    assert found.slice_map("T2", "T1") == (2, 0, 1)  # slice 0 of T1 shows what slice 2 of T2 shows


def test_remarks_on_a_file_that_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "P.h5"

    def shifted(file: h5py.File) -> None:
        file["T1/kspace"][...] = np.roll(file["T1/kspace"][()], (0, 2), (1, 2))
        file["T2/kspace"][...] = np.roll(file["T2/kspace"][()], (1, 0), (1, 2))
        file["T1"].attrs["acquired_matrix"] = (32, 24)
        file["T2"].attrs["acquired_matrix"] = (32, 32)

    files.write_patient(path, change=shifted)
    found, problems = look(path)
    assert problems == []
    assert found is not None
    [zeros] = remarks(found, ("T1", "T2"))
    assert (zeros.code, zeros.severity) == ("zero-filled", "warning")
    assert "32 x 24 and zero-filled to 32 x 32" in zeros.message
    [off] = centre_remarks(found, ("T1", "T2"))
    assert off.code == "off-centre"
    assert "T1 peaks at sample (16, 18), its centre is (16, 16)" in off.message
    files.write_patient(path, fov=None)
    found, _ = look(path)
    assert found is not None
    assert [r.code for r in remarks(found, ("T1", "T2"))] == ["no-geometry"]
    files.write_patient(path, fov=(0.22, 0.22))
    found, _ = look(path)
    assert found is not None
    told = remarks(found, ("T1", "T2"))
    assert [r.code for r in told] == ["field-of-view"] * 2
    assert "T1 has a field of view of 0.22 x 0.22 mm, too small for a patient" in told[0].message
