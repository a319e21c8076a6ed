"""Finding plugins: names, reasons, isolation, and no import before it is needed."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcsr_bench.errors import UserError
from mcsr_bench.plugin import registry
from mcsr_bench.plugin.cards import DatasetCard, MethodCard
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.plugin.registry import Registry, add_plugins, datasets, methods, reports

CARD = """
name = "{name}"
title = "A method"
class = "Mine"
authors = "A"
venue = "V"
year = 2026
contrasts = "single"
track = "magnitude"
trains = false
"""

CODE = "class Mine:\n    pass\n"


def write_plugin(root: Path, name: str, *, card: str | None = None, code: str = CODE, extra: str = "") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "card.toml").write_text((CARD if card is None else card).format(name=name) + extra)
    (folder / "__init__.py").write_text(code)
    return folder


def registry_of(tmp_path: Path) -> Registry[MethodCard]:
    registry = Registry("method", MethodCard, tmp_path / "nothing", "nothing", "mcsr_bench.no_such_group")
    registry.add_folder(tmp_path / "plugins")
    return registry


def test_a_folder_with_a_card_is_a_method_and_others_are_ignored(tmp_path):
    write_plugin(tmp_path / "plugins", "good")
    (tmp_path / "plugins" / "notes").mkdir()
    (tmp_path / "plugins" / "README.md").write_text("x")
    registry = registry_of(tmp_path)
    assert list(registry.plugins()) == ["good"]
    assert registry.load("good").__name__ == "Mine"


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"card": "name = 'bad"}, "card.toml"),
        ({"card": "name = '{name}'\ntitle = 'x'\n"}, "class: field required"),
        ({"extra": "colour = 'red'\n"}, "colour: extra inputs are not permitted"),
        ({"code": "class Mine(:\n"}, "invalid syntax"),
        ({"extra": "requires = ['no_such_module_at_all']\n"}, "no_such_module_at_all"),
    ],
)
def test_a_broken_plugin_is_listed_with_its_reason_and_harms_nobody(tmp_path, kwargs, reason):
    write_plugin(tmp_path / "plugins", "bad", **kwargs)
    write_plugin(tmp_path / "plugins", "good")
    registry = registry_of(tmp_path)
    assert reason in registry.plugins()["bad"].reason
    assert registry.names() == ["good"]
    assert registry.load("good") is not None
    with pytest.raises(UserError, match="method 'bad' is disabled"):
        registry.load("bad")


def test_a_plugin_that_fails_on_import_says_why_when_it_is_needed(tmp_path):
    write_plugin(tmp_path / "plugins", "late", code="raise RuntimeError('no licence file')\n")
    registry = registry_of(tmp_path)
    assert registry.plugins()["late"].available
    with pytest.raises(UserError, match="method 'late' cannot be imported: RuntimeError: no licence file"):
        registry.load("late")


def test_a_taken_name_is_refused_for_the_second_finder(tmp_path):
    write_plugin(tmp_path / "plugins", "one")
    write_plugin(tmp_path / "plugins", "two", card=CARD.replace("{name}", "one"))
    registry = registry_of(tmp_path)
    assert registry.names() == ["one"]
    assert "is taken by" in next(p.reason for p in registry.plugins().values() if p.reason)


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path):
    write_plugin(tmp_path / "plugins", "sanet")
    with pytest.raises(UserError, match=r"^no method 'sanett'; did you mean 'sanet'\? \(.*--plugins .*\)$"):
        registry_of(tmp_path).card("sanett")
    with pytest.raises(UserError, match=r"^no method 'q'; there are: sanet \(.*--plugins .*\)$"):
        registry_of(tmp_path).card("q")


def test_listing_imports_neither_torch_nor_a_plugin():
    code = (
        "import sys, json\n"
        "from mcsr_bench.catalogue import listing\n"
        "rows = {k: listing(k, []) for k in ('methods', 'datasets', 'protocols', 'suites', 'metrics')}\n"
        "loaded = [m for m in sys.modules if m == 'torch' or m.startswith('mcsr_bench.methods.')]\n"
        "print(json.dumps([loaded, rows]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, rows = json.loads(out.stdout)
    assert loaded == []
    assert {"zerofill", "bicubic", "bspline"} <= {row["name"] for row in rows["methods"]}
    usual = {"name", "title", "available", "reason"}
    assert all(set(row) - usual == ({"revision"} if k == "metrics" else set()) for k in rows for row in rows[k])
    assert all(usual <= set(row) for kind in rows.values() for row in kind)


def test_every_built_in_plugin_is_usable():
    from mcsr_bench.plugin.registry import datasets, methods, reports

    for kind in (methods(), datasets(), reports()):
        assert [f"{p.name}: {p.reason}" for p in kind.plugins().values() if p.reason] == []


def test_an_entry_point_of_another_package_is_found(tmp_path):
    """A third party's package: its folder holds the card, its entry point names it."""
    site = tmp_path / "site"
    write_plugin(site, "theirnet", code="from mcsr_bench import UserError\nclass Mine:\n    pass\n")
    info = site / "theirnet-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirnet\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mcsr_bench.methods]\ntheirnet = theirnet\n")
    code = "from mcsr_bench.plugin.registry import methods; print(methods().card('theirnet').title, methods().load('theirnet'))"

    path = os.pathsep.join([str(site), *sys.path])
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert "A method <class 'theirnet.Mine'>" in out.stdout, out.stderr


