"""The tables beside the main one: where the error is, patients, seeds, intervals, stress; and all of them in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from mcsr_bench.plugin.report import Cell, Table, number
from mcsr_bench.results.load import Results
from mcsr_bench.results.statistics import patient_scores, spread
from mcsr_bench.results.stress_table import stress_table

from .efficiency import efficiency
from .intervals import intervals
from .notes import basis
from .ranking import PSNR, ranks
from .regions import regions
from .reported import reported
from .sheets import Sheet, volumes
from .table import title


def extra_tables(sheets: Sequence[Sheet], results: Results) -> Iterator[Table]:
    """All of them that are not empty, sheet by sheet."""
    for sheet in sheets:
        for make in (intervals, reported, regions, efficiency, seeds, stress, patients):
            table = make(sheet, results)
            if table is not None:
                yield replace(table, notes=(*table.notes, basis(sheet)))
    yield from ranks(sheets, results)


def seeds(sheet: Sheet, results: Results) -> Table | None:
    """The spread over seeds beside the spread over patients; nothing with one seed."""
    if len({r.seed for r in sheet.records}) < 2:
        return None
    found = spread(volumes(sheet, results), PSNR)
    rows = []
    for row in sheet.rows:
        for one in found[(found["method"] == row.method) & (found["variant"] == row.variant)].to_dict("records"):
            cells = (
                sheet.cell(row.method, row.variant),
                sheet.data_cell(str(one["dataset"])),
                number(one["mean"], ".2f"),
                number(one["sd_patients"], ".3f"),
                number(one["sd_seeds"], ".3f"),
                str(one["n_seeds"]),
            )
            rows.append(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells))
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
        rows.append((Cell(str(where[1])), sheet.data_cell(str(where[0])), *cells))
    columns = ("patient", "dataset", *(sheet.label(*key) for key in keys))
    names = ("patient", "dataset", *(sheet.cell(*key).csv for key in keys))
    note = "PSNR (dB) per patient, mean over volumes and seeds; bold: best for the patient."
    return Table(f"patients-{sheet.name}", title(sheet, "per patient"), columns, tuple(rows), (note,), names)


def stress(sheet: Sheet, results: Results) -> Table | None:
    """What a wrong auxiliary costs, where ``stress`` was run."""
    if sheet.role != "target":
        return None
    table = stress_table(sheet.bundles)
    return table and replace(table, name=f"stress-{sheet.name}", title=title(sheet, "a wrong auxiliary"))
