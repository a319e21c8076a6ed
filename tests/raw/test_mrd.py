"""From ISMRMRD files, written here with the package itself, to mcsr-pair files: compared with the numpy original."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import mcsr_bench as mb
from mcsr_bench.raw.mrd import convert

ismrmrd = pytest.importorskip("ismrmrd", reason="ismrmrd is not installed")

Complex = NDArray[np.complexfloating[Any, Any]]
HEADER = """<?xml version="1.0" encoding="UTF-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
 <subjectInformation><patientName>Somebody</patientName></subjectInformation>
 <acquisitionSystemInformation><systemVendor>SIEMENS</systemVendor><systemModel>Skyra</systemModel>
  <systemFieldStrength_T>2.893620</systemFieldStrength_T></acquisitionSystemInformation>
 <experimentalConditions><H1resonanceFrequency_Hz>123200000</H1resonanceFrequency_Hz></experimentalConditions>
 <encoding>
  <encodedSpace><matrixSize><x>{nx}</x><y>{ny}</y><z>{nz}</z></matrixSize>
   <fieldOfView_mm><x>{fx}</x><y>{fy}</y><z>5</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>{rx}</x><y>{ry}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>{vx}</x><y>{vy}</y><z>5</z></fieldOfView_mm></reconSpace>
  <encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
   </kspace_encoding_step_1></encodingLimits>
  <trajectory>{trajectory}</trajectory>
 </encoding>
 <sequenceParameters><TR>4511</TR><TE>112</TE></sequenceParameters>
