"""The folder that a trial leaves, and the folder of a run: the one place that knows the names of their files.

A run's folder (``runs/NAME``) holds ``experiment.json`` and one bundle per trial in
``DATASET[@VARIANT]/xSCALE/METHOD[@VARIANT]/seedK/``. A trial is done when the status in its ``trial.json`` is; it is written last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mcsr_bench.errors import UserError
from mcsr_bench.metrics import revisions
from mcsr_bench.system import files

SCHEMA_VERSION: Final = 2
"""Of ``trial.json`` and ``experiment.json``. Files of another version are refused in a sentence."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DataRecord(_Record):
    """The data of a trial: enough for a table to state what it was computed on."""

    name: str
    title: str
    real: bool
    """False for generated data."""
    track: Literal["complex", "magnitude"]
    target: str
    """The contrast in this role, e.g. "T2w"."""
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
        """What differs so that the two must not be in one table, as a clause; "" where they may be."""
        kinds = {
            "fingerprint": "fingerprint of the data",
            "split_hash": "split",
            "preparation": "preparation of the data",
        }
        return " and another ".join(kind for key, kind in kinds.items() if getattr(self, key) != getattr(other, key))

    def contrast(self, role: str) -> str:
        """The contrast in a role, "target" or "auxiliary"."""
        return self.target if role == "target" else self.auxiliary


class TrialRecord(_Record):
    """``trial.json``. Keys are always present; ``profile`` and ``seconds`` fill up as stages end."""

    schema_version: Literal[2] = SCHEMA_VERSION
    status: Literal["running", "done", "failed", "interrupted"]
    """``interrupted``: the run was ended while the trial was at work; the same command goes on with it."""
    reason: str = ""
    """Why it failed or was interrupted, in a sentence; empty otherwise."""
    host: str = ""
    """The machine that ran it last."""
    pid: int = 0
    """The process on that machine."""
    started: str = ""
    """When that process began, in UTC, as ISO 8601."""
    heartbeat: str = ""
    """When that process last showed that it is alive (every half minute while it runs), in UTC."""
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
    metrics: dict[str, int] = {}
    """The revision of each metric by which the scores were computed, by metric id."""
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
    """parameters, trainable_parameters, dead_parameters, macs, flops (HR 320), seconds_per_step, peak_memory (bytes, on a GPU); of
    training: steps, training_flop, training_pixels (HR)."""
    method_track: Literal["", "complex", "magnitude"] = ""
    """Whether the method saw phase; empty until it was loaded."""
    joint: bool = False
    """Both contrasts were super-resolved, each from its LR image."""
    notes: list[str] = []
    """Notes of the method, printed under its numbers."""
    files: dict[str, str] = {}
    """SHA-256 of the files of the bundle, by name."""

    def outdated(self) -> list[str]:
        """The metrics that its scores lack, or have by another revision than today's."""
        return [metric for metric, revision in revisions().items() if self.metrics.get(metric) != revision]

    @property
    def dataset_label(self) -> str:
        """``DATASET[@VARIANT]``, as in folders and in the column ``dataset``."""
        return label(self.dataset, self.dataset_variant)

    @property
    def method_label(self) -> str:
        """``METHOD[@VARIANT]``, as in folders."""
        return label(self.method, self.variant)

    @property
    def label(self) -> str:
        """For people: "brain-sim x4 sanet seed 0"."""
        return f"{self.dataset_label} x{self.scale} {self.method_label} seed {self.seed}"


def label(name: str, variant: str) -> str:
    """``NAME[@VARIANT]``."""
    return f"{name}@{variant}" if variant else name


