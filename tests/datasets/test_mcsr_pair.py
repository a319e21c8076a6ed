"""The data set mcsr-pair, and sms and umr, which are named configurations of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pair_files as files
import pytest

import mcsr_bench as mb
from mcsr_bench.plugin.case import BadDataError
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.protocol import MCSR_1, SANET_2021

pytestmark = pytest.mark.usefixtures("own_cache")
DOCS = Path(__file__).parents[2] / "docs" / "mcsr-pair.md"


def dataset(root: Path, name: str = "mcsr-pair", **settings: Any) -> Dataset:
    return mb.load_dataset(name, root, **settings)


def messages(data: Dataset, code: str) -> list[str]:
    return [f.message for f in data.findings if f.code == code]


# --- reading ---------------------------------------------------------------------------------------------------------


def test_target_and_auxiliary_are_the_objects_that_were_written(tmp_path: Path) -> None:
    objects = files.write_patient(tmp_path / "a.h5", shape=(33, 28), slices=3)
    files.write_patient(tmp_path / "b.hdf5", patient_id="p1", shape=(33, 28))
    data = dataset(tmp_path)
    first, second = data.cases()
    assert (first.volume_id, first.patient_id, first.n_slices, first.shape) == ("a", "p0", 3, (33, 28))
    assert (second.volume_id, second.patient_id, second.n_slices) == ("b", "p1", 2)
    slices = list(data.read(first))
    for i, name in enumerate(("T2", "T1")):
        got = np.stack([pair[i] for pair in slices])
        assert got.dtype == np.complex64
        np.testing.assert_allclose(got, objects[name], atol=2e-6)
        kind = "target" if i == 0 else "auxiliary"
        np.testing.assert_array_equal(np.stack(list(data.read_contrast(first, kind))), got)
        raw = np.stack([data.raw_kspace(first, kind, i) for i in range(first.n_slices)])
        np.testing.assert_allclose(raw[:, 0], files.to_kspace(objects[name]), atol=1e-5)
        stored = data.stored(first, kind)
        assert stored is not None
        assert (stored.shape, stored.dtype, stored.coils, stored.acquired) == ((3, 33, 28), "complex64", 1, None)


def test_the_settings_say_which_contrast_is_which(tmp_path: Path) -> None:
    objects = files.write_patient(tmp_path / "a.h5", contrasts=("T1", "T2", "FLAIR"))
    data = dataset(tmp_path, target="FLAIR", auxiliary="T2")
    assert data.contrasts == ("FLAIR", "T2")
    target, auxiliary = next(data.read(data.cases()[0]))
    np.testing.assert_allclose(target, objects["FLAIR"][0], atol=2e-6)
    np.testing.assert_allclose(auxiliary, objects["T2"][0], atol=2e-6)
    swapped = dataset(tmp_path, target="T2", auxiliary="FLAIR")
    assert len({d.fingerprint() for d in (data, swapped, dataset(tmp_path))}) == 3
    with pytest.raises(mb.UserError, match="target and auxiliary are the same"):
        dataset(tmp_path, target="T1").cases()
    with pytest.raises(mb.UserError, match=r"a\.h5: it has no contrast PD; it has FLAIR, T1, T2"):
        dataset(tmp_path, target="PD").cases()


def test_coils_are_combined_with_their_phase(tmp_path: Path) -> None:
    """With the sensitivities of the file exactly; without them the magnitude is the root sum of squares of the coils."""
    shape, n = (32, 30), 3
    sens = files.sensitivities(n, shape)
    objects = files.write_patient(tmp_path / "a.h5", shape=shape, coils=n)
    data = dataset(tmp_path)
    [case] = data.cases()
    kept = data.stored(case, "target")
    assert kept is not None
    assert (kept.shape, kept.coils) == ((2, n, *shape), n)
    estimated = np.stack([t for t, _ in data.read(case)])
    rss = np.sqrt((np.abs(objects["T2"][:, None] * sens) ** 2).sum(1))
    inside = rss > 0.3 * rss.max()
    np.testing.assert_allclose(np.abs(estimated)[inside], rss[inside], rtol=0.05)
    files.edit(tmp_path / "a.h5", lambda f: f.__setitem__("T2/sens", np.stack([sens] * 2).astype(np.complex64)))
    data = dataset(tmp_path)
    exact = np.stack([t for t, _ in data.read(data.cases()[0])])
    np.testing.assert_allclose(exact, objects["T2"], atol=2e-6)


def test_where_no_coil_sees_anything_the_image_is_zero(tmp_path: Path) -> None:
    sens = np.stack([files.sensitivities(2, (32, 32))] * 2).astype(np.complex64)
    sens[..., :4] = 0
    files.write_patient(tmp_path / "a.h5", coils=2, change=lambda f: f.__setitem__("T2/sens", sens))
    data = dataset(tmp_path)
    target, _ = next(data.read(data.cases()[0]))
    assert np.isfinite(target).all()
    assert (target[:, :4] == 0).all()
    assert target[:, 4:].any()


def test_a_slice_map_pairs_what_it_says(tmp_path: Path) -> None:
    source = files.write_patient(tmp_path / "elsewhere" / "five.h5", slices=5)

    def longer(file: h5py.File) -> None:
        files.put(file, "T1/kspace", files.to_kspace(source["T1"]).astype(np.complex64))
        file["slice_map/T1_to_T2"] = [3, 1]

    files.write_patient(tmp_path / "a.h5", change=longer)
    data = dataset(tmp_path)
    [case] = data.cases()
    assert data.grids(case) is None
    got = [auxiliary for _, auxiliary in data.read(case)]
    np.testing.assert_allclose(got, source["T1"][[3, 1]], atol=2e-6)
    np.testing.assert_array_equal(got, list(data.read_contrast(case, "auxiliary")))
    raw = np.stack([data.raw_kspace(case, "auxiliary", i) for i in range(case.n_slices)])
    np.testing.assert_allclose(raw[:, 0], files.to_kspace(source["T1"][[3, 1]]), atol=1e-5)


def test_grids_come_from_the_affines(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["T1"].attrs["affine"] = files.affine((5, 6.875, 6.875), (0, 7, 0))
        file["T2"].attrs["affine"] = files.affine((5, 6.875, 6.875))

    files.write_patient(tmp_path / "a.h5", change=change)
    data = dataset(tmp_path)
    grids = data.grids(data.cases()[0])
    assert grids is not None
    assert grids[0].difference(grids[1]) == "positions up to 7 mm apart"
    assert grids[0].voxel == pytest.approx((5, 6.875, 6.875))


# --- cases, patients, findings ---------------------------------------------------------------------------------------


def test_several_files_of_a_patient_stay_in_one_part(tmp_path: Path) -> None:
    for patient in range(6):
        for visit in ("first", "second"):
            files.write_patient(tmp_path / f"{patient} {visit}.h5", patient_id=f"p{patient}")
    data = dataset(tmp_path)
    cases = data.cases()
    assert cases[0].volume_id == "0-first"
    split = data.split(cases, MCSR_1)
    split.check(cases)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [8, 2, 2]
    for part in (split.train, split.validation, split.test):
        assert all(v.replace("first", "second") in part for v in part)
    again = data.split(cases, SANET_2021)
    assert again.test == again.validation == split.test
    assert dataset(tmp_path, split_seed=1).split(cases, MCSR_1).test != split.test


def test_all_that_is_wrong_with_all_files_is_told_at_once(tmp_path: Path) -> None:
    files.write_folder(tmp_path, 4)
    files.edit(tmp_path / "P01.h5", lambda f: f.attrs.__delitem__("patient_id"))
    files.edit(tmp_path / "P02.h5", lambda f: f["T1"].attrs.__setitem__("FOV_mm", (100, 220)))
    files.write_patient(tmp_path / "P03.hdf5")
    (tmp_path / "P04.h5").write_bytes(b"none")
    (tmp_path / "notes.txt").write_text("ignored")
    (tmp_path / "._P00.h5").write_text("ignored")
    with pytest.raises(BadDataError) as error:
        dataset(tmp_path).cases()
    text = str(error.value)
    for words in ("P01.h5: it has no attribute 'patient_id'", "P02.h5: the field of view", "P03.hdf5 and P03.h5 have one name",
                  "P04.h5 is not an HDF5 file", "notes.txt"):  # fmt: skip
        assert (words in text) == (words != "notes.txt"), words
    assert [case.volume_id for case in error.value.cases] == ["P00", "P03"]


@pytest.mark.parametrize("content", [None, "x.txt"])
def test_a_folder_without_pairs(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / content).write_text("x")
    with pytest.raises(
        mb.UserError, match=r"no \*\.h5 or \*\.hdf5 in the layout of docs/mcsr-pair.md; it holds"
    ) as error:
        dataset(tmp_path).cases()
    assert (content or "no file") in str(error.value)


def test_what_the_attributes_say_becomes_findings(tmp_path: Path) -> None:
    files.write_patient(tmp_path / "a.h5", change=lambda f: f["T2"].attrs.__setitem__("acquired_matrix", (32, 20)))
    files.write_patient(tmp_path / "b.h5", fov=None)
    data = dataset(tmp_path)
    data.cases()
    data.cases()
    assert [f.code for f in data.findings] == ["zero-filled", "no-geometry"]
    assert "T2 was acquired at 32 x 20" in messages(data, "zero-filled")[0]
    assert [f.marks for f in data.findings] == [True, False]
    kept = data.stored(data.cases()[0], "target")
    assert kept is not None
    assert kept.acquired == (32, 20)


def test_other_sizes_than_asked_for_are_marked(tmp_path: Path) -> None:
    files.write_patient(tmp_path / "a.h5", slices=3)
    files.write_patient(tmp_path / "b.h5", shape=(32, 30))
    data = dataset(tmp_path, matrix=(32, 32), slices=3)
    data.cases()
    assert messages(data, "matrix") == [
        "1 of 2 volumes are not of 32 x 32 as mcsr-pair has them, e.g. b: 32 x 30; they are used as they are"
    ]
    assert messages(data, "slice-count") == [
        "1 of 2 volumes are not of 3 slices as mcsr-pair has them, e.g. b: 2; they are used as they are"
    ]
    assert all(f.marks and f.severity == "warning" for f in data.findings)
    free = dataset(tmp_path)
    free.cases()
    assert free.findings == []


@pytest.mark.parametrize(("name", "slices", "alias"), [("sms", 20, "SMS"), ("umr", 19, "uMR")])
def test_the_papers_private_data_are_configurations(tmp_path: Path, name: str, slices: int, alias: str) -> None:
    files.write_patient(tmp_path / "a.h5", slices=slices)
    data = dataset(tmp_path, name)
    card = datasets().card(name)
    assert (card.configures, card.reported_as, card.real, card.track) == ("mcsr-pair", alias, True, "complex")
    assert "private" in card.licence
    assert data.contrasts == ("T2", "T1") == card.contrasts
    data.cases()
    assert messages(data, "slice-count") == []
    assert messages(data, "matrix") == [
        f"1 of 1 volumes are not of 320 x 320 as {name} has them, e.g. a: 32 x 32; they are used as they are"
    ]
    settings = data.settings
    assert (settings.validation_fraction, settings.test_fraction, settings.slices) == (0.1, 0.2, slices)


def test_the_fingerprint_follows_the_bytes_and_not_the_place(tmp_path: Path) -> None:
    files.write_folder(tmp_path / "here", 3)
    before = dataset(tmp_path / "here").fingerprint()
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert dataset(tmp_path / "there").fingerprint() == before
    files.edit(tmp_path / "there" / "P01.h5", lambda f: f["T1/kspace"].__setitem__((0, 0, 0), 7))
    assert dataset(tmp_path / "there").fingerprint() != before


def test_one_patient_id_at_two_sites_is_told(tmp_path: Path) -> None:
    """Pseudonyms are a site's own: P01 here and P01 there may be two people."""
    root = files.write_folder(tmp_path, 3)
    files.write_patient(root / "P09.h5", patient_id="patient-1", seed=9)
    data = dataset(root)
    data.cases()
    assert "patients-alike" not in {f.code for f in data.findings}  # two files of one patient of one site
    files.edit(root / "P09.h5", lambda f: f.attrs.__setitem__("site", "there"))
    data = dataset(root)
    assert len({case.patient_id for case in data.cases()}) == 3
    [found] = [f for f in data.findings if f.code == "patients-alike"]
    assert found.marks
    assert "patient-1 at 'here' and 'there'" in found.message


