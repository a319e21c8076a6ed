"""Reported numbers: what methods scored, per seed, in a file that `regress` compares with; and the same of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mcsr_bench.audit.basis import Basis, trains
from mcsr_bench.errors import UserError, explain
from mcsr_bench.plugin.loading import SMOKE
from mcsr_bench.results.bundle import Bundle, TrialRecord
from mcsr_bench.results.load import Results
from mcsr_bench.results.naming import label
from mcsr_bench.results.statistics import seed_scores
from mcsr_bench.system import files
from mcsr_bench.system.provenance import git_revision, versions

METRIC: Final = "psnr@volume-max"
"""What is compared: the mean over patients, in dB."""

_Label = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*(@[A-Za-z0-9_.=-]+)?$", max_length=200)]
_WHERE = ("dataset", "scale", "method", "contrast")
Key = tuple[str, int, str, str]
"""Dataset, scale, method and contrast: what a number is of."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Number(_Strict):
    """What a method scored on a dataset at a scale, with one or several seeds."""

    trial: str = Field(max_length=500)
    """For people: "brain-sim x4 sanet (budget=100)"; of joint methods with the contrast."""
    dataset: _Label
    scale: int = Field(ge=1)
    method: _Label
    contrast: str = Field(max_length=200)
    retrained: bool
    """Whether each seed is a training of its own."""
    metric: str
    """Its id and revision."""
    basis: Basis
    version: str
    """Of mcsr-bench."""
    seeds: dict[Annotated[int, Field(ge=0)], float] = Field(min_length=1)
    """By seed, the mean over patients, in dB."""
    parameters: int | None
    """Of a network; None where there is none."""
    macs: int | None
    """Multiply-accumulates at HR 320, batch 1; None where they are not known."""
    times: dict[Literal["train", "predict"], Annotated[float, Field(gt=0)]]
    """Of each stage, the time over that of the pace method in the same run; empty where that was not run."""

    @property
    def key(self) -> Key:
        """What it is of."""
        return self.dataset, self.scale, self.method, self.contrast

    @property
    def scores(self) -> list[float]:
        """Of the seeds, in their order."""
        return [self.seeds[seed] for seed in sorted(self.seeds)]


class Reported(_Strict):
    """The file."""

    schema_version: Literal[1]
    version: str
    """Of mcsr-bench, that wrote the file."""
    git: str
    pace: _Label
    """The method that times are compared with."""
    numbers: tuple[Number, ...] = Field(min_length=1)


def read_reported(path: Path) -> Reported:
    """What a file of reported numbers holds. UserError when it is none, or cannot be used to compare with."""
    if what := files.not_a_file(path):
        raise UserError(f"{path}: {what}; `regress --write` makes a file of reported numbers")
    try:
        found = Reported.model_validate(files.read_json(path))
        _check(found.numbers)
    except ValidationError as error:
        raise UserError(f"{path}: not a file of reported numbers: {explain(error)}") from None
    except ValueError as error:
        raise UserError(f"{path}: not a file of reported numbers: {str(error).splitlines()[0]}") from None
    return found


def write_reported(path: Path, numbers: Sequence[Number], pace: str) -> None:
    """Write the file in one move. ValueError for numbers that nothing can be compared with."""
    _check(numbers)
    own = versions()["mcsr-bench"]
    kept = Reported(schema_version=1, version=own, git=git_revision(), pace=pace, numbers=tuple(numbers))
    files.write_json(path, kept.model_dump(mode="json"))


def _check(numbers: Sequence[Number]) -> None:
    """ValueError for two numbers of one thing, and for a method that trains and whose spread over seeds is not known."""
    for i, number in enumerate(numbers):
        if number.key in [other.key for other in numbers[:i]]:
            raise ValueError(f"{number.trial} is there twice")
        if number.retrained and len(number.seeds) < 2:
            raise ValueError(f"{number.trial} has one seed, and the spread over seeds needs at least two (--seeds)")


