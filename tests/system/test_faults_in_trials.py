"""A fault of the machine is recorded for the trial that it hits, in one sentence; the others run, and it runs another time."""

from __future__ import annotations

import errno
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mcsr_bench.api import experiment_spec
from mcsr_bench.data.prepare import prepare_all
from mcsr_bench.engines.base import Message
from mcsr_bench.engines.processes import Processes
from mcsr_bench.experiment import trial
from mcsr_bench.experiment.run import run_experiment
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.results import heartbeat
from mcsr_bench.results.bundle import BundleFiles
from mcsr_bench.system import files
from mcsr_bench.system.progress import Warnings
from mcsr_bench.training import loop
from mcsr_bench.weights import tensors

TOYS = Path(__file__).parents[1] / "toys"
METHODS = ["zerofill", "bicubic"]


@pytest.fixture(autouse=True)
def cache(own_cache: Path) -> Path:
    return own_cache


def run(out: Path, methods: list[str] = METHODS) -> pd.DataFrame:
    """Status and reason by method."""
    with scoped_plugins([TOYS]):
        spec = experiment_spec(methods, "toy", 2, preset="smoke", plugins=TOYS, out=out, jobs=1)
        _, records = run_experiment(spec, Warnings())
    rows = [(record.method, record.status, record.reason) for record in records]
    return pd.DataFrame(rows, columns=["method", "status", "reason"]).set_index("method")


def place(out: Path, method: str) -> BundleFiles:
    return BundleFiles(next(out.glob(f"toy/x2/{method}*/seed0")))


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def once(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """A function of trials fails the first time."""
    real, calls = getattr(trial, name), []

    def fail(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise error
        return real(*args)

    monkeypatch.setattr(trial, name, fail)


FAULTS = [
    (OSError(errno.ENOSPC, "No space left"), "predictions.h5: cannot write or read: the disk is full"),
    (
        OSError(errno.EIO, "Input/output error"),
        "predictions.h5: cannot write or read: the disk or the network folder failed",
    ),
    (MemoryError("Unable to allocate 8 GiB"), "out of memory (Unable to allocate 8 GiB)"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory (CUDA out of memory."),
]


def test_the_trial_it_hits_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (error, words) in enumerate(FAULTS):
        out = tmp_path / f"{number}"
        with monkeypatch.context() as patch:
            once(patch, "write_predictions", error)
            found = run(out)
        assert list(found["status"]) == ["failed", "done"]
        reason = found["reason"].iloc[0]
        assert words in reason
        assert len(reason.splitlines()) == 1
        assert place(out, "zerofill").read_record().reason == reason
        assert list(run(out)["status"]) == ["done", "done"]


@pytest.mark.slow
def test_a_run_whose_disk_fills_up_goes_on_when_there_is_room(small_disk: Path, here: Callable[..., Any]) -> None:
    """Not even the records can be written in the end; the second trial finds the disk as full."""
    asked = ("run", "--methods", "zerofill,bicubic", "--dataset", "toy", "--scale", 2, "--preset", "smoke")
    asked = (*asked, "--plugins", TOYS, "--out", small_disk / "r", "--jobs", 1)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(400_000 - 60_000))
    done = here(*asked)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("failed: ") == 2
    assert "the disk is full" in done.stderr
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert here(*asked).returncode == 0


def test_a_record_that_cannot_be_written_is_told_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was killed, on a disk that is full by then."""

    def killed(self: Processes, jobs: Any) -> Iterator[Message]:
        yield Message(0, "started")
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "fsync", raising(OSError(errno.ENOSPC, "No space left")))
            yield Message(0, "died", "its process was ended by SIGKILL (out of memory?)")
        yield Message(1, "started")
        yield Message(1, "unable", "x: cannot write or read: the disk is full")

    out = tmp_path / "r"
    with monkeypatch.context() as patch:
        patch.setattr(Processes, "run", killed)
        patch.setattr(
            "mcsr_bench.experiment.run.prepare_all", lambda spec, _, listener: prepare_all(spec, None, listener)
        )
        found = run(out)
    assert list(found["status"]) == ["failed", "failed"]
    assert "SIGKILL (out of memory?)" in found["reason"].iloc[0]
    assert not place(out, "zerofill").trial.exists()
    assert "the disk is full" in place(out, "bicubic").read_record().reason
    assert list(run(out)["status"]) == ["done", "done"]


def test_what_a_kill_leaves_of_weights_is_found_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While they are written there is one temporary file, with a name that the next one of the same path looks for."""
    seen: list[str] = []
    written = tensors.save_file

    def watched(values: Any, path: Path, **more: Any) -> None:
        if "weights" in path.name:
            seen.extend(file.name for file in path.parent.glob(".*.tmp"))
        written(values, path, **more)

    monkeypatch.setattr(tensors, "save_file", watched)
    assert list(run(tmp_path / "r", ["toynet"])["status"]) == ["done"]
    assert len(seen) == 1
    assert seen[0].startswith(".weights.safetensors.")


def test_a_checkpoint_that_cannot_be_opened_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors are short for the moment: the training must not begin again for that."""
    out = tmp_path / "r"
    with monkeypatch.context() as patch:
        patch.setattr(trial, "save_weights", raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run(out, ["toynet"])
    checkpoint = place(out, "toynet").checkpoint
    before = checkpoint.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(tensors, "safe_open", raising(OSError(errno.EMFILE, "Too many open files")))
        assert "too many files are open" in run(out, ["toynet"])["reason"].iloc[0]
    assert checkpoint.read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_save", raising(AssertionError("a step was made again")))
        assert list(run(out, ["toynet"])["status"]) == ["done"]


def test_a_zero_byte_record_and_checkpoint_are_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a power cut leaves them on some systems; of a program that warns, as it does."""
    out = tmp_path / "r"
    with monkeypatch.context() as patch:
        patch.setattr(trial, "save_weights", raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run(out, ["toynet"])
    there = place(out, "toynet")
    for path in (there.trial, there.checkpoint):
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match=r"trial\.json: not a readable trial record.* set aside"),
        pytest.warns(UserWarning, match=r"checkpoint\.safetensors.* the training begins again"),
    ):
        assert list(run(out, ["toynet"])["status"]) == ["done"]
    assert [p.name for p in sorted(there.folder.glob("*.damaged"))] == [
        "checkpoint.safetensors.damaged",
        "trial.json.damaged",
    ]


def test_a_clock_that_is_set_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock of the wall is a day before the last."""
    usual = run(tmp_path / "usual", ["toynet"])
    days = iter(range(10**6))
    real_ns, real = time.time_ns, time.time
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() - next(days) * 86_400 * 10**9)
    monkeypatch.setattr(time, "time", lambda: real() - next(days) * 86_400)
    monkeypatch.setattr(heartbeat, "now", lambda: f"{2020 - next(days)}-01-01T00:00:00+00:00")
    assert run(tmp_path / "back", ["toynet"]).equals(usual)
    tables = [pd.read_csv(place(tmp_path / name, "toynet").volumes) for name in ("usual", "back")]
    pd.testing.assert_frame_equal(*tables)
    assert np.isfinite(place(tmp_path / "back", "toynet").read_record().seconds["train"])
    assert place(tmp_path / "back", "toynet").read_record().seconds["train"] >= 0
