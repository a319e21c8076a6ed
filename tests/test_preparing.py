"""Preparing: going on where it stopped, what users may choose, and what the tables then say."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import mcsr_bench as mb
from mcsr_bench.cli.console import LineListener, print_rows
from mcsr_bench.data import one_case as preparing
from mcsr_bench.data import registration
from mcsr_bench.data.findings import in_short, refuse, sentence
from mcsr_bench.data.prepare import prepare, write_registrations
from mcsr_bench.data.spec import Preparation
from mcsr_bench.data.store import store_root
from mcsr_bench.data.store_findings import registration_findings
from mcsr_bench.engines.processes import Processes
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Finding
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.plugin.registry import add_plugins
from mcsr_bench.protocol import MCSR_1
from mcsr_bench.system.progress import Listener

TOYS = Path(__file__).parent / "toys"
PAIRS = Preparation(store_dtype="float16-pair")


@pytest.fixture(autouse=True)
def cache(own_cache):
    add_plugins(TOYS)


def prepared(preparation=None, listener=None, jobs=1, **settings):
    [one] = prepare(
        load_dataset("toy", **settings),
        MCSR_1,
        [2],
        preparation=preparation,
        engine=Processes(jobs),
        listener=listener,
        plugins=[TOYS],
    )
    return one


def files_below(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Steps(Listener):
    def __init__(self):
        self.seen = []

    def preparing(self, message, done, total):
        self.seen.append((message, done, total))


@pytest.mark.parametrize("step", ["prepare_case", "degrade_volume"])
def test_an_interrupted_build_goes_on_where_it_stopped(monkeypatch, tmp_path, step):
    whole = prepared()
    expected = files_below(store_root())
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(tmp_path / "second"))
    real, calls = getattr(preparing, step), []

    def stops_at_the_fourth(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(preparing, step, stops_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            prepared()
    [left] = store_root().glob(".*.building")
    for name in ("00003.77.part", "00003.raw.77.part"):  # what a kill in the middle of a volume leaves
        (left / "auxiliary" / name).write_bytes(b"half")
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(preparing, step, lambda *args: calls.append(args) or real(*args))
        steps = Steps()
        again = prepared(listener=steps)
    assert len(calls) == 10 - 3
    assert [done for _, done, total in steps.seen if total == 10][-8:] == list(range(3, 11))
    assert files_below(store_root()) == expected
    assert again.store.key == whole.store.key


def test_no_file_of_a_store_is_left_from_the_making():
    names = {Path(name).suffix for name in files_below(store_root() / prepared(PAIRS).store.key)}
    assert names == {".npy", ".json"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_store_of_pairs_takes_half_and_says_what_it_costs(jobs):
    exact, pairs = prepared(jobs=jobs), prepared(PAIRS, jobs=jobs)
    assert exact.store.key != pairs.store.key
    worst = np.inf
    for name, volume in exact.store.volumes.items():
        for kind in ("target", "auxiliary"):
            before = np.abs(np.asarray(getattr(volume, kind)).astype(np.complex128))
            after = np.abs(np.asarray(getattr(pairs.store.volumes[name], kind)).astype(np.complex128))
            worst = min(worst, 10 * np.log10(before.max() ** 2 / np.mean((before - after) ** 2)))
    [mark] = [m for m in pairs.data.marks if "float16-pair" in m]
    assert f"{worst:.1f} dB" in mark
    assert worst > 70
    assert exact.data.marks == []
    assert (exact.data.preparation, pairs.data.preparation) == ({}, {"store_dtype": "float16-pair"})
    low = pairs.store.volumes["p03-v0"]
    expected = MCSR_1.degrade(torch.from_numpy(np.asarray(low.target)), 2).numpy()
    np.testing.assert_allclose(np.asarray(low.target_lr), expected, atol=2e-3 * np.abs(expected).max())


def test_the_choice_enters_the_key_of_a_trial(here, tmp_path):
    base = (
        "run",
        "--methods",
        "zerofill",
        "--dataset",
        "toy",
        "--scale",
        "2",
        "--plugins",
        TOYS,
        "--out",
        tmp_path / "r",
    )
    assert here(*base).returncode == 0
    other = here(*base, "--store-dtype", "float16-pair")
    assert other.returncode == 2
    assert "finished trial of other data" in other.stderr
    assert here(*base, "--store-dtype", "float16-pair", "--fresh").returncode == 0


def test_a_reading_or_registration_of_another_revision_is_another_trial(here, tmp_path, monkeypatch):
    pytest.importorskip("SimpleITK")
    base = ("run", "--methods", "zerofill", "--dataset", "toy", "--scale", "2", "--plugins", TOYS)
    apart = [f"--set=toy.{change}" for change in ("apart=3", "solid=true", "size=64", "slices=4", "patients=3")]
    for out, options in (("plain", ()), ("apart", apart)):
        assert here(*base, *options, "--out", tmp_path / out).returncode == 0
    monkeypatch.setattr(registration, "REVISION", registration.REVISION + 1)
    assert here(*base, "--out", tmp_path / "plain").returncode == 0
    assert "finished trial of other data" in here(*base, *apart, "--out", tmp_path / "apart").stderr
    monkeypatch.setattr(type(load_dataset("toy")), "revision", 2)
    assert "finished trial of other data" in here(*base, "--out", tmp_path / "plain").stderr


@pytest.mark.parametrize(
    ("option", "word", "allowed"),
    [("--register", "elastic", "none, rigid, affine"), ("--store-dtype", "float16", "complex64, float16-pair")],
)
def test_other_words_are_refused(here, option, word, allowed):
    got = here("prepare", "--dataset", "brain-sim", option, word)
    assert got.returncode == 2
    assert f"{option} {word}: allowed are {allowed}" in got.stderr


def finding(severity, code, file, message="m", marks=False):
    return Finding(severity, code, file, message, marks)


def test_many_findings_of_a_kind_become_one_sentence():
    found = [finding("warning", "zero-filled", f"/d/{k}.h5", f"message {k}", True) for k in range(4)]
    found.append(finding("warning", "off-centre", "/d/9.h5"))
    short = in_short(found)
    assert [f.code for f in short] == ["zero-filled", "off-centre"]
    assert short[0].message == "4 findings 'zero-filled' in 4 files, e.g. 0.h5: message 0"
    assert short[0].marks
    assert sentence(short[1]) == "9.h5: m"
    assert in_short(found[:1]) == found[:1]


def test_an_error_among_findings_refuses_the_data():
    refuse([finding("warning", "a", "x")])
    with pytest.raises(UserError, match="x: too few; y: nothing"):
        refuse([finding("error", "a", "x", "too few"), finding("info", "c", ""), finding("error", "b", "y", "nothing")])


def test_an_auxiliary_on_another_grid_is_registered(tmp_path):
    pytest.importorskip("SimpleITK")
    size = {"size": 64, "slices": 8, "patients": 5, "solid": True}
    one, sound = prepared(apart=3, **size), prepared(**size)
    for name, volume in sound.store.volumes.items():
        found = one.store.registrations[name]
        assert found["resampled"]
        assert found["displacement_mm"] < 0.5
        np.testing.assert_array_equal(one.store.volumes[name].target, volume.target)
        moved, expected = (
            np.abs(np.asarray(v.auxiliary)[:, 4:-4, 4:-4]).ravel() for v in (one.store.volumes[name], volume)
        )
        assert np.corrcoef(moved, expected)[0, 1] > 0.98
    [mark] = [m for m in one.data.marks if "registered" in m]
    assert "(rigid) in 5 of 5 cases" in mark
    write_registrations(tmp_path / "registration.csv", one.store)
    table = pd.read_csv(tmp_path / "registration.csv")
    assert list(table["volume_id"]) == list(one.store.volumes)
    assert (table["mutual_information_after"] > 0).all()


def test_other_grids_without_registration_are_refused():
    with pytest.raises(UserError, match=r"are on different grids .*3 mm apart.* --register rigid"):
        prepared(Preparation(register="none"), apart=3)
    assert list(store_root().iterdir()) == []


def test_an_asked_registration_leaves_what_is_aligned_untouched():
    pytest.importorskip("SimpleITK")
    size = {"size": 64, "slices": 8, "patients": 3, "solid": True}
    asked, plain = prepared(Preparation(register="rigid"), **size), prepared(**size)
    assert asked.store.key != plain.store.key
    assert asked.data.preparation == {"register": "rigid"}
    for name, volume in plain.store.volumes.items():
        assert not asked.store.registrations[name]["resampled"]
        np.testing.assert_array_equal(asked.store.volumes[name].auxiliary, volume.auxiliary)


def test_an_unusable_case_is_a_finding_on_its_file_and_the_others_are_looked_at(here):
    run = here(
        "prepare", "--dataset", "toy", "--plugins", TOYS, "--set", "toy.fault=raise", "--check", "--json", "--scale", 2
    )
    assert run.returncode == 2
    [one] = json.loads(run.stdout)["datasets"]
    assert [(f["code"], f["file"], f["message"]) for f in one["findings"]] == [
        ("unusable", "p03-v0", "p03.h5: truncated; the suite refuses the data")
    ]
    assert [row["patients"] for row in one["contrasts"]] == ["9", "9"]


def test_without_the_library_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UserError, match=r'pip install "mcsr-bench\[register\]"'):
        prepared(apart=3)


def test_affine_always_warns():
    pytest.importorskip("SimpleITK")
    one = prepared(Preparation(register="affine"), apart=3, size=64, slices=8, patients=3, solid=True)
    assert any("affine registration stretches" in mark for mark in one.data.marks)


def test_a_program_is_warned_as_a_terminal_is(tmp_path):
    pytest.importorskip("SimpleITK")
    settings = {"toy": {"apart": 3, "size": 64, "slices": 8, "patients": 3, "solid": True}}
    with (
        pytest.warns(UserWarning, match="affine registration stretches"),
        pytest.warns(UserWarning, match=r"registered onto the target \(affine\)"),
    ):
        mb.run("zerofill", "toy", 2, settings=settings, plugins=TOYS, register="affine", out=tmp_path, jobs=1)
    with pytest.warns(UserWarning, match=r"registered onto the target \(rigid\)"):
        mb.evaluate(lambda batch: np.zeros(batch.auxiliary.shape), "toy", 2, settings=settings["toy"])


def test_findings_of_registrations_name_the_files():
    one = {
        "mode": "rigid",
        "resampled": True,
        "displacement_mm": 1.0,
        "residual_px": 0.1,
        "voxel_known": True,
        "warning": "",
    }
    far = one | {"displacement_mm": 9.0}
    left = one | {"residual_px": 2.0, "warning": "the auxiliary covers 20% of the target"}
    found = registration_findings([("/d/a.nii", one), ("/d/b.nii", far), ("/d/c.nii", left), ("/d/e.nii", left)], 4)
    assert [(f.severity, f.code, f.file, f.marks) for f in found] == [
        ("warning", "registered", "/d/b.nii", True),
        ("warning", "registered", "/d/c.nii", True),
    ]
    assert "largest 9, b.nii" in found[0].message
    assert "largest 2, c.nii" in found[0].message
    assert found[1].message == "the auxiliary covers 20% of the target (c.nii and 1 more)"
    affine = [
        (file, record | {"mode": "affine", "voxel_known": False})
        for file, record in (("/d/a.nii", one), ("/d/b.nii", left))
    ]
    assert [(f.code, f.file) for f in registration_findings(affine, 2)] == [
        ("registered", "/d/a.nii"),
        ("voxel-size", "/d/a.nii"),
        ("affine", "/d/a.nii"),
        ("affine", "/d/b.nii"),
    ]


def test_the_report_of_a_check_fits_a_terminal(here, monkeypatch):
    run = here("prepare", "--dataset", "toy", "--plugins", TOYS, "--check", "--scale", 2)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in run.stdout.splitlines() if "│" in line]
    assert ["patients", "10", "10"] in rows
    assert ["matrix", "32 x 32", "32 x 32"] in rows
    assert max(len(line) for line in run.stdout.splitlines() if "│" in line) <= 80
    monkeypatch.setenv("COLUMNS", "80")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    words = ["A" * 50, "B" * 50, "C" * 50]
    print_rows(("", "x", "y"), [words], file=terminal)
    assert all(terminal.getvalue().count(word[0]) == 50 for word in words)


def test_each_number_of_a_registration_has_its_own_column(tmp_path):
    one = prepared(patients=3)
    record = {"mode": "rigid", "translation_mm": [1.5, -2.5, 3.5], "shift_px": [0.25, -0.75], "residual_px": 0.1}
    write_registrations(tmp_path / "r.csv", replace(one.store, registrations={"p01-v0": record}))
    [row] = pd.read_csv(tmp_path / "r.csv").to_dict("records")
    assert row == {
        "volume_id": "p01-v0",
        "patient_id": "p01",
        "mode": "rigid",
        "residual_px": 0.1,
        "translation_right_mm": 1.5,
        "translation_front_mm": -2.5,
        "translation_up_mm": 3.5,
        "shift_rows_px": 0.25,
        "shift_columns_px": -0.75,
    }
    write_registrations(tmp_path / "none.csv", one.store)
    assert not (tmp_path / "none.csv").exists()


def test_lines_of_progress_tell_the_time_left_of_what_is_new(monkeypatch, capsys):
    now = iter([0.0, 0.0, 20.0, 20.0, 40.0, 40.0, 100.0, 100.0, 200.0, 200.0])
    monkeypatch.setattr("mcsr_bench.cli.console.time.monotonic", lambda: next(now))
    lines = LineListener()
    for done in (10, 11, 20, 35, 60):  # 10 were there from an earlier run
        lines.preparing("preparing x", done, 60)
    assert capsys.readouterr().err.splitlines() == [
        "preparing x: 10/60",
        "preparing x: 11/60",  # one tells little: in its time the workers started
        "preparing x: 20/60, about 2 min 40 s left",  # 10 in 40 s, 40 to go
        "preparing x: 35/60, about 1 min 40 s left",  # 25 in 100 s, 25 to go
        "preparing x: 60/60",
    ]
