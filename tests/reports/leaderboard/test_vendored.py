"""What is vendored is what the manifest says, with its licences, and nothing else; and the site's own scripts call nobody."""

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

OWN = Path(__file__).parents[3] / "reports" / "leaderboard"
MANIFEST = tomllib.loads((OWN / "vendored" / "manifest.toml").read_text(encoding="utf-8"))["package"]
FILES = {one["name"]: one["sha256"] for package in MANIFEST for one in package["files"]}


def test_every_file_has_its_hash_and_every_package_its_licence():
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (OWN / "vendored").iterdir()}
    assert {name: found for name, found in there.items() if name != "manifest.toml"} == FILES
    assert {package["name"] for package in MANIFEST} == {"tabulator-tables", "vega", "vega-lite", "vega-embed"}
    for package in MANIFEST:
        text = (OWN / "vendored" / f"LICENSE-{package['name']}.txt").read_text(encoding="utf-8")
        assert {"MIT": "The MIT License", "BSD-3-Clause": "Redistribution and use"}[package["licence"]] in text


def test_only_minified_files_and_together_less_than_a_megabyte_and_a_half():
    names = [name for name in FILES if not name.startswith("LICENSE")]
    assert [name for name in names if ".min." not in name] == []
    assert sum((OWN / "vendored" / name).stat().st_size for name in names) < 1_500_000


def test_the_versions_in_the_files_are_those_of_the_manifest():
    versions = {package["name"]: package["version"] for package in MANIFEST}
    assert (
        f"v{versions['tabulator-tables']}" in (OWN / "vendored" / "tabulator.min.js").read_text(encoding="utf-8")[:200]
    )
    for name in ("vega", "vega-lite", "vega-embed"):
        assert f'"{versions[name]}"' in (OWN / "vendored" / f"{name}.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted((OWN / "assets").iterdir()), ids=lambda path: path.name)
def test_own_scripts_and_styles_are_small_and_put_no_text_in_as_html(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert not re.findall(
        r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|fetch\(|XMLHttpRequest|import\(|@import",
        text,
    )
    addresses = set(re.findall(r"https?://[^\s\"']+", text))
    assert addresses <= {"https://vega.github.io/schema/vega-lite/v6.json"}  # a name, never asked for
