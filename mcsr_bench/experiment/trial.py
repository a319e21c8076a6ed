"""One trial, from prepared data to scores: train -> predict -> score, each stage resumable.

A stage is not run again where its file is there and is the one whose hash is in the record of a trial with this key: the weights
end training (and a checkpoint within it resumes it), the predictions end predicting, and a record with status "done", written last,
ends the trial. The hash is recorded before the file gets its name, so that a kill between the two leaves a stage that runs again.
What the files are called: `mcsr_bench.results.bundle`.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mcsr_bench.cost.counting import cost
from mcsr_bench.data.sampler import Sampler
from mcsr_bench.data.scoring import Rows, score_rows
from mcsr_bench.data.store import StoredVolume
from mcsr_bench.engines.base import Emit, registered
from mcsr_bench.engines.processes import SLOT
from mcsr_bench.errors import DamagedFileError, UserError, disk_error, machine_error, print_trace
from mcsr_bench.experiment.parts import method_and_slices, place_slices
from mcsr_bench.experiment.planned import TrialSpec
from mcsr_bench.experiment.ranks import group_of
from mcsr_bench.metrics import revisions
from mcsr_bench.plugin.blame import told
from mcsr_bench.plugin.method import Method, TorchMethod
from mcsr_bench.plugin.predicted import predict_volume, slices_at_once
from mcsr_bench.plugin.registry import methods, scoped_plugins
from mcsr_bench.protocol import get_protocol
from mcsr_bench.results.bundle import Bundle, TrialRecord
from mcsr_bench.results.heartbeat import Heartbeat
from mcsr_bench.results.predictions import stored_predictions, write_predictions
from mcsr_bench.roles import ROLES
from mcsr_bench.system import files, frames, stopping
from mcsr_bench.system.devices import device_of
from mcsr_bench.system.digests import digest_once
from mcsr_bench.system.locks import TakenError
from mcsr_bench.system.memory import keep_freed_memory
from mcsr_bench.system.owners import now
from mcsr_bench.system.stopping import StoppedError
from mcsr_bench.training import Loop, collapse_notes, training_profile
from mcsr_bench.weights.shipped import shipped_file, shipped_notes
from mcsr_bench.weights.tensors import BundleInfo, load_weights, save_weights

Report = Callable[[str, int, int, str], None]
"""Called with (stage, done, total, detail)."""

DAMAGED = "damaged"
"""The stage of a report whose detail is a warning: a file was damaged, and is made again."""
TAKEN = "taken"
"""The only key of what `trial_job` returns in place of a record, where another process is running the trial."""


@registered
def trial_job(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """A job: run the trial of a JSON spec; its events are [stage, done, total, detail], its result the record.

    Where another process finished the trial meanwhile that is its record, and where one is running it `TAKEN`.
    UserError where the method's code is not any more what it was when the trial was planned.
    """
    spec = TrialSpec.model_validate(payload)
    spec = spec.model_copy(update={"device": _device_here(spec)})
    torch.set_num_threads(spec.threads)
    if SLOT in os.environ:  # a worker's process, not the user's
        keep_freed_memory()
    last = 0.0

    def report(stage: str, done: int, total: int, detail: str) -> None:
        nonlocal last
        now = time.monotonic()
        if done in (0, total) or now - last > 0.2:  # a line per step would cost more than a short step
            last = now
            emit([stage, done, total, detail])

    with scoped_plugins(spec.plugins):
        if methods().code(spec.method) != spec.code:
            raise UserError(
                f"the code of method '{spec.method}' changed after the run began; run the same command again"
            )
        try:
            with spec.place.claimed():
                if (record := spec.done()) is None:
                    if spec.place.log.is_file():
                        os.truncate(spec.place.log, 0)
                    record = run_trial(spec, report)
        except TakenError as error:
            return {TAKEN: str(error.owner)}
        return record.model_dump(mode="json")


def _device_here(spec: TrialSpec) -> str:
    """The first of the devices that this worker's place gives the trial."""
    return device_of(spec.device, int(os.environ.get(SLOT, "0")) * spec.computing.devices)


