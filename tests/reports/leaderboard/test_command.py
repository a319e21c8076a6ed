"""``leaderboard``: what is left out, what is never replaced, and that nothing is written anywhere else."""

import json
import re
import shlex
from pathlib import Path

import board_runs as runs
import pandas as pd
import pytest
import typer
import yaml

import mcsr_bench as mb
from mcsr_bench.cli import app
from mcsr_bench.system.progress import Listener

ROOT = Path(__file__).parents[3]


class Told(Listener):
    def __init__(self):
        self.warnings = []

    def warning(self, message):
        self.warnings.append(message)


def read(site: Path, name: str):
    """What a script of data gives to the page."""
    text = (site / "data" / f"{name}.js").read_text(encoding="ascii")
    head = f"mcsr.loaded({json.dumps(name)},JSON.parse("
    assert text.startswith(head)
    assert text.endswith("));\n")
    return json.loads(json.loads(text[len(head) : -4]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return runs.claimed(tmp_path_factory.mktemp("claimed") / "r", {"zerofill": 0.0, "edsr": 1.0, "sanet": 2.0})


def test_the_folder_holds_the_site_and_nothing_is_left_beside_it(run, tmp_path):
    page = mb.leaderboard(run, tmp_path / "to" / "site", jobs=1)
    assert page == tmp_path / "to" / "site" / "index.html"
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["site"]
    there = {p.relative_to(page.parent).as_posix() for p in page.parent.rglob("*") if p.is_file()}
    assert there == set(json.loads((page.parent / "contents.json").read_text()))
    assert {"index.html", "viewer.html", "methods/sanet.html", "datasets/knee.html", "data/boards.js"} <= there
    assert not [name for name in there if ".tmp" in name]


def test_a_site_is_replaced_and_anything_else_is_not(run, tmp_path, here):
    site = tmp_path / "site"
    mb.leaderboard([run], site, jobs=1)
    stale = site / "methods" / "edsr.html"
    stale.write_text("old")
    mb.leaderboard([run], site, jobs=1)
    assert "EDSR" in stale.read_text(encoding="utf-8")
    (site / "CNAME").write_text("mine")
    done = here("leaderboard", run, "--to", site)
    assert done.returncode == 2
    assert "CNAME, which `leaderboard` did not write" in done.stderr
    assert (site / "CNAME").read_text() == "mine"
    assert "EDSR" in stale.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere", "--to", "site"), "nowhere: no such folder of results"),
        (("r", "--to", "file"), "--to file: is a file, not a folder"),
        (("r", "--to", "full"), "--to full: holds note.txt, which `leaderboard` did not write"),
        (("r", "--to", "site", "--data-root", "none"), "--data-root none: no such folder"),
        (("r", "--to", "site", "--plugins", "none"), "--plugins none: no such folder"),
        (("empty", "--to", "site"), "empty: holds no trial"),
        (("smoke", "--to", "site"), "smoke: no finished trial to show (trials of preset smoke are not results)"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(run, tmp_path, here, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r").symlink_to(run)
    (tmp_path / "file").write_text("x")
    for folder in ("full", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "full" / "note.txt").write_text("x")
    if "smoke" in arguments:
        runs.claimed(tmp_path / "smoke", {"zerofill": 0.0}, seeds=(0,), preset="smoke")
    before = sorted(tmp_path.rglob("*"))
    done = here("leaderboard", *arguments)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(f"mcsr-bench: {said}")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_wrong_is_left_out_and_said(tmp_path, here):
    run = runs.claimed(tmp_path / "r", {"zerofill": 0.0, "bicubic": 1.0, "edsr": 2.0}, seeds=(0,))
    [scores] = run.glob("*/*/bicubic/*/volumes.csv")
    scores.write_text(scores.read_text().replace(",0.5,", ",0.9,", 1))  # a score by hand
    [record] = run.glob("*/*/edsr/*/trial.json")
    record.write_text(
        record.read_text().replace('"seed": 0', '"seed": 0').replace('"scale": 2', '"scale": 2, "threads": 3')
    )
    values = json.loads(record.read_text())
    record.write_text(json.dumps({**values, "settings": {"width": 99}}))  # settings that its key does not know
    done = here("leaderboard", run, "--to", tmp_path / "site")
    assert done.returncode == 1
    assert "bicubic" in done.stderr
    assert "has the key" in done.stderr
    site = tmp_path / "site"
    [board] = read(site, "boards")
    assert [row["name"] for row in read(site, f"{board['name']}/board")["rows"]] == ["zerofill"]
    text = (site / "index.html").read_text(encoding="utf-8")
    assert "knee x2 bicubic seed 0" in text
    assert "damaged or another file" in text


def test_hostile_runs_stay_in_the_folder_and_are_text(tmp_path):
    run = runs.hostile(tmp_path / "in" / "r")
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "out")}
    told = Told()
    mb.leaderboard(run, tmp_path / "out" / "site", jobs=1, listener=told)
    assert told.warnings == []
    after = {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "out")}
    assert after == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["site"]
    site = tmp_path / "out" / "site"
    for path in site.rglob("*"):
        if path.is_dir() or "vendored" in path.parts:
            continue
        text = shown = path.read_text(encoding="utf-8")
        if path.is_relative_to(site / "data"):
            name = path.relative_to(site / "data").with_suffix("").as_posix()
            shown = json.dumps(read(site, name), ensure_ascii=False)  # as the page has it
        assert not [sign for sign in ("\x1b", "\\u001b", "\u202e") if sign in shown]
        if path.suffix in (".html", ".js"):
            assert "<img src=x" not in text
            assert "<script>window" not in text
        if path.suffix == ".html":
            assert 'href="javascript' not in text
        if path.suffix == ".csv":
            assert {row[:1] for row in pd.read_csv(path)["patient_id"]} <= {"'", ".", "p"}


def test_the_workflow_that_publishes_runs_what_there_is():
    flow = yaml.safe_load((ROOT / "docs" / "publish-leaderboard.yml").read_text(encoding="utf-8"))
    assert flow["permissions"] == {"contents": "read", "pages": "write", "id-token": "write"}
    [step] = [step for step in flow["jobs"]["publish"]["steps"] if step.get("name") == "build"]
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    [ours] = re.findall(r"\[testenv:site\]\n(?:.*\n)*?commands =\n((?:    .*\n)+)", tox)
    commands = typer.main.get_command(app).commands
    for text in (step["run"], ours):
        lines = [shlex.split(line, comments=True) for line in text.splitlines() if "mcsr-bench" in line]
        assert [words[:2] for words in lines] == [["mcsr-bench", "run"], ["mcsr-bench", "leaderboard"]]
        for _, name, *words in lines:
            known = {option for parameter in commands[name].params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= known