def numbers_of(results: Results, pace: str) -> tuple[list[Number], list[str]]:
    """The numbers of a run's finished trials, sorted; and what has none, a sentence each.

    pace: the label of the method that times are compared with. UserError where seeds of one method rest on different things, and
    for trials of preset smoke.
    """
    done = [bundle for bundle in results.bundles if bundle.record.status == "done"]
    groups: dict[tuple[str, int, str], list[Bundle]] = {}
    for bundle in done:
        record = bundle.record
        if record.preset == SMOKE:
            raise UserError(
                f"{bundle.folder}: is of preset {SMOKE}, which is not a result: nothing is compared with it"
            )
        groups.setdefault((record.dataset_label, record.scale, record.method_label), []).append(bundle)
    scores = _patients(results.volumes) if done else {}
    numbers, without = [], []
    for group, bundles in groups.items():
        one = _alike(bundles)
        paces = [bundle.record for bundle in groups.get((*group[:2], pace), ())]
        contrasts = sorted(key[3] for key in scores if key[:3] == group)
        if not contrasts:
            without.append(f"{_trial(one)}: its tables hold no score")
        for contrast in contrasts:
            trial = _trial(one) + (f" ({contrast})" if len(contrasts) > 1 else "")
            seeds = scores[(*group, contrast)]
            patients = min(len(seeds.get(bundle.record.seed, ())) for bundle in bundles)
            means = {seed: float(np.mean(values)) for seed, values in sorted(seeds.items())}
            if patients < one.data.patients["test"]:
                without.append(f"{trial}: has scores of {patients} of {one.data.patients['test']} test patients")
            elif not all(map(math.isfinite, means.values())):
                without.append(f"{trial}: has no finite {METRIC} by the present revision of the metric")
            else:
                numbers.append(_number(bundles, contrast, trial, means, paces))
    return sorted(numbers, key=lambda number: number.key), without


def _patients(volumes: pd.DataFrame) -> dict[Key, dict[int, NDArray[np.float64]]]:
    """By what they are of and seed, the scores of the patients; NaN where one has none."""
    table = seed_scores(volumes, METRIC)
    by = ["dataset", "scale", "method", "variant", "contrast", "seed"]
    found: dict[Key, dict[int, NDArray[np.float64]]] = {}
    for (dataset, scale, method, variant, contrast, seed), part in table.groupby(by)["score"]:
        key = (str(dataset), int(scale), label(method, variant), str(contrast))
        found.setdefault(key, {})[int(seed)] = part.to_numpy(np.float64)
    return found


def _alike(bundles: Sequence[Bundle]) -> TrialRecord:
    """The record of the first of a method's seeds, once all rest on the same as it."""
    first = bundles[0]
    for other in bundles[1:]:
        if differs := Basis.of(other.record).differs(Basis.of(first.record), first.folder.name):
            raise UserError(f"{other.folder}: has {differs}; such results are never mixed")
        for what in ("parameters", "macs"):
            if _count(other.record, what) != _count(first.record, what):
                raise UserError(
                    f"{other.folder}: has other {what} than {first.folder.name}; such results are never mixed"
                )
    return first.record


def _number(
    bundles: Sequence[Bundle], contrast: str, trial: str, seeds: Mapping[int, float], paces: Sequence[TrialRecord]
) -> Number:
    record = bundles[0].record
    retrained = _retrained(record)
    stages: tuple[Literal["train", "predict"], ...] = ("train", "predict") if retrained else ("predict",)
    mine = [bundle.record for bundle in bundles]
    ratios = {stage: _seconds(mine, stage) / _seconds(paces, stage) for stage in stages}
    return Number(
        trial=trial,
        dataset=record.dataset_label,
        scale=record.scale,
        method=record.method_label,
        contrast=contrast,
        retrained=retrained,
        metric=f"{METRIC}:{record.metrics.get(METRIC, 0)}",
        basis=Basis.of(record),
        version=record.versions.get("mcsr-bench", "unknown"),
        seeds=dict(seeds),
        parameters=_count(record, "parameters"),
        macs=_count(record, "macs"),
        times={stage: float(f"{ratio:.3g}") for stage, ratio in ratios.items() if math.isfinite(ratio) and ratio > 0},
    )


def _trial(record: TrialRecord) -> str:
    return f"{record.shown_dataset} x{record.scale} {record.shown_method}"


def _retrained(record: TrialRecord) -> bool:
    """Whether every seed is a training of its own, as of a method that trains, but with shipped weights."""
    return trains(record) and not record.shipped


def _count(record: TrialRecord, what: str) -> int | None:
    value: Any = record.profile.get(what)
    return None if value is None else round(value)


def _seconds(records: Sequence[TrialRecord], stage: str) -> float:
    """The mean time of a stage; NaN where none is known or none was needed."""
    found = [record.seconds[stage] for record in records if record.seconds.get(stage, 0) > 0]
    return sum(found) / len(found) if found else math.nan