</ismrmrdHeader>
"""
SLICES, COILS, H, W = 4, 3, 20, 16
DX, DY, DZ = 4.0, 3.0, 5.0


@pytest.fixture(scope="module")
def files() -> ModuleType:
    path = Path(__file__).parents[1] / "datasets" / "pair_files.py"
    spec = importlib.util.spec_from_file_location("pair_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def image(
    files: ModuleType, contrast: str = "T1", shape: tuple[int, int] = (H, W), coils: int = COILS, slices: int = 2
) -> Complex:
    """Coil images (slices, coils, H, W)."""
    out: Complex = files.brain(contrast, 3, slices, shape)[:, None] * files.sensitivities(coils, shape)
    return out


def oversampled(files: ModuleType, images: Complex, width: int | None = None) -> Complex:
    """k-space (slices, coils, H, width) of the images in the middle of a field of view that is wider along the readout."""
    n = images.shape[-1]
    width = 2 * n if width is None else width
    wide = np.zeros((*images.shape[:-1], width), complex)
    first = width // 2 - n // 2
    wide[..., first : first + n] = images
    out: Complex = files.to_kspace(wide)
    return out


def write_mrd(
    path: Path,
    kspace: Complex,
    *,
    recon: tuple[int, int] = (H, W),
    averages: int = 1,
    rows: range | None = None,
    place: list[int] | None = None,
    change: Callable[[Any, int], Any] | None = None,
    **header: Any,
) -> None:
    """k-space (slices, coils, Ny, Nx) as an ISMRMRD file; its voxels are DZ x DY x DX.

    averages: of k + d, k - d, in turn; rows: those that are acquired, all of them without it, the first one numbered 0;
    place: where along the normal each slice lies; change: told each acquisition and its number before it is written, False
    leaves it out. Rows are shuffled; the first is a noise scan.
    """
    slices, coils, Ny, Nx = kspace.shape
    rows = range(Ny) if rows is None else rows
    rng = np.random.default_rng(5)
    values = {
        "nx": Nx, "ny": Ny, "nz": 1, "fx": Nx * DX, "fy": Ny * DY, "rx": recon[1], "ry": recon[0],
        "vx": recon[1] * DX, "vy": recon[0] * DY, "last": len(rows) - 1, "centre": Ny // 2 - rows[0], "trajectory": "cartesian",
    }  # fmt: skip
    jobs = [(s, ky, a) for s in range(slices) for ky in rows for a in range(averages)]
    jobs = [jobs[i] for i in rng.permutation(len(jobs))]
    noise = rng.standard_normal((coils, Nx)) + 0j
    difference = 0.1 * (rng.standard_normal(kspace.shape) + 1j * rng.standard_normal(kspace.shape))
    with ismrmrd.Dataset(str(path), mode="w") as file:
        file.write_xml_header(HEADER.format(**values | header).encode())
        scan = ismrmrd.Acquisition.from_array((1e3 * noise).astype(np.complex64))
        scan.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        file.append_acquisition(scan)
        for number, (s, ky, a) in enumerate(jobs):
            line = kspace[s, :, ky]
            if averages > 1:
                line = line + (-1) ** a * difference[s, :, ky]
            scan = ismrmrd.Acquisition.from_array(np.ascontiguousarray(line, np.complex64), center_sample=Nx // 2)
            scan.idx.slice, scan.idx.kspace_encode_step_1, scan.idx.average = s, ky - rows[0], a
            along = s if place is None else place[s]
            scan.position[:] = (10, -20, 30 - DZ * along)
            scan.read_dir[:], scan.phase_dir[:], scan.slice_dir[:] = (0, 1, 0), (1, 0, 0), (0, 0, -1)
            if change is None or change(scan, number) is not False:
                file.append_acquisition(scan)


def converted(tmp_path: Path, **sources: Path) -> dict[str, tuple[Complex, dict[str, Any]]]:
    """k-space and attributes of every contrast of what becomes of the files."""
    convert(sources, tmp_path / "out.h5", patient_id="P", overwrite=True)
    with h5py.File(tmp_path / "out.h5") as file:
        return {name: (file[name]["kspace"][()], dict(file[name].attrs)) for name in sources}


def close_to(got: Complex, expected: Complex) -> None:
    assert got.dtype == np.complex64
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-7 * np.abs(expected).max() * 4)


def test_shuffled_interleaved_averaged_oversampled_scans_become_the_original(
    here: Any, files: ModuleType, tmp_path: Path
) -> None:
    images = {name: image(files, name, slices=SLICES) for name in ("T1", "T2")}
    place = [0, 2, 1, 3]  # slice 1 of the file is the third along the normal
    for name, values in images.items():
        write_mrd(tmp_path / f"{name}.mrd", oversampled(files, values)[place], averages=2, place=place)
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
def test_odd_sizes_keep_their_centre(files: ModuleType, tmp_path: Path, shape: tuple[int, int], wide: int) -> None:
    values = image(files, shape=shape)
    write_mrd(tmp_path / "a.mrd", oversampled(files, values, wide), recon=shape)
    write_mrd(tmp_path / "b.mrd", files.to_kspace(values), recon=shape)
    out = converted(tmp_path, A=tmp_path / "a.mrd", B=tmp_path / "b.mrd")
    for name in "AB":
        close_to(out[name][0], files.to_kspace(values))


def test_reversed_readouts_are_turned_round(files: ModuleType, tmp_path: Path) -> None:
    kspace = oversampled(files, image(files))

    def odd_rows_backwards(scan: Any, number: int) -> None:
        if scan.idx.kspace_encode_step_1 % 2:
            scan.data[:] = scan.data[:, ::-1].copy()
            scan.set_flag(ismrmrd.ACQ_IS_REVERSE)

    write_mrd(tmp_path / "a.mrd", kspace, change=odd_rows_backwards)
    out = converted(tmp_path, A=tmp_path / "a.mrd", B=tmp_path / "a.mrd")
    close_to(out["A"][0], files.to_kspace(image(files)))


def test_what_is_no_image_is_left_out(files: ModuleType, tmp_path: Path) -> None:
    """Each kind of row is written a second time with nonsense in it, flagged; a calibration row that is image too counts."""
    kinds = [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION, ismrmrd.ACQ_IS_NAVIGATION_DATA, ismrmrd.ACQ_IS_PHASECORR_DATA]
    values = image(files)
    write_mrd(tmp_path / "a.mrd", oversampled(files, values))
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


def test_the_first_repetition_is_taken(files: ModuleType, tmp_path: Path) -> None:
    values = image(files)
    write_mrd(tmp_path / "a.mrd", oversampled(files, values))
    with ismrmrd.Dataset(str(tmp_path / "a.mrd"), mode="a") as file:
        scan = file.read_acquisition(3)
        scan.idx.repetition = 1
        scan.data[:] = 99
        file.append_acquisition(scan)
    notes = convert(dict.fromkeys("AB", tmp_path / "a.mrd"), tmp_path / "o.h5", patient_id="P")
    assert "A: 2 repetitions: the first one is taken" in notes
    with h5py.File(tmp_path / "o.h5") as file:
        close_to(file["A/kspace"][()], files.to_kspace(values))


def test_partial_fourier_and_partial_echo_land_where_they_belong(files: ModuleType, tmp_path: Path) -> None:
    """14 of 20 rows, from row 6 on, and the last 24 of 32 samples of each readout."""
    wide = oversampled(files, image(files))
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


def test_discarded_samples_count_for_nothing(files: ModuleType, tmp_path: Path) -> None:
    kspace = files.to_kspace(image(files))

    def nonsense_at_the_ends(scan: Any, number: int) -> None:
        scan.data[:, :2] = 99
        scan.data[:, -1:] = 99
        scan.discard_pre, scan.discard_post = 2, 1

    write_mrd(tmp_path / "a.mrd", kspace, change=nonsense_at_the_ends)
    expected = kspace.copy()
    expected[..., :2] = expected[..., -1:] = 0
    values, attributes = converted(tmp_path, A=tmp_path / "a.mrd", B=tmp_path / "a.mrd")["A"]
    close_to(values, expected)
    assert tuple(attributes["acquired_matrix"]) == (H, W - 3)


def test_phase_oversampling_goes_too_and_interpolation_is_not_invented(files: ModuleType, tmp_path: Path) -> None:
    """24 rows of which the scanner shows 20, on a matrix of 40 x 32."""
    images = image(files, shape=(24, W))
    write_mrd(tmp_path / "a.mrd", oversampled(files, images), recon=(40, 32), vx=W * DX, vy=20 * DY)
    notes = convert(dict.fromkeys("AB", tmp_path / "a.mrd"), tmp_path / "o.h5", patient_id="P")
    assert "A: the scanner's image is 40 x 32, the k-space 20 x 16" in notes
    with h5py.File(tmp_path / "o.h5") as file:
        close_to(file["A/kspace"][()], files.to_kspace(images[..., 2:22, :]))
        np.testing.assert_allclose(file["A"].attrs["FOV_mm"], (60, 64))


def test_one_coil_has_no_coil_axis(files: ModuleType, tmp_path: Path) -> None:
    values = image(files, coils=1)
    write_mrd(tmp_path / "a.mrd", oversampled(files, values))
    close_to(converted(tmp_path, A=tmp_path / "a.mrd", B=tmp_path / "a.mrd")["A"][0], files.to_kspace(values)[:, 0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.position.__setitem__(slice(None), (0, 0, 0)), "no positions of their own"),
        (lambda s: s.read_dir.__setitem__(slice(None), (0, 0, 0)), "no common right angles"),
        (lambda s: s.position.__setitem__(2, 30 - DZ * s.idx.slice**2), "not evenly spaced"),
    ],
)
def test_without_a_geometry_there_is_no_affine(
    files: ModuleType, tmp_path: Path, change: Callable[[Any], Any], words: str
) -> None:
    values = image(files, slices=SLICES, shape=(8, W))

    def edited(scan: Any, number: int) -> None:
        change(scan)

    write_mrd(tmp_path / "a.mrd", oversampled(files, values), recon=(8, W), change=edited)
    notes = convert(dict.fromkeys("AB", tmp_path / "a.mrd"), tmp_path / "o.h5", patient_id="P")
    assert any(words in note for note in notes), notes
    with h5py.File(tmp_path / "o.h5") as file:
        close_to(file["A/kspace"][()], files.to_kspace(values))
        assert "affine" not in file["A"].attrs


def setting(**values: Any) -> Callable[[Any, int], None]:
    """A change that writes into ``idx`` or the head of readout 5."""

    def change(scan: Any, number: int) -> None:
        for key, value in values.items():
            if number == 5:
                setattr(scan.idx if hasattr(scan.idx, key) else scan, key, value)

    return change


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"change": setting(kspace_encode_step_2=1)}, "3-D acquisition"),
        ({"nz": 8}, "3-D acquisition of 8 partitions"),
        ({"change": setting(contrast=1)}, "2 echoes"),
        ({"change": setting(phase=2)}, "2 cardiac phases"),
        ({"change": setting(set=1)}, "2 sets"),
        ({"change": setting(encoding_space_ref=1)}, "2 encodings"),
        ({"change": setting(kspace_encode_step_1=60)}, "do not fit into 8 rows"),
        ({"change": lambda scan, number: scan.idx.kspace_encode_step_1 % 2 == 0}, "parallel imaging"),
        ({"change": lambda scan, number: number != 9}, "not complete"),
        ({"change": lambda scan, number: False}, "none of its 1 readouts"),
        ({"trajectory": "radial"}, "radial; cartesian is needed"),
        ({"nx": 0}, "encodedSpace/matrixSize"),
        ({"nx": 8}, "do not fit into 8 columns"),
        ({"fx": -1}, "fieldOfView_mm"),
        ({"ny": "many"}, "XML header cannot be read"),
        ({"centre": "<!ENTITY a 'b'>"}, "document type"),
        ({"change": lambda s, n: s.position.__setitem__(0, 0) if n == 3 else None}, "lie at several places"),
        ({"change": lambda s, n: s.position.__setitem__(0, np.nan) if n == 3 else None}, "NaN or Inf"),
        ({"change": lambda s, n: s.data.__setitem__((0, 0), np.nan) if n == 3 else None}, "holds NaN or Inf in slice"),
        ({"change": setting(discard_pre=40)}, "has no samples"),
    ],
)
def test_what_cannot_be_converted_is_refused(
    files: ModuleType, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    write_mrd(tmp_path / "a.mrd", oversampled(files, image(files, shape=(8, W))), **options)
    with pytest.raises(mb.UserError, match=words):
        convert(dict.fromkeys("AB", tmp_path / "a.mrd"), tmp_path / "o" / "o.h5", patient_id="P")
    assert not list((tmp_path / "o").glob("*"))


def spoiled(path: Path, how: str) -> None:
    if how == "no HDF5":
        path.write_bytes(b"no such format" * 99)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "absent":
        path.unlink()
    else:
        with h5py.File(path, "r+") as file:
            if how == "images":
                del file["dataset/data"]
            elif how == "table":
                del file["dataset/data"]
                file["dataset/data"] = np.zeros(4)
            elif how == "doubles":
                del file["dataset/data"]
                kind = np.dtype(
                    [
                        ("head", ismrmrd.hdf5.acquisition_header_dtype),
                        ("traj", h5py.vlen_dtype("f4")),
                        ("data", h5py.vlen_dtype("f8")),
                    ]
                )
                file["dataset"].create_dataset("data", (3,), kind)
            elif how == "short":
                row = file["dataset/data"][5]
                row["data"] = row["data"][:-2]
                file["dataset/data"][5] = row
            elif how == "linked":
                file.move("dataset/data", "elsewhere")
                file["dataset/data"] = h5py.SoftLink("/elsewhere")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no HDF5", "not an HDF5 file"),
        ("cut", "damaged"),
        ("absent", "no such file"),
        ("images", "no groups with 'xml' and 'data'"),
        ("table", "no readouts"),
        ("doubles", "no float32 numbers"),
        ("short", "readout 5 holds 190 numbers, not 192"),
        ("linked", "is a link"),
    ],
)
def test_a_broken_file_is_named(files: ModuleType, tmp_path: Path, how: str, words: str) -> None:
    path = tmp_path / "a.mrd"
    write_mrd(path, oversampled(files, image(files, shape=(8, W))), recon=(8, W))
    spoiled(path, how)
    with pytest.raises(mb.UserError, match=words) as error:
        convert(dict.fromkeys("AB", path), tmp_path / "o.h5", patient_id="P")
    assert "a.mrd" in str(error.value)
    assert not (tmp_path / "o.h5").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["T1"], "T1: the form is CONTRAST=FILE"),
        (["T1=a.mrd"], "two contrasts are needed"),
        (["T1=a.mrd", "T1=b.mrd"], "T1 is given twice"),
        (["T1=nowhere.mrd", "T2=nowhere.mrd"], "nowhere.mrd: no such file"),
    ],
)
def test_the_command_says_what_it_needs(here: Any, tmp_path: Path, arguments: list[str], words: str) -> None:
    out = here("convert", *arguments, "--patient-id", "P", "--to", tmp_path / "o.h5")
    assert out.returncode == 2
    assert words in out.stderr


def test_without_the_package_it_says_how_to_get_it(
    files: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mrd(tmp_path / "a.mrd", oversampled(files, image(files)))
    for name in [n for n in sys.modules if n.split(".")[0] == "ismrmrd"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ismrmrd", None)
    with pytest.raises(mb.UserError, match=r'pip install "mcsr-bench\[raw\]"'):
        convert(dict.fromkeys("AB", tmp_path / "a.mrd"), tmp_path / "o.h5", patient_id="P")