def run_trial(spec: TrialSpec, report: Report | None = None) -> TrialRecord:
    """Run or resume a trial and return its record; whatever goes wrong inside is recorded as "failed" with its reason.

    The trial must be claimed. Also where nothing can be written, not even that: then the record that is returned says so. A stop is
    recorded as "interrupted" and raised again (KeyboardInterrupt, StoppedError).
    """
    report = report or (lambda *_: None)
    bundle = Bundle(spec.place.folder, spec.record())
    record = bundle.record
    try:
        previous = bundle.sound_record()
        if previous is not None and previous.key == record.key:
            record.seconds, record.profile, record.files = previous.seconds, previous.profile, previous.files
        bundle.folder.mkdir(parents=True, exist_ok=True)
        with Heartbeat(bundle) as heartbeat:
            _run_stages(spec, bundle, report, heartbeat)
        record.status = "done"
    except Exception as error:  # a trial's error, whatever it is, must not take the others down
        record.status, record.reason = "failed", _reason(error, spec)
        print_trace()
    except BaseException as error:
        record.status, record.reason = "interrupted", interrupted(error)
        with suppress(OSError):  # what is to be told is the interruption
            bundle.write()
        raise
    try:
        bundle.write()
    except OSError as error:
        if record.status == "done":
            record.status, record.reason = "failed", _reason(error, spec)
        print_trace()
    return record


def _reason(error: Exception, spec: TrialSpec) -> str:
    """Why a trial failed, in a sentence: the machine's fault, or the line of the method's code, and where the trace is."""
    known = machine_error(error) or (disk_error(error) if isinstance(error, OSError) else None)
    log = f"; see {spec.place.log}" if spec.place.log.is_file() else ""
    return (str(known) if known else told(error, methods().folder(spec.method))) + log


def interrupted(error: BaseException) -> str:
    """The reason of a trial that this error, or a signal (KeyboardInterrupt, StoppedError), ended: by what, where and when."""
    by = f" by {error}" if isinstance(error, (KeyboardInterrupt, StoppedError)) and str(error) else ""
    return f"it was stopped{by} on {socket.gethostname()} at {now()}; the same command goes on with it"


def _run_stages(spec: TrialSpec, bundle: Bundle, report: Report, heartbeat: Heartbeat) -> None:
    record = bundle.record
    method, sampler = method_and_slices(spec)
    record.notes, record.joint, record.method_track = method.notes(), method.joint, method.track
    if isinstance(method, TorchMethod):
        parameters = list(method.network.parameters())
        record.profile["parameters"] = sum(p.numel() for p in parameters)
        record.profile["trainable_parameters"] = sum(p.numel() for p in parameters if p.requires_grad)
        record.profile |= _cost(spec) | training_profile(method, sampler)
    if spec.shipped:
        record.notes += _take_shipped(spec, bundle, method, report, heartbeat)
    elif method.card.trains:
        if spec.precision == "bf16":
            record.notes = [*record.notes, "trained in bfloat16 (--precision bf16)"]
        _train(spec, bundle, method, sampler, report, heartbeat)
        record.notes = [*record.notes, *collapse_notes(bundle.training_log)]
    if not _usable(bundle, bundle.predictions, report):
        began = time.perf_counter()
        with files.replacing(bundle.predictions) as temporary:
            write_predictions(temporary, record.key, _predicted(spec, method, sampler, report))
            record.files[bundle.predictions.name] = digest_once(temporary)
            record.seconds["predict"] = time.perf_counter() - began
            heartbeat.beat()
    if spec.device.startswith("cuda"):
        record.profile["peak_memory"] = float(torch.cuda.max_memory_allocated(spec.device))
    began = time.perf_counter()
    write_scores(bundle, sampler.test_volumes())
    record.seconds["score"] = time.perf_counter() - began
    bundle.checkpoint.unlink(missing_ok=True)
    report("score", 1, 1, "")


def _cost(spec: TrialSpec) -> dict[str, float]:
    """Size and arithmetic at HR 320; nothing for a network that cannot run on the meta device."""
    try:
        found = cost(spec.method, spec.scale, spec.preset, settings=spec.settings)
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return {}
    keys = ("dead_parameters", "macs", "flops")
    return {} if found is None else {key: float(getattr(found, key)) for key in keys}


def _usable(bundle: Bundle, path: Path, report: Report) -> bool:
    """Whether a stage's file is the one whose hash is in the record; a damaged one is set aside."""
    if path.name not in bundle.record.files or not path.is_file():
        return False
    try:
        bundle.checked(path)
    except DamagedFileError as error:
        report(DAMAGED, 0, 0, f"{error}; it was set aside, and what wrote it runs again")
        files.set_aside(path)
        return False
    return True


