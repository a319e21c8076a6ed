"""What is kept of a run for the published table: enough for tables and the leaderboard, and nothing of the machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import board_runs as runs
import pandas as pd
import pytest
from publish import publish

import mcsr_bench as mb
from mcsr_bench.errors import DamagedFileError, UserError
from mcsr_bench.results.bundle import Bundle, BundleFiles
from mcsr_bench.system.files import read_json


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        yield runs.computed(root / "run")


def test_scores_and_hashes_are_kept_and_nothing_else(run: Path, tmp_path: Path) -> None:
    assert publish(run, tmp_path / "kept") == 3
    names = {path.name for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert names == {"experiment.json", "split.json", "trial.json", "volumes.csv", "slices.csv", "training.csv"}
    pd.testing.assert_frame_equal(mb.load_results(tmp_path / "kept").volumes, mb.load_results(run).volumes)
    [trained] = [b.record for b in mb.load_results(tmp_path / "kept").bundles if b.record.method == "toynet"]
    assert {"weights.safetensors", "predictions.h5"} <= trained.files.keys()
    assert str(tmp_path) not in (tmp_path / "kept" / "experiment.json").read_text()
    assert str(run.parent) not in (tmp_path / "kept" / "experiment.json").read_text()
    assert read_json(tmp_path / "kept" / "experiment.json")["out"] == "kept"


def test_a_report_of_it_has_every_trial(run: Path, tmp_path: Path) -> None:
    publish(run, tmp_path / "kept")
    mb.report(tmp_path / "kept", tmp_path / "report", plugins=runs.TOYS, formats="md")
    page = (tmp_path / "report" / "report.md").read_text()
    assert "3 trials: 3 done." in page
    assert "Left out" not in page


def test_what_a_wrong_auxiliary_cost_is_kept(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "stressed")
    [bundle] = [b for b in mb.load_results(tmp_path / "stressed").bundles if b.record.method == "toynet"]
    bundle.stress.write_text("perturbation,patient_id\n")
    publish(tmp_path / "stressed", tmp_path / "kept")
    [kept] = (tmp_path / "kept").rglob("stress.csv")
    assert kept.relative_to(tmp_path / "kept") == bundle.stress.relative_to(tmp_path / "stressed")
    assert kept.read_bytes() == bundle.stress.read_bytes()


def test_what_is_published_in_parts_is_joined(run: Path, tmp_path: Path) -> None:
    """A table whose seeds were trained on several days."""
    publish(run, tmp_path / "kept")
    runs.computed(tmp_path / "later", seeds=(1, 2))
    publish(tmp_path / "later", tmp_path / "part")
    joined = mb.merge([tmp_path / "kept", tmp_path / "part"], tmp_path / "both")
    assert {(b.record.method, b.record.seed) for b in joined.bundles} == {
        *(("toynet", seed) for seed in (0, 1, 2)),
        *((name, seed) for name in ("zerofill", "bicubic") for seed in (0, 1, 2)),
    }
    assert read_json(tmp_path / "both" / "experiment.json")["seeds"] == [0, 1, 2]
    logs = [
        {p.relative_to(tmp_path / of): p.read_bytes() for p in (tmp_path / of).rglob("training.csv")}
        for of in ("kept", "part", "both")
    ]
    assert len(logs[0]) == 1
    assert logs[2] == logs[0] | logs[1]  # a report leaves a training without its log out
    [one] = [path for path in (tmp_path / "kept").rglob("volumes.csv") if "toynet" in str(path)]
    one.unlink()
    with pytest.raises(DamagedFileError, match=r"volumes\.csv: is missing"):
        mb.merge([tmp_path / "kept", tmp_path / "part"], tmp_path / "damaged")


def test_the_leaderboard_takes_it_and_the_run_vouches(run: Path, tmp_path: Path) -> None:
    publish(run, tmp_path / "kept")
    site = mb.leaderboard([tmp_path / "kept", run], tmp_path / "site", plugins=runs.TOYS, jobs=1).parent
    [board] = [path for path in (site / "data").iterdir() if path.is_dir()]
    assert '\\"level\\":\\"verified\\"' in (board / "board.js").read_text()
    assert '\\"level\\":\\"claimed\\"' not in (board / "board.js").read_text()
    assert list(board.glob("v0-m*.js"))


def test_what_has_not_finished_is_not_published(run: Path, tmp_path: Path) -> None:
    place = next(place for place in map(BundleFiles, run.glob("*/x*/*/seed*")) if place.folder.parent.name == "bicubic")
    record = place.read_record()
    assert record is not None
    Bundle(place.folder, record.model_copy(update={"status": "failed"})).write()
    with pytest.raises(UserError, match="bicubic/seed0: is failed; run the same command again"):
        publish(run, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
