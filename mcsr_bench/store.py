"""Floor 2: raw data to prepared arrays on disk.

A store holds, for every volume, complex64 target and auxiliary (HR, centre-cropped) and, per scale, their LR versions, as ``.npy``
files that are memory-mapped when read. Scales whose crop is the same share the HR part. The key of a part is a hash of all that
should change its bytes: the data's fingerprint, the adapter and its settings, the sizes and the protocol. Parts are built slice
by slice under a temporary name and moved into place when complete, so that a part that exists is whole, and two processes that
build the same one do not disturb each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcsr_bench import files
from mcsr_bench.dataset import Case, Dataset, Finding
from mcsr_bench.errors import UserError
from mcsr_bench.loading import load_dataset
from mcsr_bench.processes import Emit, Job, run_jobs
from mcsr_bench.progress import Listener
from mcsr_bench.protocol import Protocol, get_protocol

LAYOUT = 1
"""Raised when the files of a store change their meaning."""

ComplexArray = NDArray[np.complex64]


@dataclass(frozen=True)
class StoredVolume:
    """One prepared volume; S slices are those that are not empty, in anatomical order."""

    patient_id: str
    volume_id: str
    shape: tuple[int, int]
    """(H, W) after the crop."""
    slice_index: tuple[int, ...]
    """Which slices of the raw volume are left, (S,)."""
    hr_folder: Path
    lr_folder: Path
    position: int

    def _open(self, folder: Path, kind: str) -> ComplexArray:
        return _memory_map(str(folder / kind / f"{self.position:05d}.npy"))

    @property
    def target(self) -> ComplexArray:
        """complex64 (S, H, W), memory-mapped, read-only."""
        return self._open(self.hr_folder, "target")

    @property
    def aux(self) -> ComplexArray:
        """complex64 (S, H, W)."""
        return self._open(self.hr_folder, "aux")

    @property
    def target_lr(self) -> ComplexArray:
        """complex64 (S, h, w)."""
        return self._open(self.lr_folder, "target")

    @property
    def aux_lr(self) -> ComplexArray:
        """complex64 (S, h, w)."""
        return self._open(self.lr_folder, "aux")


@dataclass(frozen=True)
class Store:
    """The prepared volumes of a dataset at one scale."""

    key: str
    scale: int
    volumes: dict[str, StoredVolume]
    """By volume_id, in the dataset's order."""
    findings: tuple[Finding, ...]
    """What was found while the store was built."""


@lru_cache(maxsize=128)
def _memory_map(path: str) -> ComplexArray:
    array: ComplexArray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def store_root() -> Path:
    """Where all stores lie."""
    return files.cache_folder() / "stores"


def open_store(key: str) -> Store:
    """Open a complete store by its key. UserError when it is not in the cache (any more)."""
    lr_folder = store_root() / key
    try:
        lr_index = files.read_json(lr_folder / "index.json")
        hr_folder = store_root() / lr_index["hr"]
        hr_index = files.read_json(hr_folder / "index.json")
    except (OSError, ValueError, KeyError):
        raise UserError(
            f"the prepared data {key} are not in {store_root()}: run the experiment again to build them"
        ) from None
    volumes = {
        v["volume_id"]: StoredVolume(
            v["patient_id"], v["volume_id"], tuple(v["shape"]), tuple(v["slice_index"]), hr_folder, lr_folder, position
        )
        for position, v in enumerate(hr_index["volumes"])
    }
    return Store(key, lr_index["scale"], volumes, tuple(Finding(**f) for f in hr_index["findings"]))


def build_store(
    dataset: Dataset,
    cases: Sequence[Case],
    protocol: Protocol,
    scale: int,
    *,
    jobs: int = 1,
    listener: Listener | None = None,
    plugins: Sequence[Path] = (),
) -> Store:
    """The prepared data of all cases at a scale, from the cache or built now.

    jobs: worker processes. plugins: the folders of ``--plugins``, which workers have to know. Raises UserError for an image too
    small for the scale, a volume that is all zero or holds NaN or Inf, and whatever the adapter finds wrong while reading.
    """
    listener = listener or Listener()
    shapes = [protocol.hr_shape(case.shape, scale) for case in cases]
    identity = {
        "layout": LAYOUT,
        "dataset": dataset.name,
        "revision": type(dataset).revision,
        "settings": dataset.settings.model_dump(mode="json"),
        "contrasts": dataset.contrasts,
        "fingerprint": dataset.fingerprint(),
        "protocol": protocol.hash,
        "cases": [asdict(case) | {"files": None} for case in cases],
        "shapes": shapes,
    }
    hr_key = f"{dataset.name}-{files.digest(identity, 16)}"
    lr_key = f"{hr_key}-x{scale}"
    root = store_root()
    if not (root / hr_key / "index.json").is_file():
        job = _HrJob(dataset, cases, protocol, scale, jobs, listener, tuple(plugins))
        files.build_folder(root / hr_key, job.build)
    if not (root / lr_key / "index.json").is_file():
        files.build_folder(root / lr_key, lambda folder: _build_lr(folder, root / hr_key, protocol, scale))
    return open_store(lr_key)


