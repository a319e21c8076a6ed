"""From ISMRMRD files, written here with the package itself, to mcsr-pair files: compared with the numpy original."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrd_files as built
import numpy as np
import pytest
from numpy.typing import NDArray

import mcsr_bench as mb
from mcsr_bench.data.raw.mrd import convert

ismrmrd = pytest.importorskip("ismrmrd", reason="ismrmrd is not installed")


files, image, oversampled, write_mrd = built.files, built.image, built.oversampled, built.write_mrd
SLICES, H, W, DX, DY, DZ = built.SLICES, built.H, built.W, built.DX, built.DY, built.DZ
COILS = built.COILS
Complex = NDArray[np.complexfloating[Any, Any]]


def converted(tmp_path: Path, **sources: Path) -> dict[str, tuple[Complex, dict[str, Any]]]:
    """k-space and attributes of every contrast of what becomes of the files."""
    convert(sources, tmp_path / "out.h5", patient_id="P", overwrite=True)
    with h5py.File(tmp_path / "out.h5") as file:
        return {name: (file[name]["kspace"][()], dict(file[name].attrs)) for name in sources}


def close_to(got: Complex, expected: Complex) -> None:
    assert got.dtype == np.complex64
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-7 * np.abs(expected).max() * 4)


def test_shuffled_interleaved_averaged_oversampled_scans_become_the_original(here: Any, tmp_path: Path) -> None:
    images = {name: image(name, slices=SLICES) for name in ("T1", "T2")}
    place = [0, 2, 1, 3]  # slice 1 of the file is the third along the normal
    for name, values in images.items():
        write_mrd(tmp_path / f"{name}.mrd", oversampled(values)[place], averages=2, place=place)
    to = tmp_path / "data" / "P07.h5"
    out = here(
        *(
            "convert",
            f"T1={tmp_path}/T1.mrd",
            f"T2={tmp_path}/T2.mrd",
            "--patient-id",
            "P07",
            "--site",
            "Here",
            "--to",
            to,
        )
    )
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip() == str(to)
    assert "2 averages: their mean is taken" in out.stderr
    assert "1 of 161 readouts are noise" in out.stderr
    with h5py.File(to) as file:
        for name, values in images.items():
            close_to(file[name]["kspace"][()], files.to_kspace(values))
            # by hand, from LPS: slices go down by 5 mm, rows to the left by 3, columns to the back by 4; sample (0, 10, 8) lies
            # at the slice's position (10, -20, 30), which is (-10, 20, 30) in RAS
            expected = [[0, -3, 0, 20], [0, 0, -4, 52], [-5, 0, 0, 30], [0, 0, 0, 1]]
            np.testing.assert_allclose(file[name].attrs["affine"], expected, atol=1e-5)
            np.testing.assert_allclose(file[name].attrs["voxel_mm"], (5, 3, 4))
            np.testing.assert_allclose(file[name].attrs["FOV_mm"], (60, 64))
            assert tuple(file[name].attrs["acquired_matrix"]) == (H, W)
            assert (file[name].attrs["TR_ms"], file[name].attrs["TE_ms"]) == (4511, 112)
        assert (file.attrs["patient_id"], file.attrs["site"], file.attrs["scanner"]) == ("P07", "Here", "SIEMENS Skyra")
        assert file.attrs["field_T"] == pytest.approx(2.89362)
    assert b"Somebody" not in to.read_bytes()
    [case] = mb.load_dataset("mcsr-pair", to.parent).cases()
    assert (case.patient_id, case.n_slices, case.shape) == ("P07", SLICES, (H, W))


@pytest.mark.parametrize("shape", [(21, 15), (20, 15), (9, 16)])
@pytest.mark.parametrize("wide", [30, 31])
def test_odd_sizes_keep_their_centre(tmp_path: Path, shape: tuple[int, int], wide: int) -> None:
    values = image(shape=shape)
    write_mrd(tmp_path / "a.mrd", oversampled(values, wide), recon=shape)
    write_mrd(tmp_path / "b.mrd", files.to_kspace(values), recon=shape)
    out = converted(tmp_path, A=tmp_path / "a.mrd", B=tmp_path / "b.mrd")
    for name in "AB":
        close_to(out[name][0], files.to_kspace(values))


def test_reversed_readouts_are_turned_round(tmp_path: Path) -> None:
    kspace = oversampled(image())

    def odd_rows_backwards(scan: Any, number: int) -> None:
        if scan.idx.kspace_encode_step_1 % 2:
            scan.data[:] = scan.data[:, ::-1].copy()
            scan.set_flag(ismrmrd.ACQ_IS_REVERSE)

    write_mrd(tmp_path / "a.mrd", kspace, change=odd_rows_backwards)
    out = converted(tmp_path, A=tmp_path / "a.mrd", B=tmp_path / "a.mrd")
    close_to(out["A"][0], files.to_kspace(image()))


def test_what_is_no_image_is_left_out(tmp_path: Path) -> None:
    """Each kind of row is written a second time with nonsense in it, flagged; a calibration row that is image too counts."""
    names = (
        "PARALLEL_CALIBRATION", "NOISE_MEASUREMENT", "NAVIGATION_DATA", "PHASECORR_DATA", "HPFEEDBACK_DATA", "DUMMYSCAN_DATA",
        "RTFEEDBACK_DATA", "SURFACECOILCORRECTIONSCAN_DATA", "PHASE_STABILIZATION_REFERENCE", "PHASE_STABILIZATION",
    )  # fmt: skip
    kinds = [getattr(ismrmrd, f"ACQ_IS_{name}") for name in names]
    values = image()
    write_mrd(tmp_path / "a.mrd", oversampled(values))
    with ismrmrd.Dataset(str(tmp_path / "a.mrd"), mode="a") as file:
        scan = file.read_acquisition(7)
        kept = scan.data.copy()
        for kind in kinds:
            scan.clear_all_flags()
            scan.set_flag(kind)
            scan.data[:] = 99
            file.append_acquisition(scan)
        scan.clear_all_flags()
        scan.data[:] = kept
        scan.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
        scan.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
        file.write_acquisition(scan, 7)
    out = converted(tmp_path, A=tmp_path / "a.mrd", B=tmp_path / "a.mrd")
    close_to(out["A"][0], files.to_kspace(values))


def test_the_first_repetition_is_taken(tmp_path: Path) -> None:
    values = image()
    write_mrd(tmp_path / "a.mrd", oversampled(values))
    with ismrmrd.Dataset(str(tmp_path / "a.mrd"), mode="a") as file:
        scan = file.read_acquisition(3)
        scan.idx.repetition = 1
        scan.data[:] = 99
        file.append_acquisition(scan)
    notes = convert(dict.fromkeys("AB", tmp_path / "a.mrd"), tmp_path / "o.h5", patient_id="P")
    assert "A: 2 repetitions: the first one is taken" in notes
    with h5py.File(tmp_path / "o.h5") as file:
        close_to(file["A/kspace"][()], files.to_kspace(values))


def test_partial_fourier_and_partial_echo_land_where_they_belong(tmp_path: Path) -> None:
    """14 of 20 rows, from row 6 on, and the last 24 of 32 samples of each readout."""
    wide = oversampled(image())
    expected = np.zeros_like(wide)
    expected[:, :, 6:, 8:] = wide[:, :, 6:, 8:]

    def late(scan: Any, number: int) -> None:
        data = scan.data[:, 8:].copy()
        scan.resize(24, COILS)
        scan.data[:] = data
        scan.center_sample = 8

    write_mrd(tmp_path / "a.mrd", wide, rows=range(6, H), change=late)
    values, attributes = converted(tmp_path, A=tmp_path / "a.mrd", B=tmp_path / "a.mrd")["A"]
    first = W - W // 2
    close_to(values, files.to_kspace(files.to_image(expected)[..., first : first + W]))
    assert tuple(attributes["acquired_matrix"]) == (14, 12)  # 24 of 32 samples of twice the field of view


def test_discarded_samples_count_for_nothing(tmp_path: Path) -> None:
    kspace = files.to_kspace(image())

    def nonsense_at_the_ends(scan: Any, number: int) -> None:
        scan.data[:, :2] = 99
        scan.data[:, -1:] = 99
        scan.discard_pre, scan.discard_post = 2, 1
        if number % 2:  # in the order of time, as they are stored
            scan.data[:] = scan.data[:, ::-1].copy()
            scan.discard_pre, scan.discard_post = 1, 2
            scan.set_flag(ismrmrd.ACQ_IS_REVERSE)

    write_mrd(tmp_path / "a.mrd", kspace, change=nonsense_at_the_ends)
    expected = kspace.copy()
    expected[..., :2] = expected[..., -1:] = 0
    values, attributes = converted(tmp_path, A=tmp_path / "a.mrd", B=tmp_path / "a.mrd")["A"]
    close_to(values, expected)
    assert tuple(attributes["acquired_matrix"]) == (H, W - 3)


def test_phase_oversampling_goes_too_and_interpolation_is_not_invented(tmp_path: Path) -> None:
    """24 rows of which the scanner shows 20, on a matrix of 40 x 32."""
    images = image(shape=(24, W))
    write_mrd(tmp_path / "a.mrd", oversampled(images), recon=(40, 32), vx=W * DX, vy=20 * DY)
    notes = convert(dict.fromkeys("AB", tmp_path / "a.mrd"), tmp_path / "o.h5", patient_id="P")
    assert "A: the scanner's image is 40 x 32, the k-space 20 x 16" in notes
    with h5py.File(tmp_path / "o.h5") as file:
        close_to(file["A/kspace"][()], files.to_kspace(images[..., 2:22, :]))
        np.testing.assert_allclose(file["A"].attrs["FOV_mm"], (60, 64))


def test_a_table_that_moved_between_the_contrasts_is_told(tmp_path: Path) -> None:
    for name, z in (("a", -40), ("b", -40), ("c", -25)):
        table = (0, 0, z)
        write_mrd(
            tmp_path / f"{name}.mrd",
            oversampled(image(shape=(8, W))),
            recon=(8, W),
            change=lambda s, n, table=table: s.patient_table_position.__setitem__(slice(None), table),
        )
    notes = convert({n.upper(): tmp_path / f"{n}.mrd" for n in "abc"}, tmp_path / "o.h5", patient_id="P")
    [told] = [note for note in notes if "table" in note]
    assert told.startswith("C: the table was 15 mm from where it was for A")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process here")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """64 MB of noise readouts beside a scan of some kilobytes: in a process of its own, for peaks are remembered."""
    path, rows, size = tmp_path / "a.mrd", 1024, 1 << 14
    write_mrd(path, oversampled(image(shape=(8, W))), recon=(8, W))
    with h5py.File(path, "r+") as file:
        scan = file["dataset/data"][()]
        noise = np.repeat(scan[:1], rows)  # the first readout of a file is noise
        noise["data"] = [np.zeros(size, np.float32) for _ in range(rows)]
        kind = file["dataset/data"].dtype
        del file["dataset/data"]
        file["dataset"].create_dataset("data", data=np.concatenate([noise, scan]), dtype=kind, chunks=(1,))
    assert path.stat().st_size > rows * size * 4
    code = f"""
