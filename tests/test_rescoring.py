"""Finished trials from before a metric came or changed: their scores are completed from stored predictions, or stay empty."""

from pathlib import Path

import pandas as pd
import pytest

import mcsr_bench as mb
from mcsr_bench.metrics import METRICS, revisions
from mcsr_bench.results.bundle import BundleFiles
from mcsr_bench.system import files, frames

TOYS = Path(__file__).parent / "toys"


def run(out, **changes):
    return mb.run(["zerofill", "bicubic"], "toy", 2, preset="smoke", plugins=TOYS, out=out, jobs=1, **changes)


@pytest.fixture
def made(tmp_path, own_cache):
    """A run whose bicubic trial is of a time without HFEN, and with another way to compute SSIM."""
    run(tmp_path / "r")
    place = BundleFiles(tmp_path / "r" / "toy" / "x2" / "bicubic" / "seed0")
    whole = {path: path.read_bytes() for path in (place.volumes, place.slices, place.predictions)}
    for path in (place.volumes, place.slices):
        table = pd.read_csv(path).drop(columns="hfen")
        table["ssim@volume-max"] = 0.123
        frames.write_csv(path, table)
    record = files.read_json(place.trial)
    record["files"] |= {path.name: files.file_digest(path) for path in (place.volumes, place.slices)}
    del record["metrics"]["hfen"]
    record["metrics"]["ssim@volume-max"] = 0
    files.write_json(place.trial, record)
    return place, whole


def test_results_of_before_have_no_score_where_it_would_not_be_todays(made):
    place, _ = made
    found = mb.load_results(place.folder.parents[3])
    old = found.volumes[found.volumes["method"] == "bicubic"]
    assert old[["hfen", "ssim@volume-max"]].isna().all(axis=None)
    assert old.drop(columns=["hfen", "ssim@volume-max"]).notna().all(axis=None)
    assert found.slices[found.slices["method"] == "bicubic"]["hfen"].isna().all()
    assert found.volumes[found.volumes["method"] == "zerofill"].notna().all(axis=None)


def test_run_completes_them_from_stored_predictions_and_computes_nothing_else(made):
    place, whole = made
    before = place.predictions.stat().st_mtime_ns
    table = run(place.folder.parents[3]).volumes
    assert table[list(METRICS)].notna().all(axis=None)
    assert {path: path.read_bytes() for path in whole} == whole
    assert place.predictions.stat().st_mtime_ns == before
    record = place.read_record()
    assert record.metrics == revisions()
    assert record.files["volumes.csv"] == files.file_digest(place.volumes)
    assert record.files["slices.csv"] == files.file_digest(place.slices)


def test_without_predictions_the_columns_stay_empty_and_it_is_said(made):
    place, _ = made
    place.predictions.unlink()
    said = r"toy x2 bicubic seed 0: ssim@volume-max, hfen stays empty, because its predictions are gone"
    with pytest.warns(UserWarning, match=said):
        table = run(place.folder.parents[3]).volumes
    assert table[table["method"] == "bicubic"]["hfen"].isna().all()
    assert table[table["method"] == "bicubic"]["psnr@volume-max"].notna().all()


def test_without_the_prepared_data_too(made, monkeypatch, tmp_path):
    from mcsr_bench.experiment.rescoring import complete
    from mcsr_bench.results.bundle import Bundle

    place, _ = made
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(tmp_path / "elsewhere"))
    before = place.volumes.read_bytes()
    assert "run the experiment again to build them" in complete(Bundle(place.folder, place.read_record()))
    assert place.volumes.read_bytes() == before


def test_a_kill_between_the_tables_leaves_a_trial_that_is_scored_again(made, monkeypatch):
    place, whole = made
    write = frames.write_csv

    def killed(path, table):
        if path == place.slices:
            raise KeyboardInterrupt
        write(path, table)

    with monkeypatch.context() as patch:
        patch.setattr(frames, "write_csv", killed)
        with pytest.raises(KeyboardInterrupt):
            run(place.folder.parents[3])
    found = mb.load_results(place.folder.parents[3])
    assert found.trials.set_index("method")["status"].to_dict() == {"bicubic": "interrupted", "zerofill": "done"}
    assert set(found.slices["method"]) == {"zerofill"}
    run(place.folder.parents[3])
    assert {path: path.read_bytes() for path in whole} == whole


@pytest.mark.parametrize("name", ["predictions", "volumes"])
def test_scores_are_not_completed_from_what_is_damaged(made, name):
    place, whole = made
    path = getattr(place, name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=rf"{path.name}: is damaged .* it was set aside, and what wrote it runs again"):
        table = run(place.folder.parents[3]).volumes
    assert table[list(METRICS)].notna().all(axis=None)
    assert {path: path.read_bytes() for path in whole} == whole
