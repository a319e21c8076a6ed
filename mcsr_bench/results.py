"""Floor 3: what a trial leaves behind, and reading it back.

Layout of a run's folder (``runs/NAME``): ``experiment.json``, then one bundle per trial in
``DATASET[@VARIANT]/xSCALE/METHOD[@VARIANT]/seedK/`` with ``trial.json`` (written last: a trial is done when it says so),
``volumes.csv``, ``slices.csv``, ``training.csv``, ``weights.safetensors`` and ``predictions.h5``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from mcsr_bench import files
from mcsr_bench.errors import UserError


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DataRecord(_Record):
    """The data of a trial: enough for a table to say what it was computed on."""

    name: str
    title: str
    real: bool
    """False for generated data."""
    track: Literal["complex", "magnitude"]
    target: str
    auxiliary: str
    reported_as: str
    """This dataset in the paper's tables, or empty."""
    fingerprint: str
    split_hash: str
    split_rule: str
    patient_disjoint: bool
    patients: dict[str, int]
    """Of train, validation, test."""
    slices: dict[str, int]
    """Non-empty slices of train, validation, test."""
    hr_shapes: list[tuple[int, int]]
    """The sizes (H, W) that occur after the crop, sorted."""
    store: str
    """Key of the prepared store (in the cache folder)."""
    marks: list[str] = []
    """Sentences about the data that every table of these results repeats."""
    revisions: dict[str, int] = {}
    """Of the dataset's reading and, where volumes were registered, of the registration: they change the numbers of equal files."""
    preparation: dict[str, str] = {}
    """What the user chose about preparing the data, where it is not the default (``register``, ``store_dtype``)."""

    def differs(self, other: DataRecord) -> str:
        """In what the two must not stand in one table, as a clause; "" where nothing is against it."""
        kinds = {
            "fingerprint": "fingerprint of the data",
            "split_hash": "split",
            "preparation": "preparation of the data",
        }
        return " and another ".join(kind for key, kind in kinds.items() if getattr(self, key) != getattr(other, key))


class TrialRecord(_Record):
    """``trial.json``. Keys are always present; ``profile`` and ``seconds`` fill up as stages end."""

    schema_version: Literal[1] = 1
    status: Literal["running", "done", "failed"]
    reason: str = ""
    """Why it failed, in a sentence; empty otherwise."""
    key: str
    """Hash of everything that should change the numbers."""
    method: str
    variant: str = ""
    dataset: str
    dataset_variant: str = ""
    scale: int
    seed: int
    preset: str
    protocol: str
    protocol_hash: str
    settings: dict[str, Any] = {}
    """Of the method, all of them."""
    dataset_settings: dict[str, Any] = {}
    card: dict[str, Any] = {}
    """The method's card, without its presets."""
    data: DataRecord
    versions: dict[str, str] = {}
    git: str = ""
    device: str = ""
    threads: int = 0
    seconds: dict[str, float] = {}
    """Wall time of the stages train, predict, score (of the process that ran them)."""
    profile: dict[str, float] = {}
    """parameters, trainable_parameters, dead_parameters, macs, flops (HR 320), seconds_per_step, peak_memory (bytes, on a GPU)."""
    joint: bool = False
    """Both contrasts were super-resolved, each from its LR image."""
    notes: list[str] = []
    """What the method wants to be said beside its numbers."""
    files: dict[str, str] = {}
    """SHA-256 of the files of the bundle, by name."""

    @property
    def dataset_label(self) -> str:
        """``DATASET[@VARIANT]``, as in folders and in the column ``dataset``."""
        return f"{self.dataset}@{self.dataset_variant}" if self.dataset_variant else self.dataset

    @property
    def method_label(self) -> str:
        """``METHOD[@VARIANT]``, as in folders."""
        return f"{self.method}@{self.variant}" if self.variant else self.method


