"""The folder that a trial leaves: the one place that knows the names of its files.

A run's folder (``runs/NAME``) holds ``experiment.json`` and one bundle per trial in
``DATASET[@VARIANT]/xSCALE/METHOD[@VARIANT]/seedK/``. A trial is done when the status in its ``trial.json`` is; it is written last.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mcsr_bench.errors import DamagedFileError, UnreadFileError, UserError, damaged, explain
from mcsr_bench.metrics import revisions
from mcsr_bench.results.naming import label, shown
from mcsr_bench.system import files
from mcsr_bench.system.digests import digest_once
from mcsr_bench.system.locks import claimed, owner, tidy
from mcsr_bench.system.owners import Owner
from mcsr_bench.system.received import CardValues, Counts, Name, Plain, Variant

CLAIMS = ".claims"
"""The folder of locks in a run."""
SCHEMA_VERSION: Final = 2
"""Of ``trial.json`` and ``experiment.json``. Files of another version are refused in a sentence."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class DataRecord(_Record):
    """The data of a trial: enough for a table to state what it was computed on."""

    name: Name
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
    code: str = ""
    """Of a third party's dataset plugin: the hash of its code and card; empty for a built-in one."""
    split_hash: str
    split_rule: str
    patient_disjoint: bool
    patients: Counts
    """Of train, validation, test."""
    slices: Counts
    """Non-empty slices of train, validation, test."""
    hr_shapes: list[tuple[int, int]]
    """The sizes (H, W) that occur after the crop, sorted."""
    store: Plain
    """Key of the prepared store (in the cache folder)."""
    store_hash: str = ""
    """Hash of the bytes of the prepared data; equal keys give other bytes where another machine rounds in another way."""
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
            "code": "version of the dataset plugin's code",
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
    key: Plain
    """Hash of everything that should change the numbers."""
    code: str = ""
    """Of a third party's method: the hash of its code and card, part of the key; empty for a built-in one."""
    method: Name
    variant: Variant = ""
    shipped: str = ""
    """SHA-256 of the weights that came with the method, part of the key; empty: trained here, or not at all."""
    dataset: Name
    dataset_variant: Variant = ""
    scale: int = Field(ge=1)
    seed: int = Field(ge=0)
    preset: str
    protocol: str
    protocol_hash: str
    metrics: dict[str, int] = {}
    """The revision of each metric by which the scores were computed, by metric id."""
    settings: dict[str, Any] = {}
    """Of the method, all of them."""
    dataset_settings: dict[str, Any] = {}
    changes: CardValues = {}
    """Of `settings`, those that differ from the preset and from the suite's: with the suite's name they are the variant."""
    dataset_changes: CardValues = {}
    """The same of `dataset_settings`, which differ from the dataset's card."""
    card: CardValues = {}
    """The method's card, without its presets."""
    data: DataRecord
    versions: dict[str, str] = {}
    git: str = ""
    device: str = ""
    precision: str = "32"
    """Of the training: "32", "tf32" or "bf16"; of the last the key knows."""
    devices: int = 1
    """That shared each batch of the training: GPUs, or processes on a CPU."""
    compiled: bool = False
    """Whether the training ran compiled networks (torch.compile)."""
    threads: int = 0
    seconds: dict[str, float] = {}
    """Wall time of the stages train, predict, score (of the process that ran them)."""
    profile: dict[str, float] = {}
    """parameters, trainable_parameters, dead_parameters, macs, flops (HR 320), peak_memory (bytes, on a GPU); of training: steps,
    training_flop, training_pixels (HR), seconds_per_step, compile_seconds, resident_bytes (of training slices on the device)."""
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
    def weights_key(self) -> str:
        """The key that the header of its weights must have; "" for shipped ones, of which the hash is known."""
        return "" if self.shipped else self.key

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
        """For people: "brain-sim x4 sanet (budget=100) seed 0"."""
        return f"{self.shown_dataset} x{self.scale} {self.shown_method} seed {self.seed}"

    @property
    def shown_dataset(self) -> str:
        """What people read in place of `dataset_label`."""
        return shown(self.dataset, self.dataset_variant, self.dataset_changes)

    @property
    def shown_method(self) -> str:
        """What people read in place of `method_label`."""
        return shown(self.method, self.variant, self.changes)


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
        """HDF5, see `mcsr_bench.results.predictions`."""
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
    def stress_log(self) -> Path:
        """What the worker printed that stressed the trial."""
        return self.folder / "stress.log"

    @property
    def import_report(self) -> Path:
        """Of a bundle made from foreign weights: which tensor became which."""
        return self.folder / "import.json"

    @property
    def claim(self) -> Path:
        """What `mcsr_bench.system.locks` claims for the one process that may write here: in the run's folder, outside the bundle,
        which can be moved and removed meanwhile."""
        dataset, scale, method, seed = self.folder.parts[-4:]
        return self.folder.parents[3] / CLAIMS / "~".join((dataset, scale, method, seed))

    def claimed(self) -> AbstractContextManager[None]:
        """Be the one process that writes here while a block runs. TakenError while another one is."""
        return claimed(self.claim, str(self.folder), self.trial)

    def owner(self) -> Owner | None:
        """The process that is writing here now."""
        return owner(self.claim, self.trial)

    def tidy(self) -> None:
        """Remove what a killed process left of its claim."""
        tidy(self.claim, str(self.folder), self.trial)

    def hashed(self) -> tuple[Path, ...]:
        """The files whose SHA-256 the record of a finished trial holds."""
        return (self.weights, self.training_log, self.predictions, self.volumes, self.slices)

    def read_record(self) -> TrialRecord | None:
        """The record; None when there is none, DamagedFileError when it cannot be read, UserError when it is of another version.

        UnreadFileError where that says nothing about the record, as for a disk that fails.
        """
        try:
            if not self.trial.is_file():
                return None
            values = files.read_json(self.trial)
            check_version(self.trial, values)
            return TrialRecord.model_validate(values)
        except ValidationError as error:
            raise DamagedFileError(self.trial, f"not a readable trial record: {explain(error)}") from None
        except (ValueError, OSError) as error:
            raise damaged(self.trial, f"not a readable trial record: {str(error).splitlines()[0]}", error) from None

    def sound_record(self) -> TrialRecord | None:
        """The record; None where there is none, or one that cannot be used. UnreadFileError as `read_record`."""
        try:
            return self.read_record()
        except UnreadFileError:  # it may be sound
            raise
        except UserError:
            return None

    def replaced(self, key: str) -> Path:
        """Where the bundle goes when its plugin's code has changed; ``key``: of its trial."""
        return self.folder.with_name(f"{self.folder.name}.replaced-{key}")

    def replace(self, key: str) -> None:
        """Move the bundle to `replaced`. One is kept: an earlier one is removed."""
        for earlier in self.folder.parent.glob(self.replaced("*").name):
            files.remove_folder(earlier)
        os.replace(self.folder, self.replaced(key))