from pathlib import Path
from mcsr_bench.data.raw.mrd import convert
peak = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
convert(dict.fromkeys("AB", Path({str(path.parent / "small.mrd")!r})), Path({str(tmp_path / "small.h5")!r}), patient_id="P")
before = peak()
convert(dict.fromkeys("AB", Path({str(path)!r})), Path({str(tmp_path / "large.h5")!r}), patient_id="P")
print(peak() - before)
"""
    write_mrd(tmp_path / "small.mrd", oversampled(image(shape=(8, W))), recon=(8, W))
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 40 << 10  # kilobytes; 256 readouts, read at once, are 16 MB


def test_one_coil_has_no_coil_axis(tmp_path: Path) -> None:
    values = image(coils=1)
    write_mrd(tmp_path / "a.mrd", oversampled(values))
    close_to(converted(tmp_path, A=tmp_path / "a.mrd", B=tmp_path / "a.mrd")["A"][0], files.to_kspace(values)[:, 0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.position.__setitem__(slice(None), (0, 0, 0)), "no positions of their own"),
        (lambda s: s.read_dir.__setitem__(slice(None), (0, 0, 0)), "not common right angles"),
        (lambda s: s.position.__setitem__(2, 30 - DZ * s.idx.slice**2), "not evenly spaced"),
    ],
)
def test_without_a_geometry_there_is_no_affine(tmp_path: Path, change: Callable[[Any], Any], words: str) -> None:
    values = image(slices=SLICES, shape=(8, W))

    def edited(scan: Any, number: int) -> None:
        change(scan)

    write_mrd(tmp_path / "a.mrd", oversampled(values), recon=(8, W), change=edited)
    notes = convert(dict.fromkeys("AB", tmp_path / "a.mrd"), tmp_path / "o.h5", patient_id="P")
    assert any(words in note for note in notes), notes
    with h5py.File(tmp_path / "o.h5") as file:
        close_to(file["A/kspace"][()], files.to_kspace(values))
        assert "affine" not in file["A"].attrs