@dataclass(frozen=True)
class BundleFiles:
    """Where the files of a bundle are, whether they exist or not."""

    folder: Path

    @property
    def trial(self) -> Path:
        """The `TrialRecord`, as JSON; written last."""
        return self.folder / "trial.json"

    @property
    def weights(self) -> Path:
        """Of the best validation, see `mcsr_bench.weights.tensors`."""
        return self.folder / "weights.safetensors"

    @property
    def checkpoint(self) -> Path:
        """Of a training that has not ended."""
        return self.folder / "checkpoint.safetensors"

    @property
    def training_log(self) -> Path:
        """A row per hundredth of the training."""
        return self.folder / "training.csv"

    @property
    def predictions(self) -> Path:
        """HDF5: a group per volume_id, in it a dataset (S, H, W) per role and the attribute ``slice_index``."""
        return self.folder / "predictions.h5"

    @property
    def volumes(self) -> Path:
        """A row per test volume and role: patient_id, volume_id, role, contrast, then a column per metric id."""
        return self.folder / "volumes.csv"

    @property
    def slices(self) -> Path:
        """The same per slice, with slice_index."""
        return self.folder / "slices.csv"

    @property
    def stress(self) -> Path:
        """What a wrong auxiliary costs; outside the trial's hashes."""
        return self.folder / "stress.csv"

    @property
    def log(self) -> Path:
        """What the worker printed."""
        return self.folder / "worker.log"

    @property
    def import_report(self) -> Path:
        """Of a bundle made from foreign weights: which tensor became which."""
        return self.folder / "import.json"

    def hashed(self) -> tuple[Path, ...]:
        """The files whose SHA-256 the record of a finished trial holds."""
        return (self.weights, self.training_log, self.predictions, self.volumes, self.slices)

    def read_record(self) -> TrialRecord | None:
        """The record; None when there is none, UserError when it cannot be read or is of another version."""
        if not self.trial.is_file():
            return None
        try:
            values = files.read_json(self.trial)
            check_version(self.trial, values)
            return TrialRecord.model_validate(values)
        except (ValueError, OSError, ValidationError) as error:
            raise UserError(f"{self.trial}: not a readable trial record: {str(error).splitlines()[0]}") from None


@dataclass(frozen=True)
class Bundle(BundleFiles):
    """A trial's folder with its record."""

    record: TrialRecord

    def write(self) -> None:
        """Write ``trial.json`` in one move."""
        files.write_json(self.trial, self.record.model_dump(mode="json"))


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, and where things are in it."""

    root: Path

    @property
    def experiment(self) -> Path:
        """The grid as asked."""
        return self.root / "experiment.json"

    @property
    def report(self) -> Path:
        """The folder of the report that a run writes at its end."""
        return self.root / "report"

    def split(self, dataset_label: str) -> Path:
        """The manifest of a dataset's split by patients."""
        return self.root / dataset_label / "split.json"

    def registrations(self, dataset_label: str) -> Path:
        """What the registration did to each volume of a dataset."""
        return self.root / dataset_label / "registration.csv"

    def trial(self, dataset_label: str, scale: int, method_label: str, seed: int) -> BundleFiles:
        """The place of a trial's bundle."""
        return BundleFiles(self.root / dataset_label / f"x{scale}" / method_label / f"seed{seed}")

    def trials(self) -> Iterator[BundleFiles]:
        """The places that hold a trial record, sorted."""
        yield from sorted(
            (BundleFiles(path.parent) for path in self.root.glob("*/x*/*/seed*/trial.json")), key=lambda b: b.folder
        )

    def bundles(self) -> Iterator[Bundle]:
        """The bundles, sorted by folder. UserError for a record that cannot be read."""
        for place in self.trials():
            record = place.read_record()
            if record is not None:
                yield Bundle(place.folder, record)


def check_version(path: Path, values: Any, unsaid: int = SCHEMA_VERSION) -> None:
    """UserError when a record was written by another version than this one reads; ``unsaid``: that of a record without one."""
    found = values.get("schema_version", unsaid) if isinstance(values, dict) else SCHEMA_VERSION
    if found != SCHEMA_VERSION:
        raise UserError(
            f"{path}: was written by {'an earlier' if found == 1 else 'another'} version of mcsr-bench (schema_version {found}, "
            f"this one reads {SCHEMA_VERSION}); choose another folder for new results"
        )
