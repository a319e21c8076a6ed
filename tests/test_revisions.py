"""Built-in code that changes gets a new revision, or is shown to compute the same: ``tests/revisions.json`` holds both."""

import json
import shutil
from pathlib import Path

import pytest
import revisions

ROOT = Path(__file__).parents[1]


def test_every_built_in_plugin_is_in_the_file_with_the_code_and_revision_of_today():
    entries = json.loads(revisions.FILE.read_text(encoding="utf-8"))
    assert {"methods/sanet", "datasets/fastmri"} <= entries.keys()
    stale = revisions.stale(entries)
    assert stale == [], (
        f"{', '.join(stale)}: changed. If it computes other numbers, raise its revision (of a method in card.toml, of a dataset in "
        "its class) and say in CHANGELOG.md what moved; then run: python tests/helpers/revisions.py"
    )


@pytest.mark.parametrize("name", ["methods/zerofill", "methods/zeng"])
def test_the_golden_numbers_are_computed_again_alike(name):
    entries = json.loads(revisions.FILE.read_text(encoding="utf-8"))
    assert revisions.same(entries[name]["golden"], revisions.golden(name))


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(ROOT / "methods" / "edsr", tmp_path / "edsr"))


def test_comments_docstrings_and_formatting_are_not_code(folder):
    code = revisions.code_hash(folder)
    path = folder / "__init__.py"
    text = path.read_text()
    path.write_text("# a comment\n" + text.replace('"""EDSR', '"""Something else: EDSR').replace("(", "(\n", 1))
    assert path.read_text() != text
    assert revisions.code_hash(folder) == code


@pytest.mark.parametrize("change", ["value", "name", "order", "file", "shared"])
def test_whatever_could_move_numbers_is(folder, tmp_path, change):
    shared = Path(shutil.copytree(ROOT / "mcsr_bench" / "nn", tmp_path / "nn"))
    code = revisions.code_hash(folder, shared)
    path = folder / "__init__.py"
    if change == "value":
        path.write_text(path.read_text() + "\nX = 1\n")
        code = revisions.code_hash(folder, shared)
        path.write_text(path.read_text().replace("X = 1", "X = 1.0"))
    elif change == "name":
        path.write_text(path.read_text().replace("l1_loss", "mse_loss").replace("self.pixel_loss", "self.other_loss"))
    elif change == "order":
        path.write_text(path.read_text() + "\nX = a - b\n")
        code = revisions.code_hash(folder, shared)
        path.write_text(path.read_text().replace("a - b", "b - a"))
    elif change == "file":
        (folder / "more.py").write_text("")
    else:
        (shared / "blocks.py").write_text((shared / "blocks.py").read_text() + "\nX = 1\n")
    assert revisions.code_hash(folder, shared) != code


def test_an_entry_follows_the_rule():
    before = {"code": "a", "revision": 1, "golden": [1.0, 2.0]}

    def entry(code, revision, *values):
        return revisions.updated("methods/x", before, code, revision, lambda _: list(values))

    assert entry("a", 1) is before  # nothing is computed
    assert entry("b", 1, 1.0, 2.0 + 1e-7) == {"code": "b", "revision": 1, "golden": [1.0, 2.0]}
    assert entry("b", 2, 1.0, 3.0) == {"code": "b", "revision": 2, "golden": [1.0, 3.0]}
    for values in ((1.0, 2.1), (1.0,), (1.0, float("nan"))):
        assert "methods/x: its code has changed and computes other numbers, and its revision is still 1" in entry(
            "b", 1, *values
        )
    assert "still 0" in entry("b", 0, 1.0, 3.0)
    assert revisions.updated("methods/x", None, "b", 1, lambda _: [0.5]) == {
        "code": "b",
        "revision": 1,
        "golden": [0.5],
    }


def test_what_is_stale_is_named(monkeypatch):
    entries = json.loads(revisions.FILE.read_text(encoding="utf-8"))
    entries["methods/edsr"] = entries["methods/edsr"] | {"code": "0"}
    entries["methods/zeng"] = entries["methods/zeng"] | {"revision": 99}
    entries["methods/gone"] = entries.pop("methods/minet")
    assert revisions.stale(entries) == ["methods/edsr", "methods/gone", "methods/minet", "methods/zeng"]
