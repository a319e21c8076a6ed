"""`merge`: runs of several machines in one folder, and what is refused by name."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_run import data_record, write_trial_of

import mcsr_bench as mb
from mcsr_bench.experiment.asking import experiment_spec
from mcsr_bench.results.bundle import BundleFiles, TrialRecord
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files
from mcsr_bench.system.progress import Listener

PSNR = (30.0, 31.0, 32.0)


def made(out: Path, *methods: str, asked: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A run with trials that nobody computed."""
    for method in methods:
        write_trial_of(out, method, PSNR, **changes)
    spec = experiment_spec(methods, preset="small", out=out, **(asked or {}))
    values = spec.asked()
    own = tuple(name for name in spec.against if name in methods) or methods[:1]
    files.write_json(RunFolder(out).experiment, values | {"references": {"": own}})
    return out


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return made(tmp_path / "a", "zerofill", "edsr"), made(tmp_path / "b", "sanet", seed=1)


def place(run: Path, method: str) -> BundleFiles:
    return next(p for p in RunFolder(run).trials() if p.folder.parent.name == method)


def rewrite(run: Path, method: str, **changes: Any) -> None:
    """Other values in a record; those of ``data`` beside those that are there."""
    path = place(run, method).trial
    values = files.read_json(path)
    files.write_json(path, values | changes | {"data": values["data"] | changes.get("data", {})})


def test_all_trials_are_in_the_new_folder_and_read_as_before(two, tmp_path):
    results = mb.merge(two, tmp_path / "m")
    assert list(results.trials["method"]) == ["edsr", "sanet", "zerofill"]
    before = mb.load_results(*two)
    order = ["method", "patient_id"]
    for one, other in ((results.volumes, before.volumes), (results.slices, before.slices)):
        pd.testing.assert_frame_equal(*(t.sort_values(order).reset_index(drop=True) for t in (one, other)))
    for run in two:
        for path in run.rglob("seed*/*"):
            assert (tmp_path / "m" / path.relative_to(run)).read_bytes() == path.read_bytes()


def test_the_experiment_is_that_of_all(two, tmp_path):
    asked = files.read_json(RunFolder(two[0]).experiment)
    asked["data"] |= {"plugins": ["/theirs"], "root": "/theirs/data"}
    files.write_json(RunFolder(two[0]).experiment, asked)
    mb.merge(two, tmp_path / "m")
    merged = files.read_json(RunFolder(tmp_path / "m").experiment)
    assert merged["methods"] == ["zerofill", "edsr", "sanet"]
    assert (merged["data"]["plugins"], merged["data"]["root"]) == ([], None)
    assert merged["references"] == {"": ["zerofill"]}  # sanet stood in where zerofill was not run


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocol_hash": "0" * 12}, "another protocol (mcsr-1:000000000000)"),
        ({"preset": "quick"}, "another preset (quick)"),
        ({"data": {"fingerprint": "other"}}, "another fingerprint of the data (other)"),
        ({"data": {"split_hash": "other"}}, "another split (other)"),
        ({"data": {"preparation": {"register": "affine"}}}, "another preparation of the data ({'register': 'affine'})"),
        ({"data": {"revisions": {"dataset": 9}}}, "another revision of the data's reading ({'dataset': 9})"),
        ({"data": {"code": "c0de"}}, "another version of the dataset plugin's code (c0de)"),
    ],
)
def test_what_may_not_be_mixed_is_refused_by_name_and_nothing_is_written(two, tmp_path, changes, said):
    rewrite(two[1], "sanet", **changes)
    with pytest.raises(mb.UserError) as error:
        mb.merge(two, tmp_path / "m")
    assert str(error.value).startswith(f"{place(two[1], 'sanet').folder}: has {said} than {two[0]}/")
    assert str(error.value).endswith("such results are never mixed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"code": "c0de"}, "another version of the method's code (c0de)"),
        ({"card": {"name": "edsr", "revision": 7}}, "another revision of the method (7)"),
    ],
)
def test_a_method_of_two_versions_is_refused(tmp_path, changes, said):
    runs = made(tmp_path / "a", "edsr"), made(tmp_path / "b", "edsr", seed=1)
    rewrite(runs[1], "edsr", **changes)
    with pytest.raises(mb.UserError, match=r"seed1: has ") as error:
        mb.merge(runs, tmp_path / "m")
    assert said in str(error.value)