@dataclass(frozen=True)
class _HrJob:
    dataset: Dataset
    cases: Sequence[Case]
    protocol: Protocol
    scale: int
    jobs: int
    listener: Listener
    plugins: tuple[Path, ...]

    def build(self, folder: Path) -> None:
        for kind in ("target", "aux"):
            (folder / kind).mkdir()
        n = len(self.cases)
        self.listener.preparing(self.dataset.prepare_message(), 0, n)
        kept: dict[int, list[int]] = {}
        for position, slices in self._build_volumes(folder):
            kept[position] = slices
            self.listener.preparing(self.dataset.prepare_message(), len(kept), n)
        volumes = []
        findings = []
        for position, case in enumerate(self.cases):
            H, W = self.protocol.hr_shape(case.shape, self.scale)
            volumes.append(
                {
                    "patient_id": case.patient_id,
                    "volume_id": case.volume_id,
                    "shape": [H, W],
                    "slice_index": kept[position],
                }
            )
            findings += _findings(case, (H, W), kept[position])
        index = {"volumes": volumes, "findings": [asdict(f) for f in findings]}
        files.write_json(folder / "index.json", index)

    def _build_volumes(self, folder: Path) -> Iterator[tuple[int, list[int]]]:
        positions = list(range(len(self.cases)))
        if self.jobs <= 1 or len(positions) < 2 * self.jobs:
            for position in positions:
                yield (
                    position,
                    _build_volume(folder, position, self.dataset, self.cases[position], self.protocol, self.scale),
                )
            return
        payload = {
            "folder": str(folder),
            "dataset": self.dataset.name,
            "settings": self.dataset.settings.model_dump(mode="json"),
            "data_root": None if self.dataset.data_root is None else str(self.dataset.data_root),
            "protocol": self.protocol.id,
            "scale": self.scale,
            "plugins": [str(p) for p in self.plugins],
            "volume_ids": [case.volume_id for case in self.cases],
        }
        parts = [positions[i :: self.jobs] for i in range(self.jobs)]
        work = [Job("mcsr_bench.store:build_part", {**payload, "positions": part}) for part in parts]
        for message in run_jobs(work, self.jobs):
            if message.kind == "event":
                yield message.value[0], message.value[1]
            elif message.kind == "result" and message.value:
                raise UserError(message.value)
            elif message.kind == "died":
                raise UserError(f"building the store of '{self.dataset.name}' failed: {message.value}")


def build_part(payload: dict[str, Any], emit: Emit) -> str:
    """In a worker: build some volumes of a store. Returns "" or the sentence of the user error that ended it."""
    from mcsr_bench.registry import add_plugins

    torch.set_num_threads(1)
    try:
        for path in payload["plugins"]:
            add_plugins(Path(path))
        dataset = load_dataset(payload["dataset"], payload["data_root"], **payload["settings"])
        cases = {case.volume_id: case for case in dataset.cases()}
        protocol = get_protocol(payload["protocol"])
        for position in payload["positions"]:
            case = cases[payload["volume_ids"][position]]
            emit(
                [position, _build_volume(Path(payload["folder"]), position, dataset, case, protocol, payload["scale"])]
            )
    except UserError as error:
        return str(error)
    except OSError as error:
        from mcsr_bench.errors import disk_error

        known = disk_error(error)
        if known is None:
            raise
        return str(known)
    return ""


