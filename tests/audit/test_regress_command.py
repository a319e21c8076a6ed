"""The command `regress`: its exit codes, the files it reads and writes, and a run that really was made."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from fake_run import write_trial_of

import mcsr_bench as mb
from mcsr_bench.experiment import trial as trials
from mcsr_bench.experiment.asking import experiment_spec
from mcsr_bench.experiment.run import run_experiment
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files

TOYS = Path(__file__).parents[1] / "toys"
Command = Callable[..., subprocess.CompletedProcess[str]]


def run_of(out: Path, psnr: dict[str, float], *, seeds: tuple[int, ...] = (0,), **changes: Any) -> Path:
    """A run of brain-sim at 2x whose trials nobody computed; seeds differ by 0.02 dB."""
    for method, value in psnr.items():
        for seed in seeds:
            score = value if method == "zerofill" else value + 0.02 * (-1) ** seed
            write_trial_of(out, method, [score - 1, score + 1], seed=seed, **{"preset": "quick"} | changes)
    spec = experiment_spec(tuple(psnr), "brain-sim", 2, seeds=seeds, preset="quick", out=out)
    values = spec.asked()
    files.write_json(RunFolder(out).experiment, values | {"data": values["data"] | {"names": ["knee"]}})
    return out


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("numbers")
    run = run_of(root / "r", {"zerofill": 28.0, "edsr": 30.0}, seeds=tuple(range(6)))
    return mb.write_numbers(run, root / "numbers.json")


def test_nothing_moved(numbers, tmp_path, here: Command):
    run = run_of(tmp_path / "r", {"zerofill": 28.0 - 1e-9, "edsr": 30.0})
    out = here("regress", run, "--against", numbers, "--junit", tmp_path / "j.xml")
    assert (out.returncode, out.stderr) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.stdout.splitlines() if "knee" in line]
    # s = 0.02 sqrt(6/5), and t(1 - .01/4; 5) = 4.773 from a table
    assert rows == [
        ["knee x2 edsr", "30.00", "30.02", "+0.02", "±0.11", "0.18", "1 of 6", "as reported"],
        ["knee x2 zerofill", "28.00", "28.00", "+0.00", "±0.01", "0.01", "–", "as reported"],
    ]
    assert out.stdout.splitlines()[-1] == "2 numbers compared (psnr@volume-max): 0 moved"
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()[0]
    assert {key: suite.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "2",
        "failures": "0",
        "errors": "0",
    }


def test_half_a_db_lost(numbers, tmp_path, here: Command, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    run = run_of(tmp_path / "r", {"zerofill": 28.0, "edsr": 29.5})
    out = here("regress", run, "--against", numbers, "--junit", tmp_path / "j.xml")
    assert out.returncode == 1
    assert "moved: knee x2 edsr: lost 0.480 dB" in out.stdout
    assert out.stderr.startswith("::error title=mcsr-bench regress (moved)::knee x2 edsr: lost 0.480 dB (")
    edsr, zerofill = ElementTree.parse(tmp_path / "j.xml").getroot()[0].findall("testcase")
    [failure] = edsr.findall("failure")
    assert (failure.get("message") or "").startswith("lost 0.480 dB")
    assert (edsr.get("name"), list(zerofill)) == ("knee x2 edsr", [])


def test_what_annotations_and_xml_read_as_their_own_is_escaped(numbers, tmp_path, here: Command, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    run = run_of(tmp_path / "r", {"zerofill": 28.0, "edsr": 30.0})
    path = next(place.trial for place in RunFolder(run).trials())
    reason = 'it\n::error::broke "at" 50 % <b>\x1b[31m & more'
    files.write_json(path, files.read_json(path) | {"status": "failed", "reason": reason})
    out = here("regress", run, "--against", numbers, "--junit", tmp_path / "j.xml")
    assert out.returncode == 3
    text = 'knee x2 edsr seed 0: failed: it\\n::error::broke "at" 50 % <b>\\x1b[31m & more'
    assert out.stderr == f"::error title=mcsr-bench regress (missing)::{text.replace('%', '%25')}\n"
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()[0]
    [case] = [case for case in suite if case.get("name") == "missing"]
    assert (suite.get("errors"), case[0].tag, case[0].get("message")) == ("1", "error", text)


@pytest.mark.parametrize("what", ["nothing", "experiment", "others", "no experiment"])
def test_a_run_that_measured_nothing_is_never_green(numbers, tmp_path, here: Command, what):
    run = tmp_path / "r"
    if what == "others":
        run_of(run, {"bicubic": 28.0})
    elif what == "nothing":
        run.mkdir()
    else:
        run_of(run, {"zerofill": 28.0})
        if what == "experiment":
            next(RunFolder(run).trials()).trial.unlink()
        else:
            RunFolder(run).experiment.unlink()
    out = here("regress", run, "--against", numbers, "--junit", tmp_path / "j.xml")
    assert out.returncode == 3
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()[0]
    assert int(suite.get("errors") or 0) == len(suite.findall("testcase/error")) > 0
    if what == "others":
        return
    out = here("regress", run, "--write", tmp_path / "new.json")
    assert out.returncode == 3
    assert f"{run}: is incomplete, and its numbers cannot be reported: " in out.stderr
    assert not (tmp_path / "new.json").exists()


def test_bad_arguments(numbers, tmp_path, here: Command):
    run = run_of(tmp_path / "r", {"zerofill": 28.0, "edsr": 30.0})
    smoke = run_of(tmp_path / "smoke", {"zerofill": 28.0}, preset="smoke")
    mixed = run_of(tmp_path / "mixed", {"edsr": 28.0}, seeds=(0, 1))
    place = next(RunFolder(mixed).trials())
    values = files.read_json(place.trial)
    files.write_json(place.trial, values | {"code": "c0de"})
    new = tmp_path / "new.json"
    for arguments, said in (
        ((run,), "one of --against FILE and --write FILE is needed"),
        ((run, "--against", numbers, "--write", new), "one of --against FILE and --write FILE is needed"),
        ((run, "--write", new, "--junit", new), "--junit: goes with --against, not with --write"),
        ((run, "--against", tmp_path / "nowhere.json"), "nowhere.json: no such file; `regress --write` makes"),
        ((run, "--against", tmp_path), f"{tmp_path}: a folder, not a file"),
        ((tmp_path / "nowhere", "--against", numbers), "nowhere: no such folder of results"),
        ((tmp_path / "nowhere", "--write", new), "nowhere: no such folder of results"),
        ((run, "--write", tmp_path), f"--write {tmp_path}: is a folder, not a file"),
        (
            (run, "--write", new),
            f"{run}: knee x2 edsr has one seed, and the spread over seeds needs at least two (--seeds)",
        ),
        ((smoke, "--against", numbers), "is of preset smoke, which is not a result: nothing is compared with it"),
        ((smoke, "--write", new), "is of preset smoke, which is not a result: nothing is compared with it"),
        ((mixed, "--against", numbers), "seed1: has another version of the method's code (; seed0: c0de)"),
    ):
        out = here("regress", *arguments)
        assert (out.returncode, out.stdout) == (2, ""), arguments
        assert said in out.stderr
        assert out.stderr.count("\n") == 1
    assert not new.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v | {"schema_version": 2}, "schema_version: input should be 1 (got 2)"),
        (lambda v: v | {"more": 1}, "more: extra inputs are not permitted (got 1)"),
        (lambda v: v | {"numbers": []}, "numbers: tuple should have at least 1 item"),
        (lambda v: v | {"numbers": v["numbers"] * 2}, "knee x2 edsr is there twice"),
        (lambda v: v | {"pace": "../x"}, "pace: string should match pattern"),
        (lambda v: [1], "input should be a valid dictionary"),
        (lambda v: v["numbers"][0].update(seeds={"0": 30.0}) or v, "knee x2 edsr has one seed"),
        (lambda v: v["numbers"][0].update(seeds={}) or v, "numbers.0.seeds: dictionary should have at least 1 item"),
        (lambda v: v["numbers"][0].update(seeds={"0": "x"}) or v, "numbers.0.seeds.0: input should be a valid number"),
        (
            lambda v: v["numbers"][0].update(times={"train": 0}) or v,
            "numbers.0.times.train: input should be greater than 0",
        ),
        (lambda v: v["numbers"][0].pop("basis") and v, "numbers.0.basis: field required"),
        (lambda v: v["numbers"][0]["basis"].pop("split") and v, "numbers.0.basis.split: field required"),
    ],
)
def test_a_file_that_is_no_file_of_numbers_is_refused(numbers, tmp_path, here: Command, change, said):
    (tmp_path / "f.json").write_text(json.dumps(change(json.loads(numbers.read_text()))))
    out = here("regress", run_of(tmp_path / "r", {"zerofill": 28.0}), "--against", tmp_path / "f.json")
    assert (out.returncode, out.stdout) == (2, "")
    assert out.stderr.startswith(f"mcsr-bench: {tmp_path / 'f.json'}: not a file of reported numbers: ")
    assert said in out.stderr
    assert out.stderr.count("\n") == 1


@pytest.mark.parametrize("text", ['{"schema_version": NaN}', "[" * 9999, "\xff", ""])
def test_a_damaged_file_is_refused(tmp_path, here: Command, text):
    (tmp_path / "f.json").write_bytes(text.encode("latin-1"))
    out = here("regress", run_of(tmp_path / "r", {"zerofill": 28.0}), "--against", tmp_path / "f.json")
    assert (out.returncode, out.stderr.count("\n")) == (2, 1)
    assert "f.json: not a file of reported numbers: " in out.stderr


@pytest.fixture(scope="module")
def toy_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield tmp_path_factory.mktemp("toys")


def ran(out: Path, *seeds: int) -> Path:
    """A run that was made, at a preset that is one of results."""
    spec = experiment_spec(
        ("zerofill", "toynet"),
        "toy",
        2,
        preset="quick",
        seeds=seeds,
        settings={"toy": {"patients": 6}},
        plugins=TOYS,
        out=out,
    )
    with scoped_plugins(spec.data.plugins):
        run_experiment(spec)
    return out


def test_runs_as_they_are_made(toy_cache, monkeypatch):
    file = mb.write_numbers(ran(toy_cache / "before", 0, 1, 2), toy_cache / "numbers.json")
    before = mb.load_results(toy_cache / "before").volumes.groupby(["method", "seed"])["psnr@volume-max"].mean()
    for number in json.loads(file.read_text())["numbers"]:
        assert list(number["seeds"].values()) == pytest.approx(list(before[number["method"]]), abs=1e-9)
    found = mb.regress(ran(toy_cache / "after", 3), file)
    assert (found.outcome, len(found.compared), found.extra) == ("unmoved", 2, ())
    assert [one.difference for one in found.compared if not one.retrained] == [0]

    predict = trials.predict_volume
    monkeypatch.setattr(
        trials, "predict_volume", lambda *given: {role: 1.05 * image for role, image in predict(*given).items()}
    )
    found = mb.regress(ran(toy_cache / "broken", 3), file)
    assert found.outcome == "moved"
    assert "zerofill" in found.moved[-1].trial
