"""What p-values compare with: fixed by the first run of a folder, kept by later ones, and said where it was chosen later."""

import json
from pathlib import Path

import fake_run as fake
import pytest

from mcsr_bench.api import experiment_spec
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.kept import merged, read_experiment
from mcsr_bench.experiment.report import build_report
from mcsr_bench.plugin.registry import add_plugins
from mcsr_bench.system import files

TOYS = Path(__file__).parent / "toys"


def first(out, **asked):
    """What the first run of a folder leaves."""
    spec = merged(experiment_spec(**{"scale": 2, "preset": "small", "out": out, **asked}))
    files.write_json(out / "experiment.json", spec.model_dump(mode="json"))
    return spec


def test_a_second_run_keeps_the_reference_of_the_first(here, tmp_path):
    def run(*more):
        toy = ("--dataset", "toy", "--plugins", TOYS, "--preset", "smoke", "--scale", "2", "--jobs", "1")
        return here("run", *toy, "--out", tmp_path / "r", *more)

    before = run("--methods", "zerofill,bicubic")
    assert before.returncode == 0, before.stderr
    assert "p against zerofill" in before.stdout
    again = run("--methods", "toynet")
    assert again.returncode == 0, again.stderr
    assert "p against zerofill" in again.stdout
    assert "p against toynet" not in again.stdout
    kept = json.loads((tmp_path / "r" / "experiment.json").read_text())
    assert (kept["references"], kept["methods"]) == ({"": ["zerofill"]}, ["zerofill", "bicubic", "toynet"])
    text = (tmp_path / "r" / "experiment.json").read_bytes()
    other = run("--methods", "toynet", "--against", "toynet")
    assert other.returncode == 2
    assert "has zerofill from its first run" in other.stderr
    assert len(other.stderr.splitlines()) == 1
    assert (tmp_path / "r" / "experiment.json").read_bytes() == text


@pytest.mark.parametrize(
    ("asked", "fixed"),
    [
        ({"methods": ["minet", "zerofill"]}, {"": ("zerofill",)}),
        ({"methods": ["minet", "sanet"]}, {"": ("minet",)}),  # the default was not run: the first of --methods
        ({"methods": ["minet", "sanet"], "against": "sanet"}, {"": ("sanet",)}),
        ({"suite": "table1"}, {"table1": ("sanet",)}),
        ({"suite": "table1", "methods": ["minet", "edsr"]}, {"table1": ("edsr",)}),  # in the order of the table
        ({"suite": ["table1", "table3"], "against": "sanet"}, {"table1": ("sanet",), "table3": ("sanet",)}),
    ],
)
def test_the_first_run_fixes_what_was_asked_or_the_first_method(tmp_path, asked, fixed):
    assert first(tmp_path, **asked).references == fixed
    again = merged(experiment_spec(**{"scale": 2, "preset": "small", "out": tmp_path, **asked}))
    assert again == read_experiment(tmp_path)  # the same command again
    if list(fixed) == [""]:  # a method more, against what was fixed: allowed, although that is not one of its own
        more = {"methods": ["lyu"], "against": fixed[""], "scale": 2, "preset": "small", "out": tmp_path}
        assert merged(experiment_spec(**more)).references == fixed
    later = merged(experiment_spec(methods=["lyu"], scale=2, preset="small", out=tmp_path))
    assert later.references == {"": ("lyu",)} | fixed


def test_a_variant_is_a_reference_by_its_whole_name(tmp_path):
    spec = first(tmp_path, methods=["minet"], settings={"minet": {"budget": 7}})
    [[name]] = spec.references.values()
    assert name.startswith("minet@")
    with pytest.raises(UserError, match="--against minet: that method is not part of this run"):
        merged(experiment_spec("minet", scale=2, preset="small", settings={"minet": {"budget": 7}}, against="minet"))


def folder(tmp_path, methods=("zerofill", "bicubic", "bspline")):
    out = tmp_path / "-".join(methods)
    for k, method in enumerate(methods):
        fake.write_trial_of(out, method, fake.draw(method, 8, better=0.2 * k))
    first(out, methods=methods)
    return out


def test_report_has_the_references_of_the_run_and_calls_others_exploratory(tmp_path):
    add_plugins(TOYS)
    out = folder(tmp_path)
    [table], _ = build_report([out], tmp_path / "a", formats=["md"])
    assert [c for c in table.columns if "against" in c] == ["p against zerofill"]
    assert "zerofill, fixed before looking" in " ".join(table.notes)
    [table], _ = build_report([out], tmp_path / "b", against=["bspline", "zerofill"], formats=["md"])
    notes = " ".join(table.notes)
    assert "against bspline: exploratory, because this reference was chosen after the run" in notes
    assert "against zerofill, fixed before looking" in notes
    assert [c for c in table.columns if "against" in c] == ["p against bspline", "p against zerofill"]


def test_runs_with_other_references_have_them_all_whatever_their_order(tmp_path):
    one, two = folder(tmp_path, ("zerofill",)), folder(tmp_path, ("bicubic", "bspline"))
    for number, runs in enumerate(([one, two], [two, one])):
        [table], _ = build_report(runs, tmp_path / str(number), formats=["md"])
        assert {c for c in table.columns if "against" in c} == {"p against zerofill", "p against bicubic"}


def test_a_reference_that_failed_is_not_replaced(tmp_path):
    out = folder(tmp_path)
    record = out / "knee" / "x2" / "zerofill" / "seed0" / "trial.json"
    record.write_text(record.read_text().replace('"done"', '"failed"'))
    [table], _ = build_report([out], tmp_path / "a", formats=["md"])
    assert not [c for c in table.columns if "against" in c]
    assert "No p-values against zerofill: it was not run here." in table.notes
