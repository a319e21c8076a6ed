"""Scores of many trials in one table: the same as file by file, in fewer pieces; and what is wrong is still said of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_run import draw, write_trial_of

from mcsr_bench.errors import DamagedFileError
from mcsr_bench.results import scores
from mcsr_bench.results.bundle import Bundle, BundleFiles
from mcsr_bench.results.load import load_results
from mcsr_bench.system import frames


def bundles(folder: Path) -> list[Bundle]:
    return list(load_results(folder).bundles)


def one_by_one(found: list[Bundle], file: str) -> pd.DataFrame:
    return pd.concat([scores._one(getattr(bundle, file), bundle) for bundle in found], ignore_index=True)


def changed(folder: Path, change: Any, file: str = "volumes") -> None:
    path = getattr(BundleFiles(folder), file)
    frames.write_csv(path, change(frames.read_csv(path, scores.WHERE)))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Trials of two methods, one scored without a metric, one with other columns, one with whole numbers, one not finished."""
    for seed in range(4):
        for method in ("bicubic", "edsr"):
            write_trial_of(tmp_path / "run", method, draw(method, 3, seed=seed), seed=seed)
    at = [p.folder for p in map(BundleFiles, sorted((tmp_path / "run").glob("*/x*/*/seed*")))]
    changed(at[0], lambda table: table.assign(**{"psnr@volume-max": 30}))
    changed(at[1], lambda table: table.assign(**{"psnr@volume-max": np.nan}))
    changed(at[2], lambda table: table.assign(extra=1.5))
    changed(at[3], lambda table: table.drop(columns="hfen"))
    record = BundleFiles(at[4]).read_record()
    assert record is not None
    del record.metrics["psnr@volume-max"]
    record.metrics["ssim@volume-max"] = 77
    Bundle(at[4], record).write()
    changed(at[5], lambda table: table.assign(patient_id=["007", "NA", "1e5"]))
    record = BundleFiles(at[6]).read_record()
    assert record is not None
    record.status = "failed"
    Bundle(at[6], record).write()
    return tmp_path / "run"


@pytest.mark.parametrize("file", ["volumes", "slices"])
def test_the_same_as_file_by_file(run: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [bundle for bundle in bundles(run) if bundle.record.status == "done"]
    expected = one_by_one(found, file)
    monkeypatch.setattr(scores, "_one", None)
    ours = scores.score_table(bundles(run), lambda bundle: getattr(bundle, file))
    pd.testing.assert_frame_equal(ours, expected, check_like=True)
    assert set(ours.seed) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda table: table.assign(**{"psnr@volume-max": "good"}), "psnr@volume-max holds text"),
        (lambda table: table.assign(role="reference"), "a role that is neither target nor auxiliary"),
        (lambda table: pd.concat([table, table[1:2]]), "holds volume p001-v0 .target. twice"),
        (lambda table: table.drop(columns="role"), "have no column role"),
        (lambda table: table.assign(seed=3), "a column seed, which the record gives"),
        (lambda table: table.assign(contrast=np.nan), "a row without contrast"),
    ],
)
def test_what_is_wrong_is_said_of_its_file(run: Path, change: Any, sentence: str) -> None:
    found = bundles(run)
    changed(found[3].folder, change)
    with pytest.raises(DamagedFileError, match=sentence) as caught:
        scores.score_table(found, lambda bundle: bundle.volumes)
    assert caught.value.path == found[3].volumes


def test_a_row_more_than_there_are_lines_is_not_another_trials(run: Path) -> None:
    """Without its last line break, a file's last row would run into the next file's first."""
    found = bundles(run)
    path = found[0].volumes
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    table = scores.score_table(found, lambda bundle: bundle.volumes)
    assert len(table) == 3 * 7
    path.write_bytes(path.read_bytes() + b"\n\n")
    assert len(scores.score_table(found, lambda bundle: bundle.volumes)) == 3 * 7