@dataclass(frozen=True)
class Bundle(BundleFiles):
    """A trial's folder with its record."""

    record: TrialRecord

    def wrote(self, path: Path) -> bool:
        """Whether the trial wrote this file; it may be damaged or missing by now."""
        return path.name in self.record.files or path.is_file()

    def checked(self, path: Path) -> Path:
        """``path``, one of `hashed`, once its bytes were found to be those whose SHA-256 the record holds.

        DamagedFileError where they are not, or where the file is missing, UnreadFileError where they cannot be had at the moment.
        Read once per process. A file that the record does not mention is not compared.
        """
        expected = self.record.files.get(path.name)
        if expected is None:
            return path
        try:
            if what := files.not_a_file(path):
                what = "missing" if what == files.NO_FILE else what
                raise DamagedFileError(path, f"is {what}, and {self.trial.name} says that it was written")
            found = digest_once(path)
        except OSError as error:
            raise damaged(path, f"cannot be read: {error.strerror}", error) from None
        if found != expected:
            raise DamagedFileError(
                path, f"is damaged or another file's (SHA-256 {found[:12]}, {self.trial.name} says {expected[:12]})"
            )
        return path

    def set_aside(self, path: Path) -> None:
        """Move a damaged file to NAME.damaged; the trial is not done any more, and redoes the stage that wrote it."""
        if path != self.trial:
            forgotten = {path.name, self.weights.name} if path == self.training_log else {path.name}
            self.record.files = {name: value for name, value in self.record.files.items() if name not in forgotten}
            self.record.status, self.record.reason = (
                "interrupted",
                f"{path.name} was damaged; the same command redoes it",
            )
            self.write()
        files.set_aside(path)

    def write(self) -> None:
        """Write ``trial.json`` in one move."""
        files.write_json(self.trial, self.record.model_dump(mode="json"))


def check_version(path: Path, values: Any, unsaid: int = SCHEMA_VERSION) -> None:
    """UserError when a record was written by another version than this one reads; ``unsaid``: that of a record without one."""
    found = values.get("schema_version", unsaid) if isinstance(values, dict) else SCHEMA_VERSION
    if found != SCHEMA_VERSION:
        raise UserError(
            f"{path}: was written by {'an earlier' if found == 1 else 'another'} version of mcsr-bench (schema_version {found}, "
            f"this one reads {SCHEMA_VERSION}); choose another folder for new results"
        )
