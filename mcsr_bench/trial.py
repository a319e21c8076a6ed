"""Floor 3: one trial, from prepared data to scores: train -> predict -> score, each stage resumable.

A stage whose file is there is not run again: the weights end training (and a checkpoint within it resumes it), the predictions end
predicting, and a record with status "done", written last, ends the trial. What the files are called: `mcsr_bench.results.bundle`.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict

from mcsr_bench import files, metrics
from mcsr_bench.cards import MethodCard
from mcsr_bench.dataset import Split
from mcsr_bench.engines.base import Emit, registered
from mcsr_bench.engines.processes import SLOT
from mcsr_bench.errors import UserError, disk_error, one_line
from mcsr_bench.loading import load_method
from mcsr_bench.method import Batch, Method, TorchMethod
from mcsr_bench.profiling import cost
from mcsr_bench.protocol import Protocol, get_protocol
from mcsr_bench.registry import add_plugins, methods
from mcsr_bench.results.bundle import ROLES, Bundle, BundleFiles, DataRecord, RunFolder, TrialRecord, label
from mcsr_bench.sampling import Sampler
from mcsr_bench.store import StoredVolume, open_store
from mcsr_bench.system.devices import device_name, device_of
from mcsr_bench.system.provenance import git_revision, versions
from mcsr_bench.training import Loop, load_weights, save_weights
from mcsr_bench.weights import BundleInfo

Report = Callable[[str, int, int, str], None]
"""Called with (stage, done, total, detail)."""


class TrialSpec(BaseModel):
    """Everything a worker needs to run a trial; JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path
    """The run's folder."""
    method: str
    variant: str = ""
    settings: dict[str, Any]
    """All settings of the method."""
    dataset_variant: str = ""
    dataset_settings: dict[str, Any]
    scale: int
    seed: int
    preset: str
    protocol: str
    data: DataRecord
    split: dict[str, Any]
    """A `Split`, as a mapping."""
    device: str = "cpu"
    threads: int = 1
    plugins: tuple[Path, ...] = ()

    @property
    def key(self) -> str:
        """Hash of everything that should change the numbers (not: device, threads, versions)."""
        card = methods().card(self.method)
        return files.digest(
            {
                "preparation": self.data.preparation,
                "revisions": self.data.revisions,
                "method": self.method,
                "revision": card.revision,
                "settings": self.settings,
                "scale": self.scale,
                "seed": self.seed,
                "protocol": get_protocol(self.protocol).hash,
                "fingerprint": self.data.fingerprint,
                "dataset_settings": self.dataset_settings,
                "contrasts": [self.data.target, self.data.auxiliary],
                "split": self.data.split_hash,
            },
            16,
        )

    @property
    def label(self) -> str:
        """For people: "brain-sim x4 sanet seed 0"."""
        return f"{self.dataset_label} x{self.scale} {self.method_label} seed {self.seed}"

    @property
    def dataset_label(self) -> str:
        """``DATASET[@VARIANT]``."""
        return label(self.data.name, self.dataset_variant)

    @property
    def method_label(self) -> str:
        """``METHOD[@VARIANT]``."""
        return label(self.method, self.variant)

    def record(self) -> TrialRecord:
        """The record of this trial as it begins."""
        card: MethodCard = methods().card(self.method)
        return TrialRecord(
            status="running",
            key=self.key,
            method=self.method,
            variant=self.variant,
            dataset=self.data.name,
            dataset_variant=self.dataset_variant,
            scale=self.scale,
            seed=self.seed,
            preset=self.preset,
            protocol=self.protocol,
            protocol_hash=get_protocol(self.protocol).hash,
            settings=self.settings,
            dataset_settings=self.dataset_settings,
            card=card.model_dump(mode="json", exclude={"presets", "differences"}),
            data=self.data,
            versions=versions(),
            git=git_revision(),
            device=device_name(self.device),
            threads=self.threads,
        )

    @property
    def place(self) -> BundleFiles:
        """Where the trial's bundle is."""
        return RunFolder(self.out).trial(self.dataset_label, self.scale, self.method_label, self.seed)


