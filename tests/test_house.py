"""The house as CONTRIBUTING.md draws it: every file has its floor, and imports from no higher one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "mcsr_bench"
OUTSIDE = {"__init__", "__main__"}
"""Doors: they open to every floor."""


def floors() -> dict[str, int]:
    """Module or package of the engine -> floor."""
    rows = re.findall(r"^\| (\d) \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {name.strip("/"): int(floor) for floor, names in rows for name in re.findall(r"`([a-z_]+/?)`", names)}


def engine_files() -> Iterator[tuple[str, Path]]:
    """(its place in the house, file) of every Python file of the engine."""
    for path in sorted(ENGINE.rglob("*.py")):
        place = path.relative_to(ENGINE).parts[0].removesuffix(".py")
        if place not in ("methods", "datasets", "reports", "templates", *OUTSIDE):
            yield place, path


def imported(path: Path) -> Iterator[str]:
    """Full names of what a file imports of this package, wherever in the file."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_every_file_has_its_floor():
    assert {place for place, _ in engine_files()} == set(floors())


@pytest.mark.parametrize("floor", range(6))
def test_no_file_looks_up(floor):
    level = floors()
    wrong = [
        f"{path.relative_to(ENGINE)} imports {name}"
        for place, path in engine_files()
        if level[place] == floor
        for name in imported(path)
        if name.startswith("mcsr_bench.") and level.get(name.split(".")[1], 0) > floor
    ]
    assert wrong == []


def test_one_file_knows_the_names_of_a_bundles_files():
    names = {
        *(
            "trial.json",
            "experiment.json",
            "weights.safetensors",
            "checkpoint.safetensors",
            "training.csv",
            "predictions.h5",
        ),
        *("volumes.csv", "slices.csv", "stress.csv", "worker.log", "import.json", "registration.csv", "split.json"),
    }
    wrong = []
    for folder in (ENGINE, ROOT / "methods", ROOT / "datasets", ROOT / "reports"):
        for path in sorted(folder.rglob("*.py")):
            found = {
                n.value for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Constant)
            }
            wrong += [
                f"{path.relative_to(ROOT)}: {name}" for name in sorted(names & {f for f in found if isinstance(f, str)})
            ]
    assert {line.partition(":")[0] for line in wrong} == {"mcsr_bench/results/bundle.py"}


@pytest.mark.parametrize("kind", ["methods", "datasets", "reports"])
def test_plugins_import_the_engine_and_themselves(kind):
    files = list((ROOT / kind).rglob("*.py"))
    assert files
    wrong = []
    for path in files:
        own = path.relative_to(ROOT / kind).parts[0]
        for name in imported(path):
            parts = name.split(".")
            if name.startswith(f"{kind}.") and parts[1] != own:
                wrong.append(f"{path} imports {name}")
            if len(parts) > 2 and parts[0] == "mcsr_bench" and parts[1] in ("methods", "datasets", "reports"):
                wrong.append(f"{path} imports {name}")
    assert wrong == []
