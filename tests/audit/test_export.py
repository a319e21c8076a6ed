"""`export`, the signature of a score, and the schema of a record."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import typer
import yaml
from fake_run import data_record, write_trial_of

import mcsr_bench as mb
from mcsr_bench.cli import app
from mcsr_bench.metrics import METRICS
from mcsr_bench.results.identity import signature

PSNR = {("edsr", 0): (30.0, 31.0), ("edsr", 1): (32.0, 33.0), ("zerofill", 0): (28.0, 27.0)}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for (method, seed), psnr in PSNR.items():
        write_trial_of(tmp_path / "r", method, psnr, seed=seed, variant="a=1" if method == "edsr" else "")
    return tmp_path / "r"


def test_a_signature_is_one_line_with_all_that_makes_scores_comparable(run):
    record = mb.load_results(run).records[0]
    protocol = f"mcsr-1:{record.protocol_hash}"
    data = f"split:{record.data.split_hash}|{record.dataset}:{record.data.fingerprint[:12]}"
    assert signature(record, "psnr@high") == f"psnr@high:2|{protocol}|{data}|mcsr-bench:0.0"


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": dict.fromkeys(METRICS, 9)},
        {"protocol_hash": "0"},
        {"protocol": "sanet-2021"},
        {"versions": {"mcsr-bench": "9"}},
        {"data": data_record(patients=2, split_hash="other")},
        {"data": data_record(patients=2, fingerprint="other")},
    ],
)
def test_it_differs_where_scores_may_not_be_compared(run, tmp_path, changes):
    write_trial_of(tmp_path / "other", "zerofill", (1.0, 2.0), **changes)
    [one] = [r for r in mb.load_results(run).records if r.method == "zerofill"]
    [other] = mb.load_results(tmp_path / "other").records
    assert signature(one, "hfen") != signature(other, "hfen")


def test_every_score_of_a_run_has_one(run):
    results = mb.load_results(run)
    assert len(results.signatures) == len(PSNR) * len(METRICS)
    joined = results.volumes.merge(results.signatures[results.signatures["metric"] == "hfen"], how="left")
    assert joined["signature"].str.startswith("hfen:1|").all()


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_tables_come_back_as_they_were(run, tmp_path, format):
    written = mb.export(run, format, tmp_path / "out")
    results = mb.load_results(run)
    assert [path.name for path in written] == [f"{t}.{format}" for t in ("trials", "volumes", "slices", "signatures")]
    read = {"csv": lambda path: pd.read_csv(path, keep_default_na=False, na_values=[""]), "parquet": pd.read_parquet}
    for path in written:
        expected = getattr(results, path.stem)
        found = read[format](path)
        for name in {"variant", "reason"} & set(found):
            found[name] = found[name].astype(object).fillna("").astype(expected[name].dtype)
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in written)


def test_results_write_parquet_themselves(run, tmp_path):
    [_, volumes, *_] = mb.load_results(run).to_parquet(tmp_path)
    assert list(pd.read_parquet(volumes)["psnr@volume-max"]) == [value for psnr in PSNR.values() for value in psnr]


def test_without_pyarrow_the_line_that_installs_it_is_said(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(mb.UserError, match=r'Parquet needs pyarrow: pip install "mcsr-bench\[parquet\]"'):
        mb.export(run, "parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_benchopt_gets_a_row_per_trial(run, tmp_path):
    [path] = mb.export(run, "benchopt", tmp_path)
    table = pd.read_csv(path).set_index(["solver_name", "idx_rep"])
    means = {
        (s.split("@")[0].split("[")[0], rep): row["objective_psnr@volume-max"] for (s, rep), row in table.iterrows()
    }
    assert means == {where: sum(psnr) / 2 for where, psnr in PSNR.items()}
    row = table.loc[("edsr@a=1[preset=small]", 1)]
    assert row["objective_psnr@volume-max_std"] == pytest.approx(0.5**0.5)
    assert (row["time"], row["stop_val"], row["p_dataset_scale"], row["base_seed"]) == (11.0, 1, 2, 1)
    # what benchopt 1.10 needs to merge and plot
    assert {"objective_name", "dataset_name", "sampling_strategy", "run_date"} <= set(table.reset_index())


def test_the_hub_gets_a_folder_per_method(run, tmp_path):
    written = mb.export(run, "hf-eval", tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in written]
    dataset = mb.load_results(run).records[0].dataset
    assert names == [f"{m}/.eval_results/{dataset}-x2.yaml" for m in ("edsr@a=1", "zerofill")]
    entries = yaml.safe_load(written[0].read_text())
    assert len(entries) == len(METRICS)
    [psnr] = [e for e in entries if e["dataset"]["task_id"] == "mcsr-1-x2-psnr-volume-max"]
    assert psnr["value"] == 31.5
    assert psnr["dataset"]["id"] == f"mcsr-bench/{dataset}"
    assert psnr["notes"].startswith("preset small; test patients: 2; seeds: 0, 1; psnr@volume-max:1|mcsr-1:")


@pytest.mark.parametrize("format", ["benchopt", "hf-eval"])
def test_smoke_is_not_a_result(tmp_path, format):
    write_trial_of(tmp_path / "r", "edsr", (30.0,), preset="smoke")
    with pytest.raises(mb.UserError, match="trials of preset smoke are not results"):
        mb.export(tmp_path / "r", format, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(run, tmp_path, here):
    out = here("export", run, "--format", "csv", "--to", tmp_path / "out")
    assert out.returncode == 0
    assert out.stdout.splitlines()[0] == str(tmp_path / "out" / "trials.csv")
    for arguments, said in (
        (("--format", "parket", "--to", tmp_path / "o"), "no export format 'parket'; did you mean 'parquet'?"),
        (("--format", "csv", "--to", tmp_path / "out" / "trials.csv"), "is a file, not a folder"),
    ):
        out = here("export", run, *arguments)
        assert out.returncode == 2
        assert said in out.stderr


def test_the_example_workflow_runs_commands_that_there_are_and_nothing_of_the_pull_request():
    flow = yaml.safe_load((ROOT / "docs" / "verify-submission.yml").read_text(encoding="utf-8"))
    assert flow["permissions"] == {"contents": "read", "pull-requests": "write"}
    steps = flow["jobs"]["verify"]["steps"]
    scripts = "\n".join(step.get("run", "") for step in steps)
    assert subprocess.run(["bash", "-n"], input=scripts, text=True, check=False).returncode == 0
    assert "${{" not in scripts  # what others wrote reaches the shell as variables alone
    assert [step["with"].get("ref") for step in steps if step.get("with", {}).get("path") == "base"] == [None]
    known = typer.main.get_command(app).commands
    found = re.findall(r"mcsr-bench ([a-z]+)((?: +[^;&|>]+)?)", scripts)
    assert {name for name, _ in found} == {"verify", "merge", "report"}
    for name, words in found:
        assert set(re.findall(r"--[a-z-]+", words)) <= {o for p in known[name].params for o in p.opts} - {"--plugins"}


def test_the_schema_is_the_one_in_the_documentation_and_describes_records(run, here):
    out = here("schema")
    assert out.returncode == 0
    schema = json.loads(out.stdout)
    assert schema == mb.schema() == json.loads((ROOT / "docs" / "trial.schema.json").read_text(encoding="utf-8"))
    record = mb.load_results(run).records[0].model_dump(mode="json")
    assert set(schema["required"]) <= set(record) == set(schema["properties"])
    data = schema["$defs"]["DataRecord"]
    assert set(data["required"]) <= set(record["data"]) == set(data["properties"])
    assert "SHA-256 of the files" in schema["properties"]["files"]["description"]
