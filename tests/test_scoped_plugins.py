"""Plugins given to one call are known within it alone, and no two folders share code."""

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mcsr_bench as mb
from mcsr_bench.data import store
from mcsr_bench.data.spec import DataSpec
from mcsr_bench.plugin.published import published_numbers
from mcsr_bench.plugin.registry import add_plugins, datasets, methods, reports, scoped_plugins

TOYS = Path(__file__).parent / "toys"
CARD = """
name = "twin"
title = "One of two"
class = "Twin"
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

class Twin(Method):
    def predict(self, batch):
        from .value import VALUE
        return torch.full(batch.auxiliary.shape, float(VALUE))
"""


@pytest.fixture
def twins(tmp_path):
    """Two folders with a plugin of the same name; what they predict tells them apart."""
    folders = []
    for value in (1, 20):
        folder = tmp_path / f"number{value}" / "twin"
        folder.mkdir(parents=True)
        (folder / "card.toml").write_text(CARD)
        (folder / "__init__.py").write_text(CODE)
        (folder / "value.py").write_text(f"VALUE = {value}\n")
        folders.append(folder.parent)
    return folders


def known() -> list[list[str]]:
    return [sorted(kind().plugins()) for kind in (methods, datasets, reports)]


def psnr(results: mb.Results) -> list[float]:
    return list(results.volumes["psnr@volume-max"])


def test_two_runs_with_plugins_of_one_name_get_their_own_code(twins, own_cache, tmp_path):
    before = known()
    scores = []
    for number, folder in enumerate(twins):
        asked = {"preset": "smoke", "plugins": [TOYS, folder], "jobs": 1}
        scores.append(psnr(mb.run("twin", "toy", 2, out=tmp_path / f"run{number}", **asked)))
        assert known() == before
        with pytest.raises(mb.UserError, match="no method 'twin'"):
            mb.run("twin", "brain-sim", 2, out=tmp_path / "never")
    assert all(a != b for a, b in zip(*scores, strict=True))


def value(method: mb.Method) -> float:
    return float(method.predict(SimpleNamespace(auxiliary=torch.zeros(1, 4, 4))).max())


def test_a_method_outlives_the_call_that_loaded_it(twins):
    """What it imports late is found, and its module is where its class says; the name is free again."""
    first, second = (mb.load_method("twin", 2, plugins=folder) for folder in twins)
    assert (value(second), value(first)) == (20, 1)
    assert getattr(sys.modules[type(first).__module__], "Twin") is type(first)  # noqa: B009
    with pytest.raises(mb.UserError, match="no method 'twin'"):
        mb.load_method("twin", 2)


def test_an_edited_plugin_is_read_again(twins):
    assert value(mb.load_method("twin", 2, plugins=twins[0])) == 1
    (twins[0] / "twin" / "value.py").write_text("VALUE = 300\n")
    assert value(mb.load_method("twin", 2, plugins=twins[0])) == 300


def test_what_fails_leaves_nothing(twins, tmp_path):
    before = known()
    (twins[0] / "twin" / "__init__.py").write_text("raise RuntimeError\n")
    with pytest.raises(mb.UserError, match="cannot be imported"), scoped_plugins(twins[0]):
        methods().load("twin")
    with pytest.raises(mb.UserError, match="no such folder"):
        mb.listing("methods", plugins=[twins[0], tmp_path / "nowhere"])
    with pytest.raises(mb.UserError, match="scales"):
        mb.load_method("twin", 7, plugins=twins[0])
    assert known() == before


def test_scopes_nest_and_what_is_added_within_ends_with_the_innermost(twins):
    before = known()
    with scoped_plugins(twins[0]):
        outer = methods().plugins()["twin"]
        with scoped_plugins([TOYS]):
            assert {"twin", "toynet"} <= set(methods().names())
        assert "toynet" not in methods().names()
        with scoped_plugins():
            DataSpec(names=("toy",), scales=(2,), protocol="mcsr-1", plugins=(TOYS,)).load()
            add_plugins(twins[1])  # the outer one keeps the name
            assert "toy" in datasets().names()
            assert methods().plugins()["twin"] == outer
            assert sum("is taken by" in plugin.reason for plugin in methods().plugins().values()) == 1
        assert "toy" not in datasets().names()
        assert methods().plugins()["twin"] == outer
    assert known() == before


def test_two_threads_do_not_see_each_others_plugins(twins):
    seen = {}
    both = threading.Barrier(2, timeout=30)

    def call(number: int) -> None:
        with scoped_plugins(twins[number]):
            both.wait()
            seen[number] = value(mb.load_method("twin", 2))
            both.wait()

    threads = [threading.Thread(target=call, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {0: 1, 1: 20}
    assert "twin" not in methods().names()


@pytest.mark.parametrize(
    "call",
    [
        lambda folder: mb.listing("methods", plugins=folder),
        lambda folder: mb.info("method", "twin", plugins=folder),
        lambda folder: mb.check("twin", plugins=folder),
        lambda folder: mb.profile("twin", 2, size=32, timed=False, plugins=folder),
        lambda folder: mb.load_dataset("toy", plugins=[TOYS, folder]),
        lambda folder: mb.check_data("toy", 2, plugins=TOYS, jobs=1),
        lambda folder: mb.prepare("toy", 2, plugins=TOYS, jobs=1),
        lambda folder: mb.write_folds("toy", folds=3, to=folder.parent / "folds", plugins=TOYS),
        lambda folder: mb.evaluate(lambda batch: batch.auxiliary.abs(), "toy", 2, plugins=TOYS).size,
    ],
    ids=["listing", "info", "check", "profile", "load_dataset", "check_data", "prepare", "write_folds", "evaluate"],
)
def test_a_call_uses_its_plugins_and_forgets_them(twins, own_cache, call):
    before = known()
    assert call(twins[0])
    assert known() == before


def test_published_numbers_are_those_of_the_reports_that_are_known(tmp_path):
    source = next(p for p in reports().plugins().values() if p.card and p.card.published_numbers)
    file = source.folder / source.card.published_numbers
    before = published_numbers()
    folder = tmp_path / "plugins" / "more"
    folder.mkdir(parents=True)
    card = {"name": "more", "title": "More", "class": "More", "published_numbers": "more.csv"}
    (folder / "card.toml").write_text(
        'kind = "report"\n' + "".join(f'{key} = "{text}"\n' for key, text in card.items())
    )
    (folder / "__init__.py").write_text("class More: ...\n")
    header, first, *_ = file.read_text(encoding="utf-8").splitlines()
    (folder / "more.csv").write_text(f"{header}\n{first.replace(first.split(',')[0], 'mine', 1)}\n", encoding="utf-8")
    with scoped_plugins(folder.parent):
        [added] = [number for number in published_numbers() if number.table == "mine"]
        (folder / "more.csv").write_text(f"{header}\n", encoding="utf-8")
        assert published_numbers() == before
    assert added.dataset_alias == before[0].dataset_alias
    assert published_numbers() == before


def test_a_volume_that_was_replaced_is_opened_again(tmp_path):
    volume = store.StoredVolume("p", "p-v0", (2, 2), (0,), tmp_path, tmp_path, 0)
    (tmp_path / "target").mkdir()
    for value in (1, 2):
        np.save(tmp_path / "new.npy", np.full((1, 2, 2), value, np.complex64))
        os.replace(tmp_path / "new.npy", tmp_path / "target" / "00000.npy")
        assert volume.target[0, 0, 0] == value
    assert volume.target is volume.target
