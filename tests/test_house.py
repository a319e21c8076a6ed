"""The house as CONTRIBUTING.md draws it: every room has its row, and imports what the row allows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "mcsr_bench"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOORS = {"__init__.py", "__main__.py", "method.py"}
"""They open to every room; `method.py` hands on what has moved."""
LINKS = {"methods", "datasets", "reports"}

Arrow = tuple[str, str, str]
"""A room, what it imports (a module, without "mcsr_bench."), and the file."""


def table(first: str) -> dict[str, set[str]]:
    """The table of CONTRIBUTING.md with this head: what is in its first column -> names in its last."""
    [body] = re.findall(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()]
    return {row[0].strip("`/"): set(re.findall(r"`([a-z_.]+)`", row[-1])) for row in rows}


ROOMS, PUBLIC = table("room"), table("plugins in")


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


def engine_arrows() -> list[Arrow]:
    out = []
    for path in sorted(ENGINE.rglob("*.py")):
        parts = path.relative_to(ENGINE).parts
        if parts[0] in LINKS | DOORS or "templates" in parts:
            continue
        room = parts[0].removesuffix(".py")
        names = (name.removeprefix("mcsr_bench.") for name in imported(path) if name.startswith("mcsr_bench."))
        out += [(room, name, "/".join(parts)) for name in names if name.split(".")[0] != room]
    return out


def plugin_arrows() -> list[Arrow]:
    out = []
    for kind in sorted(LINKS):
        for path in sorted((ROOT / kind).rglob("*.py")):
            own = f"{kind}.{path.relative_to(ROOT / kind).parts[0]}"
            for name in imported(path):
                full = name.removeprefix("mcsr_bench.")
                if (name.startswith("mcsr_bench.") or full.split(".")[0] in LINKS) and not f"{full}.".startswith(
                    f"{own}."
                ):
                    out.append((kind, full, str(path.relative_to(ROOT))))
    return out


def wrong_in_engine(arrows: list[Arrow], rooms: dict[str, set[str]]) -> list[str]:
    """Arrows to rooms that a row does not name. What is imported from the package itself is a room, or a public name."""
    wrong = []
    for room, name, file in arrows:
        other = name.split(".")[0]
        if other not in rooms[room]:
            wrong.append(f"{file} imports {name}: `{room}` may import {', '.join(sorted(rooms[room])) or 'nothing'}")
    return wrong


def circle(rooms: dict[str, set[str]]) -> list[str]:
    """Rooms that cannot be put in an order in which each imports earlier ones."""
    left = dict(rooms)
    while ready := [room for room, others in left.items() if not others & left.keys()]:
        for room in ready:
            del left[room]
    return sorted(left)


def wrong_in_plugins(arrows: list[Arrow], public: dict[str, set[str]]) -> list[str]:
    """Arrows to what is neither a public name of the package nor in the table."""
    import mcsr_bench

    wrong = []
    for kind, name, file in arrows:
        allowed = any(f"{name}.".startswith(f"{module}.") for module in public[kind])
        if not (allowed or name in mcsr_bench.__all__):
            wrong.append(f"{file} imports {name}, which is not public")
    return wrong


def test_every_room_has_its_row():
    there = {p.name for p in ENGINE.iterdir() if p.is_dir() and p.name != "__pycache__"} - LINKS
    there |= {p.stem for p in ENGINE.glob("*.py") if p.name not in DOORS}
    assert there == set(ROOMS)


def test_rooms_import_what_their_rows_allow():
    assert wrong_in_engine(engine_arrows(), ROOMS) == []


def test_the_table_has_no_circle():
    assert circle(ROOMS) == []


def test_the_table_names_no_arrow_that_is_not_there():
    drawn = {(room, other) for room, others in ROOMS.items() for other in others}
    assert drawn == {(room, name.split(".")[0]) for room, name, _ in engine_arrows()}


def test_plugins_import_what_is_public_and_themselves():
    assert wrong_in_plugins(plugin_arrows(), PUBLIC) == []


@pytest.mark.parametrize(
    "planted",
    [
        ("kspace", "data.store", "kspace.py"),
        ("results", "experiment.trial", "results/load.py"),
        ("data", "cli", "x.py"),
    ],
)
def test_an_arrow_that_is_not_in_the_table_is_red(planted):
    new = set(wrong_in_engine([*engine_arrows(), planted], ROOMS)) - set(wrong_in_engine(engine_arrows(), ROOMS))
    assert [planted[2] in wrong for wrong in new] == [True]


def test_a_circle_is_red():
    assert {"experiment", "system"} <= set(circle({**ROOMS, "system": {"errors", "experiment"}}))


@pytest.mark.parametrize(
    "planted",
    [
        ("methods", "experiment.trial", "methods/edsr/__init__.py"),
        ("methods", "methods.sanet.network", "methods/edsr/__init__.py"),
        ("datasets", "engines.processes", "datasets/ixi/__init__.py"),
        ("reports", "audit.stress", "reports/paper/extra.py"),
    ],
)
def test_a_plugin_that_imports_what_is_not_public_is_red(planted):
    [wrong] = wrong_in_plugins([*plugin_arrows(), planted], PUBLIC)
    assert wrong == f"{planted[2]} imports {planted[1]}, which is not public"


def test_the_house_stays_small():
    folders = [p for p in ENGINE.iterdir() if p.is_dir() and not p.is_symlink() and p.name != "__pycache__"]
    assert len(folders) <= 15
    assert len([p for p in ENGINE.glob("*.py") if p.name not in DOORS]) <= 10
    files = [p for d in (ENGINE, ROOT / "tests", *(ROOT / k for k in LINKS)) for p in d.rglob("*.py")]
    assert [str(p) for p in files if len(p.read_text(encoding="utf-8").splitlines()) > 400] == []


def test_the_files_that_answer_questions_are_there():
    answers = table("question")
    assert len(answers) == 18
    for line in re.findall(r"^\| .*\? \| `(.+)` \|$", TEXT, re.MULTILINE):
        assert (ROOT / line).exists(), line


def test_one_file_knows_the_names_of_a_bundles_files_and_one_those_of_a_run():
    names = {
        *(
            "trial.json",
            "experiment.json",
            "weights.safetensors",
            "checkpoint.safetensors",
            "training.csv",
            "predictions.h5",
        ),
        *(
            "volumes.csv",
            "slices.csv",
            "stress.csv",
            "worker.log",
            "stress.log",
            "import.json",
            "registration.csv",
            "split.json",
        ),
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
    assert {line.partition(":")[0] for line in wrong} == {
        "mcsr_bench/results/bundle.py",
        "mcsr_bench/results/run_folder.py",
    }
