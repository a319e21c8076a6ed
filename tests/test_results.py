"""Reading results back, damaged ones included."""

import shutil
from pathlib import Path

import pytest

import mcsr_bench as mb
from mcsr_bench.errors import UserError
from mcsr_bench.metrics import COMPANIONS
from mcsr_bench.results.load import load_results

TOYS = Path(__file__).parent / "toys"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        mb.run(["zerofill", "bicubic"], "toy", [2, 4], preset="smoke", plugins=TOYS, out=root / "r", jobs=2)
    return root / "r"


def test_tables_have_the_promised_columns(run_folder):
    found = load_results(run_folder)
    identity = {"dataset", "scale", "method", "variant", "seed", "preset", "protocol", "protocol_hash", "track"}
    assert identity | {"status", "reason", "folder"} == set(found.trials.columns)
    assert identity | {"role", "contrast", "patient_id", "volume_id"} <= set(found.volumes.columns)
    assert set(found.slices.columns) == (set(found.volumes.columns) - set(COMPANIONS)) | {"slice_index"}
    assert set(COMPANIONS) <= set(found.volumes.columns)
    assert (len(found.trials), len(found.volumes), len(found.slices)) == (4, 16, 32)
    assert set(found.volumes["scale"]) == {2, 4}


def test_several_runs_are_read_together(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "other")
    both = load_results(run_folder, tmp_path / "other")
    assert len(both.trials) == 8
    assert [str(bundle.folder) for bundle in both.bundles] == list(both.trials["folder"])
    assert len(set(both.trials["folder"])) == 8


def test_a_run_that_is_given_twice_is_not_counted_twice(run_folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(run_folder)
    for again in (run_folder, str(run_folder) + "/.", link):
        with pytest.raises(UserError, match=r"is given twice"):
            load_results(run_folder, again)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: (f / "trial.json").write_text("{"), "not a readable trial record"),
        (lambda f: (f / "trial.json").write_text('{"status": "done"}'), "not a readable trial record"),
        (
            lambda f: (f / "trial.json").write_text(
                (f / "trial.json").read_text().replace('"schema_version": 2', '"schema_version": 1')
            ),
            r"trial\.json: was written by an earlier version of mcsr-bench \(schema_version 1, this one reads 2\); choose",
        ),
        (lambda f: (f / "volumes.csv").unlink(), "cannot be read"),
        (lambda f: (f / "volumes.csv").write_text(""), "cannot be read"),
        (lambda f: (f / "volumes.csv").write_text("a,b\n1,2\n"), "have no column contrast"),
        (
            lambda f: (f / "volumes.csv").write_text((t := (f / "volumes.csv").read_text()) + t.splitlines()[1] + "\n"),
            "twice",
        ),
    ],
)
def test_damaged_results_are_named(run_folder, tmp_path, damage, sentence):
    shutil.copytree(run_folder, tmp_path / "r")
    damage(tmp_path / "r" / "toy" / "x2" / "bicubic" / "seed0")
    with pytest.raises(UserError, match=sentence):
        load_results(tmp_path / "r")


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load_results(tmp_path / "none")
    with pytest.raises(UserError, match="holds no trial"):
        load_results(tmp_path)
