"""The README's words, executed."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from mcsr_bench.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")


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


def commands(text):
    """The words of every mcsr-bench command that stands in a line of its own."""
    return [shlex.split(line)[1:] for line in re.findall(r"^mcsr-bench .*$", text, re.MULTILINE)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_is_one_of_the_command_line(page):
    known = typer.main.get_command(app)
    for words in commands(page.read_text(encoding="utf-8")):
        command = known.commands.get(words[0])
        assert command is not None, words
        options = {option for parameter in command.params for option in parameter.opts}
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= options, words


def test_the_commands_to_begin_with_are_there():
    assert {words[0] for words in commands(README)} >= {
        "run",
        "prepare",
        "fetch",
        "report",
        "stress",
        "verify",
        "regress",
        "predict",
        "import-weights",
    }
    assert "pip install -c constraints.txt . && mcsr-bench run\n" in README
    assert "pip install tox && tox\n" in README


def anchors(page):
    """What a heading of a page is linked by."""
    found = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.MULTILINE)
    for link in links:
        if link.startswith(("http", "mailto")):
            continue
        name, _, anchor = link.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), link
        assert not anchor or anchor in anchors(file), link
    if page.name == "README.md":
        assert len(links) > 20


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