def _build_volume(
    folder: Path, position: int, dataset: Dataset, case: Case, protocol: Protocol, scale: int
) -> list[int]:
    """Write one volume's target and auxiliary; returns the indices of the slices kept."""
    from mcsr_bench.kspace import crop_centre

    H, W = protocol.hr_shape(case.shape, scale)
    names = {kind: folder / kind / f"{position:05d}.npy" for kind in ("target", "aux")}
    raw = {kind: path.with_suffix(".raw") for kind, path in names.items()}
    where = case.files[0] if case.files else case.volume_id
    n = 0
    with raw["target"].open("wb") as target_file, raw["aux"].open("wb") as aux_file:
        for target, aux in dataset.read(case):
            for kind, image, handle in (("target", target, target_file), ("auxiliary", aux, aux_file)):
                if image.shape != case.shape or image.dtype != np.complex64:
                    raise UserError(
                        f"{where}: dataset '{dataset.name}' gave {image.dtype} {image.shape} for slice {n} of the {kind}, "
                        f"complex64 {case.shape} was announced"
                    )
                if not np.isfinite(image).all():
                    raise UserError(f"{_source(case, kind)}: slice {n} of the {kind} holds NaN or Inf")
                cropped = crop_centre(torch.from_numpy(image), (H, W)).contiguous().numpy()
                handle.write(cropped.tobytes())
            n += 1
    if n != case.n_slices:
        raise UserError(f"{where}: {case.n_slices} slices were announced and {n} could be read")
    volumes = {kind: np.memmap(path, np.complex64, "r", shape=(n, H, W)) for kind, path in raw.items()}
    content = {kind: _content(volume, protocol.empty_level) for kind, volume in volumes.items()}
    for kind, fractions in content.items():
        if fractions is None:
            name = {"target": "target", "aux": "auxiliary"}[kind]
            raise UserError(f"{_source(case, name)}: the {name} volume {case.volume_id} is zero everywhere")
    kept = [i for i in range(n) if all(c is not None and c[i] >= protocol.empty_fraction for c in content.values())]
    if not kept:
        raise UserError(f"{where}: no slice of {case.volume_id} has signal in both contrasts")
    for kind, path in names.items():
        _write_slices(path, volumes[kind], kept)
    del volumes
    for path in raw.values():
        path.unlink()
    return kept


def _source(case: Case, kind: str) -> str:
    """The raw file behind a contrast (adapters list the target's first), or the volume."""
    if len(case.files) == 2:
        return case.files[0 if kind == "target" else 1]
    return case.files[0] if case.files else case.volume_id


def _content(volume: ComplexArray, level: float) -> list[float] | None:
    """Per slice, the fraction of pixels above ``level`` times the volume's maximum; None when all is zero."""
    peak = max(float(np.abs(image).max()) for image in volume)
    if peak == 0:
        return None
    return [float((np.abs(image) > level * peak).mean()) for image in volume]


def _write_slices(path: Path, volume: ComplexArray, kept: Sequence[int]) -> None:
    # Written, not memory-mapped: a full disk is then an error that can be reported, not a signal that kills.
    with path.open("wb") as handle:
        header = {"descr": "<c8", "fortran_order": False, "shape": (len(kept), *volume.shape[1:])}
        np.lib.format.write_array_header_1_0(handle, header)
        for i in kept:
            handle.write(np.ascontiguousarray(volume[i]).astype("<c8", copy=False).tobytes())


def _findings(case: Case, shape: tuple[int, int], kept: Sequence[int]) -> list[Finding]:
    where = case.files[0] if case.files else case.volume_id
    out = []
    if shape != case.shape:
        text = f"slices of {case.shape[0]} x {case.shape[1]} were centre-cropped to {shape[0]} x {shape[1]}"
        out.append(Finding("info", "cropped", where, text))
    if len(kept) < case.n_slices:
        text = f"{case.n_slices - len(kept)} of {case.n_slices} slices are empty and were left out"
        out.append(Finding("info", "empty-slices", where, text))
    return out


def _build_lr(folder: Path, hr_folder: Path, protocol: Protocol, scale: int) -> None:
    for kind in ("target", "aux"):
        (folder / kind).mkdir()
        for source in sorted((hr_folder / kind).glob("*.npy")):
            volume = np.load(source, mmap_mode="r", allow_pickle=False)
            n, H, W = volume.shape
            with (folder / kind / source.name).open("wb") as handle:
                header = {"descr": "<c8", "fortran_order": False, "shape": (n, H // scale, W // scale)}
                np.lib.format.write_array_header_1_0(handle, header)
                for image in volume:
                    low = protocol.degrade(torch.from_numpy(np.array(image)), scale)
                    handle.write(low.contiguous().numpy().astype("<c8", copy=False).tobytes())
    files.write_json(folder / "index.json", {"hr": hr_folder.name, "scale": scale})
