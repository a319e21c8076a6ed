"""Is the auxiliary used, or over-trusted? Predict again from stored weights with an auxiliary that is wrong.

Writes ``stress.csv`` into the bundles (it is not part of a trial's hash) and tabulates what each method loses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from mcsr_bench import kspace, metrics
from mcsr_bench.data.store import Store, StoredVolume, open_store
from mcsr_bench.engines.base import Emit, Engine, Job, Needs, Steps, follow, registered
from mcsr_bench.errors import FileError, UserError
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.blame import blamed
from mcsr_bench.plugin.loading import method_of
from mcsr_bench.plugin.predicted import magnitude, predict_volume, slices_at_once
from mcsr_bench.plugin.registry import add_plugins, methods
from mcsr_bench.plugin.report import Table
from mcsr_bench.protocol import Protocol, get_protocol
from mcsr_bench.results.bundle import Bundle, BundleFiles, TrialRecord
from mcsr_bench.results.load import Results, use_results
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.results.stress_table import CLEAN, FOREIGN, NOISE, stress_table
from mcsr_bench.system import files, frames, stopping
from mcsr_bench.system.progress import Listener
from mcsr_bench.weights.tensors import load_weights

COLUMNS = (
    "perturbation",
    "patient_id",
    "volume_id",
    "contrast",
    "psnr",
    "clean_psnr",
    "zerofill_psnr",
    "loss_db",
    "below_zerofill_db",
)
DEGREES = 2.0

Images = NDArray[np.complex64]


def perturbations(volume: StoredVolume, foreign: Images) -> Iterator[tuple[str, Images]]:
    """The auxiliary of a volume, complex (S, H, W), as it is ("clean") and in every wrong way.

    foreign: another patient's auxiliary on the same slices.
    """
    auxiliary = np.array(volume.auxiliary)  # a copy: a memory map cannot be written to, of which torch warns
    yield CLEAN, auxiliary
    yield "zero", np.zeros_like(auxiliary)
    yield FOREIGN, foreign
    for pixels in (1, 2, 4):
        yield f"shifted {pixels} px", np.roll(auxiliary, pixels, axis=-1)
    yield f"rotated {DEGREES:g} deg", rotated(auxiliary, DEGREES)
    rng = np.random.default_rng(int(files.digest(volume.volume_id, 12), 16))
    noise = rng.normal(size=(2, *auxiliary.shape)) * NOISE * np.percentile(np.abs(auxiliary), 99)
    yield "noise", (auxiliary + noise[0] + 1j * noise[1]).astype(np.complex64)


def rotated(images: Images, degrees: float) -> Images:
    """Complex images (S, H, W) rotated in plane about the centre sample N//2, counter-clockwise on a display; zero outside."""
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = np.array([n // 2 for n in images.shape[-2:]], float)
    offset = centre - matrix @ centre

    def turn(part: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([ndimage.affine_transform(one, matrix, offset, order=3) for one in part])

    return (turn(images.real) + 1j * turn(images.imag)).astype(np.complex64)


def foreign_auxiliary(store: Store, volume_id: str, test: Sequence[str]) -> Images:
    """The auxiliary of the next test patient (in order of names, after the last the first) with the same matrix, slice by slice.

    UserError when no other patient has that matrix.
    """
    volume = store.volumes[volume_id]
    others = sorted(
        (v for v in map(store.volumes.get, test) if v is not None and v.shape == volume.shape),
        key=lambda v: (v.patient_id, v.volume_id),
    )
    later = [v for v in others if v.patient_id > volume.patient_id]
    chosen = next(iter(later or [v for v in others if v.patient_id != volume.patient_id]), None)
    if chosen is None:
        raise UserError(f"{volume_id}: no other test patient has its matrix, so no foreign auxiliary can be given")
    n = len(chosen.slice_index)
    return np.stack([np.asarray(chosen.auxiliary[min(i, n - 1)]) for i in range(len(volume.slice_index))])


def stress_trial(folder: Path, device: str = "cpu", report: Callable[[int, int], None] | None = None) -> pd.DataFrame:
    """Predict a trial's test volumes under every perturbation and write ``stress.csv``; returns it, with the columns `COLUMNS`."""
    place = BundleFiles(folder)
    record = place.read_record()
    assert record is not None
    protocol = get_protocol(record.protocol)
    method = method_of(record.method, record.scale, record.preset, record.settings, seed=record.seed)
    load_weights(method, Bundle(folder, record).checked(place.weights), device, record.weights_key)
    if hasattr(method, "to"):
        method.to(device)
    store = open_store(record.data.store)
    volumes = frames.read_csv(Bundle(folder, record).checked(place.volumes), ("volume_id",))
    test = list(dict.fromkeys(volumes["volume_id"]))
    rows: list[dict[str, Any]] = []
    for number, volume_id in enumerate(test):
        stopping.check()
        volume = store.volumes[volume_id]
        reference = np.abs(protocol.scoring_reference(np.asarray(volume.target), np.asarray(volume.target_lr)))
        truth = reference.astype(np.float64)
        low = torch.from_numpy(np.array(volume.target_lr))
        filled = np.abs(kspace.zero_fill(low, volume.shape).numpy()).astype(np.float64) / protocol.lr_gain(record.scale)
        scores: dict[str, float] = {}
        for name, auxiliary in perturbations(volume, foreign_auxiliary(store, volume_id, test)):
            batches = _batches(low, torch.from_numpy(auxiliary), protocol, record.scale, slices_at_once(device))
            image = predict_volume(method, batches, device)["target"]
            scores[name] = metrics.psnr(magnitude(image), truth, peak=float(truth.max()))
        zerofill = metrics.psnr(filled, truth, peak=float(truth.max()))
        for name, value in scores.items():
            rows.append(
                {
                    "perturbation": name,
                    "patient_id": volume.patient_id,
                    "volume_id": volume_id,
                    "contrast": record.data.target,
                    "psnr": value,
                    "clean_psnr": scores[CLEAN],
                    "zerofill_psnr": zerofill,
                    "loss_db": scores[CLEAN] - value,
                    "below_zerofill_db": zerofill - value,
                }
            )
        if report:
            report(number + 1, len(test))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    frames.write_csv(place.stress, table)
    return table


@registered
def stress_job(payload: dict[str, Any], emit: Emit) -> None:
    """A job: `stress_trial` of a bundle; its events are [stage, done, total, detail]."""
    for path in payload["plugins"]:
        add_plugins(Path(path))
    torch.set_num_threads(1)
    folder = Path(payload["folder"])
    with blamed(methods().folder(payload["method"])):
        stress_trial(folder, payload["device"], lambda done, total: emit(["stress", done, total, ""]))


def stress_run(
    run: Path,
    engine: Engine,
    *,
    plugins: Sequence[Path] = (),
    device: str = "cpu",
    listener: Listener | None = None,
) -> tuple[Table, list[str]]:
    """Stress every finished trial of a run whose method is trained and uses the auxiliary.

    plugins: folders of plugins; those that the run names are not loaded. Returns the table and what could not be done, damaged
    bundles and methods that are not here among it, a sentence each; the table is without those. Raises UserError when there is
    nothing to stress.
    """
    failed: list[str] = []

    def damaged(error: FileError) -> bool:
        failed.append(f"{error}; the trial is left out")
        return False

    for path in plugins:
        add_plugins(path)

    def stressed(results: Results) -> Table:
        return _stress(run, results, plugins, engine, device, listener or Listener(), failed)

    return use_results([run], stressed, damaged)[1], failed


def _stress(
    run: Path,
    results: Results,
    plugins: Sequence[Path],
    engine: Engine,
    device: str,
    listener: Listener,
    failed: list[str],
) -> Table:
    """Stress what can be, and tell ``failed`` of what cannot. Damage is looked for before the first prediction."""
    chosen = [bundle for bundle in results.bundles if stressable(bundle.record)]
    if not chosen:
        raise UserError(f"{run}: no finished trial of a trained method that is given an auxiliary at full resolution")
    known = [bundle for bundle in chosen if bundle.record.method in methods().plugins()]
    failed += [_unknown(run, bundle) for bundle in chosen if bundle not in known]
    if not known:
        raise UserError(failed[-1])
    chosen = known
    for bundle in chosen:
        bundle.checked(bundle.weights)
        rows = results.volumes[results.volumes["dataset"] == bundle.record.dataset_label]
        open_store(bundle.record.data.store).compare(rows["volume_id"])
    work = [
        Job(
            stress_job,
            {
                "folder": str(bundle.folder),
                "method": bundle.record.method,
                "device": device,
                "plugins": [str(path) for path in plugins],
            },
            label=bundle.record.label,
            log=bundle.stress_log,
            needs=Needs(gpus=int(device.startswith("cuda"))),
        )
        for bundle in chosen
    ]
    listener.trials(len(work), 0)
    outcomes = follow(engine, work, Steps(work, listener))
    failed += [f"{job.label}: {o.reason}; see {job.log}" for job, o in zip(work, outcomes, strict=True) if not o.done]
    table = stress_table([bundle for bundle, outcome in zip(chosen, outcomes, strict=True) if outcome.done])
    if table is None:
        raise UserError(f"{run}: {failed[0]}" if failed else f"{run}: nothing was stressed")
    return table


def _unknown(run: Path, bundle: Bundle) -> str:
    return f"{bundle.folder}: no method '{bundle.record.method}'{RunFolder(run).hint()}"


def stressable(record: TrialRecord) -> bool:
    """Whether a trial is finished, trained, and given the auxiliary at full resolution."""
    given = record.card.get("contrasts") == "multi" and not record.joint
    return record.status == "done" and bool(record.card.get("trains", True)) and given


def _batches(target_lr: Tensor, auxiliary: Tensor, protocol: Protocol, scale: int, at_once: int) -> Iterator[Batch]:
    """The slices of a volume with an auxiliary (S, H, W) and what its degradation gives."""
    for first in range(0, len(target_lr), at_once):
        part = slice(first, first + at_once)
        low = protocol.degrade(auxiliary[part], scale)
        yield Batch.of(
            target_lr=target_lr[part], auxiliary=auxiliary[part], auxiliary_lr=low, scale=scale, protocol=protocol
        )
