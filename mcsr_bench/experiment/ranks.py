"""The processes of a training that several devices share (``--devices``): the trial's own, and others beside it.

Another process gets the plan of the trial, builds the same method and slices, and runs the same loop, which writes nothing there.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from mcsr_bench.engines.base import Emit, Job, registered
from mcsr_bench.engines.beside import Beside
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.parts import has_batch_norm, method_and_slices, place_slices, synchronise_batch_norm
from mcsr_bench.experiment.planned import TrialSpec
from mcsr_bench.plugin.loading import method_of
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.plugin.registry import methods, scoped_plugins
from mcsr_bench.system.devices import gpu_count
from mcsr_bench.system.memory import keep_freed_memory
from mcsr_bench.training import Group, Loop, joined

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
        others: list[Beside] = []
        ended = threading.Event()
        try:
            for rank in range(1, n):
                others.append(Beside(share_of(spec, rank, name)))
            threading.Thread(target=_watch, args=(others, ended), daemon=True).start()
            with joined(0, n, Path(name), spec.device) as group:
                yield group
        finally:
            ended.set()
            for other in others:
                other.end()


def _watch(others: Sequence[Beside], ended: threading.Event) -> None:
    """End this process where another failed and this one does not notice: GPUs would wait for it for a day."""
    while not ended.wait(1):
        if any(other.failed for other in others) and not ended.wait(_NOTICING):
            print("another process of this training failed, see above", file=sys.stderr, flush=True)
            os._exit(1)


def share_of(spec: TrialSpec, rank: int, folder: str) -> Job:
    """The job of another than the first process of a trial's group; folder: where they meet."""
    return Job(train_share, {"trial": spec.model_dump(mode="json"), "rank": rank, "folder": folder})


@registered
def train_share(payload: dict[str, Any], emit: Emit) -> None:
    """A job: `share_of`."""
    spec, rank = TrialSpec.model_validate(payload["trial"]), payload["rank"]
    spec = spec.model_copy(update={"device": _device_of_rank(spec.device, rank)})
    torch.set_num_threads(spec.threads)
    keep_freed_memory()
    meeting = joined(rank, spec.computing.devices, Path(payload["folder"]), spec.device)
    with scoped_plugins(spec.plugins), meeting as group:
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