# --- from files to a table -------------------------------------------------------------------------------------------


def test_from_files_to_a_table(here: Callable[..., Any], tmp_path: Path) -> None:
    root, runs = files.write_folder(tmp_path / "data", 5, coils=2), tmp_path / "r"
    where = ("--dataset", "mcsr-pair,sms,umr", "--data-root", root, "--jobs", 1, "--scale", 2)
    out = here("prepare", *where, "--check", "--json")
    assert out.returncode == 0, out.stderr
    codes = [{f["code"] for f in one["findings"]} for one in json.loads(out.stdout)["datasets"]]
    assert codes == [set(), {"matrix", "slice-count"}, {"matrix", "slice-count"}]
    out = here("run", "--methods", "zerofill,bicubic", "--preset", "quick", *where, "--out", runs)
    assert out.returncode == 0, out.stderr
    for name in ("mcsr-pair", "sms", "umr"):
        assert (
            f"{name}: real data, complex track; T2 super-resolved with T1 as auxiliary; 1 test patients" in out.stdout
        )
        assert (f"not of 320 x 320 as {name} has them" in out.stdout) == (name != "mcsr-pair")
        record = json.loads((runs / name / "x2" / "bicubic" / "seed0" / "trial.json").read_text())
        assert record["status"] == "done"
        assert record["data"]["patients"] == {"train": 3, "validation": 1, "test": 1}
    out = here("report", runs, "--to", tmp_path / "report", "--formats", "csv")
    assert out.returncode == 0, out.stderr


