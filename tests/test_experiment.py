"""The grid: bundles, resuming, failed trials that harm nobody, and the Python interface."""

import shutil
import socket
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

import mcsr_bench as mb
from mcsr_bench.metrics import COMPANIONS, METRICS, revisions
from mcsr_bench.system import files

TOYS = Path(__file__).parent / "toys"


@pytest.fixture(autouse=True)
def cache(own_cache):
    return own_cache


def run(out, methods=("zerofill", "toynet"), jobs=1, **kwargs):
    return mb.run(methods, "toy", 2, plugins=TOYS, out=out, jobs=jobs, **{"preset": "smoke", **kwargs})


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """The folder ``r`` of a finished run, and its cache."""
    root = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        run(root / "r")
    return root


@pytest.fixture
def finished(once, tmp_path):
    """A finished run of this test alone."""
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "r"


@pytest.fixture
def workers_for_trials(once, tmp_path, request):
    """Jobs run in worker processes from now on, and the data are there."""
    shutil.copytree(once / "cache", tmp_path / "cache")
    request.getfixturevalue("workers")


def snapshot(out):
    return {p.relative_to(out): (p.stat().st_mtime_ns, p.stat().st_size) for p in out.glob("toy/**/*") if p.is_file()}


def test_a_bundle_holds_what_the_design_says(finished):
    results = mb.load_results(finished)
    assert list(results.trials["status"]) == ["done", "done"]
    folder = finished / "toy" / "x2" / "toynet" / "seed0"
    expected = {
        "trial.json",
        "volumes.csv",
        "slices.csv",
        "training.csv",
        "weights.safetensors",
        "predictions.h5",
        "worker.log",
    }
    assert {p.name for p in folder.iterdir()} == expected
    record = files.read_json(folder / "trial.json")
    for name, value in record["files"].items():
        assert files.file_digest(folder / name) == value
    assert record["protocol"] == "mcsr-1"
    assert len(record["protocol_hash"]) == 12
    assert record["schema_version"] == 2
    assert record["metrics"] == revisions()
    assert (record["host"], record["pid"] > 0) == (socket.gethostname(), True)
    assert record["started"] <= record["heartbeat"]
    assert record["data"]["patients"] == {"train": 4, "validation": 2, "test": 4}
    volumes = pd.read_csv(folder / "volumes.csv")
    assert list(volumes.columns) == ["patient_id", "volume_id", "role", "contrast", *METRICS, *COMPANIONS]
    assert len(volumes) == 4
    assert len(pd.read_csv(folder / "slices.csv")) == 8
    assert (finished / "experiment.json").is_file()
    assert (finished / "report" / "index.html").is_file()


def test_stored_predictions_give_the_scores_in_the_csv(finished):
    results = mb.load_results(finished)
    store = mb.load_dataset("toy", plugins=TOYS)
    for name in ("zerofill", "toynet"):
        folder = finished / "toy" / "x2" / name / "seed0"
        volumes = results.volumes[results.volumes["method"] == name].set_index("volume_id")
        with h5py.File(folder / "predictions.h5") as file:
            for case in store.cases():
                if case.volume_id not in volumes.index:
                    continue
                truth = np.abs(np.stack([t for t, _ in store.read(case)]).astype(np.complex128))
                sr = np.abs(file[case.volume_id]["target"][...].astype(np.complex128))
                psnr = 10 * np.log10(truth.max() ** 2 / np.mean((sr - truth) ** 2))
                assert volumes.loc[case.volume_id, "psnr@volume-max"] == pytest.approx(psnr, abs=1e-6)


def test_the_same_command_again_runs_nothing(finished):
    before = snapshot(finished)
    run(finished)
    assert snapshot(finished) == before
    run(finished, methods=("zerofill", "toynet", "bicubic"))
    after = snapshot(finished)
    assert {k: v for k, v in after.items() if k in before} == before
    assert len(after) > len(before)


def test_fresh_starts_the_named_trials_over_and_no_others(finished):
    before = snapshot(finished)
    run(finished, methods=("toynet",), fresh=True)
    after = snapshot(finished)
    changed = {k.parts[2] for k in before if before[k] != after[k]}
    assert changed == {"toynet"}


def test_two_runs_give_byte_identical_weights_and_scores(finished, tmp_path):
    run(tmp_path / "b")
    for name in ("weights.safetensors", "volumes.csv", "slices.csv", "training.csv"):
        one, two = (out / "toy" / "x2" / "toynet" / "seed0" / name for out in (finished, tmp_path / "b"))
        assert one.read_bytes() == two.read_bytes(), name


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("raise", "RuntimeError: the toy fails on purpose"), ("nan", "not finite")],
)
def test_a_failed_trial_is_recorded_and_the_rest_go_on(tmp_path, fault, reason):
    assert_others_go_on(tmp_path, fault, reason)
    again = run(tmp_path / "r", methods=("toynet", "zerofill", "bicubic"), settings={"toynet": {"fault": ""}})
    assert "toynet" in set(again.volumes["method"])


@pytest.mark.usefixtures("workers_for_trials")
def test_a_killed_trial_is_recorded_and_the_rest_go_on(tmp_path):
    assert_others_go_on(tmp_path, "kill", "its process was ended by SIGKILL (out of memory?); see")


