"""Fixtures that several test files share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: small nets on many threads wait for each other

import fastmri_files as fastmri_builders
import pytest
from hypothesis import settings

from mcsr_bench.cli import main
from mcsr_bench.engines.base import Job, Message, execute
from mcsr_bench.engines.processes import Processes
from mcsr_bench.plugin import registry
from mcsr_bench.reports import paper

# The same examples each time, so that a red test is the change's own; `--hypothesis-profile=search` looks at others, and more.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=5000, derandomize=False, deadline=None)
settings.load_profile("same")


LONGEST = (
    "audit/test_reported_numbers.py",
    "kills/test_kills.py",
    "test_types.py",
    "packaging/test_installed.py",
    "test_conformance.py",
    "reports/leaderboard/test_in_chromium.py",
    "test_scaffold.py",
    "test_cli.py",
)
"""Files that take longest, which start first: else all but one process wait at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first (with `--no-loadscope-reorder`; the order of the others is kept)."""
    here = Path(__file__).parent
    first = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


_in_workers = Processes.run
_drawings = {name: getattr(paper, name) for name in ("brief_drawings", "drawings")}


def _in_this_process(self: Processes, jobs: Sequence[Job]) -> Iterator[Message]:
    """What `Processes.run` does, without the seconds that a worker's imports take."""
    for index, job in enumerate(jobs):
        yield Message(index, "started")
        events: list[Any] = []
        with open(job.log or os.devnull, "w", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
            kind, value = execute(job.address, json.loads(json.dumps(job.payload)), events.append)
        yield from (Message(index, "event", json.loads(json.dumps(event))) for event in events)
        yield Message(index, kind, json.loads(json.dumps(value)))


@pytest.fixture(scope="session", autouse=True)
def in_this_process() -> Iterator[None]:
    """Jobs run in the process of the tests, except where a test asks for `workers`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "run", _in_this_process)
        yield


@pytest.fixture(scope="session", autouse=True)
def without_pictures() -> Iterator[None]:
    """Reports have no pictures, which take longer than a tiny run, except where a test asks for `pictures`."""
    with pytest.MonkeyPatch.context() as patch:
        for drawing in _drawings:
            patch.setattr(paper, drawing, lambda sheets, results: iter(()))
        yield


@pytest.fixture(scope="module")
def pictures() -> Iterator[None]:
    """Reports have their pictures, as for users."""
    with pytest.MonkeyPatch.context() as patch:
        for name, drawing in _drawings.items():
            patch.setattr(paper, name, drawing)
        yield


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run in worker processes, as for users."""
    monkeypatch.setattr(Processes, "run", _in_workers)


@pytest.fixture(scope="session")
def fastmri_files() -> ModuleType:
    """The builders of small fastMRI files (tests/helpers/fastmri_files.py)."""
    return fastmri_builders


@pytest.fixture
def fastmri_tree(fastmri_files: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """``fastmri_tree(n_train=4, n_test=2, coils=None, slices=3, ...)``: a --data-root in the fastMRI layout, under tmp_path.

    Options are those of `write_tree` and `write_volume`; ``name`` is the folder's, for a test that wants two of them.
    """

    def build(n_train: int = 4, n_test: int = 2, *, name: str = "fastmri", **options: object) -> Path:
        root: Path = fastmri_files.write_tree(tmp_path / name, n_train, n_test, **options)
        return root

    return build


@pytest.fixture(autouse=True, scope="module")
def own_plugins() -> Iterator[None]:
    """Plugins that a test file adds are forgotten after it: what there is must not depend on the order of files."""
    kept = [(kind(), kind()._extra) for kind in (registry.methods, registry.datasets, registry.reports)]
    yield
    for found, extra in kept:
        if found._extra != extra:
            found._extra, found._found = extra, None


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test alone, so that nothing is read from or left in the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("disks cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def here(own_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """``here("run", "--methods", ...)``: the command line within this process, without the seconds that imports take.

    Returns an object with returncode, stdout and stderr.
    """

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["mcsr-bench", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code: int | str | None = 0
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(code or 0), out, err)

    return call
