"""The version stands in one place, ``mcsr_bench/__init__.py``; what cannot read it there says the same."""

import re
import tomllib
from pathlib import Path

import mcsr_bench
from mcsr_bench.system import provenance

ROOT = Path(__file__).parents[2]


def test_every_place_gives_the_version_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "mcsr_bench/__init__.py"
    cited = re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited == [mcsr_bench.__version__]
    newest = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert mcsr_bench.__version__ in newest[1].split()


def test_records_give_the_version_that_runs_and_not_the_one_once_installed(monkeypatch):
    monkeypatch.setattr(mcsr_bench, "__version__", "9.8.7")
    provenance._versions.cache_clear()
    try:
        assert provenance.versions()["mcsr-bench"] == "9.8.7"
    finally:
        provenance._versions.cache_clear()


def test_classifiers_name_what_was_tested_and_nothing_else():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    versions = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert [f"Linux with Python {version} is tested" in readme for version in versions] == [True]
