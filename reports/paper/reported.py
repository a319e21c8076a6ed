"""Reported against reproduced: the paper's values beside ours, and why they may differ."""

from __future__ import annotations

from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.published import METRICS as PAPER_METRICS
from mcsr_bench.plugin.report import Cell, Table, number
from mcsr_bench.results.load import Results

from .sheets import Sheet
from .table import score_text, title


def reported(sheet: Sheet, results: Results) -> Table | None:
    """The paper's value, ours, the gap, and why they may differ."""
    rows = []
    for (dataset, method, variant), entry in sheet.entries.items():
        for metric, paper in entry.printed.items():
            gap = entry.mean[metric] - float(paper.mean)
            digits = METRICS[metric].decimals
            rows.append(
                (
                    sheet.cell(method, variant),
                    sheet.data_cell(dataset),
                    Cell(PAPER_METRICS[metric]),
                    Cell(f"{paper.text}" + (f" ({paper.note})" if paper.note else "")),
                    Cell(score_text(entry, metric)),
                    Cell(number(gap, f"+.{digits}f")),
                )
            )
    if not rows:
        return None
    columns = ("method", "dataset", "metric", "reported", "reproduced", "gap")
    return Table(
        f"reported-{sheet.name}", title(sheet, "reported against reproduced"), columns, tuple(rows), _why(sheet)
    )


def _why(sheet: Sheet) -> tuple[str, ...]:
    """Why a gap need not be an error."""
    out = []
    aliases = {r.data.reported_as for r in sheet.records}
    paper = sheet.layout.paper_dataset
    if paper and aliases != {paper}:
        out.append(
            f"The paper's values are for {paper}, ours for {', '.join(map(sheet.data, sheet.datasets))}: only their order "
            "can be compared."
        )
    if sheet.preset != "paper":
        out.append(f"Preset {sheet.preset} is not the paper's size and budget.")
    if sheet.protocol != "sanet-2021":
        out.append(
            f"Protocol {sheet.protocol}: LR at the HR amplitude, centred crop, no clamping, test data untouched; the paper's "
            "pipeline leaves LR brighter, normalises HR by LR statistics, clamps the reference and validates on the test list."
        )
    out.append("The paper does not define its ± in the same way in all tables; ours is over patients.")
    assumed = sorted({r.method for r in sheet.records if r.card.get("assumptions") and r.card.get("trains")})
    if assumed:
        out.append(f"Assumptions about the methods ({', '.join(assumed)}): mcsr-bench info method NAME lists them.")
    return tuple(out)
