"""Raw data to prepared arrays on disk.

A store holds, for every volume, target and auxiliary (HR, complex, centre-cropped) and, per scale, their LR versions, as ``.npy``
files that are memory-mapped when read. Scales whose crop is the same share the HR part. The key of a part is a hash of all that
should change its bytes: the data's fingerprint, the adapter and its settings, the sizes, the protocol, and how the user wanted the
data prepared. Parts are built volume by volume under a temporary name and moved into place when complete, so that a part that
exists is whole; one that was interrupted goes on where it stopped. The index of a part holds the SHA-256 of its files and of
itself; they are compared once per process, by the one that hands a store to others.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.data import part, registration
from mcsr_bench.data.encoding import UNFINISHED, ComplexArray, PairVolume, open_volume, take_magnitudes
from mcsr_bench.data.inspection import magnitudes_alone
from mcsr_bench.data.one_case import ROI, Done, Work, degrade_volumes, prepare_cases
from mcsr_bench.data.reading import source
from mcsr_bench.data.slice_statistics import SliceStatistics, read_statistics
from mcsr_bench.data.spec import Preparation
from mcsr_bench.data.store_findings import case_findings, precision_findings, registration_findings
from mcsr_bench.engines.base import Engine
from mcsr_bench.errors import InterruptedWorkError, UserError, machine_error
from mcsr_bench.plugin.case import Case, Finding
from mcsr_bench.plugin.dataset import TOLD_FROM, Dataset
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.protocol import Protocol
from mcsr_bench.roles import ROLES
from mcsr_bench.system import files
from mcsr_bench.system.progress import Listener

LAYOUT = 7
"""Raised when the files of a store change their meaning."""

MAGNITUDES = 1
"""Raised when something else is done to complex data that move to the magnitude track; it is recorded where they do."""

Volume = ComplexArray | PairVolume


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
    statistics: SliceStatistics = field(default_factory=dict, compare=False)
    """Of target_lr, auxiliary and auxiliary_lr."""

    def _open(self, folder: Path, role: str) -> Volume:
        path = folder / role / f"{self.position:05d}.npy"
        now = path.stat()
        return _memory_map(str(path), (now.st_ino, now.st_mtime_ns, now.st_size))

    @property
    def target(self) -> Volume:
        """complex64 (S, H, W), memory-mapped, read-only; without phase where the set holds magnitudes in complex disguise."""
        return self._open(self.hr_folder, "target")

    @property
    def auxiliary(self) -> Volume:
        """complex64 (S, H, W)."""
        return self._open(self.hr_folder, "auxiliary")

    @property
    def roi(self) -> NDArray[np.bool_] | None:
        """The data set's region of interest, bool (S, H, W); None where it gives none."""
        path = self.hr_folder / ROI / f"{self.position:05d}.npy"
        return np.load(path, allow_pickle=False) if path.is_file() else None

    @property
    def target_lr(self) -> Volume:
        """complex64 (S, h, w)."""
        return self._open(self.lr_folder, "target")

    @property
    def auxiliary_lr(self) -> Volume:
        """complex64 (S, h, w)."""
        return self._open(self.lr_folder, "auxiliary")


@dataclass(frozen=True, repr=False)
class Store:
    """The prepared volumes of a dataset at one scale."""

    key: str
    hash: str
    """Of the bytes of all volumes; "" for a store of an earlier layout."""
    scale: int
    volumes: dict[str, StoredVolume]
    """By volume_id, in the dataset's order."""
    findings: tuple[Finding, ...]
    """What was done to the data while the store was built."""
    facts: tuple[dict[str, Any], ...]
    """What was seen of every case, as it was read, for `mcsr_bench.data.inspection.findings`."""
    registrations: dict[str, dict[str, Any]]
    """What the registration did, by the volume_id of those that were registered."""

    def __repr__(self) -> str:
        return f"<Store {self.key}: {len(self.volumes)} volumes>"

    def compare(self, volume_ids: Iterable[str]) -> None:
        """UserError when a file of one of these volumes, as far as they are in the store, is not the one that was written."""
        volumes = [self.volumes[volume_id] for volume_id in self.volumes.keys() & set(volume_ids)]
        positions = {f"{volume.position:05d}" for volume in volumes}
        for folder in {folder for volume in volumes for folder in (volume.hr_folder, volume.lr_folder)}:
            if wrong := part.differing(folder, positions):
                raise UserError(
                    f"the prepared data {folder / wrong} are damaged: run the experiment again to build them"
                )


