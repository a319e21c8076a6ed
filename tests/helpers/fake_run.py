"""Runs that nobody trained: bundles in the layout of results, with scores drawn from a seed, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mcsr_bench.data.sampler import REVISION as BATCHES
from mcsr_bench.metrics import METRICS, revisions
from mcsr_bench.plugin.registry import methods as registry
from mcsr_bench.protocol import get_protocol
from mcsr_bench.results.bundle import Bundle, BundleFiles, DataRecord, TrialRecord
from mcsr_bench.results.identity import trial_key
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files, frames


def data_record(name: str = "knee", *, patients: int = 8, slices: int = 2, **changes: Any) -> DataRecord:
    """A real, complex dataset of the paper unless told otherwise."""
    values: dict[str, Any] = {
        "name": name,
        "title": f"{name} (fake)",
        "real": True,
        "track": "complex",
        "target": "T2",
        "auxiliary": "T1",
        "reported_as": "",
        "fingerprint": files.digest(name, 16),
        "split_hash": "0123456789ab",
        "split_rule": "by patient",
        "patient_disjoint": True,
        "patients": {"train": 10, "validation": 2, "test": patients},
        "slices": {"train": 20, "validation": 4, "test": patients * slices},
        "hr_shapes": [(32, 32)],
        "store": f"{name}-none-x0",
    }
    return DataRecord(**(values | changes))


def write_trial_of(
    out: Path,
    method: str,
    psnr: Sequence[float],
    *,
    data: DataRecord | None = None,
    scale: int = 2,
    seed: int = 0,
    slices: int = 2,
    contrast: str = "T2",
    card: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """One finished trial; ``psnr`` by patient. SSIM follows PSNR (psnr / 50), the other metrics are constants."""
    data = data or data_record(patients=len(psnr), slices=slices)
    known = registry().plugins().get(method)
    usual = known.card.model_dump(mode="json", exclude={"presets", "differences"}) if known and known.card else {}
    values: dict[str, Any] = {
        "status": "done",
        "key": files.digest([method, data.name, scale, seed, changes.get("variant", "")], 16),
        "method": method,
        "dataset": data.name,
        "scale": scale,
        "seed": seed,
        "preset": "small",
        "protocol": "mcsr-1",
        "protocol_hash": get_protocol(changes.get("protocol", "mcsr-1")).hash,
        "metrics": revisions(),
        "card": usual | (card or {}),
        "data": data,
        "versions": {"mcsr-bench": "0.0"},
        "seconds": {"train": 10.0, "predict": 1.0, "score": 1.0},
        "profile": {"parameters": 1000, "seconds_per_step": 0.1},
    }
    record = TrialRecord(**(values | changes))
    folder = RunFolder(out).trial(record.dataset_label, scale, record.method_label, seed).folder
    folder.mkdir(parents=True)
    bundle = Bundle(folder, record)
    rows, slice_rows = [], []
    for i, value in enumerate(psnr):
        head = {"patient_id": f"p{i:03d}", "volume_id": f"p{i:03d}-v0", "role": "target", "contrast": contrast}
        scores = dict.fromkeys(METRICS, 0.5) | {"psnr@volume-max": value, "ssim@volume-max": value / 50}
        rows.append(head | scores)
        slice_rows += [head | {"slice_index": k} | scores for k in range(slices)]
    frames.write_csv(bundle.volumes, pd.DataFrame(rows))
    frames.write_csv(bundle.slices, pd.DataFrame(slice_rows))
    bundle.write()
    return folder


def draw(method: str, n: int, *, seed: int = 0, better: float = 0.0) -> list[float]:
    """PSNR of n patients: patients differ by 1 dB, a method's own scatter is 0.2 dB."""
    patients = np.random.default_rng(17).normal(30, 1, n)
    own = np.random.default_rng([seed, *method.encode()]).normal(better, 0.2, n)
    return list(patients + own)


def seal(folder: Path, weights: str = "") -> None:
    """Give a trial of `write_trial_of` the hashes of its files and the key that follows; weights: the hash of those it lacks."""
    record = BundleFiles(folder).read_record()
    assert record is not None
    bundle = Bundle(folder, record)
    record.card |= {"name": record.method, "revision": record.card.get("revision", 1)}
    record.files = {path.name: files.file_digest(path) for path in (bundle.volumes, bundle.slices)}
    if weights:
        record.files[bundle.weights.name] = weights
    code = (record.code, record.data.code)
    record.key = trial_key(record, code=code, revision=record.card["revision"], batches=BATCHES)
    bundle.write()
