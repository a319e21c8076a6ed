"""Tables in Markdown, goals beside figures, and what a page must say of the machine."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import textwrap
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[3]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; the first column is of names."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def section_of(title: str, prose: str, tables: str) -> str:
    """A section of the page."""
    return f"## {title}\n\n{textwrap.fill(prose, 132, break_long_words=False, break_on_hyphens=False)}\n\n{tables}"


def judged(
    value: float, *, most: float | None = None, least: float | None = None, digits: int = 2, unit: str = ""
) -> str:
    """A figure and whether it is where it should be; the figure alone where there is no goal."""
    if most is not None:
        goal, met = f"at most {most:g}{unit}", value <= most
    elif least is not None:
        goal, met = f"at least {least:g}{unit}", value >= least
    else:
        return f"{value:.{digits}f}{unit}"
    return f"{value:.{digits}f}{unit} (goal: {goal}; {'met' if met else '**missed**'})"


def machine() -> str:
    """Processor, cores, memory, versions, commit and date."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scikit-image", "h5py"))
    described = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    rows = [
        ("processor", _processor()),
        (
            "cores, memory",
            f"{os.cpu_count()}, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        ),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("versions", f"Python {platform.python_version()}, {packages}"),
        ("commit", described.stdout.strip() or "not known"),
        ("date", datetime.datetime.now(datetime.UTC).date().isoformat()),
    ]
    return table(("machine", "one run"), rows).replace("---:", "---")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()
