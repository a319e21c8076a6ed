"""Runs from anyone: nothing in them runs, each fault gets a sentence, and nothing is written outside ``--to``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_run as fake
import h5py
import numpy as np
import pytest

import mcsr_bench as mb
from mcsr_bench.api import experiment_spec
from mcsr_bench.errors import DamagedFileError, UserError
from mcsr_bench.experiment.run import _check_results, _write_spec
from mcsr_bench.results.bundle import Bundle, BundleFiles
from mcsr_bench.results.predictions import stored_predictions, write_predictions
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files
from mcsr_bench.system.progress import Listener

ACTED_ON = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal or a browser obeys instead of showing; line breaks and tabs are files' own."""
EVIL = "x\x1b]0;owned\x07\u202etxt\x9b31m"
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def run(tmp_path: Path) -> Path:
    out = tmp_path / "received" / "run"
    _write_spec(experiment_spec(["zerofill", "minet"], "brain-sim", 2, out=out, preset="small"))
    for method in ("zerofill", "minet"):
        fake.write_trial_of(out, method, fake.draw(method, 6), data=fake.data_record("brain-sim", patients=6))
    return out


def place(run: Path) -> BundleFiles:
    return BundleFiles(run / "brain-sim" / "x2" / "minet" / "seed0")


def record(**changes: Any) -> Callable[[Path], None]:
    """Change the record; a key with dots is within others."""

    def spoil(run: Path) -> None:
        path = place(run).trial
        values = files.read_json(path)
        for key, value in changes.items():
            *outer, last = key.split("__")
            inner = values
            for name in outer:
                inner = inner[name]
            inner[last] = value
        files.write_json(path, values)

    return spoil


def text(name: str, change: Callable[[str], str] | str) -> Callable[[Path], None]:
    """Change a file's text, or replace it."""

    def spoil(run: Path) -> None:
        path = run / name if name == "experiment.json" else place(run).folder / name
        made = change if isinstance(change, str) else change(path.read_text(encoding="utf-8"))
        path.write_text(made, encoding="utf-8")

    return spoil


def seconds(value: str) -> Callable[[str], str]:
    return lambda found: found.replace('"train": 10.0', f'"train": {value}')


def linked(run: Path) -> None:
    """The bundle is a link to a folder of somebody's."""
    elsewhere = run.parents[1] / "elsewhere"
    place(run).folder.rename(elsewhere)
    place(run).folder.symlink_to(elsewhere)


def table(old: str, new: str) -> Callable[[Path], None]:
    return text("volumes.csv", lambda found: re.sub(old, new, found, count=1))


RECORDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "dataset that climbs": (record(dataset="../../x"), "dataset: "),
    "dataset of dots": (record(dataset=".."), "dataset: "),
    "method at the root": (record(method="/etc"), "method: "),
    "method with ESC": (record(method=EVIL), r"method: .*\\x1b"),
    "variant that climbs": (record(variant="../../../x"), "variant: "),
    "variant of the dataset": (record(dataset_variant="a/../b"), "dataset_variant: "),
    "another method": (record(method="sanet"), "another trial"),
    "data that climb": (record(data__name="../x"), "data.name: "),
    "key that climbs": (record(key="../../../x"), "key: "),
    "store that climbs": (record(data__store="../../../evil"), "data.store: "),
    "seed below zero": (record(seed=-1), "seed: "),
    "scale of 0": (record(scale=0), "scale: "),
    "no test part": (record(data__patients={"train": 1}), "data.patients: "),
    "order that is text": (record(card__order="first"), "card: order"),
    "title that is a list": (record(card__title=["a"]), "card: title"),
    "unknown key": (record(evil=1), "evil: "),
    "long status": (record(status="x" * 10_000), r"status: .{0,300}$"),
    "NaN": (text("trial.json", seconds("NaN")), "not a finite number"),
    "infinity": (text("trial.json", seconds("1e999")), "not a finite number"),
    "a number of 10 000 digits": (text("trial.json", seconds("1" * 10_000)), "integer string conversion"),
    "nested lists": (text("trial.json", seconds(DEEP)), "nested too deeply"),
    "nested but parsable": (text("trial.json", seconds("[" * 90 + "]" * 90)), "nested too deeply"),
    "17 MB": (text("trial.json", lambda found: found + " " * 17_000_000), "larger than"),
    "a list": (text("trial.json", "[]"), "not a readable trial record"),
    "not UTF-8": (lambda run: place(run).trial.write_bytes(b'{"status": "\xff"}'), "not a readable trial record"),
    "a link out of the run": (linked, "outside the run"),
    "scores that are text": (table(r",0\.5\b", ",soft"), "holds text"),
    "a column of the record's": (table("patient_id", "dataset"), "no column patient_id"),
    "one column more": (text("volumes.csv", lambda t: t.replace("\n", ",dataset\n", 1)), "column dataset"),
    "a row without patient": (table("p003,", ","), "without patient_id"),
    "a third role": (table(",target,", ",third,"), "neither target nor auxiliary"),
    "a head of 100 000 columns": (text("volumes.csv", "a," * 100_000), "first line"),
    "40 MB of commas": (text("volumes.csv", lambda t: t + ("," * 1000 + "\n") * 40_000), "larger than"),
    "bytes": (lambda run: place(run).volumes.write_bytes(bytes(range(256))), "cannot be read|first line"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_bundle_that_is_not_what_it_says_is_refused_in_a_sentence(run: Path, name: str) -> None:
    spoil, sentence = RECORDS[name]
    spoil(run)
    with pytest.raises(DamagedFileError, match=sentence) as raised:
        mb.load_results(run)
    said = str(raised.value)
    assert said.startswith(str(place(run).folder))
    assert not ACTED_ON.search(said)
    assert len(said) < 700


def test_a_report_leaves_such_bundles_out_and_writes_nothing_elsewhere(run: Path, tmp_path: Path) -> None:
    linked(run)
    before = listed(tmp_path)
    told: list[str] = []
    listener = Listener()
    listener.warning = told.append  # type: ignore[method-assign]
    mb.report(run, tmp_path / "to", formats="md", listener=listener)
    assert len(told) == 1
    assert "left out" in told[0]
    assert listed(tmp_path) == before


def test_a_run_does_not_write_through_a_link(run: Path) -> None:
    asked = experiment_spec(["minet"], "brain-sim", 2, out=run, preset="small")
    _check_results(asked, [])
    linked(run)
    with pytest.raises(UserError, match=r"is a link to .*elsewhere, outside --out"):
        _check_results(asked, [])


def listed(root: Path) -> dict[str, bytes]:
    """All files below a folder but those of the report."""
    paths = (path for path in root.rglob("*") if path.is_file() and not path.is_relative_to(root / "to"))
    return {str(path): path.read_bytes() for path in paths}


PLUGIN = """
name = "evil"
title = "Writes a file"
class = "Evil"
kind = "{kind}"
"""
METHOD = 'authors = "A"\nvenue = "V"\nyear = 2026\ncontrasts = "single"\ntrack = "magnitude"\ntrains = false\n'


def evil_plugin(tmp_path: Path, kind: str) -> Path:
    """A folder of plugins whose code leaves a file as it is imported."""
    folder = tmp_path / "received" / "plugins" / "evil"
    folder.mkdir(parents=True)
    (folder / "card.toml").write_text(PLUGIN.format(kind=kind) + (METHOD if kind == "method" else ""))
    (folder / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Evil: pass\n")
    return folder.parent


EXPERIMENTS: dict[str, tuple[dict[str, Any] | str, str]] = {
    "report of a plugin": ({"report": "evil"}, "names the report 'evil', which is not installed.*--plugins"),
    "report that climbs": ({"report": "../../x"}, "which is not installed"),
    "report with ESC": ({"report": EVIL}, r"\\x1b"),
    "suite that climbs": ({"suites": ["../../x"]}, "no suite"),
    "methods that are numbers": ({"methods": [1]}, "not a readable experiment: methods"),
    "nested lists": (DEEP, "nested too deeply"),
    "17 MB": (" " * 17_000_000, "larger than"),
    "a list": ("[]", "not a readable experiment"),
    "nothing": ("", "not a readable experiment"),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_that_names_what_it_must_not(run: Path, tmp_path: Path, name: str) -> None:
    given, sentence = EXPERIMENTS[name]
    plugins = evil_plugin(tmp_path, "report")
    path = run / "experiment.json"
    values = files.read_json(path)
    values["data"]["plugins"] = [str(plugins)]
    path.write_text(given) if isinstance(given, str) else files.write_json(path, values | given)
    before = listed(tmp_path)
    with pytest.raises(UserError, match=sentence) as raised:
        mb.report(run, tmp_path / "to", formats="md")
    assert not ACTED_ON.search(str(raised.value))
    assert listed(tmp_path) == before
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("how", ["experiment", "settings"])
@pytest.mark.parametrize("command", ["report", "stress", "predict"])
def test_plugins_that_a_run_names_are_not_loaded(run: Path, tmp_path: Path, how: str, command: str) -> None:
    """Neither those of the experiment nor a setting of a record that has the name of an argument."""
    plugins = str(evil_plugin(tmp_path, "method"))
    fake.write_trial_of(
        run,
        "evil",
        fake.draw("evil", 6),
        data=fake.data_record("brain-sim", patients=6),
        card={"contrasts": "multi", "trains": True},
        settings={"plugins": plugins} if how == "settings" else {},
    )
    if how == "experiment":
        values = files.read_json(run / "experiment.json")
        values["data"]["plugins"] = [plugins]
        files.write_json(run / "experiment.json", values)
    folder = run / "brain-sim" / "x2" / "evil" / "seed0"
    if command == "report":
        mb.report(run, tmp_path / "to", formats="md")
        assert "evil" in (tmp_path / "to" / "report.md").read_text(encoding="utf-8")
    else:
        for other in RunFolder(run).trials():
            if other.folder != folder:
                files.remove_folder(other.folder)
        with pytest.raises(UserError, match=r"evil|no finished trial|prepared data") as raised:
            mb.stress(run) if command == "stress" else mb.predict(folder, tmp_path / "t.nii", tmp_path / "to.nii")
        if how == "experiment":
            assert f"if you trust them, add --plugins {plugins}" in str(raised.value)
    assert not (tmp_path / "ran").exists()


def test_text_from_others_is_shown_and_names_stay_in_the_folder(tmp_path: Path, here: Any) -> None:
    """Every field of free text, in every format; the files are those of the report, and in its folder."""
    run = tmp_path / "received" / "run"
    _write_spec(experiment_spec(["zerofill", "minet"], "brain-sim", 2, out=run, preset="small"))
    climbing = f"../../{EVIL}"
    data = fake.data_record(
        "brain-sim",
        patients=6,
        title=EVIL,
        target=climbing,
        auxiliary=EVIL,
        split_rule=EVIL,
        marks=[EVIL],
        fingerprint=EVIL,
    )
    free = {"preset": f"/etc/{EVIL}", "notes": [EVIL, "$\\frac{"], "device": EVIL, "versions": {"mcsr-bench": EVIL}}
    for method in ("zerofill", "minet"):
        folder = fake.write_trial_of(
            run,
            method,
            fake.draw(method, 6),
            data=data,
            contrast=climbing,
            card={"title": EVIL, "authors": EVIL},
            **free,
        )
        for name in ("volumes.csv", "slices.csv"):
            found = (folder / name).read_text(encoding="utf-8")
            (folder / name).write_text(
                found.replace("p003,", "p3\x1b[31m\u202e&#8238;=1+1,"), encoding="utf-8", newline=""
            )
    fake.write_trial_of(run, "sanet", [1.0] * 6, data=data, status="failed", reason=EVIL, seed=1, **free)
    before = listed(tmp_path)
    out = here("report", run, "--to", tmp_path / "to")
    assert out.returncode == 0, out.stderr
    assert not ACTED_ON.search(out.stdout + out.stderr)
    assert listed(tmp_path) == before
    made = [path for path in (tmp_path / "to").rglob("*") if path.is_file()]
    assert {path.parent.name for path in made} <= {"to", "tables", "figures"}
    assert {".md", ".html", ".tex", ".csv"} <= {path.suffix for path in made}
    for path in made:
        assert re.fullmatch(r"[A-Za-z0-9_.=@+-]+", path.name), path.name
        if path.suffix in (".md", ".html", ".tex", ".csv"):
            assert not ACTED_ON.search(path.read_text(encoding="utf-8")), path
    assert "\\\\x1b" in (tmp_path / "to" / "report.md").read_text(encoding="utf-8")
    assert "&#8238;" not in (tmp_path / "to" / "report.md").read_text(encoding="utf-8").replace("\\&#8238;", "")


def outside(file: h5py.File, path: Path) -> None:
    with h5py.File(path, "w") as other:
        other["x"] = np.zeros((1, 4, 4), np.float32)
    file["v/target"] = h5py.ExternalLink(str(path), "x")


def virtual(file: h5py.File, path: Path) -> None:
    with h5py.File(path, "w") as other:
        other["x"] = np.zeros((1, 4, 4), np.float32)
    layout = h5py.VirtualLayout((1, 4, 4), np.float32)
    layout[:] = h5py.VirtualSource(str(path), "x", (1, 4, 4))
    file.create_virtual_dataset("v/target", layout)


PREDICTIONS: dict[str, Callable[[h5py.File, Path], Any]] = {
    "a link to another file": outside,
    "images of another file": virtual,
    "a block of 16 GB": lambda f, _: f.create_dataset(
        "v/target", (1, 65536, 65536), np.float32, chunks=(1, 65536, 65536)
    ),
    "images never written": lambda f, _: f.create_dataset("v/target", (4096, 4096, 4096), np.float32),
    "text": lambda f, _: f.create_dataset("v/target", data="text"),
    "a group": lambda f, _: f.create_group("v/target"),
    "one dimension": lambda f, _: f.create_dataset("v/target", data=np.zeros(4)),
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_are_read_from_their_own_file_and_no_further(run: Path, tmp_path: Path, name: str) -> None:
    bundle = Bundle(place(run).folder, place(run).read_record())  # type: ignore[arg-type]
    write_predictions(bundle.predictions, bundle.record.key, iter(()))
    with h5py.File(bundle.predictions, "a") as file:
        PREDICTIONS[name](file, tmp_path / "other.h5")
    with stored_predictions(bundle) as found, pytest.raises(DamagedFileError, match="predictions of v: "):
        found.read("v")


def test_a_log_that_is_a_link_empties_no_other_file(tmp_path: Path, workers: None) -> None:
    from mcsr_bench.engines.base import Job
    from mcsr_bench.engines.processes import Processes
    from mcsr_bench.experiment.rescoring import complete_job

    (tmp_path / "precious").write_text("kept")
    log = tmp_path / "worker.log"
    log.symlink_to(tmp_path / "precious")
    assert [m.kind for m in Processes(1).run([Job(complete_job, str(tmp_path), log=log)])][-1] == "result"
    assert (tmp_path / "precious").read_text() == "kept"
    assert not log.is_symlink()
