"""Differences to the references with their intervals, and what they could have found."""

from __future__ import annotations

from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.report import UNDEFINED, Cell, Table, number
from mcsr_bench.results.load import Results
from mcsr_bench.results.statistics import FEWEST_FOR_BOOTSTRAP
from mcsr_bench.results.table import p_text

from .sheets import Sheet
from .table import title


def intervals(sheet: Sheet, results: Results) -> Table | None:
    """A row per method, data set, metric and reference that could be compared; None without any."""
    rows = []
    for (dataset, method, variant), entry in sheet.entries.items():
        for reference, found in entry.comparisons.items():
            for metric, one in found.items():
                texts = (
                    number(one["mean_difference"], "+.3g"),
                    *(_between(one["ci_low"], one["ci_high"]), number(one["minimal_detectable"]), one["about"]),
                    *(number(one["d_z"], "+.2f"), p_text(one["p_wilcoxon"])),
                    *(_between(one["ci_boot_low"], one["ci_boot_high"]), one["dominant_patient"] or UNDEFINED),
                )
                head = sheet.cell(method, variant), sheet.data_cell(dataset), Cell(METRICS[metric].title)
                rows.append((*head, Cell(sheet.called(reference), name=reference), *map(Cell, texts)))
    if not rows:
        return None
    columns = (
        *("method", "dataset", "metric", "minus", "difference", "95 % interval", "detectable", "about"),
        *("these weights: d_z", "these weights: p Wilcoxon", "these weights: BCa interval", "dominant patient"),
    )
    notes = (
        "Interval, and the smallest difference that the test finds four times in five at 0.05 / number of comparisons: about the "
        "methods (patients and seeds random), or about these weights where a method that trains has one seed.",
        "d_z, Wilcoxon's test and the BCa bootstrap interval are over patients' means, about these weights; BCa from "
        f"{FEWEST_FOR_BOOTSTRAP} patients on, because with fewer it covers less than it says. Dominant patient: Grubbs' statistic "
        "beyond its two-sided 1 % point.",
    )
    return Table(f"intervals-{sheet.name}", title(sheet, "differences"), columns, tuple(rows), notes)


def _between(low: float, high: float) -> str:
    ends = number(low, "+.3g"), number(high, "+.3g")
    return UNDEFINED if UNDEFINED in ends else " to ".join(ends)