def assert_others_go_on(tmp_path, fault, reason):
    settings = {"toynet": {"fault": fault}}
    results = run(tmp_path / "r", methods=("toynet", "zerofill", "bicubic"), jobs=1, settings=settings)
    status = results.trials.set_index("method")["status"].to_dict()
    assert status == {"toynet": "failed", "zerofill": "done", "bicubic": "done"}
    assert reason in results.trials.set_index("method")["reason"]["toynet"]
    assert set(results.volumes["method"]) == {"zerofill", "bicubic"}


def test_settings_make_a_variant_of_their_own(finished, tmp_path):
    results = run(finished, settings={"toynet": {"width": 6}, "toy": {"patients": 8}})
    assert sorted(p.name.split("@")[0] for p in finished.glob("toy*/x2/toynet*")) == ["toynet", "toynet"]
    assert len(results.trials) == 4
    by_variant = {record.variant: record for record in results.records if record.method == "toynet"}
    [record] = [record for variant, record in by_variant.items() if variant]
    assert (record.changes, record.dataset_changes) == ({"width": 6}, {"patients": 8})
    assert record.label == "toy (patients=8) x2 toynet (width=6) seed 0"
    assert by_variant[""].label == "toy x2 toynet seed 0"
    same = run(tmp_path / "s", settings={"toynet": {"width": 4}})  # the preset's own value
    assert list(same.trials["variant"]) == ["", ""]


def test_another_preset_or_protocol_in_the_same_folder_is_refused(finished):
    with pytest.raises(mb.UserError, match="holds results of preset smoke, this run has preset quick"):
        run(finished, preset="quick")
    with pytest.raises(mb.UserError, match="holds results of protocol mcsr-1"):
        run(finished, protocol="sanet-2021")


def test_other_data_under_a_finished_trial_are_refused(finished):
    path = finished / "toy" / "x2" / "zerofill" / "seed0" / "trial.json"
    record = files.read_json(path)
    files.write_json(path, {**record, "key": "0" * 16})
    with pytest.raises(mb.UserError, match="other data or another version"):
        run(finished)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_an_earlier_version_is_refused_in_one_sentence_and_left_as_it_is(finished, fresh):
    path = finished / "experiment.json"
    asked = files.read_json(path)
    del asked["schema_version"]
    files.write_json(path, asked)
    before = snapshot(finished)
    with pytest.raises(
        mb.UserError, match=r"experiment\.json: was written by an earlier version .* choose another folder"
    ):
        run(finished, fresh=fresh)
    assert snapshot(finished) == before


def test_bad_data_leave_no_folder_behind(tmp_path):
    with pytest.raises(mb.UserError, match="NaN"):
        run(tmp_path / "deep" / "r", settings={"toy": {"fault": "nan"}})
    assert not (tmp_path / "deep").exists()


def test_a_stage_that_is_there_is_not_run_again(finished):
    folder = finished / "toy" / "x2" / "toynet" / "seed0"
    scores = (folder / "volumes.csv").read_bytes()
    record = files.read_json(folder / "trial.json")
    files.write_json(folder / "trial.json", {**record, "status": "running"})
    (folder / "volumes.csv").unlink()
    weights = (folder / "weights.safetensors").stat().st_mtime_ns
    predictions = (folder / "predictions.h5").stat().st_mtime_ns
    run(finished)
    assert (folder / "volumes.csv").read_bytes() == scores
    assert (folder / "weights.safetensors").stat().st_mtime_ns == weights
    assert (folder / "predictions.h5").stat().st_mtime_ns == predictions


def test_both_protocols_run_and_zero_filling_scores_alike_under_both(tmp_path):
    one = run(tmp_path / "a", methods=("zerofill", "bicubic"))
    two = run(tmp_path / "b", methods=("zerofill", "bicubic"), protocol="sanet-2021")
    a, b = (r.volumes.set_index(["method", "volume_id"])["psnr@volume-max"] for r in (one, two))
    shared = a.index.intersection(b.index)
    assert len(shared) > 0
    np.testing.assert_allclose(a[shared], b[shared], atol=0.5)  # the clamp cuts a little of the reference


def test_evaluate_scores_a_function_that_nobody_registered():
    from mcsr_bench.kspace import zero_fill
    from mcsr_bench.plugin.registry import add_plugins

    add_plugins(TOYS)
    scores = mb.evaluate(lambda batch: zero_fill(batch.target_lr, batch.hr_shape), dataset="toy", scale=2)
    assert list(scores.columns) == ["patient_id", "volume_id", "role", "contrast", *METRICS, *COMPANIONS]
    assert len(scores) == 4
    assert (scores["kspace-error"] < 1e-5).all()
    arrays = mb.evaluate(lambda batch: np.zeros(batch.auxiliary.shape), dataset="toy", scale=2)
    assert (arrays["nmse@volume"] == 1).all()
    with pytest.raises(ValueError, match="predicted"):
        mb.evaluate(lambda batch: batch.target_lr, dataset="toy", scale=2)


def test_methods_never_see_the_target_when_predicting():
    from mcsr_bench.plugin.registry import add_plugins

    add_plugins(TOYS)
    seen = []

    def look(batch):
        seen.append(batch.target)
        return batch.auxiliary

    mb.evaluate(look, dataset="toy", scale=2)
    assert seen == [None] * 8