@lru_cache(maxsize=128)
def _memory_map(path: str, state: tuple[int, int, int]) -> Volume:
    """A volume, opened once; ``state`` (inode, time of change, length) tells a file that has taken another's place."""
    return open_volume(Path(path))


def store_root() -> Path:
    """The folder of all stores."""
    return files.cache_folder() / "stores"


def open_store(key: str) -> Store:
    """Open a complete store by its key. UserError when it is not in the cache (any more)."""
    lr_folder = store_root() / key
    lr_index = part.read_index(lr_folder)
    hr_folder = store_root() / str(lr_index and lr_index["hr"])
    hr_index = part.read_index(hr_folder)
    if lr_index is None or hr_index is None:
        raise UserError(
            f"the prepared data {key} are not in {store_root()}, or damaged: run the experiment again to build them"
        )
    volumes = {
        v["volume_id"]: StoredVolume(
            v["patient_id"],
            v["volume_id"],
            tuple(v["shape"]),
            tuple(v["slice_index"]),
            hr_folder,
            lr_folder,
            position,
            read_statistics(lr_index["statistics"][position]),
        )
        for position, v in enumerate(hr_index["volumes"])
    }
    hashes = [index.get("sha256", {}) for index in (hr_index, lr_index)]
    return Store(
        key,
        files.digest(hashes, 16) if all(hashes) else "",
        lr_index["scale"],
        volumes,
        findings=tuple(Finding(**f) for f in hr_index["findings"]),
        facts=tuple(v["facts"] for v in hr_index["volumes"]),
        registrations={v["volume_id"]: v["registration"] for v in hr_index["volumes"] if v["registration"]},
    )


def build_store(
    dataset: Dataset,
    cases: Sequence[Case],
    protocol: Protocol,
    scale: int,
    *,
    preparation: Preparation | None = None,
    engine: Engine | None = None,
    listener: Listener | None = None,
    plugins: Sequence[Path] = (),
) -> Store:
    """The prepared data of all cases at a scale, from the cache, or built now where they are absent or damaged.

    engine: where cases are prepared side by side; None: here, one after the other. plugins: the folders of ``--plugins``. Raises
    UserError for an image too small for the scale, a volume that is all zero or holds NaN or Inf, grids that differ where
    registration is off, and whatever the adapter finds wrong.
    """
    listener = listener or Listener()
    preparation = preparation or Preparation()
    identity = {
        "layout": LAYOUT,
        "dataset": dataset.name,
        "revision": type(dataset).revision,
        "settings": dataset.settings.model_dump(mode="json", exclude=set(dataset.settings.choosing)),
        "contrasts": dataset.contrasts,
        "fingerprint": dataset.fingerprint(),
        "protocol": protocol.hash,
        "cases": [asdict(case) | {"files": None} for case in cases],
        "shapes": [_hr_shape(protocol, case, scale) for case in cases],
        "preparation": preparation.changes,
        "registration": registration.REVISION,
        "code": datasets().code(dataset.name),
    }
    hr_key = f"{dataset.name}-{files.digest(identity, 16)}"
    lr_key = f"{hr_key}-x{scale}"
    root = store_root()
    work = Work(dataset, cases, protocol, scale, preparation, tuple(plugins))

    def build_hr(folder: Path, missing: list[int]) -> None:
        try:
            _build_hr(folder, missing, work, engine, listener)
            after = dataset.fingerprint()
        except (UserError, OSError) as error:
            if machine_error(error) is None and (gone := _gone(cases)):
                raise InterruptedWorkError(
                    f"{gone}: is gone since the preparation began; is its disk or network folder connected?"
                ) from error
            raise
        if after != identity["fingerprint"]:
            raise UserError(
                f"files of dataset '{dataset.name}' changed while they were prepared; run the same command again"
            )
        if datasets().edited(dataset.name):
            raise UserError(
                f"the code of dataset '{dataset.name}' changed while it was at work; run the same command again"
            )

    _build(root / hr_key, build_hr, len(cases), listener)

    def build_lr(folder: Path, missing: list[int]) -> None:
        _build_lr(folder, missing, root / hr_key, work, engine, listener)

    _build(root / lr_key, build_lr, len(cases), listener)
    return _moved(open_store(lr_key), cases)


def _hr_shape(protocol: Protocol, case: Case, scale: int) -> tuple[int, int]:
    """What a case is cropped to. UserError, naming its file, when it is too small for the scale."""
    try:
        return protocol.hr_shape(case.shape, scale)
    except UserError as error:
        raise UserError(f"{source(case)}: {error}") from None


def _gone(cases: Sequence[Case]) -> str:
    """The first file of the cases that is not there any more, or ""."""
    return next((file for case in cases for file in case.files if not os.path.exists(file)), "")