TOYS = Path(__file__).parent / "toys"
TINY = """
kind = "dataset"
name = "tiny"
title = "A simulated toy, small"
source = "made up"
licence = "none"
access = "none needed"
contrasts = ["T2w", "T1w"]
track = "complex"
real = false
configures = "{base}"
[settings]
size = 33
"""


@pytest.fixture
def configured(tmp_path):
    (tmp_path / "plugins" / "tiny").mkdir(parents=True)
    (tmp_path / "plugins" / "tiny" / "card.toml").write_text(TINY.format(base="toy"))
    kept = {kind: kind()._extra for kind in (datasets, methods, reports)}
    add_plugins(TOYS)
    add_plugins(tmp_path / "plugins")
    yield
    for kind, extra in kept.items():
        kind()._extra, kind()._found = extra, None


def test_a_card_without_code_configures_another_dataset(configured):
    tiny, toy = load_dataset("tiny"), load_dataset("toy")
    assert type(tiny) is type(toy)
    assert tiny.settings.size == 33 != toy.settings.size
    assert load_dataset("tiny", size=35).settings.size == 35
    assert tiny.cases()[0].shape == (33, 33)


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ("nowhere", "configures 'nowhere', which is no dataset"),
        ("tiny", "configures 'tiny', which is no dataset with a class"),
        ("toy", ""),
    ],
)
def test_a_configuration_is_as_usable_as_what_it_configures(tmp_path, base, reason):
    (tmp_path / "plugins" / "tiny").mkdir(parents=True)
    (tmp_path / "plugins" / "tiny" / "card.toml").write_text(TINY.format(base=base))
    registry = Registry("dataset", DatasetCard, tmp_path / "nothing", "nothing", "mcsr_bench.no_such_group")
    for path in (TOYS, tmp_path / "plugins"):
        registry.add_folder(path)
    assert registry.plugins()["tiny"].reason == reason


def test_a_dataset_has_either_a_class_or_a_base():
    values = {"kind": "dataset", "name": "x", "title": "x", "source": "x", "licence": "x", "access": "x", "real": True}
    values |= {"contrasts": ("T2", "T1"), "track": "complex"}
    for more in ({}, {"class": "A", "configures": "b"}, {"class": "A", "settings": {"a": 1}}):
        with pytest.raises(ValueError, match="configures"):
            DatasetCard.model_validate(values | more)


def test_a_setting_that_a_configuration_gets_wrong_names_it(configured):
    with pytest.raises(UserError, match=r"no setting of tiny 'sise'; did you mean 'size'\?"):
        load_dataset("tiny", sise=3)


def test_a_package_that_is_installed_while_a_process_runs_is_found(tmp_path, monkeypatch):
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    group, builtin = "mcsr_bench.methods", Path(registry.__file__).parents[1] / "methods"

    def found():
        return registry.Registry("method", MethodCard, builtin, "mcsr_bench.methods", group).names()

    before = found()
    write_plugin(site, "laternet", code="class Mine:\n    pass\n")
    info = site / "laternet-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: laternet\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nlaternet = laternet\n")
    os.utime(site, ns=(1, 1))  # no clock need be fine enough
    assert set(found()) - set(before) == {"laternet"}


def test_why_the_parent_package_of_a_plugin_fails_is_its_reason(tmp_path, monkeypatch):
    (tmp_path / "failing_parent" / "child").mkdir(parents=True)
    (tmp_path / "failing_parent" / "__init__.py").write_text("raise OSError('no licence server')\n")
    monkeypatch.syspath_prepend(tmp_path)
    point = importlib.metadata.EntryPoint("theirs", "failing_parent.child:Mine", "mcsr_bench.methods")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == point.group else [])
    found = registry.Registry(
        "method", MethodCard, Path(registry.__file__).parents[1] / "methods", "mcsr_bench.methods", point.group
    )
    reason = found.plugins()["theirs"].reason
    assert reason == "package failing_parent.child cannot be found: OSError: no licence server"
