"""``prepare --check``: the inspection of every file of a dataset, with all findings in one go. Nothing is kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mcsr_bench.data.findings import located
from mcsr_bench.data.inspection import facts_table, findings, magnitudes_alone
from mcsr_bench.data.manifest import manifest, split_of
from mcsr_bench.data.one_case import Work, inspect_cases
from mcsr_bench.data.prepare import listed_cases
from mcsr_bench.data.reading import source
from mcsr_bench.data.spec import DataSpec
from mcsr_bench.data.store_findings import registration_findings
from mcsr_bench.engines.base import Engine
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.blame import blamed
from mcsr_bench.plugin.case import BadDataError, Case, Finding
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.protocol import Protocol, get_protocol
from mcsr_bench.system.progress import Listener


@dataclass(frozen=True)
class Checked:
    """What the inspection of a dataset gave."""

    dataset: str
    track: str
    """``magnitude`` also where phase turned out not to be the object's own."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """A line per contrast: what is in the files."""
    patients: dict[str, int]
    """Of train, validation, test; empty where no split could be made."""
    split_rule: str
    registrations: dict[str, dict[str, Any]]
    """By volume_id, of those that were registered."""
    findings: tuple[Finding, ...]

    @property
    def usable(self) -> bool:
        """Whether nothing forbids a run."""
        return all(f.severity != "error" for f in self.findings)

    def lines(self) -> list[str]:
        """The findings for people."""
        return [f"{f.severity}  {f.code}  {located(f)}" for f in self.findings] or ["no findings"]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "dataset": self.dataset,
            "track": self.track,
            "contrasts": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
            "patients": self.patients,
            "split_rule": self.split_rule,
            "registrations": self.registrations,
            "findings": finding_records(self.findings),
        }


def finding_records(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as JSON objects: severity, code, file, message, marks."""
    return [asdict(finding) for finding in found]


def check_datasets(spec: DataSpec, engine: Engine | None = None, listener: Listener | None = None) -> list[Checked]:
    """Inspect the datasets asked for. UserError only for options that cannot be had: what is wrong with data is a finding."""
    listener = listener or Listener()
    protocol = get_protocol(spec.protocol)
    out = []
    for dataset in spec.load():
        with blamed(datasets().folder(dataset.name)):
            out.append(_check(dataset, protocol, spec, engine, listener))
    return out


def _check(dataset: Dataset, protocol: Protocol, spec: DataSpec, engine: Engine | None, listener: Listener) -> Checked:
    found: list[Finding] = []
    cases = _cases(dataset, found)
    patients, rule = _split(dataset, cases, protocol, spec, found) if cases else ({}, "")
    work = Work(dataset, cases, protocol, max(spec.scales), spec.preparation, spec.plugins)
    results: dict[int, dict[str, Any]] = {}
    message = f"inspecting {dataset.name}"
    listener.preparing(message, 0, len(cases))

    def done(position: int, result: dict[str, Any]) -> None:
        results[position] = result
        listener.preparing(message, len(results), len(cases))

    inspect_cases(work, engine, done)
    facts = []
    registrations: dict[str, dict[str, Any]] = {}
    for position in sorted(results):  # workers end in any order
        result = results[position]
        if "error" in result:
            found.append(_refused("unusable", result["file"], result["error"]))
            continue
        facts.append(result["facts"])
        if result["registration"]:
            registrations[cases[position].volume_id] = result["registration"]
    found += dataset.findings
    moved = [
        (source(case, "auxiliary"), registrations[case.volume_id]) for case in cases if case.volume_id in registrations
    ]
    found += registration_findings(moved, len(facts))
    found += findings(facts, spec.scales)
    columns, rows = facts_table(facts)
    return Checked(
        dataset.name,
        "magnitude" if magnitudes_alone(facts) else dataset.track,
        columns,
        tuple(rows),
        patients,
        rule,
        registrations,
        tuple(dict.fromkeys(found)),
    )


def _refused(code: str, file: str, problem: str) -> Finding:
    return Finding("error", code, file, f"{problem}; the suite refuses the data")


def _cases(dataset: Dataset, found: list[Finding]) -> list[Case]:
    """The cases that can be looked at; what is wrong with the others becomes a finding each."""
    try:
        return listed_cases(dataset)
    except BadDataError as error:
        found += [_refused("unreadable", _file(dataset.root, problem), problem) for problem in error.problems]
        return list(error.cases)
    except UserError as error:
        found.append(_refused("unreadable", str(dataset.data_root or ""), str(error)))
        return []


def _file(root: Path, problem: str) -> str:
    """The file that a sentence begins with, as adapters' do; the folder where it names none."""
    first = problem.split(maxsplit=1)[0].rstrip(":,")
    if os.path.lexists(first):
        return first
    found = sorted(p for p in root.rglob("*") if p.name == first)
    return str(found[0] if found else root)


def _split(
    dataset: Dataset, cases: list[Case], protocol: Protocol, spec: DataSpec, found: list[Finding]
) -> tuple[dict[str, int], str]:
    try:
        split = split_of(dataset, cases, protocol, spec.split)
    except UserError as error:
        found.append(_refused("split", str(spec.split or dataset.data_root or ""), str(error)))
        return {}, ""
    made = manifest(dataset, split, cases)
    return {part: len(getattr(made, part)) for part in ("train", "validation", "test")}, split.rule
