"""A function's scores beside the trials of a run: a bundle that claims no more than what is known of a function.

A function has no card, no revision and no code that could be compared. So its bundle is identified by what it predicted, its name
is the user's, nothing is ever resumed, and what is there under the name is replaced only where that is asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mcsr_bench.data.sampler import Sampler
from mcsr_bench.data.store import open_store
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.kept import read_experiment
from mcsr_bench.experiment.trial import write_scores
from mcsr_bench.plugin.loading import check_seed
from mcsr_bench.plugin.method import Method
from mcsr_bench.plugin.predicted import predict_volume
from mcsr_bench.plugin.registry import add_plugins, datasets, methods
from mcsr_bench.plugin.split import Split
from mcsr_bench.protocol import get_protocol
from mcsr_bench.results.bundle import Bundle, BundleFiles, TrialRecord
from mcsr_bench.results.heartbeat import now
from mcsr_bench.results.predictions import write_predictions
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.roles import ROLES
from mcsr_bench.system import files, frames
from mcsr_bench.system.devices import device_name
from mcsr_bench.system.digests import digest_once
from mcsr_bench.system.provenance import git_revision, versions

FUNCTION = "function"
"""The ``kind`` in the card of such a bundle."""
NOTE = "a function given to evaluate: how it was made, its size and training are not recorded, and the preset does not apply to it"


def join(
    method: Method,
    name: str,
    out: Path,
    *,
    dataset: str | None = None,
    scale: int | None = None,
    protocol: str | None = None,
    data_root: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    fresh: bool = False,
) -> pd.DataFrame:
    """Predict and score the test part of a run with a function, and leave its bundle in the folder of the run.

    The data are those that the finished trials of the run are about; what is asked of them must be what they are. Returns a row
    per test volume. Raises UserError for a folder that is not a run's, a name that is taken, and what does not fit the run.
    Whatever the function raises goes on, and leaves everything as it was.
    """
    spec = read_experiment(out)
    for path in spec.data.plugins:
        if path.is_dir():
            add_plugins(path)
    check_name(name)
    check_seed("seed", seed)
    root = None if data_root is None else data_root.expanduser().resolve()
    before = None if spec.data.root is None else spec.data.root.expanduser().resolve()
    for option, asked, there in (("protocol", protocol, spec.data.protocol), ("data_root", root, before)):
        if asked is not None and asked != there:
            raise UserError(
                f"{option} {asked}: {out} holds results of {f'{option} {there}' if there else 'data without a data_root'}; choose "
                "another out, because these are never mixed"
            )
    beside = _beside(out, dataset, scale, settings)
    place = RunFolder(out).trial(beside.record.dataset_label, beside.record.scale, name, seed)
    _check_place(place, name, fresh)
    made = not place.folder.parent.exists()

    def build(folder: Path) -> None:
        _build(folder, method, name, seed, beside)
        if fresh:  # only now that there is something to take its place
            files.remove_folder(place.folder)

    try:
        files.build_folder(place.folder, build)
    finally:
        if made:
            with suppress(OSError):  # it holds the bundle
                place.folder.parent.rmdir()
    return frames.read_csv(place.volumes, ("patient_id", "volume_id", "role", "contrast"))


def check_name(name: str) -> None:
    """UserError for a name that no folder of a run should have, or that means something else."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", name):
        raise UserError(f"name {name!r}: lower-case letters, digits and hyphens are allowed in a run, 64 at most")
    for kind, registry in (("method", methods()), ("dataset", datasets())):
        if name in registry.plugins():
            raise UserError(f"name {name!r}: there is a {kind} of that name; choose another for the function")
    if name == "all":
        raise UserError(f"name {name!r}: the word means all methods; choose another for the function")


