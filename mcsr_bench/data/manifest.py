"""Splits as files: who trains, validates and tests, written beside results and read back with ``--split FILE``.

A manifest is JSON: ``schema_version`` 1, ``dataset``, ``rule`` (how it was made, a sentence), ``hash`` (of the split as it was
made, the one of results), ``train``, ``validation``, ``test``: lists of patient ids, and ``left_out``: volumes of these patients
that are in no part. Reading it proves it patient-disjoint against the cases, and notes when its hash does not fit its contents.
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from mcsr_bench.errors import UserError, explain
from mcsr_bench.plugin.case import Case, Finding
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.loading import check_seed
from mcsr_bench.plugin.split import Split, as_protocol_wants
from mcsr_bench.protocol import Protocol
from mcsr_bench.system import files

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
    left_out: tuple[str, ...] = ()


def split_of(dataset: Dataset, cases: Sequence[Case], protocol: Protocol, path: Path | None) -> Split:
    """The split of the file, as the protocol wants it, or, without one, the dataset's own; proven against the cases.

    Patients of two parts whose ids differ in case, spaces or Unicode form alone get a finding.
    """
    split = as_protocol_wants(read_split(path, dataset, cases), protocol) if path else dataset.split(cases, protocol)
    split.check(cases)
    patient = {case.volume_id: case.patient_id for case in cases}
    first: dict[str, tuple[str, str]] = {}
    for part in PARTS if split.patient_disjoint else ():
        for name in sorted({patient[v] for v in getattr(split, part)}):
            other, where = first.setdefault(_folded(name), (name, part))
            if where != part:
                message = (
                    f"patient {other!r} of {where} and patient {name!r} of {part} differ in case, spaces or Unicode form "
                    f"alone, and count as two; if they are one, the split is not patient-disjoint"
                )
                dataset.note(Finding("warning", "patients-alike", str(path or ""), message, marks=True))
    return split


def manifest(dataset: Dataset, split: Split, cases: Sequence[Case]) -> Manifest:
    """The manifest of a split: its patients, sorted."""
    patient = {case.volume_id: case.patient_id for case in cases}
    parts: dict[str, Any] = {part: sorted({patient[v] for v in getattr(split, part)}) for part in PARTS}
    named = set().union(*parts.values())
    used = {*split.train, *split.validation, *split.test}
    return Manifest(
        dataset=dataset.name,
        rule=split.rule,
        hash=split.hash,
        patient_disjoint=split.patient_disjoint,
        left_out=tuple(sorted(c.volume_id for c in cases if c.patient_id in named and c.volume_id not in used)),
        **parts,
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

    A manifest that gives the hash it carries is the very split that was written, and its results are that split's. Another finding
    where it does not: it was changed, or was made on other data. Raises UserError for a file that is missing or no manifest, is of
    another dataset, names a patient twice, in two parts, or a patient or volume that is not there, or is not patient-disjoint.
    """
    if what := files.not_a_file(path):
        raise UserError(f"--split {path}: {what}")
    try:
        read = Manifest.model_validate(files.read_json(path))
    except ValidationError as error:
        raise UserError(f"--split {path}: not a manifest of a split: {explain(error)}") from None
    except ValueError as error:
        raise UserError(f"--split {path}: not readable as JSON: {str(error).splitlines()[0]}") from None
    if read.dataset and read.dataset != dataset.name:
        raise UserError(f"--split {path}: is of dataset '{read.dataset}', not of '{dataset.name}'")
    if not read.patient_disjoint:
        raise UserError(
            f"--split {path}: is not patient-disjoint, and such a split is never taken from a file; give one that is: protocols "
            f"that validate on the test part make it so themselves"
        )
    known = {case.patient_id for case in cases}
    seen: dict[str, str] = {}
    for part in PARTS:
        for patient in getattr(read, part):
            if patient in seen:
                where = f"both {seen[patient]} and {part}" if seen[patient] != part else f"{part} twice"
                raise UserError(f"--split {path}: patient {patient!r} is in {where}")
            if patient not in known:
                near = sorted(name for name in known if _folded(name) == _folded(patient))
                hint = f", which has {near[0]!r}" if near else ""
                raise UserError(
                    f"--split {path}: patient {patient!r} of {part} is not in dataset '{dataset.name}'{hint}"
                )
            seen[patient] = part
    strangers = sorted(set(read.left_out) - {case.volume_id for case in cases})
    if strangers:
        raise UserError(f"--split {path}: case {strangers[0]!r} of left_out is not in dataset '{dataset.name}'")
    left = sorted(known - seen.keys())
    if left:
        message = f"{len(left)} of {len(known)} patients are not in the split's file and were left out"
        dataset.note(Finding("warning", "split-leaves-out", str(path), message, marks=True))
    kept = [case for case in cases if case.volume_id not in read.left_out]
    volumes = {part: tuple(c.volume_id for c in kept if seen.get(c.patient_id) == part) for part in PARTS}
    split = Split(volumes["train"], volumes["validation"], volumes["test"], read.rule)
    as_made = split.hash
    if read.hash != as_made:  # else it is the very split that was written, and stays it
        source = "from a file that was changed" if read.hash else "from a file"
        if not read.rule.startswith(source):
            split = replace(split, rule=f"{source}: {read.rule}")
    if read.hash not in ("", as_made):
        message = (
            f"the split's file carries hash {read.hash} and gives {as_made}: it was changed after it was made, or made on "
            f"other data than these; where that is meant, remove its hash"
        )
        dataset.note(Finding("warning", "split-changed", str(path), message, marks=True))
    split.check(cases)
    return split


def _folded(patient: str) -> str:
    """A patient's id without what people and file systems vary: case, spaces, Unicode form."""
    return "".join(unicodedata.normalize("NFKC", patient).casefold().split())


def folds(cases: Sequence[Case], k: int, seed: int = 0) -> list[Split]:
    """k-fold cross-validation by patient: fold i tests its patients and validates on the next fold's.

    Every patient is tested exactly once. The order is a seeded permutation of the sorted patient ids. Raises UserError unless
    3 <= k <= patients, and for a seed that generators do not take.
    """
    patients = sorted({case.patient_id for case in cases})
    if not 3 <= k <= len(patients):
        raise UserError(f"--folds {k}: between 3 and the number of patients ({len(patients)}) is allowed")
    check_seed("--seed", seed)
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
