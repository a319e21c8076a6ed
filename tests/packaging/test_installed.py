"""sdist and wheel, each in a fresh environment and away from the checkout: is everything in them, and do the first commands run?

Each environment made here has one artifact, and behind it on its path all that is installed where the tests run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINKED = ("datasets", "methods", "reports")
RUN = (
    *("run", "--methods", "zerofill,bicubic", "--preset", "smoke"),
    *("--set", "brain-sim.subjects=4", "--jobs", "1", "--out", "run"),
)


def call(*command: str | Path, cwd: Path, **environment: str) -> str:
    """The standard output of a command, which must succeed; nothing of the checkout is on its path."""
    own = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")} | environment
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=own, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))}\nended with {done.returncode}\n{done.stdout}")
    return done.stdout


def package_files() -> set[str]:
    """What a package made of this checkout holds, relative to the folder of the package; plugins from the top."""
    own = {p.relative_to(ROOT / "mcsr_bench").as_posix() for p in _files(ROOT / "mcsr_bench")}
    own = {name for name in own if name.partition("/")[0] not in LINKED}
    return own | {p.relative_to(ROOT).as_posix() for kind in LINKED for p in _files(ROOT / kind)}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def datasets() -> set[str]:
    """The names on the cards of the built-in data sets."""
    cards = (ROOT / "datasets").glob("*/card.toml")
    return {tomllib.loads(card.read_text(encoding="utf-8"))["name"] for card in cards}


@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_what_is_built_holds_all_files_and_runs(kind: str, tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    # One at a time from the checkout, so that neither hides what the other lacks.
    call(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", folder / "dist", ROOT, cwd=folder)
    [artifact] = (folder / "dist").iterdir()
    venv.create(folder / "venv", symlinks=os.name != "nt")
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / Path(sys.executable).name
    site = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (site / "dependencies.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    pip = (
        sys.executable,
        "-m",
        "pip",
        "--quiet",
        "--python",
        python,
        "install",
        "--no-index",
        "--no-deps",
        "--ignore-installed",
    )
    call(*pip, "--no-build-isolation", artifact, cwd=folder)
    used = call(python, "-c", "import mcsr_bench; print(mcsr_bench.__file__)", cwd=folder).strip()
    if not Path(used).is_relative_to(site):
        pytest.fail(f"{artifact.name}: mcsr_bench is imported from {used}, not from {site}")
    installed = {p.relative_to(site / "mcsr_bench").as_posix() for p in _files(site / "mcsr_bench")}
    assert installed == package_files(), f"differs from the checkout in {sorted(installed ^ package_files())}"
    command = scripts / "mcsr-bench"
    listed = json.loads(call(command, "list", "datasets", "--json", cwd=folder))
    assert {row["name"] for row in listed} == datasets()
    table = call(command, *RUN, cwd=folder, MCSR_BENCH_CACHE=str(folder / "cache"))
    assert re.search(r"brain-sim[^\n]*, 4x[^\n]*\n.*zerofill.*bicubic", table, re.DOTALL), table
    assert (folder / "run" / "report" / "index.html").is_file()
