"""The code of third parties is part of what a result is: an edit is noticed, old scores are set aside, and nothing is mixed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import mcsr_bench as mb
from mcsr_bench.api import experiment_spec
from mcsr_bench.data import store as stores
from mcsr_bench.errors import UserError
from mcsr_bench.experiment import trial
from mcsr_bench.experiment.run import run_experiment
from mcsr_bench.plugin import registry
from mcsr_bench.plugin.registry import datasets, methods, scoped_plugins
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files
from mcsr_bench.system.digests import code_digest
from mcsr_bench.system.progress import Listener

TOYS = Path(__file__).parent / "toys"
CARD = """
name = "plain"
title = "Predicts a constant"
class = "Plain"
authors = "A"
venue = "V"
year = 2026
contrasts = "single"
track = "magnitude"
trains = false
"""
CODE = """
import torch
from mcsr_bench import Method
from .value import VALUE

class Plain(Method):
    def predict(self, batch):
        return torch.full(batch.auxiliary.shape, VALUE)
"""


class Told(Listener):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture
def plugins(tmp_path: Path, own_cache: Path) -> Path:
    """A method and a dataset of somebody's own."""
    folder = tmp_path / "plugins"
    (folder / "plain").mkdir(parents=True)
    (folder / "plain" / "card.toml").write_text(CARD)
    (folder / "plain" / "__init__.py").write_text(CODE)
    (folder / "plain" / "value.py").write_text("VALUE = 0.5\n")
    shutil.copytree(TOYS / "toy", folder / "toy", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def run(plugins: Path, tmp_path: Path) -> Callable[..., tuple[list[float], list[str]]]:
    """``run(...)``: the PSNR of all volumes of plain in the folder, and the warnings."""

    def call(name: str = "plain", out: str = "r", **changes: Any) -> tuple[list[float], list[str]]:
        asked = {"preset": "smoke", "plugins": plugins, "jobs": 1, "out": tmp_path / out, **changes}
        told = Told()
        with scoped_plugins(plugins):
            results, _ = run_experiment(experiment_spec(name, "toy", 2, **asked), told)
        mine = results.volumes[results.volumes["method"] == "plain"]
        return list(mine["psnr@volume-max"]) if len(mine) else [], told.said

    return call


def test_an_edited_method_is_run_again_and_the_bundle_of_before_is_kept_once(plugins, run, tmp_path):
    first, said = run()
    assert said == []
    assert run() == (first, [])
    place = tmp_path / "r" / "toy" / "x2" / "plain"
    keys = [files.read_json(place / "seed0" / "trial.json")["key"]]
    for value in ("0.25", "0.125"):
        (plugins / "plain" / "value.py").write_text(f"VALUE = {value}\n")
        scores, said = run()
        assert scores != first
        assert said == [
            f"toy x2 plain seed 0: was computed by other code or settings than today's; its bundle is now seed0.replaced-{keys[-1]}"
        ]
        assert sorted(path.name for path in place.iterdir()) == ["seed0", f"seed0.replaced-{keys[-1]}"]
        keys.append(files.read_json(place / "seed0" / "trial.json")["key"])
    assert len(set(keys)) == 3
    assert len(mb.load_results(tmp_path / "r").trials) == 1  # what was replaced is not read
    (plugins / "plain" / "value.py").write_text("VALUE = 0.5\n")
    scores, _ = run()
    assert scores == first
    assert files.read_json(place / "seed0" / "trial.json")["key"] == keys[0]


def test_the_seeds_of_one_row_are_of_one_code(plugins, run, tmp_path):
    before, _ = run(seeds=[0, 1])
    (plugins / "plain" / "value.py").write_text("VALUE = 0.25\n")
    after, said = run(seeds=1)
    assert len(after) == len(before) // 2
    assert len(said) == 2
    names = {path.name.partition("-")[0] for path in (tmp_path / "r" / "toy" / "x2" / "plain").iterdir()}
    assert names == {"seed0.replaced", "seed1", "seed1.replaced"}


def test_what_an_edited_method_left_unfinished_is_not_resumed(plugins, run, tmp_path):
    run()
    [place] = RunFolder(tmp_path / "r").trials()
    record = files.read_json(place.trial)
    files.write_json(place.trial, record | {"status": "running"})
    (plugins / "plain" / "value.py").write_text("VALUE = 0.25\n")
    after, said = run()
    assert said == []
    assert after == run(out="other")[0]
    assert [path.name for path in place.folder.parent.iterdir()] == ["seed0"]


def test_an_edited_dataset_is_prepared_again_and_never_beside_its_old_results(plugins, run, tmp_path):
    before, _ = run()
    run("zerofill")
    [store] = {p.name for p in stores.store_root().iterdir() if p.name.endswith("-x2")}
    code = plugins / "toy" / "__init__.py"
    code.write_text(code.read_text().replace("rng.uniform(0.05, 0.25, 2)", "rng.uniform(0.05, 0.2, 2)"))
    with pytest.raises(UserError, match="another version of the dataset plugin's code than this run's"):
        run()  # zerofill would stay
    after, said = run(out="other")
    assert said == []
    assert after != before
    assert len({p.name for p in stores.store_root().iterdir() if p.name.endswith("-x2")} - {store}) == 1
    with scoped_plugins(plugins):
        results, _ = run_experiment(
            experiment_spec(
                ["plain", "zerofill"], "toy", 2, preset="smoke", plugins=plugins, jobs=1, out=tmp_path / "r"
            ),
            told := Told(),
        )
    assert len(told.said) == 2
    assert list(results.volumes[results.volumes["method"] == "plain"]["psnr@volume-max"]) == after


def test_code_that_changes_while_data_are_prepared_leaves_no_store(plugins, run, monkeypatch):
    with scoped_plugins(plugins):
        toy = datasets().load("toy")
    read = toy.read

    def edit_and_read(self, case):
        (plugins / "toy" / "more.py").write_text("")
        return read(self, case)

    monkeypatch.setattr(toy, "read", edit_and_read)
    with pytest.raises(UserError, match="the code of dataset 'toy' changed while it was at work; run the same command"):
        run()
    assert list(stores.store_root().iterdir()) == []


def test_code_that_changes_while_a_run_is_at_work_computes_nothing_under_the_old_key(
    plugins, run, monkeypatch, tmp_path
):
    @contextmanager
    def as_in_a_worker(paths):
        """Which finds the plugins for itself, later."""
        (plugins / "plain" / "value.py").write_text("VALUE = 0.25\n")
        token = registry._scope.set(None)
        try:
            with scoped_plugins(paths):
                yield
        finally:
            registry._scope.reset(token)

    with monkeypatch.context() as patch:
        patch.setattr(trial, "scoped_plugins", as_in_a_worker)
        scores, _ = run()
    assert scores == []
    [place] = RunFolder(tmp_path / "r").trials()
    assert "the code of method 'plain' changed after the run began" in place.read_record().reason
    assert run()[0] == run(out="other")[0]


def test_within_a_call_a_plugin_has_one_code(plugins):
    with scoped_plugins(plugins):
        code = methods().code("plain")
        (plugins / "plain" / "value.py").write_text("VALUE = 0.25\n")
        with scoped_plugins(plugins):
            assert methods().code("plain") == code
        assert methods().edited("plain")
    with scoped_plugins(plugins):
        assert methods().code("plain") != code
        assert not methods().edited("plain")


def test_two_runs_of_other_code_do_not_share_a_report(plugins, run, tmp_path):
    settings = {"preset": "quick"}
    run(seeds=0, out="a", **settings)
    run("zerofill", out="a", **settings)
    (plugins / "plain" / "value.py").write_text("VALUE = 0.25\n")
    run(seeds=1, out="b", **settings)
    with pytest.raises(UserError, match=r"b/toy/x2/plain/seed1: was computed by other code of plain than .*seed0"):
        mb.report([tmp_path / "a", tmp_path / "b"], tmp_path / "to", formats="md", plugins=plugins)


def test_what_counts_as_code(plugins):
    """Names and bytes of Python files and the card, links followed; not caches, tests and other files."""
    folder = plugins / "plain"
    code = code_digest(folder, "card.toml")
    for name in (
        "test_plain.py",
        "conftest.py",
        "__pycache__/value.py",
        "tests/test_value.py",
        ".venv/lib.py",
        "notes.txt",
        "weights.bin",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("new")
        assert code_digest(folder, "card.toml") == code, name
    seen = {code}
    shared = plugins / "shared"
    shared.mkdir()
    (shared / "part.py").write_text("X = 1\n")

    def link() -> None:
        (folder / "linked").symlink_to(shared, target_is_directory=True)
        (shared / "back").symlink_to(folder, target_is_directory=True)  # a circle

    changes = [
        lambda: (folder / "value.py").write_text("VALUE = 0.5 \n"),
        lambda: (folder / "value.py").rename(folder / "worth.py"),
        lambda: (folder / "card.toml").write_text(CARD + 'doi = "x"\n'),
        lambda: (folder / "test_time.py").write_text(""),
        link,
        lambda: (shared / "part.py").write_text("X = 2\n"),
        lambda: os.unlink(folder / "__init__.py"),
    ]
    for number, change in enumerate(changes):
        change()
        seen.add(code_digest(folder, "card.toml"))
        assert len(seen) == number + 2


def test_built_in_plugins_have_a_revision_instead_and_a_card_without_code_has_that_of_its_base(plugins):
    (plugins / "mine").mkdir()
    (plugins / "mine" / "card.toml").write_text((TOYS / "toy" / "card.toml").read_text().replace('"toy"', '"mine"'))
    text = (plugins / "mine" / "card.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("class")]
    (plugins / "mine" / "card.toml").write_text("\n".join([*lines, 'configures = "toy"']))
    with scoped_plugins(plugins):
        assert {methods().code(name) for name in methods().names() if name != "plain"} == {""}
        assert datasets().code("brain-sim") == datasets().code("ixi") == ""
        assert len(methods().code("plain")) == 64
        assert datasets().code("mine") == datasets().code("toy") != ""
