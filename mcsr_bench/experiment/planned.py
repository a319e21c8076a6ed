"""A trial as planned: everything that a worker needs to run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from mcsr_bench.data.sampler import REVISION as BATCHES_REVISION
from mcsr_bench.engines.base import Needs
from mcsr_bench.plugin.cards import MethodCard
from mcsr_bench.plugin.registry import methods
from mcsr_bench.protocol import get_protocol
from mcsr_bench.results.bundle import BundleFiles, DataRecord, TrialRecord
from mcsr_bench.results.identity import trial_key
from mcsr_bench.results.naming import label, shown
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system.computing import PLAIN, Computing
from mcsr_bench.system.devices import device_name
from mcsr_bench.system.provenance import git_revision, versions


class TrialSpec(BaseModel):
    """JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Path
    """The run's folder."""
    method: str
    variant: str = ""
    code: str = ""
    """Of a third party's method: the hash of its code, see `mcsr_bench.plugin.registry.Plugin`."""
    settings: dict[str, Any]
    """All settings of the method."""
    changes: dict[str, Any] = {}
    """Of the settings, those that differ from the preset and from the suite's."""
    shipped: str = ""
    """SHA-256 of the weights that come with the method, where it is not trained."""
    dataset_variant: str = ""
    dataset_settings: dict[str, Any]
    dataset_changes: dict[str, Any] = {}
    """The same of the dataset's settings, which differ from its card."""
    scale: int
    seed: int
    preset: str
    protocol: str
    data: DataRecord
    split: dict[str, Any]
    """A `Split`, as a mapping."""
    device: str = "cpu"
    computing: Computing = PLAIN
    """Of the training."""
    threads: int = 1
    plugins: tuple[Path, ...] = ()

    @property
    def precision(self) -> str:
        """Of the training."""
        return self.computing.precision or PLAIN.precision or ""

    @property
    def needs(self) -> Needs:
        """Of the machine, while it trains."""
        n = self.computing.devices
        return Needs(cores=n * self.threads, gpus=n if self.device.startswith("cuda") else 0)

    @property
    def key(self) -> str:
        """Hash of everything that should change the numbers (not: device, threads, versions)."""
        return self.key_of((self.code, self.data.code))

    def key_of(self, code: tuple[str, str]) -> str:
        """The key if the plugins of method and dataset had this code; empty: built-in ones."""
        return trial_key(self, code=code, revision=methods().card(self.method).revision, batches=BATCHES_REVISION)

    @property
    def protocol_hash(self) -> str:
        """Of the protocol as it is here."""
        return get_protocol(self.protocol).hash

    @property
    def label(self) -> str:
        """For people: "brain-sim x4 sanet (budget=100) seed 0"."""
        dataset = shown(self.data.name, self.dataset_variant, self.dataset_changes)
        return f"{dataset} x{self.scale} {shown(self.method, self.variant, self.changes)} seed {self.seed}"

    @property
    def dataset_label(self) -> str:
        """``DATASET[@VARIANT]``."""
        return label(self.data.name, self.dataset_variant)

    @property
    def method_label(self) -> str:
        """``METHOD[@VARIANT]``."""
        return label(self.method, self.variant)

    def record(self) -> TrialRecord:
        """The record of this trial as it begins."""
        card: MethodCard = methods().card(self.method)
        return TrialRecord(
            status="running",
            key=self.key,
            code=self.code,
            method=self.method,
            variant=self.variant,
            shipped=self.shipped,
            dataset=self.data.name,
            dataset_variant=self.dataset_variant,
            scale=self.scale,
            seed=self.seed,
            preset=self.preset,
            protocol=self.protocol,
            protocol_hash=self.protocol_hash,
            settings=self.settings,
            dataset_settings=self.dataset_settings,
            changes=self.changes,
            dataset_changes=self.dataset_changes,
            card=card.model_dump(mode="json", exclude={"presets", "differences"}),
            data=self.data,
            versions=versions(),
            git=git_revision(),
            device=device_name(self.device),
            precision=self.precision,
            devices=self.computing.devices,
            compiled=self.computing.compile,
            threads=self.threads,
        )

    def done(self) -> TrialRecord | None:
        """The record of this trial where it is finished."""
        record = self.place.sound_record()
        return record if record is not None and record.status == "done" and record.key == self.key else None

    @property
    def place(self) -> BundleFiles:
        """Where the trial's bundle is."""
        return RunFolder(self.out).trial(self.dataset_label, self.scale, self.method_label, self.seed)
