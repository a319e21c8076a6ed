"""Why a plugin that was found cannot be used, without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mcsr_bench.plugin.cards import Card, ReportCard
from mcsr_bench.system.files import not_a_file


def broken_code(folder: Path) -> str:
    """The first syntax error in a plugin's files, or "" when there is none."""
    if not (folder / "__init__.py").is_file():
        return f"{folder}: no __init__.py"
    for path in sorted(folder.glob("*.py")):
        if what := not_a_file(path):  # a pipe would wait for its writer
            return f"{path}: {what}"
        try:
            # Not ast.parse: in two threads at once it can fail with a SystemError (Python 3.11, gh-106905).
            compile(path.read_text(encoding="utf-8"), str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:
            return f"{path}: {error or 'is nested too deeply'}"
    return ""


def missing_numbers(folder: Path, card: Card) -> str:
    """Why a report's published numbers cannot be read, or ""."""
    name = card.published_numbers if isinstance(card, ReportCard) else ""
    if not name or (Path(name).name == name and (folder / name).is_file()):
        return ""
    return f"{folder / 'card.toml'}: published_numbers names {name!r}, which is not a file in that folder"


def missing_requirement(requires: tuple[str, ...]) -> str:
    """The first required module that is not installed, as a reason, or "". Of a module in a package the package is looked for:

    to find more, it would have to be imported, and cards are read without running code.
    """
    for name in requires:
        try:
            found = importlib.util.find_spec(name.partition(".")[0]) is not None
        except (ImportError, ValueError):
            found = False
        if not found:
            return f"needs the Python module '{name}', which is not installed"
    return ""
