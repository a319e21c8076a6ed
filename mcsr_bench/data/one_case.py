"""One case at a time from raw files to prepared volumes, in this process or in workers.

What is done to a case: its slices are read (the auxiliary registered onto the target's grid where the grids differ), checked,
inspected, centre-cropped to a size that the scale divides, freed of empty slices, and written; then each is degraded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcsr_bench.data.encoding import UNFINISHED, StoreDtype, open_volume, precision_db, write_mask, write_volume
from mcsr_bench.data.inspection import Content, Inspector
from mcsr_bench.data.part import finish
from mcsr_bench.data.reading import read_case, source
from mcsr_bench.data.slice_statistics import slice_statistics
from mcsr_bench.data.spec import Preparation
from mcsr_bench.engines.base import Emit, Engine, Job, JobFunction, Needs, Outcome, Watcher, follow, registered
from mcsr_bench.errors import InterruptedWorkError, UserError, machine_error
from mcsr_bench.kspace import crop_centre
from mcsr_bench.plugin.blame import blamed
from mcsr_bench.plugin.case import BadDataError, Case
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.loading import dataset_of
from mcsr_bench.plugin.registry import add_plugins, datasets
from mcsr_bench.protocol import Protocol, get_protocol
from mcsr_bench.roles import ROLES, Role
from mcsr_bench.system import files, stopping

ROI = "roi"
"""The folder of the regions of interest, beside those of the roles."""
RAW_SLICES = 3
"""Slices of k-space that are looked at per contrast, from the middle of the volume."""


@dataclass(frozen=True)
class Work:
    """What the volumes of a store have in common."""

    dataset: Dataset
    cases: Sequence[Case]
    protocol: Protocol
    scale: int
    preparation: Preparation
    plugins: tuple[Path, ...] = ()
    """The folders of ``--plugins``, which workers have to know."""

    def payload(self) -> dict[str, Any]:
        """As JSON, for workers."""
        return {
            "dataset": self.dataset.name,
            "settings": self.dataset.settings.model_dump(mode="json"),
            "data_root": None if self.dataset.data_root is None else str(self.dataset.data_root),
            "protocol": self.protocol.id,
            "scale": self.scale,
            "preparation": asdict(self.preparation),
            "plugins": [str(p) for p in self.plugins],
            "volume_ids": [case.volume_id for case in self.cases],
        }

    @staticmethod
    def of(payload: Mapping[str, Any]) -> Work:
        """The work of a payload, in a worker."""
        for path in payload["plugins"]:
            add_plugins(Path(path))
        dataset = dataset_of(payload["dataset"], payload["data_root"], payload["settings"])
        try:
            listed = dataset.cases()
        except BadDataError as error:  # under inspection: the rest is looked at
            listed = list(error.cases)
        cases = {case.volume_id: case for case in listed}
        return Work(
            dataset,
            [cases[v] for v in payload["volume_ids"]],
            get_protocol(payload["protocol"]),
            payload["scale"],
            Preparation(**payload["preparation"]),
        )


Done = Callable[[int, Any], None]
"""Called with the position of a volume that is done, and what is to be known of it."""


def prepare_cases(work: Work, folder: Path, positions: Sequence[int], engine: Engine | None, done: Done) -> None:
    """Prepare the volumes at these positions into ``folder``. UserError for bad data."""

    def here(position: int) -> None:
        prepare_case(work, folder, position)

    _each(positions, here, prepare_part, lambda: work.payload() | {"folder": str(folder)}, engine, done)


def inspect_cases(work: Work, engine: Engine | None, done: Done) -> None:
    """Read every case and keep nothing; ``done`` gets ``{"facts": ...}``, or ``{"error": sentence}`` where it is unusable."""
    positions = range(len(work.cases))
    _each(positions, lambda p: inspect_case(work, p), inspect_part, work.payload, engine, done)


def degrade_volumes(
    folder: Path,
    hr_folder: Path,
    positions: Sequence[int],
    protocol: Protocol,
    scale: int,
    dtype: StoreDtype,
    engine: Engine | None,
    done: Done,
) -> None:
    """Write the LR versions of the HR volumes at these positions into ``folder``."""
    folders = {"folder": str(folder), "hr_folder": str(hr_folder)}
    fixed = {**folders, "protocol": protocol.id, "scale": scale, "dtype": dtype}

    def here(position: int) -> None:
        degrade_volume(folder, hr_folder, position, protocol, scale, dtype)

    _each(positions, here, degrade_part, lambda: fixed, engine, done)


@registered
def prepare_part(payload: dict[str, Any], emit: Emit) -> None:
    """A job: `prepare_case` for some positions; its events are [position, None]."""
    work = Work.of(payload)
    with blamed(datasets().folder(work.dataset.name)):
        _part(payload, emit, lambda p: prepare_case(work, Path(payload["folder"]), p))


@registered
def inspect_part(payload: dict[str, Any], emit: Emit) -> None:
    """A job: `inspect_case` for some positions; its events are [position, what was seen]."""
    work = Work.of(payload)
    with blamed(datasets().folder(work.dataset.name)):
        _part(payload, emit, lambda p: inspect_case(work, p))


@registered
def degrade_part(payload: dict[str, Any], emit: Emit) -> None:
    """A job: `degrade_volume` for some positions; its events are [position, None]."""
    folder, hr_folder = Path(payload["folder"]), Path(payload["hr_folder"])
    protocol, scale, dtype = get_protocol(payload["protocol"]), payload["scale"], payload["dtype"]
    _part(payload, emit, lambda p: degrade_volume(folder, hr_folder, p, protocol, scale, dtype))


def prepare_case(work: Work, folder: Path, position: int) -> None:
    """Write target and auxiliary of one case and, last, what is known of them, by `finish`."""
    raw = {role: folder / role / f"{position:05d}.raw.{os.getpid()}{UNFINISHED}" for role in ROLES}
    try:
        known = _written(work, folder, position, raw)
    finally:
        for path in raw.values():  # they are as large as the volumes, which a full disk should not keep
            path.unlink(missing_ok=True)
    finish(folder, position, known)


def _written(work: Work, folder: Path, position: int, raw: Mapping[Role, Path]) -> dict[str, Any]:
    """Write the volumes of a case, by way of the files ``raw``; what is known of them."""
    case = work.cases[position]
    shape = work.protocol.hr_shape(case.shape, work.scale)
    inspector = _inspector(work.dataset, case)
    slices, registration = read_case(work.dataset, case, work.preparation.register)
    contents = _contents(work.protocol, case)
    n = 0
    with (
        files.writing_to(folder),
        raw["target"].open("wb") as target_file,
        raw["auxiliary"].open("wb") as auxiliary_file,
    ):
        for pair in slices:
            for role, image, handle in zip(ROLES, pair, (target_file, auxiliary_file), strict=True):
                _check_slice(work.dataset, case, role, n, image)
                inspector.add(role, n, image)
                cropped = crop_centre(torch.from_numpy(image), shape).contiguous().numpy()
                contents[role].add(cropped)
                handle.write(cropped.tobytes())
            n += 1
    if n != case.n_slices:
        raise UserError(f"{source(case)}: {case.n_slices} slices were announced and {n} could be read")
    kept = _kept(contents, case)
    volumes = {role: np.memmap(path, np.complex64, "r", shape=(n, *shape)) for role, path in raw.items()}
    _inspect_raw(work.dataset, case, inspector)
    precision = []
    for role in ROLES:
        path = folder / role / f"{position:05d}.npy"
        with files.writing_to(folder):
            write_volume(path, (volumes[role][i] for i in kept), (len(kept), *shape), work.preparation.store_dtype)
        if work.preparation.store_dtype != "complex64":
            precision.append(precision_db(volumes[role], kept, open_volume(path)))
    _write_region(work.dataset, case, folder / ROI / f"{position:05d}.npy", shape, kept)
    return {
        "patient_id": case.patient_id,
        "volume_id": case.volume_id,
        "shape": list(shape),
        "slice_index": kept,
        "facts": inspector.facts(),
        "registration": registration(),
        "precision_db": min(precision, default=None),
    }


def _write_region(dataset: Dataset, case: Case, path: Path, shape: tuple[int, int], kept: Sequence[int]) -> None:
    """The data set's region of interest, where it has one: bool (S, H, W), cropped as the images are."""
    masks = dataset.region_of_interest(case)
    if masks is None:
        return
    found = [crop_centre(torch.from_numpy(np.ascontiguousarray(mask)), shape).numpy() for mask in masks]
    if len(found) != case.n_slices or any(mask.dtype != np.bool_ for mask in found):
        raise UserError(
            f"{source(case)}: dataset '{dataset.name}' gave a region of interest of {len(found)} slices of "
            f"{found[0].dtype if found else 'nothing'}; {case.n_slices} of bool are needed"
        )
    write_mask(path, np.stack([found[i] for i in kept]))


