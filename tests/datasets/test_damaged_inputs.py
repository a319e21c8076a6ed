"""A corpus of damaged data: each gives one sentence and exit code 2, leaves no store, and costs little memory."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastmri_files
import h5py
import m4raw_files
import nibabel
import numpy as np
import pair_files
import pytest
from damages import (
    Damage,
    attribute,
    blocks,
    bomb,
    changed,
    copied,
    cut,
    dims,
    edit,
    empty,
    far_apart,
    folder_instead,
    header,
    huge,
    image,
    kept_elsewhere,
    linked,
    loop,
    no_affine,
    one_bright,
    only,
    patient,
    pipe,
    put,
    reference,
    with_nan,
    without,
    write,
)

from mcsr_bench.data.store import open_store

FASTMRI = f"singlecoil_train/{fastmri_files.published('train')[1][0]}.h5"
PARTNER = f"singlecoil_train/{fastmri_files.published('train')[1][1]}.h5"
PAIR, M4RAW, NIFTI = "P01.h5", "multicoil_train/2022061001_T201.h5", "P1_T2.nii.gz"
NAMES = {"fastmri": FASTMRI, "mcsr-pair": PAIR, "m4raw": M4RAW, "nifti": NIFTI}


def nifti_folder(root: Path) -> Path:
    """Five patients with T1 and T2."""
    root.mkdir()
    for number in range(5):
        rng = np.random.default_rng(number)
        for contrast in ("T1", "T2"):
            values = np.zeros((32, 32, 3), np.float32)
            values[6:26, 8:24] = 100 + 50 * rng.random((20, 16, 3))
            nibabel.save(nibabel.Nifti1Image(values, np.diag([1, 1, 3, 1])), root / f"P{number}_{contrast}.nii.gz")
    return root


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Sound data of every format."""
    base = tmp_path_factory.mktemp("sound")
    small = {"shape": (64, 32), "recon": (32, 32), "slices": 1}
    return {
        "fastmri": fastmri_files.write_tree(base / "fastmri", 3, 1, **small),
        "mcsr-pair": pair_files.write_folder(base / "pairs", 4, slices=2),
        "m4raw": m4raw_files.write_tree(base / "m4raw", 4, slices=2, coils=2, shape=(32, 32)),
        "nifti": nifti_folder(base / "nifti"),
    }


