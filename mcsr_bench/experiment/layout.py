"""How the results of an experiment are laid out: the rows of its suites, and the references of its p-values."""

from __future__ import annotations

from collections.abc import Sequence

from mcsr_bench.experiment.grid import ExperimentSpec, point_of, suite_rows
from mcsr_bench.experiment.suites import Suite, get_suite
from mcsr_bench.plugin.report import Layout, LayoutRow
from mcsr_bench.results.naming import label, shown, variant_of


def layouts(spec: ExperimentSpec) -> tuple[Layout, ...]:
    """How the results of the spec's suites are laid out; empty without suites."""
    return tuple(_layout(spec, get_suite(name)) for name in spec.suites)


def references(asked: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """Those of the references asked for that are among the rows, by label; else the first row."""
    return tuple(name for name in asked if name in labels) or tuple(labels[:1])


def _layout(spec: ExperimentSpec, suite: Suite) -> Layout:
    scales = spec.data.scales or suite.scales
    rows = []
    for row in suite_rows(spec, suite):
        point = point_of(row, scales[0], spec.preset, spec.settings.get(row.method, {}))
        variant = point.variant
        # A row that --set changed is no longer the paper's; a row with settings is one only where the suite gives its name there.
        paper = row.paper if variant == row.name and (row.paper or not row.name) else None
        own = shown(row.label, variant_of(point.changes), point.changes)
        text = own if row.label else shown(row.method, variant, point.changes)
        rows.append(LayoutRow(row.method, variant, text, paper, row.name))
    asked = spec.against if spec.against_given else suite.against
    return Layout(
        name=suite.id,
        title=suite.title,
        kind=suite.kind,
        scales=scales,
        paper_table=suite.table,
        paper_dataset=suite.paper_dataset,
        metrics=suite.metrics,
        beside=suite.beside,
        columns=suite.columns,
        rows=tuple(rows),
        against=spec.references.get(suite.id) or references(asked, [label(row.method, row.variant) for row in rows]),
        notes=suite.notes,
    )