def test_data_sets_need_not_be_alike(two, tmp_path):
    made(tmp_path / "c", "zerofill", data=data_record("other", patients=3, fingerprint="f2", split_hash="s2"))
    merged = mb.merge([*two, tmp_path / "c"], tmp_path / "m")
    assert sorted(merged.trials["dataset"].value_counts()) == [1, 3]


def test_one_trial_in_two_runs_is_taken_once_if_it_is_the_same(two, tmp_path):
    shutil.copytree(two[0], tmp_path / "c")
    assert len(mb.merge([*two, tmp_path / "c"], tmp_path / "m").trials) == 3
    values = files.read_json(place(tmp_path / "c", "edsr").trial)
    files.write_json(place(tmp_path / "c", "edsr").trial, values | {"key": "0" * 16})
    with pytest.raises(mb.UserError, match=r"c/.*edsr/seed0: is another result of the trial in .*a/"):
        mb.merge([*two, tmp_path / "c"], tmp_path / "n")


def test_a_damaged_file_is_named(two, tmp_path):
    here = place(two[1], "sanet")
    values = files.read_json(here.trial)
    values["files"] = {"volumes.csv": files.file_digest(here.volumes)}
    files.write_json(here.trial, values)
    here.volumes.write_bytes(here.volumes.read_bytes().replace(b"30", b"40"))
    with pytest.raises(mb.UserError, match=r"volumes.csv: is damaged"):
        mb.merge(two, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_what_is_not_finished_is_left_out_and_it_is_said(two, tmp_path):
    rewrite(two[0], "edsr", status="failed", reason="it broke")
    with pytest.warns(UserWarning, match=r"edsr/seed0: is failed, and left out"):
        assert set(mb.merge(two, tmp_path / "m").trials["method"]) == {"zerofill", "sanet"}


def test_no_link_of_a_bundle_is_followed(two, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    place(two[1], "sanet").log.symlink_to(secret)
    mb.merge(two, tmp_path / "m")
    assert "mine" not in {p.read_text() for p in (tmp_path / "m").rglob("worker.log")}


def test_settings_that_differ_stop_a_suite(tmp_path):
    asked = {"suite": "table2", "settings": {"edsr": {"width": 8}}}
    runs = made(tmp_path / "a", "edsr", asked=asked), made(tmp_path / "b", "zerofill", asked={})
    values = files.read_json(RunFolder(runs[1]).experiment)
    files.write_json(RunFolder(runs[1]).experiment, values | {"settings": {"edsr": {"width": 16}}})
    with pytest.raises(mb.UserError, match=r"a: has other settings of edsr \(--set\) than the other runs"):
        mb.merge(runs, tmp_path / "m")


def test_the_command(two, tmp_path, here):
    (tmp_path / "m").mkdir()
    out = here("merge", *two, "--to", tmp_path / "m")
    assert (out.returncode, out.stdout) == (0, f"{tmp_path / 'm'}\n")
    assert out.stderr == "3 trials of 2 runs\n"
    for arguments, said in (
        ((*two, "--to", tmp_path / "m"), "is there and not an empty folder"),
        ((two[0], two[0], "--to", tmp_path / "n"), "is given twice"),
        ((tmp_path / "nowhere", "--to", tmp_path / "n"), "no such folder of results"),
    ):
        out = here("merge", *arguments)
        assert out.returncode == 2
        assert said in out.stderr


def test_records_are_copied_as_they_are(two, tmp_path):
    mb.merge(two, tmp_path / "m", listener=Listener())
    for place in RunFolder(tmp_path / "m").trials():
        assert isinstance(place.read_record(), TrialRecord)
