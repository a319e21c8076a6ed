"""ISMRMRD readouts that were taken twice, run backwards, or count their centre in another way: against the numpy original."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrd_files as built
import numpy as np
import pytest
from numpy.typing import NDArray

from mcsr_bench.data.raw.mrd import convert

ismrmrd = pytest.importorskip("ismrmrd", reason="ismrmrd is not installed")
files, H, W, COILS = built.files, built.H, built.W, built.COILS
WIDE = 2 * W
Complex = NDArray[np.complexfloating[Any, Any]]
IMAGES = built.image(slices=1)
KSPACE = built.oversampled(IMAGES)
EXPECTED = files.to_kspace(IMAGES)


def converted(
    tmp_path: Path, change: Callable[[Any, int], Any], kspace: Complex = KSPACE, **options: Any
) -> tuple[Complex, str, dict[str, Any]]:
    """k-space, what was told, and attributes."""
    built.write_mrd(tmp_path / "a.mrd", kspace, change=change, **options)
    notes = convert(dict.fromkeys("AB", tmp_path / "a.mrd"), tmp_path / "o.h5", patient_id="P", overwrite=True)
    with h5py.File(tmp_path / "o.h5") as file:
        return file["A/kspace"][()], "; ".join(n for n in notes if n.startswith("A")), dict(file["A"].attrs)


def close_to(got: Complex, expected: Complex, tolerance: float = 1e-6) -> None:
    assert np.linalg.norm(got - expected) <= tolerance * np.linalg.norm(expected)


# --- equal counters ----------------------------------------------------------------------------------------------------


def again(path: Path, edit: Callable[[Any], None], rows: tuple[int, ...] = (4, 9)) -> None:
    """Put a spoilt copy of some rows of the first slice before everything else."""
    with h5py.File(path, "r+") as file:
        data = file["dataset/data"][()]
        kind = file["dataset/data"].dtype
        chosen = [
            row
            for row in data
            if row["head"]["idx"]["slice"] == 0 and row["head"]["idx"]["kspace_encode_step_1"] in rows
        ]
        copies = np.array(chosen, dtype=data.dtype)
        for row in copies:
            edit(row)
        del file["dataset/data"]
        file["dataset"].create_dataset(
            "data", data=np.concatenate([copies[:0], data[:1], copies, data[1:]]), dtype=kind
        )


def test_of_readouts_under_equal_counters_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.mrd"
    built.write_mrd(path, KSPACE)

    def spoil(row: Any) -> None:
        row["data"] = row["data"] * np.float32(0.1)

    again(path, spoil)
    notes = convert(dict.fromkeys("AB", path), tmp_path / "o.h5", patient_id="P")
    assert any("2 readouts were taken again under the same counters" in note for note in notes)
    with h5py.File(tmp_path / "o.h5") as file:
        close_to(file["A/kspace"][()], EXPECTED)


def test_averages_are_still_averaged_and_segments_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mrd"
    built.write_mrd(path, KSPACE, averages=2)

    def double(row: Any) -> None:
        row["head"]["idx"]["segment"] = 1
        row["data"] = row["data"] * np.float32(4)

    again(path, double)
    notes = convert(dict.fromkeys("AB", path), tmp_path / "o.h5", patient_id="P")
    assert any("rows hold more than one readout, of several segments: their mean is taken" in note for note in notes)
    assert not any("taken again" in note for note in notes)
    with h5py.File(tmp_path / "o.h5") as file:
        got = file["A/kspace"][()]
    close_to(np.delete(got[0], (4, 9), axis=1), np.delete(EXPECTED[0], (4, 9), axis=1))
    close_to(got[0][:, [4, 9]], 2.5 * EXPECTED[0][:, [4, 9]], 0.2)  # (2 x 1 + 2 x 4) / 4 of k + d and k - d


def test_two_parts_of_a_row_are_put_together(tmp_path: Path) -> None:
    """Under equal counters, as different samples: nothing is thrown away, and nothing halved."""
    built.write_mrd(tmp_path / "whole.mrd", KSPACE)
    with (
        ismrmrd.Dataset(str(tmp_path / "whole.mrd")) as whole,
        ismrmrd.Dataset(str(tmp_path / "a.mrd"), mode="w") as parts,
    ):
        parts.write_xml_header(whole.read_xml_header())
        for number in range(whole.number_of_acquisitions()):
            for first, stop, centre in ((0, W + 3, W), (W, WIDE, 0)):
                scan = whole.read_acquisition(number)
                data = scan.data[:, first:stop].copy()
                scan.resize(stop - first, COILS)
                scan.data[:] = data
                scan.center_sample = centre
                parts.append_acquisition(scan)
    notes = convert(dict.fromkeys("AB", tmp_path / "a.mrd"), tmp_path / "o.h5", patient_id="P")
    assert any("share their counters with a later one of other samples" in note for note in notes)
    with h5py.File(tmp_path / "o.h5") as file:
        close_to(file["A/kspace"][()], EXPECTED)


# --- where the echo is -------------------------------------------------------------------------------------------------


def odd_rows(turn: Callable[[Any], None]) -> Callable[[Any, int], None]:
    def change(scan: Any, number: int) -> None:
        if scan.idx.kspace_encode_step_1 % 2:
            scan.set_flag(ismrmrd.ACQ_IS_REVERSE)
            turn(scan)

    return change


@pytest.mark.parametrize("late", [0, 1, -1])
@pytest.mark.parametrize("centre", [WIDE // 2, WIDE // 2 - 1, 0])
def test_reversed_readouts_are_placed_as_they_were_measured(tmp_path: Path, late: int, centre: int) -> None:
    """Exactly mirrored, or with the echo at the same sample of time in both directions: the heads do not tell which."""

    def turn(scan: Any) -> None:
        scan.data[:] = np.roll(scan.data[:, ::-1], late, axis=1)
        scan.center_sample = centre

    got, told, attributes = converted(tmp_path, odd_rows(turn))
    close_to(got, EXPECTED)
    assert ("reversed readouts lie" in told) == (late != 0)
    assert tuple(attributes["acquired_matrix"]) == (H, W)


def test_part_of_a_reversed_readout_is_placed_by_the_data(tmp_path: Path) -> None:
    """24 of 32 samples from sample 8 on, whose centre is counted along k-space in the reversed ones too."""

    def late(scan: Any, number: int) -> None:
        data = scan.data[:, 8:].copy()
        scan.resize(24, COILS)
        scan.center_sample = 8
        reverse = scan.idx.kspace_encode_step_1 % 2 == 1
        scan.data[:] = data[:, ::-1] if reverse else data
        if reverse:
            scan.set_flag(ismrmrd.ACQ_IS_REVERSE)

    cut = KSPACE.copy()
    cut[..., :8] = 0
    first = W - W // 2
    got, told, _ = converted(tmp_path, late)
    close_to(got, files.to_kspace(files.to_image(cut)[..., first : first + W]))
    assert "reversed readouts lie" in told


@pytest.mark.parametrize("part", [False, True])
def test_a_flag_of_reversal_that_the_data_contradict_is_not_followed(tmp_path: Path, part: bool) -> None:
    """Writers turn readouts round, and leave the flag; whole ones, or all but the first 8 samples."""

    def flagged(scan: Any, number: int) -> None:
        if part:
            data = scan.data[:, 8:].copy()
            scan.resize(24, COILS)
            scan.data[:], scan.center_sample = data, 8
        if scan.idx.kspace_encode_step_1 % 2:
            scan.set_flag(ismrmrd.ACQ_IS_REVERSE)

    got, told, _ = converted(tmp_path, flagged)
    cut = KSPACE.copy()
    cut[..., : 8 * part] = 0
    first = W - W // 2
    close_to(got, files.to_kspace(files.to_image(cut)[..., first : first + W]))
    assert "flagged as reversed, and are in the order of the others by the data" in told


def test_half_a_sample_is_told_and_left(tmp_path: Path) -> None:
    ramp = np.exp(1j * np.pi * (np.arange(WIDE) - WIDE // 2) / WIDE)

    def turn(scan: Any) -> None:
        moved = files.to_kspace(files.to_image(scan.data[:, None]) * ramp)[:, 0]
        scan.data[:] = moved[:, ::-1]

    _, told, _ = converted(tmp_path, odd_rows(turn))
    assert "a gradient delay perhaps: left there" in told


def test_all_reversed_readouts_are_centred_by_the_data(tmp_path: Path) -> None:
    def turn(scan: Any, number: int) -> None:
        scan.set_flag(ismrmrd.ACQ_IS_REVERSE)
        scan.data[:] = np.roll(scan.data[:, ::-1], 1, axis=1)

    got, told, _ = converted(tmp_path, turn)
    close_to(got, EXPECTED)
    assert "it is moved to 16" in told


@pytest.mark.parametrize(
    ("stored", "written", "told"), [(0, 0, ""), (0, -1, "is taken to be"), (-1, -1, "is moved to")]
)
def test_center_sample_counts_where_the_data_have_their_echo_there(
    tmp_path: Path, stored: int, written: int, told: str
) -> None:
    def change(scan: Any, number: int) -> None:
        scan.data[:] = np.roll(scan.data, stored, axis=1)
        scan.center_sample = WIDE // 2 + written

    got, notes, attributes = converted(tmp_path, change)
    close_to(got, EXPECTED)
    assert (told in notes) if told else ("echo" not in notes)
    assert tuple(attributes["acquired_matrix"]) == (H, W)


# --- metres ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slices", "thin", "places"), [(1, True, True), (2, True, True), (2, True, False), (2, False, False)]
)
def test_metres_become_millimetres(tmp_path: Path, slices: int, thin: bool, places: bool) -> None:
    """Fields of view, with or without the thickness of slices, and positions; the affine is that of the file in millimetres."""

    def metres(scan: Any, number: int) -> None:
        for place in (scan.position, scan.patient_table_position) if places else ():
            place[:] = [v / 1000 for v in place]

    kspace = built.oversampled(built.image(slices=slices))
    _, _, expected = converted(tmp_path, lambda scan, number: None, kspace)
    header = built.HEADER.replace("<z>5</z>", "<z>0.005</z>") if thin else built.HEADER
    options = {
        "fx": WIDE * built.DX / 1e3, "fy": H * built.DY / 1e3, "vx": W * built.DX / 1e3, "vy": H * built.DY / 1e3,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(built, "HEADER", header)
        _, told, got = converted(tmp_path, metres, kspace, **options)
    for key in ("FOV_mm", "voxel_mm", "affine"):
        np.testing.assert_allclose(got[key], expected[key], rtol=1e-5, atol=1e-4)
    assert "its fields of view are metres" in told
    assert ("its positions are metres" in told) == places


def test_a_field_of_view_of_no_patient_is_told(tmp_path: Path) -> None:
    _, told, got = converted(tmp_path, lambda s, n: None, fx=3, fy=3, vx=1.5, vy=3)
    assert "has a field of view of 3 x 3 mm, too small" in told
    np.testing.assert_allclose(got["FOV_mm"], (3, 1.5))