def _take_shipped(spec: TrialSpec, bundle: Bundle, method: Method, report: Report, heartbeat: Heartbeat) -> list[str]:
    """Copy the weights that come with the method into the bundle, and load them; what is to be said of them."""
    if not _usable(bundle, bundle.weights, report):
        source = shipped_file(spec.method, spec.scale)
        if digest_once(source) != spec.shipped:
            raise UserError(f"{source}: changed after the run began; run the same command again")
        bundle.stress.unlink(missing_ok=True)  # of other weights, as are the predictions
        with files.replacing(bundle.weights) as temporary:
            shutil.copyfile(source, temporary)
            bundle.record.files = {bundle.weights.name: spec.shipped}
            heartbeat.beat()
    load_weights(method, bundle.checked(bundle.weights), spec.device)
    return shipped_notes(spec.method, spec.scale)


def _train(
    spec: TrialSpec, bundle: Bundle, method: Method, sampler: Sampler, report: Report, heartbeat: Heartbeat
) -> None:
    record = bundle.record
    logged = bundle.training_log.name in record.files
    if not (_usable(bundle, bundle.weights, report) and (not logged or _usable(bundle, bundle.training_log, report))):
        began = time.perf_counter()
        with group_of(spec, method) as group:  # whose processes begin while slices are loaded
            record.profile["resident_bytes"] = float(place_slices(sampler, spec.computing.resident, spec.device))
            loop = Loop(
                bundle.folder,
                seed=spec.seed,
                device=spec.device,
                key=spec.key,
                computing=spec.computing,
                group=group,
                report=partial(report, "train"),
                warn=partial(report, DAMAGED, 0, 0),
            )
            method.train(sampler, loop)
        for name in ("seconds_per_step", "compile_seconds"):
            if np.isfinite(seconds := getattr(loop, name)):
                record.profile[name] = seconds
        record.seconds["train"] = time.perf_counter() - began + record.seconds.get("train", 0.0)
        info = BundleInfo(**{name: getattr(spec, name) for name in BundleInfo.model_fields if name != "origin"})
        bundle.stress.unlink(missing_ok=True)  # of other weights, as are the predictions
        with files.replacing(bundle.weights) as temporary:
            save_weights(method, temporary, info.model_dump(mode="json"))
            record.files = {bundle.weights.name: digest_once(temporary)}
            if bundle.training_log.is_file():
                record.files[bundle.training_log.name] = digest_once(bundle.training_log)
            heartbeat.beat()
    load_weights(method, bundle.checked(bundle.weights), spec.device, record.key)


def _predicted(
    spec: TrialSpec, method: Method, sampler: Sampler, report: Report
) -> Iterator[tuple[str, Sequence[int], Mapping[str, NDArray[Any]]]]:
    volumes = sampler.test_volumes()
    for number, volume in enumerate(volumes):
        stopping.check()
        report("predict", number, len(volumes), volume.volume_id)
        batches = sampler.predicting(volume, slices_at_once(spec.device))
        yield volume.volume_id, volume.slice_index, predict_volume(method, batches, spec.device)
    report("predict", len(volumes), len(volumes), "")


def score_tables(bundle: Bundle, volumes: Iterable[StoredVolume]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scores of a bundle's stored predictions, by every metric there is: tables of volumes and of slices."""
    record = bundle.record
    protocol = get_protocol(record.protocol)
    contrasts = {role: record.data.contrast(role) for role in ROLES}
    rows: tuple[Rows, Rows] = ([], [])
    with stored_predictions(bundle) as predictions:
        for volume in volumes:
            found = predictions.read(volume.volume_id)
            stored: dict[str, NDArray[Any]] = {role: found[role] for role in ROLES if role in found}
            for kept, new in zip(rows, score_rows(stored, volume, protocol, record.scale, contrasts), strict=True):
                kept += new
    return pd.DataFrame(rows[0]), pd.DataFrame(rows[1])


def write_scores(bundle: Bundle, volumes: Iterable[StoredVolume]) -> None:
    """Score the stored predictions, and note in the record by which revision of each metric, and the hashes of the tables."""
    for path, table in zip((bundle.volumes, bundle.slices), score_tables(bundle, volumes), strict=True):
        frames.write_csv(path, table)
        bundle.record.files[path.name] = digest_once(path)
    bundle.record.metrics = revisions()