T2 = "T2/kspace"
KSPACE = {FASTMRI: "kspace", M4RAW: "kspace", PAIR: T2}
CORPUS: list[tuple[str, str, Damage, str]] = [
    # dataset, what is wrong, how to make it so, words of the sentence
    ("fastmri", "an empty folder", empty, "none of the 227 pairs"),
    ("mcsr-pair", "an empty folder", empty, "mcsr-pair"),
    ("m4raw", "an empty folder", empty, "m4raw"),
    ("nifti", "an empty folder", empty, "no NIfTI file"),
    *[(d, f"cut at {n}", cut(NAMES[d], n), "") for d in ("fastmri", "mcsr-pair", "m4raw") for n in (0, 8, 96, 0.3, -1)],
    *[("nifti", f"cut at {n}", cut(NIFTI, n), "P1_T2.nii.gz") for n in (0, 2, 10, 100, 0.5, -8, -1)],
    *[(d, "text instead", write(NAMES[d], b"no data at all\n" * 99), "") for d in NAMES],
    *[(d, "a link to itself", loop(NAMES[d]), "") for d in NAMES],
    *[(d, "a folder instead", folder_instead(NAMES[d]), "") for d in NAMES],
    *[(d, "a pipe instead", pipe(NAMES[d]), "not a regular file") for d in NAMES],
    *[
        (d, f"k-space in another file: {how}", kept_elsewhere(NAMES[d], KSPACE[NAMES[d]], how), words)
        for d in ("fastmri", "m4raw", "mcsr-pair")
        for how, words in (("link", "is a link"), ("virtual", "in other files"), ("raw", "in other files"))
    ],
    *[(d, "a huge block", blocks(NAMES[d], KSPACE[NAMES[d]]), "blocks") for d in ("fastmri", "m4raw", "mcsr-pair")],
    *[
        (d, f"a patient that is {what}", damage(NAMES[d]), "patient_id")
        for d in ("fastmri", "m4raw", "mcsr-pair")
        for what, damage in (
            ("nothing", lambda name: patient(name, h5py.Empty("S9"))),
            ("a reference", reference),
            ("no number", lambda name: patient(name, np.nan)),
        )
    ],
    *[(d, "real k-space", changed(NAMES[d], k, np.abs), "") for d, k in (("fastmri", "kspace"), ("m4raw", "kspace"))],
    ("mcsr-pair", "real k-space", changed(PAIR, T2, np.abs), "P01.h5"),
    *[(d, "rank 2", changed(NAMES[d], "kspace", lambda x: x.reshape(-1, 32)), "rank") for d in ("fastmri", "m4raw")],
    ("mcsr-pair", "rank 2", changed(PAIR, T2, lambda x: x[0]), "P01.h5"),
    ("fastmri", "rank 5", changed(FASTMRI, "kspace", lambda x: x[None, None]), "rank 5"),
    *[(d, "swapped axes", changed(NAMES[d], "kspace", lambda x: x.swapaxes(0, -1)), "") for d in ("fastmri", "m4raw")],
    ("mcsr-pair", "swapped axes", changed(PAIR, T2, lambda x: x.swapaxes(0, -1)), "P01.h5"),
    *[(d, "NaN", changed(NAMES[d], "kspace", with_nan), "NaN") for d in ("fastmri", "m4raw")],
    ("mcsr-pair", "NaN", changed(PAIR, T2, with_nan), "NaN"),
    ("nifti", "NaN", image(NIFTI, with_nan), "NaN"),
    *[(d, "zero", changed(NAMES[d], "kspace", np.zeros_like), "zero") for d in ("fastmri",)],
    ("mcsr-pair", "zero", changed(PAIR, T2, np.zeros_like), "zero"),
    ("nifti", "zero", image(NIFTI, np.zeros_like), "zero"),
    *[(d, "no patient", without(NAMES[d], "patient_id"), "patient_id") for d in ("fastmri", "mcsr-pair", "m4raw")],
    ("fastmri", "no header", edit(FASTMRI, lambda f: f.__delitem__("ismrmrd_header")), "header"),
    ("fastmri", "a header that is a number", put(FASTMRI, "ismrmrd_header", 7), "header"),
    ("fastmri", "half a header", changed(FASTMRI, "ismrmrd_header", lambda x: x[:400]), "header"),
    (
        "fastmri",
        "a header with entities",
        put(FASTMRI, "ismrmrd_header", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>"),
        "header",
    ),
    ("fastmri", "a header of another matrix", put(FASTMRI, "ismrmrd_header", b"<a/>"), "header"),
    ("fastmri", "a matrix of its own in a pair", changed(FASTMRI, "kspace", lambda x: x[..., :24]), ""),
    *[(d, "a terabyte", huge(NAMES[d], "kspace", (4, 500_000, 100_000)), "") for d in ("fastmri", "m4raw")],
    ("mcsr-pair", "a terabyte", huge(PAIR, T2, (4, 500_000, 100_000)), "P01.h5"),
    *[(d, "no k-space", edit(NAMES[d], lambda f: f.__delitem__("kspace")), "kspace") for d in ("fastmri", "m4raw")],
    ("mcsr-pair", "no k-space", edit(PAIR, lambda f: f.__delitem__(T2)), "P01.h5"),
    ("mcsr-pair", "another format", attribute(PAIR, "format", "mcsr-pears"), "P01.h5"),
    ("mcsr-pair", "another version", attribute(PAIR, "version", 2), "P01.h5"),
    ("mcsr-pair", "a text that is no UTF-8", attribute(PAIR, "patient_id", np.bytes_(b"p\xff\xfe")), "P01.h5"),
    ("mcsr-pair", "one contrast", edit(PAIR, lambda f: f.__delitem__("T2")), "P01.h5"),
    ("mcsr-pair", "slice counts", changed(PAIR, T2, lambda x: x[:1]), "P01.h5"),
    ("mcsr-pair", "fields of view", attribute(PAIR, "FOV_mm", (110.0, 220.0), "T2"), "field of view"),
    ("mcsr-pair", "an affine of rank 2", attribute(PAIR, "affine", np.diag([1.0, 1, 0, 1]), "T2"), "affine"),
    ("mcsr-pair", "sensitivities of another size", put(PAIR, "T2/sens", np.ones((2, 3, 8, 8), np.complex64)), "sens"),
    ("mcsr-pair", "a transform that bends", put(PAIR, "transform/T1_to_T2", np.diag([1.0, 2, 1, 1])), "transform"),
    ("mcsr-pair", "a link out of the file", linked(PAIR, T2, h5py.ExternalLink("P02.h5", T2)), "P01.h5"),
    ("mcsr-pair", "a link to itself inside", linked(PAIR, T2, h5py.SoftLink(f"/{T2}")), "P01.h5"),
    ("nifti", "complex values", image(NIFTI, lambda x: x.astype(np.complex64)), "complex"),
    ("nifti", "four dimensions", image(NIFTI, lambda x: np.stack([x, x], -1)), "4 dimensions"),
    ("nifti", "two dimensions", image(NIFTI, lambda x: x[..., 0]), "2 dimensions"),
    ("nifti", "negative values", image(NIFTI, lambda x: -x), "are not negative"),
    ("nifti", "no affine", header(NIFTI, no_affine), "affine"),
    ("nifti", "an affine of metres", header(NIFTI, far_apart), "affine"),
    ("nifti", "one voxel of 1e30", image(NIFTI, one_bright), "a damaged value"),
    ("nifti", "huge slices", header(NIFTI, dims(30_000, 30_000, 1)), "pixels"),
    ("nifti", "a huge claimed shape", header(NIFTI, dims(30_000, 30_000, 30_000)), "P1_T2.nii.gz"),
    ("nifti", "a longer claimed shape", header(NIFTI, dims(64, 64, 64)), "P1_T2.nii.gz"),
    ("nifti", "a negative shape", header(NIFTI, dims(-1, 32, 3)), "P1_T2.nii.gz"),
    ("nifti", "an unknown type", header(NIFTI, lambda d: d.__setitem__(slice(70, 72), b"\x07\x03")), "P1_T2.nii.gz"),
    ("nifti", "a zip bomb", header(NIFTI, bomb), "P1_T2.nii.gz"),
    ("nifti", "the same volume twice", copied(NIFTI, "P1_T2.nii"), "P1_T2"),
    ("nifti", "two patients", only("P0_T1.nii.gz", "P0_T2.nii.gz", "P1_T1.nii.gz", "P1_T2.nii.gz"), "3 patients"),
    ("nifti", "no partner", only("P0_T1.nii.gz", "P1_T1.nii.gz", "P2_T1.nii.gz"), "P0_T1.nii.gz"),
    ("m4raw", "a repetition of another size", changed(M4RAW, "kspace", lambda x: x[..., :16]), "2022061001_T201.h5"),
    ("m4raw", "one contrast", lambda root: [p.unlink() for p in root.rglob("*_T2*.h5")], "T2"),
]


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 60
    assert len({(dataset, what) for dataset, what, _, _ in CORPUS}) == len(CORPUS)


def ended_well(run: Any, words: str) -> str:
    """One sentence, exit code 2, no store."""
    assert run.returncode == 2, run.stderr or run.stdout
    assert "Traceback" not in run.stderr
    said = [line for line in run.stderr.splitlines() if line.startswith("mcsr-bench: ")]
    assert len(said) == 1
    assert r"\n" not in said[0], said[0]
    assert words in said[0], said[0]
    stores = Path(os.environ["MCSR_BENCH_CACHE"]) / "stores"
    assert not stores.exists() or list(stores.iterdir()) == []
    return said[0]


MIB_MORE = 400


@contextmanager
def address_space(mib: int) -> Iterator[None]:
    """The process may map so many MiB more than it has: more is a MemoryError."""
    usual = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + mib * 2**20, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, usual)


