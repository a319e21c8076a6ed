"""Systems that are not Linux, as far as they can be simulated: what only Unix has is hidden, also from workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.cards import MethodCard
from mcsr_bench.plugin.registry import Registry
from mcsr_bench.system import devices, files
from mcsr_bench.system.locks import locked

ROOT = Path(__file__).parents[2]
HIDDEN = """
import os, sys
for name in ("fcntl", "resource", "grp", "pwd", "termios"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "process_cpu_count", "fork", "getuid"):
    if hasattr(os, name):
        delattr(os, name)
"""


def test_a_run_with_workers_needs_nothing_that_only_unix_has(tmp_path):
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text(HIDDEN)
    command = (
        *(
            sys.executable,
            "-m",
            "mcsr_bench",
            "run",
            "--methods",
            "zerofill,bicubic",
            "--dataset",
            "toy",
            "--scale",
            "2",
        ),
        *("--preset", "smoke", "--plugins", str(ROOT / "tests" / "toys"), "--out", str(tmp_path / "r")),
    )
    path = os.pathsep.join([str(tmp_path / "hide"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "MCSR_BENCH_CACHE": str(tmp_path / "cache")}
    check = (sys.executable, "-c", "import os, fcntl")
    hidden = subprocess.run(check, env=environment, capture_output=True, text=True)
    assert "ModuleNotFoundError: import of fcntl halted" in hidden.stderr
    got = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    assert "2 done, 0 failed" in got.stderr


def test_cores_are_counted_by_what_the_system_has(monkeypatch):
    for name in ("process_cpu_count", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert devices.core_count() == 1
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert devices.core_count() == 6
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3}, raising=False)
    assert devices.core_count() == 2
    monkeypatch.setattr(os, "process_cpu_count", lambda: 3, raising=False)
    assert devices.core_count() == 3
    assert devices.default_jobs("cpu") == 3


def test_a_lock_is_waited_for_or_refused(tmp_path):
    other = FileLock(tmp_path / "lock")
    other.acquire()
    with pytest.raises(UserError, match="somebody has it"), locked(tmp_path / "lock", busy="somebody has it"):
        raise AssertionError("two hold it")
    waited = []

    def waiting():
        waited.append(True)
        other.release()

    with locked(tmp_path / "lock", waiting):
        assert waited == [True]


def test_the_second_builder_takes_what_the_first_one_built(tmp_path):
    final = tmp_path / "stores" / "a"
    other = FileLock(tmp_path / "stores.locks" / "a.lock")
    (tmp_path / "stores.locks").mkdir()
    other.acquire()

    def waiting():
        final.mkdir(parents=True)
        other.release()

    with files.resumable_folder(final, Path.is_dir, waiting) as folder:
        assert folder is None
    assert [p.name for p in final.parent.iterdir()] == ["a"]


def test_a_checkout_without_symbolic_links_says_what_to_do(tmp_path):
    link = tmp_path / "methods"
    link.write_text("../methods")  # what git writes there
    registry = Registry("method", MethodCard, link, "mcsr_bench.methods", "mcsr_bench.methods")
    with pytest.raises(
        UserError, match=r"methods: is a file, not a link to the built-in methods: .*git config core\.symlinks true"
    ):
        registry.names()
