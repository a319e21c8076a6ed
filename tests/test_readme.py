"""The README's words, executed."""

import re
import tomllib
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def block(language, containing):
    [text] = [b for b in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in b]
    return text


def test_your_own_method_runs_as_it_is_printed(here, tmp_path):
    folder = tmp_path / "my" / "mynet"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(block("python", "class MyNet"))
    (folder / "card.toml").write_text(block("toml", 'name = "mynet"'))
    command = ("run", "--methods", "zerofill,mynet", "--plugins", tmp_path / "my", "--out", tmp_path / "r")
    out = here(*command, "--preset", "smoke", "--set", "brain-sim.subjects=5", "--jobs", 1)
    assert out.returncode == 0, out.stderr
    assert re.search(r"mynet +│ +\d", out.stdout)


def test_the_commands_exist():
    assert len(re.findall(r"^mcsr-bench .*$", README, re.MULTILINE)) == 12
    assert "pip install -c constraints.txt . && mcsr-bench run\n" in README
    assert "pip install tox && tox\n" in README


def test_links_lead_somewhere():
    root = Path(__file__).parents[1]
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (root / link).is_file()] == []


def test_the_tested_set_is_pinned_for_everything_that_is_installed():
    """What pyproject.toml asks for, constraints.txt pins."""
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {re.split(r"[\[<>=~! ]", d)[0].lower() for d in asked}
    pinned = {
        line.split("==")[0].lower() for line in (root / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert names <= pinned
    if not names:
        pytest.fail("no dependency was found")
