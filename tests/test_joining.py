"""`evaluate(..., out=RUN)`: a function beside the trials of a run, with a bundle that claims nothing that is not known."""

from pathlib import Path

import numpy as np
import pytest

import mcsr_bench as mb
from mcsr_bench.kspace import zero_fill
from mcsr_bench.results.bundle import Bundle, BundleFiles
from mcsr_bench.results.predictions import stored_predictions
from mcsr_bench.system import files

TOYS = Path(__file__).parent / "toys"


def function(batch: mb.Batch) -> mb.Prediction:
    return zero_fill(batch.target_lr, batch.hr_shape).abs()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run with one data set at one scale, and one with two scales; the functions that join are each test's own."""
    root = tmp_path_factory.mktemp("joining")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        patch.setattr("mcsr_bench.api.make_report", lambda *_: ([], []))  # most of a run's time
        mb.run("zerofill", "toy", 2, plugins=TOYS, preset="quick", out=root / "one", jobs=1)
        mb.run("zerofill", "toy", [2, 4], plugins=TOYS, preset="quick", out=root / "two", jobs=1)
        yield root


def snapshot(root: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


def bundle(folder: Path) -> Bundle:
    place = BundleFiles(folder)
    record = place.read_record()
    assert record is not None
    return Bundle(folder, record)


def test_the_scores_are_those_of_evaluate_alone_and_the_method_it_equals(runs):
    joined = mb.evaluate(function, name="plain", out=runs / "one")
    alone = mb.evaluate(function, "toy", 2, plugins=TOYS)
    assert list(joined.columns) == list(alone.columns)
    for column in ("psnr@volume-max", "ssim@volume-max", "nmse@volume"):
        np.testing.assert_allclose(joined[column], alone[column], rtol=1e-10)
    volumes = mb.load_results(runs / "one").volumes
    one, other = (volumes[volumes["method"] == name] for name in ("plain", "zerofill"))
    assert list(one["volume_id"]) == list(other["volume_id"])
    np.testing.assert_allclose(one["psnr@volume-max"], other["psnr@volume-max"], atol=1e-5)


def test_the_bundle_is_whole_and_claims_no_more_than_is_known(runs):
    mb.evaluate(function, name="honest", out=runs / "one")
    found = bundle(runs / "one" / "toy" / "x2" / "honest" / "seed0")
    beside = bundle(runs / "one" / "toy" / "x2" / "zerofill" / "seed0")
    assert {p.name for p in found.folder.iterdir()} == {"trial.json", "predictions.h5", "volumes.csv", "slices.csv"}
    assert set(found.record.files) == {"predictions.h5", "volumes.csv", "slices.csv"}
    for name, value in found.record.files.items():
        assert files.file_digest(found.folder / name) == value
    with stored_predictions(found) as predictions:
        assert len(list(predictions)) == 4
    assert found.record.card == {"kind": "function", "name": "honest", "title": "honest"}
    assert "how it was made" in found.record.notes[0]
    assert (found.record.settings, found.record.profile, found.record.code) == ({}, {}, "")
    for same in ("data", "preset", "protocol", "protocol_hash", "dataset_settings", "metrics"):
        assert getattr(found.record, same) == getattr(beside.record, same)


def test_the_key_is_of_what_it_predicted(runs):
    keys = {}
    for name, scores in (("same-a", function), ("same-b", function), ("other", lambda batch: 0.9 * function(batch))):
        mb.evaluate(scores, name=name, out=runs / "one")
        keys[name] = bundle(runs / "one" / "toy" / "x2" / name / "seed0").record.key
    assert keys["same-a"] == keys["same-b"] != keys["other"]
    mb.evaluate(function, name="same-a", seed=1, out=runs / "one")
    assert bundle(runs / "one" / "toy" / "x2" / "same-a" / "seed1").record.key != keys["same-a"]


def test_report_stress_and_another_run_take_it_as_it_is(runs, tmp_path):
    mb.evaluate(function, name="shown", out=runs / "two", scale=4)
    before = snapshot(runs / "two" / "toy" / "x4" / "shown")
    tables, _ = mb.report(runs / "two", tmp_path / "report", formats="md")
    [table] = [t for t in tables if "x4" in t.name]
    assert [row[0].text for row in table.rows].count("shown") == 1
    assert any(note.startswith("shown: a function given to evaluate") for note in table.notes)
    again = mb.run("bicubic", "toy", [2, 4], plugins=TOYS, preset="quick", out=runs / "two", jobs=1)
    assert {"shown", "bicubic", "zerofill"} <= set(again.volumes["method"])
    assert snapshot(runs / "two" / "toy" / "x4" / "shown") == before
    with pytest.raises(mb.UserError, match="no finished trial of a trained method"):
        mb.stress(runs / "two", jobs=1)


def test_a_name_is_replaced_only_with_fresh(runs):
    mb.evaluate(function, name="mine", out=runs / "one")
    before = snapshot(runs / "one")
    with pytest.raises(
        mb.UserError, match=r"^name 'mine': .*seed0 holds the scores of a function .* or fresh=True to "
    ):
        mb.evaluate(function, name="mine", out=runs / "one")
    with pytest.raises(ZeroDivisionError):
        mb.evaluate(lambda _: 1 / 0, name="mine", out=runs / "one", fresh=True)
    assert snapshot(runs / "one") == before
    changed = mb.evaluate(lambda batch: 0.9 * function(batch), name="mine", out=runs / "one", fresh=True)
    volumes = mb.load_results(runs / "one").volumes
    np.testing.assert_allclose(volumes[volumes["method"] == "mine"]["psnr@volume-max"], changed["psnr@volume-max"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "zerofill"}, "name 'zerofill': there is a method of that name"),
        ({"name": "brain-sim"}, "name 'brain-sim': there is a dataset of that name"),
        ({"name": "all"}, "name 'all': the word means all methods"),
        ({"name": "../x"}, r"name '\.\./x': lower-case letters, digits and hyphens"),
        ({"name": "My Net"}, "name 'My Net': lower-case"),
        ({"scale": 4}, "scale 4: .* holds finished trials of toy at 2x; a function joins one of these"),
        ({"dataset": "brain-sim", "scale": 2}, "dataset brain-sim and scale 2: .* holds finished trials of toy at 2x"),
        ({"settings": {"patients": 5}}, "settings {'patients': 5}: .* holds finished trials of toy at 2x"),
        ({"protocol": "sanet-2021"}, "protocol sanet-2021: .* holds results of protocol mcsr-1; choose another out"),
        ({"data_root": "/tmp"}, "data_root .*tmp: .* holds results of data without a data_root"),
        ({"seed": -1}, "seed -1: a seed is between"),
        ({"out": "none"}, "none: no such folder of results"),
        ({"out": "two"}, "two: holds results of toy at 2x, toy at 4x; say which by dataset and scale"),
        ({"out": "cache"}, r"no experiment\.json there; is it the folder of a run\?"),
    ],
)
def test_what_does_not_fit_is_a_sentence_and_leaves_nothing(runs, change, sentence):
    before = snapshot(runs)
    asked = {"name": "new", "out": "one", **change}
    with pytest.raises(mb.UserError, match=sentence) as error:
        mb.evaluate(function, **{**asked, "out": runs / asked["out"]})
    assert len(str(error.value).splitlines()) == 1
    assert snapshot(runs) == before


