"""What `mcsr-bench convert` refuses: a sentence for each, and nothing written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrd_files as built
import numpy as np
import pytest

import mcsr_bench as mb
from mcsr_bench.data.raw.mrd import convert

ismrmrd = pytest.importorskip("ismrmrd", reason="ismrmrd is not installed")


image, oversampled, write_mrd, W = built.image, built.oversampled, built.write_mrd, built.W


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
        ({"ny": 60_000, "fy": 180_000}, "its header claims 60000 x 32 samples of k-space, and it has 8 phase encodes"),
        ({"nx": 60_000, "fx": 240_000}, "claims 8 x 60000 samples"),
        ({"nx": 8}, "do not fit into 8 columns"),
        ({"fx": -1}, "fieldOfView_mm"),
        ({"ny": "many"}, "XML header cannot be read"),
        ({"centre": "<!ENTITY a 'b'>"}, "document type"),
        ({"change": lambda s, n: s.position.__setitem__(0, 0) if n == 3 else None}, "have several positions"),
        ({"change": lambda s, n: s.position.__setitem__(0, np.nan) if n == 3 else None}, "NaN or Inf"),
        ({"change": lambda s, n: s.data.__setitem__((0, 0), np.nan) if n == 3 else None}, "holds NaN or Inf in slice"),
        ({"change": setting(discard_pre=40)}, "has no samples"),
    ],
)
def test_what_cannot_be_converted_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    write_mrd(tmp_path / "a.mrd", oversampled(image(shape=(8, W))), **options)
    with pytest.raises(mb.UserError, match=words) as error:
        convert(dict.fromkeys("AB", tmp_path / "a.mrd"), tmp_path / "o" / "o.h5", patient_id="P")
    assert r"\n" not in str(error.value)  # how UserError shows a line break
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
        ("table", "are not readouts"),
        ("doubles", "no float32 numbers"),
        ("short", "readout 5 holds 190 numbers, not 192"),
        ("linked", "is a link"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, how: str, words: str) -> None:
    path = tmp_path / "a.mrd"
    write_mrd(path, oversampled(image(shape=(8, W))), recon=(8, W))
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


def test_where_nothing_can_be_written_it_says_so(here: Any, tmp_path: Path) -> None:
    write_mrd(tmp_path / "a.mrd", oversampled(image(shape=(8, W))), recon=(8, W))
    there = tmp_path / "there.h5"
    there.write_text("precious")
    for to, words in (
        (there, "there.h5: is there already; overwrite=True (--overwrite) replaces it"),
        (there / "P.h5", "there.h5: cannot write or read: a file is where a folder is needed"),
        (tmp_path / f"{'x' * 300}.h5", "the name is longer than this system allows"),
    ):
        out = here("convert", f"T1={tmp_path}/a.mrd", f"T2={tmp_path}/a.mrd", "--patient-id", "P", "--to", to)
        assert (out.returncode, out.stderr.count("\n")) == (2, 1), out.stderr
        assert words in out.stderr
    assert there.read_text() == "precious"


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mrd(tmp_path / "a.mrd", oversampled(image()))
    for name in [n for n in sys.modules if n.split(".")[0] == "ismrmrd"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ismrmrd", None)
    with pytest.raises(mb.UserError, match=r'pip install "mcsr-bench\[raw\]"'):
        convert(dict.fromkeys("AB", tmp_path / "a.mrd"), tmp_path / "o.h5", patient_id="P")