@dataclass(frozen=True)
class Results:
    """The trials of one or several runs as tables.

    Columns of all three: dataset, scale, method, variant, seed, preset, protocol, protocol_hash, track (dataset carries its
    variant as ``NAME@VARIANT``). `trials` adds status, reason, folder; `volumes` adds contrast, patient_id, volume_id and a
    column per metric id; `slices` also slice_index.
    """

    folders: tuple[Path, ...]
    records: tuple[TrialRecord, ...]
    """One per row of `trials`, in the same order."""
    trials: pd.DataFrame
    volumes: pd.DataFrame

    @cached_property
    def slices(self) -> pd.DataFrame:
        """Read when first asked for: it is most of what a run holds, and few need it."""
        return _tables("slices.csv", self.trials, self.records)

    def of(self, keep: Callable[[TrialRecord], bool]) -> Results:
        """The results of some of the trials."""
        kept = [keep(record) for record in self.records]
        trials = self.trials[kept].reset_index(drop=True)
        records = tuple(record for record, here in zip(self.records, kept, strict=True) if here)
        return Results(self.folders, records, trials, _tables("volumes.csv", trials, records))


def trial_folder(root: Path, record: TrialRecord) -> Path:
    """Where the bundle of a trial lies below a run's folder."""
    return root / record.dataset_label / f"x{record.scale}" / record.method_label / f"seed{record.seed}"


def read_trial(folder: Path) -> TrialRecord | None:
    """The record in a bundle; None when there is none, UserError when it cannot be read."""
    path = folder / "trial.json"
    if not path.is_file():
        return None
    try:
        return TrialRecord.model_validate(files.read_json(path))
    except (ValueError, OSError, ValidationError) as error:
        raise UserError(f"{path}: not a readable trial record: {str(error).splitlines()[0]}") from None


def write_trial(folder: Path, record: TrialRecord) -> None:
    """Write ``trial.json`` in one move."""
    files.write_json(folder / "trial.json", record.model_dump(mode="json"))


def bundles(root: Path) -> Iterator[Path]:
    """The folders below a run's folder that hold a trial record, sorted."""
    yield from sorted(p.parent for p in root.glob("*/x*/*/seed*/trial.json"))


def load_results(*folders: str | Path) -> Results:
    """Read one or several run folders.

    Raises UserError when a folder is missing or holds no trial, or when the scores of a finished trial cannot be read.
    """
    records: list[TrialRecord] = []
    rows: list[dict[str, Any]] = []
    roots = tuple(Path(f) for f in folders)
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root}: no such folder of results")
        found = list(bundles(root))
        if not found:
            raise UserError(f"{root}: holds no trial (no trial.json below it)")
        for folder in found:
            record = read_trial(folder)
            assert record is not None  # bundles() found it
            records.append(record)
            rows.append({**_identity(record), "status": record.status, "reason": record.reason, "folder": str(folder)})
    trials = pd.DataFrame(rows)
    return Results(roots, tuple(records), trials, _tables("volumes.csv", trials, records))


def _tables(name: str, trials: pd.DataFrame, records: Sequence[TrialRecord]) -> pd.DataFrame:
    """A CSV of all finished trials in one table, the identity of the trial in front of each row."""
    parts = [
        _scores(Path(folder) / name, _identity(record))
        for folder, record in zip(trials["folder"], records, strict=True)
        if record.status == "done"
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*trials, *_WHERE])


_WHERE = ("contrast", "patient_id", "volume_id")


def _identity(record: TrialRecord) -> dict[str, Any]:
    return {
        "dataset": record.dataset_label,
        "scale": record.scale,
        "method": record.method,
        "variant": record.variant,
        "seed": record.seed,
        "preset": record.preset,
        "protocol": record.protocol,
        "protocol_hash": record.protocol_hash,
        "track": record.data.track,
    }


def _scores(path: Path, identity: dict[str, Any]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"patient_id": str, "volume_id": str, "contrast": str})
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the scores of a finished trial cannot be read: {error}") from None
    keys = [key for key in (*_WHERE[:1], "volume_id", "slice_index") if key in table]
    if missing := sorted({*_WHERE} - set(table)):
        raise UserError(f"{path}: the scores of a finished trial have no column {missing[0]}")
    twice = table[table.duplicated(keys)]
    if len(twice):
        raise UserError(f"{path}: holds volume {twice['volume_id'].iloc[0]} ({twice['contrast'].iloc[0]}) twice")
    for position, (column, value) in enumerate(identity.items()):
        table.insert(position, column, value)
    return table
