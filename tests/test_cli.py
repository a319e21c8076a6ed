"""The command line as people use it: real commands, exit codes, one sentence for each mistake, nothing half-written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcsr_bench.errors import UserError

TOYS = Path(__file__).parent / "toys"


@pytest.fixture
def cli(tmp_path):
    def call(*arguments, **environment):
        env = {**os.environ, "MCSR_BENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", **environment}
        command = [sys.executable, "-m", "mcsr_bench", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=Path(__file__).parent.parent)

    return call


def toy(out, *more):
    return ("run", "--dataset", "toy", "--plugins", TOYS, "--preset", "smoke", "--scale", "2", "--out", out, *more)


def test_run_prints_the_table_and_resumes(cli, here, tmp_path):
    out = cli(*toy(tmp_path / "r", "--methods", "zerofill,bicubic,toynet", "--jobs", 1))
    assert out.returncode == 0, out.stderr
    for name in ("zerofill", "bicubic", "toynet", "mcsr-1", "smoke"):
        assert name in out.stdout
    assert "3/3" in out.stderr
    assert "\x1b" not in out.stdout
    again = here(*toy(tmp_path / "r", "--methods", "zerofill,bicubic,toynet"))
    assert again.returncode == 0
    assert "3 of 3 trials are there" in again.stderr
    assert again.stdout == out.stdout


def test_a_failed_trial_gives_exit_code_1_and_its_reason(here, tmp_path):
    out = here(*toy(tmp_path / "r", "--methods", "zerofill,toynet", "--set", "toynet.fault=raise"))
    assert out.returncode == 1
    assert "the toy fails on purpose" in out.stderr
    assert "Traceback" not in out.stderr
    assert "zerofill" in out.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--methods", "sanett"), "no method 'sanett'; did you mean 'sanet'?"),
        (("--dataset", "brain-sin"), "no dataset 'brain-sin'; did you mean 'brain-sim'?"),
        (("--dataset", "fastmri"), "--data-root is missing"),
        (("--dataset", "fastmri", "--data-root", "/no/such"), "--data-root /no/such: no such folder"),
        (("--protocol", "mcsr-7"), "no protocol 'mcsr-7'; did you mean 'mcsr-1'?"),
        (("--preset", "quik", "--methods", "toynet"), "--preset quik: method 'toynet' has the presets quick"),
        (("--scale", "7"), "--scale 7: protocol mcsr-1 allows the scales 2, 3, 4, 8"),
        (("--scale", "0"), "--scale 0: protocol"),
        (("--scale", "-2"), "--scale -2: protocol"),
        (("--scale", "two"), "--scale two: whole numbers"),
        (("--seeds", "-1"), "--seeds -1: a seed is between 0 and"),
        (("--set", "toynet.widht=3"), "no setting of toynet 'widht'; did you mean 'width'?"),
        (("--set", "toynet.learning_rate=-1"), "--set toynet.learning_rate=-1: learning_rate must be greater than 0"),
        (("--set", "toynet.batch_size=many"), "--set toynet.batch_size=many: batch_size"),
        (("--set", "toynett.width=3"), "no method or dataset 'toynett'; did you mean 'toynet'?"),
        (("--set", "edsr.width=3"), "'edsr' is not part of this run"),
        (("--set", "width=3"), "--set width=3: the form is NAME.KEY=VALUE"),
        (("--set", "toy.patients=2"), "at least 3 patients"),
        (("--set", "toy.fault=nan"), "NaN or Inf"),
        (("--set", "toy.size=8"), "too small for scale 2"),
        (("--device", "cuda"), "--device cuda: torch sees no CUDA device"),
        (("--device", "tpu"), "--device tpu: allowed are auto, cpu, cuda"),
        (("--against", "sanet"), "--against sanet: that method is not part of this run"),
        (("--plugins", "/no/such/folder"), "--plugins /no/such/folder: no such folder"),
        (("--jobs", "-3"), "--jobs -3"),
    ],
)
def test_a_users_mistake_gets_a_sentence_and_exit_code_2_and_writes_nothing(here, tmp_path, arguments, sentence):
    import torch

    if arguments == ("--device", "cuda") and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    out = here(*toy(tmp_path / "r", "--methods", "zerofill,toynet", *arguments))
    assert out.returncode == 2, out.stdout + out.stderr
    assert sentence in out.stderr
    assert "Traceback" not in out.stderr
    told = [line for line in out.stderr.splitlines() if not line.startswith("preparing toy")]
    assert len(told) == 1
    assert not (tmp_path / "r").exists()
    assert out.stdout == ""


def test_an_output_that_cannot_be_written_gets_a_sentence(here, tmp_path):
    (tmp_path / "file").write_text("x")
    out = here(*toy(tmp_path / "file", "--methods", "zerofill"))
    assert (out.returncode, out.stderr) == (2, f"mcsr-bench: --out {tmp_path / 'file'}: is a file, not a folder\n")
    out = here(*toy(tmp_path / "file" / "below", "--methods", "zerofill"))
    assert out.returncode == 2
    assert "not a folder" in out.stderr


def test_a_full_disk_gets_a_sentence(cli, tmp_path):
    """A real one: a file-size limit makes every write of more than a page fail, as a full disk does."""
    command = f"ulimit -f 8; exec {sys.executable} -m mcsr_bench " + " ".join(
        map(str, toy(tmp_path / "r", "--methods", "zerofill", "--set", "toy.size=64", "--jobs", "1"))
    )
    # SIGXFSZ is what the limit sends; Python ignores it and sees EFBIG.
    out = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "MCSR_BENCH_CACHE": str(tmp_path / "c")},
    )
    assert out.returncode == 2, out.stderr
    assert len(out.stderr.strip().splitlines()) <= 2
    assert "cannot write" in out.stderr
    assert "0 of 10 volumes are prepared and kept" in out.stderr
    assert [path for path in (tmp_path / "c" / "stores").rglob("*") if path.is_file()] == []


def test_debug_shows_the_trace(here, tmp_path):
    with pytest.raises(UserError, match="no method 'sanett'"):
        here(*toy(tmp_path / "r", "--methods", "sanett", "--debug"))


def test_list_is_json_with_the_promised_keys(here):
    out = here("list", "methods", "--json", "--plugins", TOYS)
    rows = json.loads(out.stdout)
    assert {row["name"] for row in rows} >= {"zerofill", "bicubic", "bspline", "edsr", "minet", "sanet", "toynet"}
    assert all(set(row) == {"name", "title", "available", "reason"} for row in rows)
    assert here("list", "method").returncode == 2
    for what in ("datasets", "protocols", "suites", "metrics"):
        assert json.loads(here("list", what, "--json").stdout)


def test_prepare_builds_the_store_and_says_what_it_holds(here, tmp_path):
    out = here("prepare", "--dataset", "toy", "--plugins", TOYS, "--scale", "2,4", "--json")
    assert out.returncode == 0, out.stderr
    records = json.loads(out.stdout)
    assert [r["store"].rsplit("-", 1)[1] for r in records] == ["x2", "x4"]
    assert (tmp_path / "cache" / "stores" / records[0]["store"] / "index.json").is_file()


def test_version_and_help():
    for arguments in (["--version"], ["--help"], ["run", "--help"]):
        out = subprocess.run([sys.executable, "-m", "mcsr_bench", *arguments], capture_output=True, text=True)
        assert out.returncode == 0
        assert out.stdout


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (KeyboardInterrupt, 130, "mcsr-bench: interrupted by SIGINT; the same command goes on where it stopped\n"),
        (MemoryError, 2, "mcsr-bench: out of memory; fewer --jobs need less\n"),
    ],
)
def test_an_interruption_ends_with_a_sentence(here, monkeypatch, error, code, sentence):
    def interrupted(*_):
        raise error

    monkeypatch.setattr("mcsr_bench.catalogue.listing", interrupted)
    out = here("list", "methods")
    assert (out.returncode, out.stdout, out.stderr) == (code, "", sentence)
