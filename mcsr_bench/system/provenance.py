"""What numbers were computed with: command, versions and commit. The latter are read once per process: they cannot change."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("torch", "numpy", "scipy", "scikit-image")
_CHECKOUT = Path(__file__).resolve().parents[2]


@cache
def _versions() -> dict[str, str]:
    import mcsr_bench  # the one place of its version: what an editable checkout was once installed as may be another

    own = {"python": platform.python_version(), "mcsr-bench": mcsr_bench.__version__}
    return {**own, **{name: version(name) for name in _PACKAGES}}


def versions() -> dict[str, str]:
    """Of Python, this package and the packages that compute, by name."""
    return dict(_versions())


def command() -> str:
    """The command line of this process, as a shell takes it."""
    program = Path(sys.argv[0])
    name = f"python -m {program.parent.name}" if program.name == "__main__.py" else program.name or "python"
    return " ".join((name, *map(shlex.quote, sys.argv[1:])))


@cache
def git_revision() -> str:
    """The commit that this package runs from, with "+" when tracked files were changed; empty outside a checkout."""
    if not (_CHECKOUT / ".git").exists():
        return ""
    call = partial(
        subprocess.run,
        cwd=_CHECKOUT,
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        head = call(["git", "rev-parse", "HEAD"])
        changes = call(["git", "status", "--porcelain", "--untracked-files=no"])
    except OSError:
        return ""
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "") if head.returncode == 0 else ""
