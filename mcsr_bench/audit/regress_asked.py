"""What a run was asked for and does not have: a gate must not pass because something was never measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mcsr_bench.audit.regress_numbers import Number
from mcsr_bench.experiment.grid import ExperimentSpec
from mcsr_bench.experiment.kept import read_experiment
from mcsr_bench.plugin.registry import methods
from mcsr_bench.results.bundle import TrialRecord
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.weights.shipped import VARIANT

Place = tuple[str, int, str]
"""Dataset, scale and method, by label."""


def asked(run: Path) -> ExperimentSpec | None:
    """What a run was asked for; None where nothing says it. UserError when ``experiment.json`` cannot be read."""
    return read_experiment(run) if RunFolder(run).experiment.is_file() else None


def missing(
    run: Path, spec: ExperimentSpec | None, records: Sequence[TrialRecord], reported: Iterable[Number]
) -> list[str]:
    """The trials that a run was asked for and did not finish, a sentence each.

    Every method at every scale with every seed, without loading a plugin; with "all" methods, and in suites, also what the reported
    numbers have.
    """
    unfinished = [
        f"{record.label}: {record.status}{f': {record.reason}' if record.reason else ''}"
        for record in records
        if record.status != "done"
    ]
    if spec is None:
        return [*unfinished, f"{RunFolder(run).experiment}: missing, so that nothing says which trials were asked for"]
    there = {(*_place(record), record.seed) for record in records}
    wanted = dict.fromkeys((*map(_place, records), *_of_grid(spec, records), *in_scope(spec, reported)))
    return unfinished + [
        f"{dataset} x{scale} {method} seed {seed}: was asked for, and is not there"
        for dataset, scale, method in wanted
        for seed in spec.seeds
        if (dataset, scale, method, seed) not in there
    ]


def in_scope(spec: ExperimentSpec, reported: Iterable[Number]) -> Iterator[Place]:
    """Where the reported numbers are of what an experiment asked for."""
    for number in reported:
        name, _, variant = number.method.partition("@")
        data, scales = number.dataset.partition("@")[0], spec.data.scales or (number.scale,)
        everything = "all" in spec.methods
        # a named method is asked for with one setting; all of them, and suites, have rows with others
        named = bool(spec.suites) or not variant or (spec.pretrained and variant == VARIANT)
        method = everything or (name in spec.methods and named)
        if method and data in spec.data.names and number.scale in scales:
            yield number.dataset, number.scale, number.method


def _of_grid(spec: ExperimentSpec, records: Sequence[TrialRecord]) -> Iterator[Place]:
    """What an experiment without suites is made of, as far as no trial of it is there: those that are may have other settings."""
    if spec.suites:
        return
    found = {(record.dataset, record.scale, record.method) for record in records}
    for name in methods().names() if "all" in spec.methods else spec.methods:
        for dataset in spec.data.names:
            for scale in spec.data.scales:
                if (dataset, scale, name) not in found:
                    yield dataset, scale, name


def _place(record: TrialRecord) -> Place:
    return record.dataset_label, record.scale, record.method_label
