"""Systems that are not Linux, as far as they can be simulated: what only Unix has is hidden, also from workers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.cards import MethodCard
from mcsr_bench.plugin.registry import Registry
from mcsr_bench.system import devices, files
from mcsr_bench.system.locks import locked

ROOT = Path(__file__).parents[2]
CHAIN = """
import sys
from mcsr_bench.cli import main

def call(*words):
    sys.argv = ["mcsr-bench", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, words

plugins, extra, whole = sys.argv[1:]
asked = ("--plugins", plugins, "--plugins", extra, "--preset", "quick", "--dataset", "toy", "--scale", "2")
call("run", "--methods", "zerofill,chatty", *asked, "--jobs", "1", "--out", "r")
first = open("r/toy/x2/chatty/seed0/trial.json", "rb").read()
call("run", "--methods", "zerofill,chatty", *asked, "--out", "r")
assert open("r/toy/x2/chatty/seed0/trial.json", "rb").read() == first
if whole:
    call("run", "--methods", "chatty", *asked, "--jobs", "1", "--out", "r", "--fresh")
    call("report", "r", "--to", "page")
"""
"""What a user does in a day: run, go on, begin again, report."""


@pytest.mark.parametrize(
    ("system", "whole"),
    [
        ("windows", ""),
        pytest.param("windows", "whole", marks=pytest.mark.slow),
        pytest.param("macos", "whole", marks=pytest.mark.slow),
    ],
)
def test_a_day_with_workers_needs_nothing_that_only_linux_has(tmp_path, system, whole):
    shutil.copytree(ROOT / "tests" / "toys" / "toynet", tmp_path / "extra" / "chatty")
    card = tmp_path / "extra" / "chatty" / "card.toml"
    card.write_text(card.read_text(encoding="utf-8").replace('name = "toynet"', 'name = "chatty"'), encoding="utf-8")
    with (tmp_path / "extra" / "chatty" / "__init__.py").open("a", encoding="utf-8") as code:
        code.write("\nprint('\u2713 of a network, which cp1252 does not have')\n")
    helpers = ROOT / "tests" / "helpers" / f"as_{system}"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(helpers), str(ROOT)]),
        "PYTHONIOENCODING": "cp1252",
        "MCSR_BENCH_CACHE": str(tmp_path / "cache"),
    }
    command = (sys.executable, "-W", "error::EncodingWarning:mcsr_bench", "-c", CHAIN, str(ROOT / "tests" / "toys"))
    got = subprocess.run((*command, str(tmp_path / "extra"), whole), env=environment, cwd=tmp_path, capture_output=True)
    assert got.returncode == 0, got.stderr.decode("cp1252")
    table = got.stdout.decode("cp1252")
    assert "\u00b1" in table
    assert got.stderr.decode("cp1252").count(" done, 0 failed") == (3 if whole else 2)
    assert "\u2713 of a network" in (tmp_path / "r/toy/x2/chatty/seed0/worker.log").read_text(encoding="utf-8")
    assert (tmp_path / "page" / "index.html").is_file() == bool(whole)


@pytest.mark.parametrize(
    ("system", "hidden"), [("windows", "import fcntl"), ("macos", "import os; os.sched_getaffinity")]
)
def test_the_simulation_hides_what_it_should(system, hidden, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "helpers" / f"as_{system}")}
    assert subprocess.run((sys.executable, "-c", hidden), env=environment, capture_output=True).returncode == 1
    if system == "windows":
        held = "f = open('a', 'w'); import os; open('b', 'w').close(); os.replace('b', 'a')"
        got = subprocess.run(
            (sys.executable, "-c", held), env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert "used by another process" in got.stderr


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


@pytest.mark.parametrize("there", [True, False])
def test_the_gpu_of_a_mac_is_never_taken_and_a_sentence_says_why(there, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there)
    monkeypatch.setattr(devices, "gpu_count", lambda: 0)
    assert devices.chosen_device("auto") == "cpu"
    with pytest.raises(UserError, match=r"--device mps: is not supported: .* --device cpu works on a Mac"):
        devices.chosen_device("mps")


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