def test_a_method_that_is_not_here_any_more_keeps_its_place(runs, tmp_path):
    place = runs / "one" / "toy" / "x2" / "zerofill" / "seed0"
    record = files.read_json(place / "trial.json")
    gone = runs / "one" / "toy" / "x2" / "gone" / "seed0"
    files.write_json(gone / "trial.json", {**record, "method": "gone"})
    with pytest.raises(mb.UserError, match=r"name 'gone': .* holds a trial of a method"):
        mb.evaluate(function, name="gone", out=runs / "one", fresh=True)
    files.remove_folder(gone.parent)


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        (lambda batch: batch.target_lr, ValueError, "predicted"),
        (lambda batch: function(batch) * float("nan"), ValueError, "NaN or Inf"),
        (
            lambda batch: {"target": function(batch), "auxiliary": batch.auxiliary.abs()},
            mb.UserError,
            "the auxiliary, too, which it was given at full resolution",
        ),
    ],
)
def test_a_function_that_fails_leaves_nothing(runs, wrong, error, sentence):
    before = snapshot(runs)
    with pytest.raises(error, match=sentence):
        mb.evaluate(wrong, name="wrong", out=runs / "one")
    assert snapshot(runs) == before
    assert not (runs / "one" / "toy" / "x2" / "wrong").exists()


def test_prepared_data_that_are_gone_are_named(runs, monkeypatch, tmp_path):
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(tmp_path))
    with pytest.raises(
        mb.UserError, match=r"the prepared data .* are not in .*: run the experiment again to build them"
    ):
        mb.evaluate(function, name="late", out=runs / "one")
