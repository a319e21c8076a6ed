"""What identifies a trial and its scores: the key, the signature of a score, and the schema of the record."""

from __future__ import annotations

from typing import Any, Protocol

from mcsr_bench.metrics import METRICS
from mcsr_bench.results.bundle import DataRecord, TrialRecord
from mcsr_bench.system import files
from mcsr_bench.system.precision import FULL, kind_of


class Identified(Protocol):
    """What a trial is known by before and after it ran: a plan and a `TrialRecord` both have it."""

    @property
    def data(self) -> DataRecord: ...
    @property
    def method(self) -> str: ...
    @property
    def shipped(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def dataset_settings(self) -> dict[str, Any]: ...
    @property
    def scale(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def protocol_hash(self) -> str: ...


def trial_key(trial: Identified, *, code: tuple[str, str], revision: int, batches: int) -> str:
    """Hash of everything that should change a trial's numbers (not: device, threads, versions).

    code: of the plugins of method and dataset, empty for built-in ones. revision: of the method's card. batches: of the sampler.
    """
    return files.digest(
        {
            "preparation": trial.data.preparation,
            "revisions": trial.data.revisions,
            "method": trial.method,
            "revision": revision,
            "batches": batches,
            "settings": trial.settings,
            "scale": trial.scale,
            "seed": trial.seed,
            "protocol": trial.protocol_hash,
            "fingerprint": trial.data.fingerprint,
            "dataset_settings": trial.dataset_settings,
            "contrasts": [trial.data.target, trial.data.auxiliary],
            "split": trial.data.split_hash,
            **({"code": code} if any(code) else {}),
            **({"shipped": trial.shipped} if trial.shipped else {}),
            **({"precision": kind} if (kind := kind_of(trial.precision)) != FULL else {}),
        },
        16,
    )


def row_key(record: TrialRecord) -> str:
    """Hash of what the keys of two trials share when only their seeds differ: they are repetitions of one experiment.

    Of bundles whose keys are right (`mcsr_bench.verify`), which then have the sampler's revision in common, too.
    """
    repeated = record.model_copy(update={"seed": 0})
    return trial_key(
        repeated, code=(record.code, record.data.code), revision=int(record.card.get("revision", 0)), batches=0
    )


def signature(record: TrialRecord, metric: str) -> str:
    """What a score is, in one line: metric and revision, protocol and hash, split, data, and the version that computed it.

    For example ``psnr@volume-max:1|mcsr-1:d488504d0776|split:aef999a35125|brain-sim:05ad501a9d4c|mcsr-bench:0.1.0``. Scores of
    equal signatures are comparable. Revision 0: the record does not say by which revision of the metric it was scored.
    """
    return "|".join(
        (
            f"{metric}:{record.metrics.get(metric, 0)}",
            f"{record.protocol}:{record.protocol_hash}",
            f"split:{record.data.split_hash}",
            f"{record.dataset}:{record.data.fingerprint[:12]}",
            f"mcsr-bench:{record.versions.get('mcsr-bench', 'unknown')}",
        )
    )


def signatures(record: TrialRecord) -> dict[str, str]:
    """The `signature` of each metric that the trial was scored by, in the order of tables."""
    return {metric: signature(record, metric) for metric in METRICS if metric in record.metrics}


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``trial.json``, the record of a trial, with what its keys mean."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TrialRecord.model_json_schema()}