def test_it_keeps_what_a_data_set_promises(here: Callable[..., Any], tmp_path: Path) -> None:
    root = files.write_folder(tmp_path, 4)
    out = here("check", "mcsr-pair", "--data-root", root)
    assert out.returncode == 0, out.stdout
    assert "0 failed" in out.stdout + out.stderr


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_writes_files_that_the_data_set_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [code] = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(DOCS), "exec"), {})
    cases = dataset(tmp_path / "pairs").cases()
    assert [(c.patient_id, c.n_slices, c.shape) for c in cases] == [("P07", 20, (64, 64))]


def test_the_page_names_every_attribute_and_code(here: Callable[..., Any]) -> None:
    from mcsr_bench.data.raw.pair_writer import ATTRIBUTES

    text = DOCS.read_text(encoding="utf-8")
    for name in (*ATTRIBUTES, "patient_id", "site", "scanner", "field_T", "licence", "kspace", "sens", "reference"):
        assert f"`{name}`" in text, name
    for code in (
        "zero-filled",
        "off-centre",
        "no-geometry",
        "matrix",
        "slice-count",
        "patients-alike",
        "field-of-view",
    ):
        assert f"`{code}`" in text, code
    for command in re.findall(r"^mcsr-bench (\S+)", text, re.MULTILINE):
        assert here(command, "--help").returncode == 0
