"""mypy over the package and all built-in plugins, as a test so that a second core is not idle meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_types() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "-p", "mcsr_bench"],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