def _moved(store: Store, cases: Sequence[Case]) -> Store:
    """A store with the present paths of its files: it may have been built from the same files in another folder."""
    now = {
        a: b
        for facts, case in zip(store.facts, cases, strict=True)
        for a, b in zip(facts["files"], case.files, strict=True)
    }

    def moved(facts: dict[str, Any]) -> dict[str, Any]:
        contrasts = {role: {**c, "file": now.get(c["file"], c["file"])} for role, c in facts["contrasts"].items()}
        return {**facts, "files": [now[file] for file in facts["files"]], "contrasts": contrasts}

    found = tuple(replace(f, file=now.get(f.file, f.file)) for f in store.findings)
    return replace(store, findings=found, facts=tuple(map(moved, store.facts)))


def _build(final: Path, build: Callable[[Path, list[int]], None], n: int, listener: Listener) -> None:
    """Build a part of n volumes where it is absent or damaged; ``build`` gets its folder and the positions that are missing."""

    def waiting() -> None:
        listener.warning(f"another process is building the prepared data {final.name}: waiting for it")

    def whole(place: Path) -> bool:
        return part.read_index(place) is not None and not part.differing(place, told=told)

    def told(done: int, total: int) -> None:
        if total >= TOLD_FROM:
            listener.preparing(f"comparing {final.name} with its checksums (MB)", done // 10**6, total // 10**6)

    if final.exists() and not whole(final):
        listener.warning(f"the prepared data {final} are damaged: they are built again")
    with files.resumable_folder(final, whole, waiting) as folder:
        if folder is None or part.is_complete(folder):
            return
        _clear(folder)
        for role in ROLES:
            (folder / role).mkdir(exist_ok=True)
        sound, lost = part.finished(folder, n, told)
        if lost:
            listener.warning(
                f"{len(lost)} volumes that an interrupted build of {final.name} left are damaged: they are prepared again"
            )
        try:
            build(folder, sorted({*range(n)} - {*sound}))
        except Exception as error:
            if (known := machine_error(error, folder)) is None:
                raise
            kept = part.count(folder)
            raise InterruptedWorkError(
                f"{known}; {kept} of {n} volumes are prepared and kept, and the same command goes on with the others"
            ) from error
        _clear(folder)


def _clear(folder: Path) -> None:
    """Remove what a process that was killed left of the files it was writing."""
    for pattern in (f"*/*{UNFINISHED}", "*/.*.tmp"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _build_hr(folder: Path, missing: Sequence[int], work: Work, engine: Engine | None, listener: Listener) -> None:
    n = len(work.cases)
    done = _counted(work.dataset.prepare_message(), n, missing, listener)
    prepare_cases(work, folder, missing, engine, done)
    volumes = part.known(folder, n)
    if magnitudes_alone([volume["facts"] for volume in volumes]):
        for position, volume in enumerate(volumes):
            part.begin_again(folder, position)  # killed from here on, this case is read again
            for role in ROLES:
                take_magnitudes(folder / role / f"{position:05d}.npy", work.preparation.store_dtype)
            part.finish(folder, position, volume)
    findings = [f for case, volume in zip(work.cases, volumes, strict=True) for f in case_findings(case, volume)]
    registered = [
        (source(case, "auxiliary"), volume["registration"]) for case, volume in zip(work.cases, volumes, strict=True)
    ]
    findings += registration_findings([(file, record) for file, record in registered if record], len(volumes))
    findings += precision_findings(volumes, work.preparation)
    part.complete(folder, n, {"volumes": volumes, "findings": [asdict(f) for f in findings]})


def _build_lr(
    folder: Path, missing: Sequence[int], hr_folder: Path, work: Work, engine: Engine | None, listener: Listener
) -> None:
    n = len(work.cases)
    dtype = work.preparation.store_dtype
    done = _counted(f"degrading {work.dataset.name} to 1/{work.scale}", n, missing, listener)
    degrade_volumes(folder, hr_folder, missing, work.protocol, work.scale, dtype, engine, done)
    statistics = [known["statistics"] for known in part.known(folder, n)]
    part.complete(folder, n, {"hr": hr_folder.name, "scale": work.scale, "statistics": statistics})


def _counted(message: str, total: int, missing: Sequence[int], listener: Listener) -> Done:
    """Tells the listener how far it is, now and whenever a volume is done."""
    there = itertools.count(total - len(missing))

    def done(_: int, __: Any) -> None:
        listener.preparing(message, next(there), total)

    done(0, None)
    return done
