"""fastMRI brain: pairs whose two scans have other voxels, and what is read of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from mcsr_bench.data.raw.kspace_file import inspect
from mcsr_bench.data.reading import read_case
from mcsr_bench.datasets.fastmri_brain import FastMRIBrain, FastMRIBrainSettings
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Finding, Stored

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


def test_fields_of_view_in_metres_are_converted(tmp_path: Path, fastmri_files: ModuleType) -> None:
    """Every number under fieldOfView_mm a thousandth: the voxels are those of the same file in millimetres."""
    root = write_two_grids(fastmri_files, tmp_path)
    path = next(root.glob("*AXT2*"))
    before = inspect(path).voxel

    def metres(view: re.Match[str]) -> str:
        return re.sub(r"[\d.]+(?=</[xyz]>)", lambda number: repr(float(number[0]) / 1000), view[0])

    def change(file: h5py.File) -> None:
        text = file["ismrmrd_header"][()].decode()
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = re.sub(r"<fieldOfView_mm>.*?</fieldOfView_mm>", metres, text, flags=re.DOTALL).encode()

    fastmri_files.edit(path, change)
    np.testing.assert_allclose(before, (4.5, 1, 1))
    np.testing.assert_allclose(inspect(path).voxel, before)


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
            with h5py.File(case.files[which], locking=False) as file:
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
