"""Floor 2: splits as files: who trains, validates and tests, written beside results and read back with ``--split FILE``.

A manifest is JSON: ``schema_version`` 1, ``dataset``, ``rule`` (how it was made, a sentence), ``hash`` (of the split as it was
made), and ``train``, ``validation``, ``test``: lists of patient ids. Reading it proves it patient-disjoint against the cases.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from mcsr_bench import files
from mcsr_bench.dataset import Case, Dataset, Finding, Split
from mcsr_bench.errors import UserError
from mcsr_bench.registry import explain

PARTS = ("train", "validation", "test")


class Manifest(BaseModel):
    """A split by patients, as in a file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    dataset: str = ""
    rule: str
    hash: str = ""
    patient_disjoint: bool = True
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def manifest(dataset: Dataset, split: Split, cases: Sequence[Case]) -> Manifest:
    """The manifest of a split: its patients, sorted."""
    patient = {case.volume_id: case.patient_id for case in cases}
    parts: dict[str, Any] = {part: sorted({patient[v] for v in getattr(split, part)}) for part in PARTS}
    return Manifest(
        dataset=dataset.name, rule=split.rule, hash=split.hash, patient_disjoint=split.patient_disjoint, **parts
    )


def write_manifest(path: Path, made: Manifest) -> None:
    """Write a manifest in one move; a file that already holds it is left untouched."""
    if path.is_file():
        with contextlib.suppress(ValueError):
            if Manifest.model_validate(files.read_json(path)) == made:
                return
    files.write_json(path, made.model_dump(mode="json"))


def read_split(path: Path, dataset: Dataset, cases: Sequence[Case]) -> Split:
    """The split of a manifest, over the volumes of its patients; patients that it does not name are left out, with a finding.

    Raises UserError for a file that is missing or no manifest, is of another dataset, names a patient twice, in two parts, or one
    that is not there, or is not patient-disjoint.
    """
    if not path.is_file():
        raise UserError(f"--split {path}: no such file")
    try:
        read = Manifest.model_validate(files.read_json(path))
    except ValidationError as error:
        raise UserError(f"--split {path}: no manifest of a split: {explain(error)}") from None
    except ValueError as error:
        raise UserError(f"--split {path}: not readable as JSON: {str(error).splitlines()[0]}") from None
    if read.dataset and read.dataset != dataset.name:
        raise UserError(f"--split {path}: is of dataset '{read.dataset}', not of '{dataset.name}'")
    if not read.patient_disjoint:
        raise UserError(f"--split {path}: is not patient-disjoint, and such a split is never taken from a file")
    known = {case.patient_id for case in cases}
    seen: dict[str, str] = {}
    for part in PARTS:
        for patient in getattr(read, part):
            if patient in seen:
                where = f"both {seen[patient]} and {part}" if seen[patient] != part else f"{part} twice"
                raise UserError(f"--split {path}: patient {patient} is in {where}")
            if patient not in known:
                raise UserError(f"--split {path}: patient {patient} of {part} is not in dataset '{dataset.name}'")
            seen[patient] = part
    left = sorted(known - seen.keys())
    if left:
        message = f"{len(left)} of {len(known)} patients are not in the split's file and were left out"
        dataset.findings.append(Finding("warning", "split-leaves-out", str(path), message, marks=True))
    rule = read.rule if read.rule.startswith("from a file") else f"from a file: {read.rule}"
    volumes = {part: tuple(c.volume_id for c in cases if seen.get(c.patient_id) == part) for part in PARTS}
    split = Split(volumes["train"], volumes["validation"], volumes["test"], rule)
    split.check(cases)
    return split


def folds(cases: Sequence[Case], k: int, seed: int = 0) -> list[Split]:
    """k-fold cross-validation by patient: fold i tests its patients and validates on the next fold's.

    Every patient is tested exactly once. The order is a seeded permutation of the sorted patient ids. Raises UserError unless
    3 <= k <= patients.
    """
    patients = sorted({case.patient_id for case in cases})
    if not 3 <= k <= len(patients):
        raise UserError(f"--folds {k}: between 3 and the number of patients ({len(patients)}) is allowed")
    order = np.random.default_rng(np.random.SeedSequence([seed, 9241])).permutation(len(patients))
    parts = [{patients[i] for i in order[start::k]} for start in range(k)]
    out = []
    for i in range(k):
        test, validation = parts[i], parts[(i + 1) % k]

        def volumes(chosen: set[str]) -> tuple[str, ...]:
            return tuple(c.volume_id for c in cases if c.patient_id in chosen)

        rule = f"fold {i + 1} of {k} by patient (seed {seed})"
        out.append(Split(volumes(set(patients) - test - validation), volumes(validation), volumes(test), rule))
    return out
