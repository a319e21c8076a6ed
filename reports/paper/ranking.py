"""Ranks: over independent data sets with Friedman's test, where there are enough of them, else over patients without a test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from mcsr_bench.plugin.report import Cell, Table, number
from mcsr_bench.results.load import Results
from mcsr_bench.results.ranks import FEWEST_BLOCKS, Friedman, friedman, mean_ranks
from mcsr_bench.results.statistics import patient_scores

from .notes import basis
from .sheets import STANDARD_METRICS, Sheet, volumes

PSNR = STANDARD_METRICS[0]
Group = tuple[str, str, str]
"""Preset, protocol and track."""


def ranks(sheets: Sequence[Sheet], results: Results) -> Iterator[Table]:
    """One table per preset, protocol and track with at least two methods."""
    tested = friedman_groups(sheets)
    for group, members in _groups(sheets).items():
        preset, protocol, track = group
        table = _tested(tested[group]) if group in tested else _over_patients(members, results)
        if table is not None:
            title, columns, rows, note, names = table
            under = (note, *dict.fromkeys(map(basis, members)))
            yield Table(f"ranks-{preset}-{protocol}-{track}", title, columns, rows, under, names)


def friedman_groups(sheets: Sequence[Sheet]) -> dict[Group, Friedman]:
    """Friedman's test per preset, protocol and track, over the target contrast's sheets.

    A block is a data set: its scales and variants have the same patients, so that their scores are averaged.
    """
    out = {}
    for group, members in _groups(sheets).items():
        cells: dict[tuple[str, str, int], dict[str, float]] = {}
        for sheet in members:
            names = {record.dataset_label: record.data.name for record in sheet.records}
            for (dataset, method, variant), entry in sheet.entries.items():
                if not variant and PSNR in entry.mean:
                    cells.setdefault((names[dataset], dataset, sheet.scale), {})[method] = entry.mean[PSNR]
        if cells:
            table = pd.DataFrame(cells).T
            found = friedman(table.groupby(level=0).agg(lambda column: column.mean(skipna=False)))
            if found is not None:
                out[group] = found
    return out


def _groups(sheets: Sequence[Sheet]) -> dict[Group, list[Sheet]]:
    out: dict[Group, list[Sheet]] = {}
    for sheet in sheets:
        if sheet.role == "target" and PSNR in sheet.metrics:
            out.setdefault((sheet.preset, sheet.protocol, sheet.track), []).append(sheet)
    return out


_Parts = tuple[str, tuple[str, ...], tuple[tuple[Cell, ...], ...], str, tuple[str, ...]]
"""Title, columns, rows, note and `Table.names` of a table."""


def _tested(found: Friedman) -> _Parts:
    rows = tuple((Cell(str(name)), Cell(number(rank, ".2f"))) for name, rank in found.mean_ranks.sort_values().items())
    p = "not defined (ties)" if np.isnan(found.p) else f"{found.p:.3g}"
    note = (
        f"Friedman's test over {found.n_blocks} data sets (scales averaged) by PSNR: chi-squared {number(found.statistic, '.2f')}, "
        f"p {p}. Exploratory: pairwise comparisons (Nemenyi) are in the figure's CSV."
    )
    return "Mean ranks over data sets", ("method", "mean rank"), rows, note, ()


def _over_patients(sheets: Sequence[Sheet], results: Results) -> _Parts | None:
    columns: dict[str, pd.Series] = {}
    heads: list[str] = []
    for sheet in sheets:
        scores = patient_scores(volumes(sheet, results), PSNR)
        scores = scores[scores["variant"] == ""]
        for dataset, part in scores.groupby("dataset", sort=True):
            wide = part.pivot(index="patient_id", columns="method", values="score")
            if wide.shape[1] > 1:
                columns[f"{dataset} {sheet.scale}x"] = mean_ranks(wide)
                heads.append(f"{sheet.data(str(dataset))} {sheet.scale}x")
    if not columns:
        return None
    table = pd.DataFrame(columns)
    order = table.mean(axis=1).sort_values(kind="stable").index
    rows = tuple((Cell(str(name)), *(Cell(number(rank, ".2f")) for rank in table.loc[name])) for name in order)
    note = (
        "Rank by PSNR among these methods, patient by patient, averaged over patients; 1 is best. No test: Friedman's needs "
        f"at least {FEWEST_BLOCKS} data sets with patients of their own, and two scales of the same patients are not independent."
    )
    return "Mean ranks over patients", ("method", *heads), rows, note, ("method", *table.columns)
