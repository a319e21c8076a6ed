"""A bundle applied to a user's own pair of files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.blame import blamed
from mcsr_bench.plugin.loading import method_of
from mcsr_bench.plugin.method import Method, TorchMethod
from mcsr_bench.plugin.predicted import predict_volume, slices_at_once
from mcsr_bench.plugin.registry import methods
from mcsr_bench.predicting.pair import Pair
from mcsr_bench.predicting.volumes import kind, read_pair, write_volume
from mcsr_bench.protocol import Protocol, get_protocol
from mcsr_bench.results.bundle import Bundle, BundleFiles
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.weights.shipped import load_shipped, shipped_info
from mcsr_bench.weights.tensors import BundleInfo, load_weights, read_info


@dataclass(frozen=True)
class PredictionOutcome:
    """What was predicted, by what, and where it is."""

    info: BundleInfo
    file: Path
    slices: int
    shape: tuple[int, int]
    """(H, W) of every slice."""
    notes: tuple[str, ...]
    """Sentences that a reader of the volume should know."""

    def lines(self) -> list[str]:
        """For people."""
        made_of = self.info.origin.get("file") or self.info.origin.get("dataset")
        of = f", weights of {made_of}" if made_of else ""
        size = f"{self.slices} slices of {self.shape[0]} x {self.shape[1]}"
        return [
            f"{self.file}: {size}, {self.info.method} at {self.info.scale}x (protocol {self.info.protocol}{of})",
            *self.notes,
        ]


@dataclass(frozen=True)
class Shipped:
    """The weights that come with a method, in place of a bundle."""

    method: str
    scale: int


def chosen_weights(bundle: str | Path | None, method: str | None, scale: int | None) -> Path | Shipped:
    """What a call asked for: the folder, or the weights that come with a method. UserError for neither or both."""
    if bundle is not None and method is None and scale is None:
        return Path(bundle)
    if bundle is None and method is not None and scale is not None:
        return Shipped(method, scale)
    raise UserError("give either --from, or --method and --scale for the weights that come with a method")


def predict_files(
    bundle: Path | Shipped,
    target: Path,
    auxiliary: Path | None,
    to: Path,
    device: str = "cpu",
    *,
    report: Callable[[int, int], None] | None = None,
) -> PredictionOutcome:
    """Super-resolve a volume with the method and weights of a bundle, slice by slice, and write it to ``to``.

    bundle: the folder of a finished trial, or of imported weights (`weights.importing`), or the weights that come with a method.
    target: a volume of LR size; auxiliary: the same slices of the other contrast at HR size (LR size for a method that
    super-resolves both jointly), None for a single-contrast method. Kinds of files, layout, slice axis, grid and amplitudes:
    `predicting.volumes`. The output is of the target's kind, its geometry the target's with ``scale`` times as many samples in the
    plane: NIfTI has magnitudes, cut at 0; HDF5 has what a trial stores, complex images or magnitudes, also below 0 where the
    protocol scores those as they are.
    report: called with (done, total) slices.

    Raises UserError, one sentence, for a folder that is not a bundle or not finished, files that cannot be read or do not belong
    together, and sizes that the method cannot take.
    """
    target, to = Path(target), Path(to)
    auxiliary = None if auxiliary is None else Path(auxiliary)
    if kind(to) != kind(target):
        raise UserError(
            f"{to}: the output has the format of the target, so its name must end in {' or '.join(kind(target))}"
        )
    if any(to.resolve() == path.resolve() for path in (target, auxiliary) if path is not None):
        raise UserError(f"{to}: would be written over a file that is read")
    info = shipped_info(bundle.method, bundle.scale) if isinstance(bundle, Shipped) else read_bundle(bundle)
    with blamed(methods().folder(info.method)):
        method = _shipped(info, device) if isinstance(bundle, Shipped) else _loaded(bundle, info, device)
    if auxiliary is None and method.card.contrasts == "multi":
        raise UserError(f"--auxiliary is missing: {info.method} uses the auxiliary contrast")
    pair = read_pair(target, auxiliary, info.scale, joint=method.joint)
    _check_multiple(method, target, pair)
    protocol = get_protocol(info.protocol)
    total, at_once = len(pair.target), slices_at_once(device)
    batches = (
        _batch(pair, range(first, min(total, first + at_once)), info.scale, protocol, joint=method.joint)
        for first in range(0, total, at_once)
    )
    tell = report or (lambda *_: None)
    with blamed(methods().folder(info.method)):
        volume = predict_volume(method, batches, device, lambda done: tell(done, total))["target"]
    write_volume(to, volume, pair.space, info.scale)
    return PredictionOutcome(
        info, to, len(volume), volume.shape[1:], (*_notes(method, auxiliary, pair), *method.notes())
    )


def read_bundle(folder: Path) -> BundleInfo:
    """What the bundle in a folder is of. UserError when it is none, or of a trial that has not finished."""
    if not folder.is_dir():
        raise UserError(f"--from {folder}: no such folder")
    place = BundleFiles(folder)
    record = place.read_record()
    if record is None:
        info = read_info(place.weights) if place.weights.is_file() else None
        if info is None:
            missing = f"no {place.trial.name}, no {place.weights.name}"
            raise UserError(f"--from {folder}: holds no trial and no imported weights ({missing})")
        return info
    if record.status != "done":
        raise UserError(f"--from {folder}: this trial has not finished (its status is '{record.status}')")
    own = {name: getattr(record, name) for name in BundleInfo.model_fields if name not in ("key", "origin")}
    return BundleInfo(key=record.weights_key, **own)


def _loaded(bundle: Path, info: BundleInfo, device: str) -> Method:
    if info.method not in methods().plugins():
        run = bundle.resolve().parents[3:4]  # of an imported bundle no folder of a run
        raise UserError(f"--from {bundle}: no method '{info.method}'{RunFolder(run[0]).hint() if run else ''}")
    method = method_of(info.method, info.scale, info.preset, info.settings)
    if isinstance(method, TorchMethod):
        method.to(device)
    if method.card.trains:
        place = BundleFiles(bundle)
        if not place.weights.is_file():
            raise UserError(f"--from {bundle}: has no {place.weights.name}, and {info.method} needs weights")
        record = place.read_record()
        weights = place.weights if record is None else Bundle(bundle, record).checked(place.weights)
        load_weights(method, weights, device, info.key)
    return method


def _shipped(info: BundleInfo, device: str) -> Method:
    method = method_of(info.method, info.scale, info.preset, {})
    load_shipped(method)
    return method.to(device) if isinstance(method, TorchMethod) else method


def _batch(pair: Pair, which: range, scale: int, protocol: Protocol, *, joint: bool) -> Batch:
    """Slices as the method was trained to see them."""
    part = slice(which.start, which.stop)
    low = torch.from_numpy(np.ascontiguousarray(pair.target[part]))
    shape = (len(which), low.shape[-2] * scale, low.shape[-1] * scale)
    # A file's LR image is as bright as the HR image; a protocol may have trained on brighter ones.
    gain = protocol.lr_gain(scale)
    if pair.auxiliary is None:
        auxiliary, auxiliary_lr = torch.zeros(shape, dtype=torch.complex64), torch.zeros_like(low)
    else:
        given = torch.from_numpy(np.ascontiguousarray(pair.auxiliary[part]))
        if joint:
            auxiliary, auxiliary_lr = torch.full(shape, torch.nan, dtype=torch.complex64), given * gain
        else:
            auxiliary, auxiliary_lr = given, protocol.degrade(given, scale)
    return Batch.of(
        low * gain, auxiliary, auxiliary_lr, scale=scale, protocol=protocol, slice_index=tuple(which), joint=joint
    )


def _check_multiple(method: Method, target: Path, pair: Pair) -> None:
    h, w = pair.target.shape[1:]
    m = method.card.size_multiple
    if h % m or w % m:
        raise UserError(f"{target}: its slices are {h} x {w}, and {method.card.name} takes multiples of {m}")


def _notes(method: Method, auxiliary: Path | None, pair: Pair) -> list[str]:
    notes = list(pair.notes)
    if method.card.track == "complex" and not pair.has_phase and isinstance(method, TorchMethod):
        notes.append(f"{method.card.name} works on complex images, and these have no phase: it was taken as zero.")
    if auxiliary is not None and method.card.contrasts == "single":
        notes.append(f"{method.card.name} does not use the auxiliary.")
    if method.joint:
        notes.append("Of the two contrasts that are super-resolved jointly, the target was written.")
    return notes