def degrade_volume(
    folder: Path, hr_folder: Path, position: int, protocol: Protocol, scale: int, dtype: StoreDtype
) -> None:
    """Write the LR target and auxiliary of one HR volume, in one move each, and note it and the statistics of its slices."""
    written: dict[str, Any] = {}
    for role in ROLES:
        written[role] = volume = open_volume(hr_folder / role / f"{position:05d}.npy")
        n, H, W = volume.shape
        low = (protocol.degrade(torch.from_numpy(np.array(volume[i])), scale).contiguous().numpy() for i in range(n))
        with files.writing_to(folder):
            write_volume(folder / role / f"{position:05d}.npy", low, (n, H // scale, W // scale), dtype)
        written[f"{role}_lr"] = open_volume(folder / role / f"{position:05d}.npy")
    used = {field: written[field] for field in ("target_lr", "auxiliary", "auxiliary_lr")}
    finish(folder, position, {"statistics": slice_statistics(protocol, used)})


def inspect_case(work: Work, position: int) -> dict[str, Any]:
    """The inspection of a case, all of it read: ``facts`` and, where it was registered, ``registration``; or ``error``."""
    case = work.cases[position]
    inspector = _inspector(work.dataset, case)
    contents = _contents(work.protocol, case)
    n = 0
    try:
        shape = work.protocol.hr_shape(case.shape, work.scale)
        slices, registration = read_case(work.dataset, case, work.preparation.register)
        for pair in slices:
            for role, image in zip(ROLES, pair, strict=True):
                inspector.add(role, n, image)
                contents[role].add(crop_centre(torch.from_numpy(image), shape).numpy())
            n += 1
        _inspect_raw(work.dataset, case, inspector)
        if n != case.n_slices:
            raise UserError(f"{source(case)}: {case.n_slices} slices were announced and {n} could be read")
        seen = inspector.facts()
        if all(c["range"][1] > 0 and not c["not_finite"] for c in seen["contrasts"].values()):  # else it is a finding
            _kept(contents, case)
    except UserError as error:
        # not the file's fault; but that nobody may read it is to be told of that file
        if not isinstance(error.__cause__, PermissionError) and (known := machine_error(error)):
            raise known from error
        named = next((file for file in case.files if str(error).startswith(file)), source(case))
        return {"error": str(error).removeprefix(f"{named}: "), "file": named}
    return {"facts": seen, "registration": registration()}


def _each(
    positions: Sequence[int],
    here: Callable[[int], Any],
    function: JobFunction,
    payload: Callable[[], dict[str, Any]],
    engine: Engine | None,
    done: Done,
) -> None:
    """Do something for every position: by jobs of an engine that share them, or here where jobs are not worth their start."""
    n_jobs = engine.side_by_side(Needs()) if engine else 1
    if engine is None or n_jobs <= 1 or len(positions) < 2 * n_jobs:
        for position in positions:
            done(position, here(position))
        return
    shared = payload()
    parts = [{**shared, "positions": list(positions[i::n_jobs])} for i in range(n_jobs)]
    follow(engine, [Job(function, part) for part in parts], _Parts(done))


class _Parts(Watcher):
    """Passes on what is done; whatever ends a job before its time ends them all."""

    def __init__(self, done: Done) -> None:
        self._done = done

    def event(self, job: int, value: Any) -> None:
        self._done(*value)

    def ended(self, job: int, outcome: Outcome) -> None:
        if outcome.kind == "refused":
            raise UserError(outcome.value)
        if outcome.kind == "unable":
            raise InterruptedWorkError(outcome.value)
        if outcome.kind == "failed":
            raise RuntimeError(f"a worker failed\n{outcome.value}")
        if outcome.kind in ("died", "stopped"):
            raise InterruptedWorkError(
                f"preparing data failed: {outcome.value}; where memory is short, fewer --jobs need less"
            )


def _part(payload: dict[str, Any], emit: Emit, step: Callable[[int], Any]) -> None:
    torch.set_num_threads(1)
    for position in payload["positions"]:
        stopping.check()
        emit([position, step(position)])


def _inspector(dataset: Dataset, case: Case) -> Inspector:
    grids = dataset.grids(case)
    target, auxiliary = (dataset.stored(case, role) for role in ROLES)
    return Inspector(case, dataset.contrasts, dataset.track, grids[0].voxel if grids else None, (target, auxiliary))


def _inspect_raw(dataset: Dataset, case: Case, inspector: Inspector) -> None:
    """Show the inspector the k-space of slices from the middle of the volume, where files hold k-space."""
    grids = dataset.grids(case)
    for position, role in enumerate(ROLES):
        n = grids[position].shape[0] if grids else case.n_slices  # an auxiliary on a grid of its own may have fewer
        first = max(0, n // 2 - RAW_SLICES // 2)
        for index in range(first, min(first + RAW_SLICES, n)):
            samples = dataset.raw_kspace(case, role, index)
            if samples is not None:
                inspector.add_raw(role, index, samples, dataset.reconstruction(case, role, index))


def _check_slice(dataset: Dataset, case: Case, role: str, index: int, image: NDArray[Any]) -> None:
    if image.shape != case.shape or image.dtype != np.complex64:
        raise UserError(
            f"{source(case)}: dataset '{dataset.name}' gave {image.dtype} {image.shape} for slice {index} of the {role}, "
            f"complex64 {case.shape} was announced"
        )
    if not np.isfinite(image).all():
        raise UserError(f"{source(case, role)}: slice {index} of the {role} holds NaN or Inf")


def _contents(protocol: Protocol, case: Case) -> dict[Role, Content]:
    return {role: Content(protocol.empty_level, protocol.empty_fraction, case.n_slices) for role in ROLES}


def _kept(contents: Mapping[Role, Content], case: Case) -> list[int]:
    """The slices with signal in both contrasts. UserError where a volume is zero, or no slice is left."""
    for role, content in contents.items():
        if content.zero:
            raise UserError(f"{source(case, role)}: the {role} volume {case.volume_id} is zero everywhere")
        if content.damaged:
            raise UserError(
                f"{source(case, role)}: the largest value of the {role} volume {case.volume_id} is {content.damaged:.3g} times its "
                "99.9th percentile, a damaged value"
            )
    both = zip(*(content.occupied() for content in contents.values()), strict=True)
    kept = [index for index, occupied in enumerate(both) if all(occupied)]
    if not kept:
        raise UserError(f"{source(case)}: no slice of {case.volume_id} has signal in both contrasts")
    return kept
