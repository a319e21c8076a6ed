"""The processes of a training that several devices share (``--devices``): the trial's own, and others that it starts.

An other process gets the plan of the trial on its standard input, builds the same method and slices, and runs the same loop, which
writes nothing there. It ends with the trial's process, whatever ends that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mcsr_bench.engines.processes import end_with_parent
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.parts import has_batch_norm, method_and_slices, place_slices, synchronise_batch_norm
from mcsr_bench.experiment.planned import TrialSpec
from mcsr_bench.plugin.loading import method_of
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.plugin.registry import methods, scoped_plugins
from mcsr_bench.system.devices import gpu_count
from mcsr_bench.system.memory import keep_freed_memory
from mcsr_bench.training import Group, Loop, joined

_START = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import _main; _main()"

_NOTICING = 30.0
"""Seconds in which the end of another process is an error of the next average, where processors wait for it."""


def check_devices(trials: Iterable[TrialSpec]) -> None:
    """UserError for a trial whose training cannot be shared among as many devices as it says."""
    seen: set[tuple[str, str, int]] = set()
    for spec in trials:
        n, name = spec.computing.devices, spec.method
        if n == 1 or (name, spec.variant, spec.scale) in seen:
            continue
        seen.add((name, spec.variant, spec.scale))
        if methods().plugins()[name].given is not None:
            raise UserError(f"--devices {n}: other processes cannot load method '{name}', which was given as a class")
        batch = spec.settings.get("batch_size", 0)
        if batch % n:
            raise UserError(
                f"--devices {n}: {name}.batch_size is {batch}, which {n} devices cannot share equally; "
                f"--set {name}.batch_size={n * max(1, round(batch / n))} can"
            )
        method = method_of(name, spec.scale, spec.preset, spec.settings)
        if not spec.device.startswith("cuda") and isinstance(method, TorchMethod) and has_batch_norm(method):
            raise UserError(
                f"--devices {n}: method '{name}' has batch normalisation, which torch shares among GPUs alone; leave --devices out"
            )


@contextmanager
def group_of(spec: TrialSpec, method: Any) -> Iterator[Group]:
    """The group in which this process trains a trial, its first; the others run as long as the block."""
    n = spec.computing.devices
    if n == 1:
        yield Group()
        return
    if spec.device.startswith("cuda"):
        synchronise_batch_norm(method)
    with tempfile.TemporaryDirectory(prefix="mcsr-bench-") as name:
        others: list[subprocess.Popen[str]] = []
        ended = threading.Event()
        try:
            for rank in range(1, n):
                others.append(_started(spec, rank, Path(name)))
            threading.Thread(target=_watch, args=(others, ended), daemon=True).start()
            with joined(0, n, Path(name), spec.device) as group:
                yield group
        finally:
            ended.set()
            for process in others:
                process.kill()
            for process in others:
                process.wait()


def _started(spec: TrialSpec, rank: int, folder: Path) -> subprocess.Popen[str]:
    """Another process of the group; what it prints goes where this process prints, the log of the trial."""
    process = subprocess.Popen(  # nosec B603
        [sys.executable, "-P", "-c", _START, *sys.path], stdin=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdin is not None
    order = {"trial": spec.model_dump(mode="json"), "rank": rank, "folder": str(folder)}
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()  # and left open: its end is this process's
    return process


def _watch(others: Sequence[subprocess.Popen[str]], ended: threading.Event) -> None:
    """End this process where another failed and this one does not notice: GPUs would wait for it for a day."""
    while not ended.wait(1):
        if any(process.poll() for process in others) and not ended.wait(_NOTICING):
            print("another process of this training failed, see above", file=sys.stderr, flush=True)
            os._exit(1)


def _main() -> None:
    end_with_parent()
    # A signal to all processes of a group is for the first, which makes a checkpoint and then ends the others.
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    train_share(TrialSpec.model_validate(order["trial"]), order["rank"], Path(order["folder"]))
    os._exit(0)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


def train_share(spec: TrialSpec, rank: int, folder: Path) -> None:
    """Train a trial as another than the first process of its group; folder: where they meet."""
    spec = spec.model_copy(update={"device": _device_of_rank(spec.device, rank)})
    torch.set_num_threads(spec.threads)
    keep_freed_memory()
    with scoped_plugins(spec.plugins), joined(rank, spec.computing.devices, folder, spec.device) as group:
        method, sampler = method_and_slices(spec)
        if isinstance(method, TorchMethod) and spec.device.startswith("cuda"):
            synchronise_batch_norm(method)
        place_slices(sampler, spec.computing.resident, spec.device)
        loop = Loop(
            spec.place.folder,
            seed=spec.seed,
            device=spec.device,
            key=spec.key,
            computing=spec.computing,
            group=group,
        )
        method.train(sampler, loop)


def _device_of_rank(device: str, rank: int) -> str:
    """The next GPUs after that of the first process, round about; anything else stays."""
    kind, _, index = device.partition(":")
    return f"cuda:{(int(index or 0) + rank) % gpu_count()}" if kind == "cuda" else device