def test_the_bound_of_memory_is_one() -> None:
    with address_space(MIB_MORE), pytest.raises(MemoryError):
        np.empty(4 * MIB_MORE * 2**20, np.uint8)  # what other tests left to be freed is less
    with address_space(MIB_MORE):
        assert np.ones((MIB_MORE // 4) * 2**20, np.uint8).all()


@pytest.mark.parametrize(
    ("dataset", "damage", "words"), [pytest.param(d, f, w, id=f"{d}: {what}") for d, what, f, w in CORPUS]
)
def test_damaged_input(
    here: Callable[..., Any], tmp_path: Path, sound: dict[str, Path], dataset: str, damage: Damage, words: str
) -> None:
    root = tmp_path / "data"
    shutil.copytree(sound[dataset], root)
    damage(root)
    with address_space(MIB_MORE):  # what a damaged header claims is not allocated
        ended_well(here("prepare", "--dataset", dataset, "--data-root", root, "--scale", 2, "--jobs", 1), words)
    checked = here("prepare", "--dataset", dataset, "--data-root", root, "--scale", 2, "--jobs", 1, "--check", "--json")
    assert checked.returncode == 2, checked.stderr
    found = [f for f in json.loads(checked.stdout)["findings"] if f["severity"] == "error"]
    assert any(words in f"{f['file']}: {f['message']}" for f in found), found
    assert all(f["file"] and Path(f["file"]).is_relative_to(root) for f in found), found


@pytest.mark.parametrize("dataset", NAMES)
def test_sound_input_is_accepted(here: Callable[..., Any], sound: dict[str, Path], dataset: str) -> None:
    ended = here("prepare", "--dataset", dataset, "--data-root", sound[dataset], "--scale", 2, "--jobs", 1)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("dataset", NAMES)
def test_a_folder_that_is_not_there(here: Callable[..., Any], tmp_path: Path, dataset: str) -> None:
    ended_well(here("prepare", "--dataset", dataset, "--data-root", tmp_path / "gone"), "gone: no such folder")


@pytest.mark.parametrize("dataset", NAMES)
def test_permission_denied(here: Callable[..., Any], tmp_path: Path, sound: dict[str, Path], dataset: str) -> None:
    root = tmp_path / "data"
    shutil.copytree(sound[dataset], root)
    here("prepare", "--dataset", dataset, "--data-root", root, "--check", "--jobs", 1)  # imports what nobody may not
    shutil.rmtree(os.environ["MCSR_BENCH_CACHE"], ignore_errors=True)
    (root / NAMES[dataset]).chmod(0)
    Path(os.environ["MCSR_BENCH_CACHE"]).mkdir()
    for folder in (Path(os.environ["MCSR_BENCH_CACHE"]), *tmp_path.parents[:2], tmp_path):
        folder.chmod(0o777)
    mighty = os.geteuid() == 0  # who may read everything tries as nobody
    try:
        if mighty:
            os.seteuid(65534)
        run = here("prepare", "--dataset", dataset, "--data-root", root, "--scale", 2, "--jobs", 1)
    finally:
        if mighty:
            os.seteuid(0)
    ended_well(run, "permission denied")


def test_a_folder_whose_name_is_no_text(here: Callable[..., Any], tmp_path: Path, sound: dict[str, Path]) -> None:
    root = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    shutil.copytree(sound["nifti"], root)
    ended = here("prepare", "--dataset", "nifti", "--data-root", root, "--scale", 2, "--jobs", 1, "--json")
    assert ended.returncode == 0, ended.stderr
    [record] = json.loads(ended.stdout)
    facts = open_store(record["store"]).facts[0]
    assert facts["files"][0] == f"{root}/P0_T2.nii.gz"


def test_a_name_that_is_no_text(here: Callable[..., Any], tmp_path: Path, sound: dict[str, Path]) -> None:
    root = tmp_path / "data"
    shutil.copytree(sound["nifti"], root)
    for contrast in ("T1", "T2"):
        os.rename(
            root / f"P1_{contrast}.nii.gz",
            os.fsencode(root) + f"/P\udcff_{contrast}.nii.gz".encode("utf-8", "surrogateescape"),
        )
    said = ended_well(here("prepare", "--dataset", "nifti", "--data-root", root, "--scale", 2), "makes it the volume")
    assert (
        r"P\udcff_T2.nii.gz: nifti.target_pattern makes it the volume 'P\udcff'; such a name may have letters" in said
    )