@registered
def trial_job(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """A job: run the trial of a JSON spec; its events are [stage, done, total, detail], its result the record."""
    spec = TrialSpec.model_validate(payload)
    for path in spec.plugins:
        add_plugins(path)
    spec = spec.model_copy(update={"device": device_of(spec.device, int(os.environ.get(SLOT, "0")))})
    torch.set_num_threads(spec.threads)
    last = 0.0

    def report(stage: str, done: int, total: int, detail: str) -> None:
        nonlocal last
        now = time.monotonic()
        if done in (0, total) or now - last > 0.2:  # a line per step would cost more than a short step
            last = now
            emit([stage, done, total, detail])

    return run_trial(spec, report).model_dump(mode="json")


def run_trial(spec: TrialSpec, report: Report | None = None) -> TrialRecord:
    """Run or resume a trial and return its record; whatever goes wrong inside is recorded as "failed" with its reason.

    Raises UserError only for what concerns all trials: an output folder that cannot be written.
    """
    report = report or (lambda *_: None)
    bundle = Bundle(spec.place.folder, spec.record())
    record = bundle.record
    previous = spec.place.read_record()
    if previous is not None and previous.key == record.key:
        record.seconds, record.profile = previous.seconds, previous.profile
    try:
        bundle.folder.mkdir(parents=True, exist_ok=True)
        bundle.write()
        _run_stages(spec, bundle, report)
        record.status = "done"
    except Exception as error:  # a trial's error, whatever it is, must not take the others down
        record.status = "failed"
        if isinstance(error, OSError) and disk_error(error) is not None:
            raise disk_error(error) from error  # type: ignore[misc]
        record.reason = str(error) if isinstance(error, UserError) else one_line(f"{type(error).__name__}: {error}")
        traceback.print_exc()
    bundle.write()
    return record


def _run_stages(spec: TrialSpec, bundle: Bundle, report: Report) -> None:
    record = bundle.record
    protocol = get_protocol(spec.protocol)
    method = load_method(spec.method, spec.scale, spec.preset, seed=spec.seed, **spec.settings)
    sampler = Sampler(open_store(spec.data.store), Split(**spec.split), protocol, spec.seed, joint=method.joint)
    record.notes, record.joint = method.notes(), method.joint
    if isinstance(method, TorchMethod):
        parameters = list(method.network.parameters())
        record.profile["parameters"] = sum(p.numel() for p in parameters)
        record.profile["trainable_parameters"] = sum(p.numel() for p in parameters if p.requires_grad)
        method.to(spec.device)
        record.profile |= _cost(spec)
    if method.card.trains:
        _train(spec, bundle, method, sampler, report)
    _timed(record, "predict", bundle.predictions, lambda path: _predict(spec, path, method, sampler, report))
    if spec.device.startswith("cuda"):
        record.profile["peak_memory"] = float(torch.cuda.max_memory_allocated(spec.device))
    began = time.perf_counter()
    _score(bundle, sampler, protocol, spec)
    record.seconds["score"] = time.perf_counter() - began
    record.files = {path.name: files.file_digest(path) for path in bundle.hashed() if path.is_file()}
    bundle.checkpoint.unlink(missing_ok=True)
    report("score", 1, 1, "")


def _cost(spec: TrialSpec) -> dict[str, float]:
    """Size and arithmetic at HR 320; nothing for a network that cannot run on the meta device."""
    try:
        found = cost(spec.method, spec.scale, spec.preset, settings=spec.settings)
    except (RuntimeError, NotImplementedError, ValueError):
        return {}
    keys = ("dead_parameters", "macs", "flops")
    return {} if found is None else {key: float(getattr(found, key)) for key in keys}


def _train(spec: TrialSpec, bundle: Bundle, method: Method, sampler: Sampler, report: Report) -> None:
    record = bundle.record
    if not bundle.weights.is_file():
        began = time.perf_counter()
        loop = Loop(bundle.folder, seed=spec.seed, device=spec.device, key=spec.key, report=partial(report, "train"))
        method.train(sampler, loop)
        if np.isfinite(loop.seconds_per_step):
            record.profile["seconds_per_step"] = loop.seconds_per_step
        record.seconds["train"] = time.perf_counter() - began + record.seconds.get("train", 0.0)
        info = BundleInfo(**{name: getattr(spec, name) for name in BundleInfo.model_fields if name != "origin"})
        save_weights(method, bundle.weights, info.model_dump(mode="json"))
    load_weights(method, bundle.weights, spec.device)


def _timed(record: TrialRecord, stage: str, path: Path, build: Callable[[Path], None]) -> None:
    if path.is_file():
        return
    began = time.perf_counter()
    with files.replacing(path) as temporary:
        build(temporary)
    record.seconds[stage] = time.perf_counter() - began


def _predict(spec: TrialSpec, path: Path, method: Method, sampler: Sampler, report: Report) -> None:
    volumes = sampler.test_volumes()
    with h5py.File(path, "w") as file:
        for number, volume in enumerate(volumes):
            report("predict", number, len(volumes), volume.volume_id)
            slices: dict[str, list[np.ndarray]] = {}
            for batch in sampler.predicting(volume):
                for contrast, image in predict_checked(method, batch.to(spec.device)).items():
                    slices.setdefault(contrast, []).append(image)
            group = file.create_group(volume.volume_id)
            group.attrs["slice_index"] = np.asarray(volume.slice_index)
            for contrast, images in slices.items():
                group.create_dataset(contrast, data=np.concatenate(images))
    report("predict", len(volumes), len(volumes), "")


def predict_checked(method: Method, batch: Batch) -> dict[str, np.ndarray]:
    """What a method predicts for a batch, as float32 or complex64 (B, H, W) by contrast ("target", "auxiliary").

    Raises ValueError when shape, type or finiteness are not what the contract says, naming the method.
    """
    output = method.predict(batch.without_target())
    named = output if isinstance(output, dict) else {"target": output}
    out = {}
    for contrast, image in named.items():
        expected = (len(batch), *batch.hr_shape)
        if tuple(image.shape) != expected:
            raise ValueError(f"{method.card.name} predicted {tuple(image.shape)} for the {contrast}, not {expected}")
        if not torch.isfinite(torch.view_as_real(image) if image.is_complex() else image).all():
            raise ValueError(f"{method.card.name} predicted NaN or Inf for the {contrast}")
        kind = np.complex64 if image.is_complex() else np.float32
        out[contrast] = image.detach().cpu().numpy().astype(kind)
    return out


def score_prediction(
    prediction: np.ndarray, volume: StoredVolume, protocol: Protocol, scale: int, contrast: str = "target"
) -> metrics.VolumeScores:
    """The scores of a predicted volume (S, H, W) against what the protocol says the reference is."""
    image, low = (volume.target, volume.target_lr) if contrast == "target" else (volume.aux, volume.aux_lr)
    reference = protocol.scoring_reference(np.asarray(image), np.asarray(low))

    def degrade(x: np.ndarray) -> np.ndarray:
        return protocol.degrade(torch.from_numpy(x), scale).numpy()

    return metrics.score_volume(prediction, metrics.Reference(reference), lr=np.asarray(low), degrade=degrade)


def _score(bundle: Bundle, sampler: Sampler, protocol: Protocol, spec: TrialSpec) -> None:
    volumes, slices = [], []
    with h5py.File(bundle.predictions, "r") as file:
        for volume in sampler.test_volumes():
            group = file[volume.volume_id]
            for role in (role for role in ROLES if role in group):
                scores = score_prediction(group[role][...], volume, protocol, spec.scale, role)
                head = {
                    "patient_id": volume.patient_id,
                    "volume_id": volume.volume_id,
                    "role": role,
                    "contrast": spec.data.contrast(role),
                }
                volumes.append({**head, **scores.volume})
                slices += [
                    {**head, "slice_index": i, **row} for i, row in zip(volume.slice_index, scores.slices, strict=True)
                ]
    files.write_table(bundle.volumes, pd.DataFrame(volumes))
    files.write_table(bundle.slices, pd.DataFrame(slices))
