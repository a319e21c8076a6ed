"""Why a plugin that was found cannot be used, without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def broken_code(folder: Path) -> str:
    """The first syntax error in a plugin's files, or "" when there is none."""
    if not (folder / "__init__.py").is_file():
        return f"{folder}: no __init__.py"
    for path in sorted(folder.glob("*.py")):
        try:
            # Not ast.parse: in two threads at once it can fail with a SystemError (Python 3.11, gh-106905).
            compile(path.read_text(encoding="utf-8"), str(path), "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            return f"{path}: {error}"
    return ""


def missing_requirement(requires: tuple[str, ...]) -> str:
    """The first required module that is not installed, as a reason, or ""."""
    for name in requires:
        try:
            found = importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            found = False
        if not found:
            return f"needs the Python module '{name}', which is not installed"
    return ""
