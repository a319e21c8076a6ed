"""Differences to the references with their intervals, and what they could have found."""

from __future__ import annotations

from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.report import UNDEFINED, Cell, Table, number
from mcsr_bench.results.load import Results
from mcsr_bench.results.statistics import FEWEST_FOR_BOOTSTRAP
from mcsr_bench.results.table import p_text

from .sheets import Found, Sheet
from .table import difference, ends_text, title


def intervals(sheet: Sheet, results: Results) -> Table | None:
    """A row per method, data set, metric and reference that could be compared; None without any."""
    rows = []
    for (dataset, method, variant), entry in sheet.entries.items():
        for reference, found in entry.comparisons.items():
            for metric, one in found.items():
                texts = (
                    *(difference(one).partition(" ")[0], ends_text(one["ci_low"], one["ci_high"])),
                    *(p_text(one["p_t"]), p_text(one["p_t_holm"]), number(one["minimal_detectable"]), one["about"]),
                    *_weights(sheet, one),
                    *(p_text(one["p_wilcoxon"]), number(one["d_z"], "+.2f")),
                    *(ends_text(one["ci_boot_low"], one["ci_boot_high"]), one["dominant_patient"] or UNDEFINED),
                )
                head = sheet.cell(method, variant), sheet.data_cell(dataset), Cell(METRICS[metric].title)
                rows.append((*head, Cell(sheet.called(reference), name=reference), *map(Cell, texts)))
    if not rows:
        return None
    columns = (
        *(
            "method",
            "dataset",
            "metric",
            "minus",
            "difference",
            "95 % interval",
            "p",
            "p after Holm",
            "detectable",
            "about",
        ),
        *(("these weights: 95 % interval", "these weights: p") if sheet.seeds_vary else ()),
        *("these weights: p Wilcoxon", "these weights: d_z", "these weights: BCa interval", "dominant patient"),
    )
    notes = (
        "Difference: method minus reference. Its interval and p, and the smallest difference that the test finds four times in "
        "five at 0.05 / number of comparisons: about the methods (patients and seeds random), or about these weights where a "
        "method that trains has one seed. Holm's correction runs over the other rows of the main table.",
        "These weights: over patients' means; the paired t-test, Wilcoxon's test, d_z and the BCa bootstrap interval, from "
        f"{FEWEST_FOR_BOOTSTRAP} patients on, because with fewer it covers less than it says. Dominant patient: Grubbs' statistic "
        "beyond its two-sided 1 % point.",
    )
    return Table(f"intervals-{sheet.name}", title(sheet, "differences"), columns, tuple(rows), notes)


def _weights(sheet: Sheet, one: Found) -> tuple[str, ...]:
    """The test over patients alone, where it is another than the one before."""
    if not sheet.seeds_vary:
        return ()
    return ends_text(one["ci_weights_low"], one["ci_weights_high"]), p_text(one["p_weights"])