def _beside(out: Path, dataset: str | None, scale: int | None, settings: Mapping[str, Any] | None) -> Bundle:
    """A finished trial of a method on the data that are asked for; what is not said must not leave a choice."""
    found: dict[tuple[str, int], Bundle] = {}
    for bundle in RunFolder(out).bundles():
        record = bundle.record
        if record.status == "done" and record.card.get("kind") != FUNCTION:
            found.setdefault((record.dataset_label, record.scale), bundle)
    if not found:
        raise UserError(f"{out}: holds no finished trial, beside which a function could stand; finish the run first")
    wanted = {str(key): value for key, value in (settings or {}).items()}
    chosen = {
        where: bundle
        for where, bundle in found.items()
        if dataset in (None, bundle.record.dataset, bundle.record.dataset_label)
        and scale in (None, bundle.record.scale)
        and all(key in bundle.record.dataset_settings for key in wanted)
        and {key: bundle.record.dataset_settings[key] for key in wanted} == wanted
    }
    if len(chosen) == 1:
        return next(iter(chosen.values()))
    given = [f"dataset {dataset}"] if dataset else []
    given += [f"scale {scale}"] if scale is not None else []
    given += [f"settings {wanted}"] if wanted else []
    there = ", ".join(f"{label} at {s}x" for label, s in (chosen or found))
    if chosen:
        raise UserError(f"{out}: holds results of {there}; say which by dataset and scale")
    raise UserError(f"{' and '.join(given)}: {out} holds finished trials of {there}; a function joins one of these")


def _check_place(place: BundleFiles, name: str, fresh: bool) -> None:
    """UserError where something is in the place of the bundle that must stay."""
    if not place.folder.exists():
        return
    there = place.sound_record()
    if there is None or there.card.get("kind") != FUNCTION:
        raise UserError(
            f"name {name!r}: {place.folder} holds a trial of a method; choose another name for the function"
        )
    if not fresh:
        raise UserError(
            f"name {name!r}: {place.folder} holds the scores of a function of that name, and nothing can tell whether it is the "
            "same; choose another name, or fresh=True to replace them"
        )


def _build(folder: Path, method: Method, name: str, seed: int, beside: Bundle) -> None:
    """Everything of the bundle into a folder that takes its place when all is there."""
    like = beside.record
    store, protocol = open_store(like.data.store), get_protocol(like.protocol)
    test = list(dict.fromkeys(frames.read_csv(beside.checked(beside.volumes), ("volume_id",))["volume_id"]))
    store.compare(test)
    sampler = Sampler(store, Split((), (), tuple(test), like.data.split_rule), protocol, seed)
    seen = hashlib.sha256()

    def predicted() -> Iterator[tuple[str, tuple[int, ...], dict[str, Any]]]:
        for volume in sampler.test_volumes():
            images = predict_volume(method, sampler.predicting(volume))
            if set(images) != {ROLES[0]}:
                raise UserError(
                    f"name {name!r}: the function predicted the auxiliary, too, which it was given at full resolution; in a run "
                    "only its target can stand beside the others"
                )
            image = np.ascontiguousarray(images[ROLES[0]])
            seen.update(f"{volume.volume_id}\0{image.dtype}\0{image.shape}\0".encode())
            seen.update(image.data)
            yield volume.volume_id, volume.slice_index, images

    same = ("data", "dataset", "dataset_variant", "dataset_settings", "scale", "preset", "protocol", "protocol_hash")

    def key() -> str:
        about = {field: getattr(like, field) for field in same if field != "data"}
        return files.digest({**about, "split": like.data.split_hash, "seed": seed, "predicted": seen.hexdigest()}, 16)

    began = now()
    place = BundleFiles(folder)
    write_predictions(place.predictions, key, predicted())
    record = TrialRecord(
        status="done",
        started=began,
        key=key(),
        method=name,
        seed=seed,
        card={"kind": FUNCTION, "name": name, "title": name},
        versions=versions(),
        git=git_revision(),
        device=device_name("cpu"),
        threads=torch.get_num_threads(),
        method_track="complex",
        notes=[NOTE],
        files={place.predictions.name: digest_once(place.predictions)},
        **{field: getattr(like, field) for field in same},
    )
    bundle = Bundle(folder, record)
    write_scores(bundle, sampler.test_volumes())
    bundle.write()
