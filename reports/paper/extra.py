"""The tables beside the main one: where the error is, patients, seeds, intervals, stress; and all of them in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.report import Cell, Table, number
from mcsr_bench.results.load import Results
from mcsr_bench.results.statistics import patient_scores, sample_sd, spread
from mcsr_bench.results.stress_table import stress_table
from mcsr_bench.results.table import plus_minus

from .efficiency import efficiency
from .intervals import intervals
from .notes import basis
from .ranking import PSNR, ranks
from .reported import reported
from .sheets import Sheet, volumes
from .table import metric_name, title

REGIONS = ("psnr@foreground", "psnr@high", "psnr@low", "psnr@boundary", "hfen", "kspace-error")


def extra_tables(sheets: Sequence[Sheet], results: Results) -> Iterator[Table]:
    """All of them that are not empty, sheet by sheet."""
    for sheet in sheets:
        for make in (intervals, reported, regions, efficiency, seeds, stress, patients):
            table = make(sheet, results)
            if table is not None:
                yield replace(table, notes=(*table.notes, basis(sheet)))
    yield from ranks(sheets, results)


def regions(sheet: Sheet, results: Results) -> Table | None:
    """PSNR in regions, high-frequency error and k-space consistency: the paper's claim about boundaries, scored."""
    parts = []
    for metric in REGIONS:
        if metric in results.volumes:
            table = patient_scores(volumes(sheet, results), metric)
            parts.append(table.assign(metric=metric))
    if not parts:
        return None
    scores = pd.concat(parts)
    by_row = scores.groupby(["dataset", "method", "variant", "metric"])["score"]
    stats = by_row.agg(mean=lambda x: x.mean(skipna=False), std=sample_sd)
    rows = []
    for dataset in sheet.datasets:
        best = {m: _best(stats, dataset, m) for m in REGIONS}
        for row in sheet.rows:
            if (dataset, row.method, row.variant) not in sheet.entries:
                continue
            cells = [Cell(row.label), Cell(dataset)]
            for metric in REGIONS:
                mean, std = stats.loc[(dataset, row.method, row.variant, metric), ["mean", "std"]]
                digits = METRICS[metric].decimals
                cells.append(Cell(plus_minus(mean, std, digits), best=mean == best[metric]))
            rows.append(tuple(cells))
    columns = (
        "method",
        "dataset",
        *(metric_name(m) for m in REGIONS),
    )
    notes = tuple(f"{m}: {METRICS[m].description}." for m in REGIONS)
    return Table(f"regions-{sheet.name}", title(sheet, "where the error is"), columns, tuple(rows), notes)


def _best(stats: pd.DataFrame, dataset: str, metric: str) -> float:
    column = stats.xs((dataset, metric), level=("dataset", "metric"))["mean"]
    column = column[np.isfinite(column)]
    return float(column.max() if METRICS[metric].higher_is_better else column.min())


def seeds(sheet: Sheet, results: Results) -> Table | None:
    """The spread over seeds beside the spread over patients; nothing with one seed."""
    if len({r.seed for r in sheet.records}) < 2:
        return None
    found = spread(volumes(sheet, results), PSNR)
    rows = []
    for row in sheet.rows:
        for one in found[(found["method"] == row.method) & (found["variant"] == row.variant)].to_dict("records"):
            cells = (
                row.label,
                one["dataset"],
                number(one["mean"], ".2f"),
                number(one["sd_patients"], ".3f"),
                number(one["sd_seeds"], ".3f"),
                str(one["n_seeds"]),
            )
            rows.append(tuple(Cell(str(text)) for text in cells))
    columns = ("method", "dataset", "PSNR (dB)", "sd over patients", "sd over seeds", "seeds")
    note = "sd over patients: of means over seeds. sd over seeds: of means over patients; another initialisation changes them so."
    return Table(f"seeds-{sheet.name}", title(sheet, "patients and seeds"), columns, tuple(rows), (note,))


def patients(sheet: Sheet, results: Results) -> Table | None:
    """PSNR of every test patient under every method."""
    scores = patient_scores(volumes(sheet, results), PSNR)
    if scores.empty:
        return None
    wide = scores.pivot_table(index=["dataset", "patient_id"], columns=["method", "variant"], values="score")
    keys = [(row.method, row.variant) for row in sheet.rows if (row.method, row.variant) in wide.columns]
    rows = []
    for where, values in zip(wide.index, wide[keys].to_numpy(), strict=True):
        best = max((v for v in values if np.isfinite(v)), default=np.nan)
        cells = [Cell(number(v, ".2f"), best=v == best) for v in values]
        rows.append((Cell(str(where[1])), Cell(str(where[0])), *cells))
    columns = ("patient", "dataset", *(sheet.label(*key) for key in keys))
    note = "PSNR (dB) per patient, mean over volumes and seeds; bold: best for the patient."
    return Table(f"patients-{sheet.name}", title(sheet, "per patient"), columns, tuple(rows), (note,))


def stress(sheet: Sheet, results: Results) -> Table | None:
    """What a wrong auxiliary costs, where ``stress`` was run."""
    if sheet.role != "target":
        return None
    table = stress_table(sheet.bundles)
    return table and replace(table, name=f"stress-{sheet.name}", title=title(sheet, "a wrong auxiliary"))
