"""Tables I to IV: method, scores as mean±std over patients, p-values per reference in one cell, the paper's number beside."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pandas as pd

from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.report import UNDEFINED, Cell, LayoutRow, Table, number
from mcsr_bench.regions import NAMES as REGIONS
from mcsr_bench.results.bundle import Bundle
from mcsr_bench.results.load import Results, training_log
from mcsr_bench.results.statistics import TOO_FEW
from mcsr_bench.results.table import p_text, plus_minus

from .notes import notes
from .sheets import Entry, Found, Sheet

_PAPER_TABLE = {2: "Table I", 4: "Table II"}
_DIGITS = {"psnr@volume-max": 2, "ssim@volume-max": 4}
_AT_SCALE = re.compile(r" at \d+x$")
_HOLM, _DOMINATED = "†", "§"
_CONVERGED = 0.99
_COMPARED = {"difference": "mean_difference"} | {k: k for k in ("p_t", "p_weights", "ci_low", "ci_high")}


def table(sheet: Sheet, results: Results, *, intervals: bool = False) -> Table:
    """One sheet as a table with its notes.

    intervals: differences to the references and their 95 % intervals stand beside the p-values, a line per metric in each cell.
    """
    several = len(sheet.datasets) > 1
    has_paper = any(entry.printed for entry in sheet.entries.values())
    columns = [_first_column(sheet)]
    for dataset in sheet.datasets:
        head = f"{sheet.data(dataset)}: " if several else ""
        columns += [f"{head}{metric_name(m)}" for m in sheet.shown]
        for name in sheet.references:
            columns += [f"{head}minus {sheet.called(name)} (95 % interval)"] if intervals else []
            columns.append(f"{head}p against {sheet.called(name)}")
            if sheet.seeds_vary:
                columns += [f"{head}these weights: 95 % interval"] if intervals else []
                columns.append(f"{head}these weights: p against {sheet.called(name)}")
        columns += [f"{head}in the paper{_where_printed(sheet, dataset)}"] if has_paper else []
        columns += [f"{head}{_EXTRA[name][0]}" for name in sheet.layout.columns]
    rows = []
    for row in sheet.rows:
        cells = [sheet.cell(row.method, row.variant)]
        for dataset in sheet.datasets:
            entry = sheet.entries.get((dataset, row.method, row.variant))
            cells += _cells(sheet, dataset, entry, has_paper, intervals)
            trials = sheet.trials(dataset, row.method, row.variant)
            cells += [Cell(_EXTRA[name][1](trials)) for name in sheet.layout.columns]
        rows.append(tuple(cells))
    under = notes(sheet, results)
    if intervals and sheet.references:
        under.append(_direction(sheet))
    if any(_HOLM in cell.text for row in rows for cell in row):
        under.append(f"{_HOLM} no longer below 0.05 after Holm's correction over the other rows of this table.")
    if any(_DOMINATED in cell.text for row in rows for cell in row):
        under.append(
            f"{_DOMINATED} one patient dominates the differences (Grubbs' statistic beyond its two-sided 1 % point): t-tests can "
            "find too much in such data; see the patients, and p_wilcoxon in comparisons.csv."
        )
    return Table(sheet.name, title(sheet), tuple(columns), tuple(rows), tuple(under))


def title(sheet: Sheet, part: str = "") -> str:
    """Title of a sheet's main table: data, scale, contrast and preset, the suite, and the paper's table whose layout it has.

    Data other than the paper's are noted. part: what another table of the sheet shows, such as "cost"; it has its own layout.
    """
    smoke = "smoke: not a result. " if sheet.preset == "smoke" else ""
    begin = (
        f"{smoke}{', '.join(map(sheet.data, sheet.datasets))}, {sheet.scale}x, {sheet.contrast}, preset {sheet.preset}"
    )
    where, _, suite = sheet.layout.title.rpartition(": ")
    suite = _AT_SCALE.sub("", suite)  # the scale of this sheet is at the beginning
    if part:
        return ": ".join(filter(None, (begin, suite, part)))
    in_paper = where or ("" if suite else _PAPER_TABLE.get(sheet.scale, ""))
    layout = f"laid out as {in_paper}" if in_paper.startswith("Table") else f"as in {in_paper}" if in_paper else ""
    remarks = "; ".join(filter(None, (layout, _other_data(sheet))))
    return ": ".join(filter(None, (begin, suite))) + (f" ({remarks})" if remarks else "")


def _other_data(sheet: Sheet) -> str:
    """A clause on the paper's data where the sheet has other ones; "" where it has the paper's."""
    aliases = {r.data.reported_as for r in sheet.records}
    paper = sheet.layout.paper_dataset
    if paper:
        return "" if aliases == {paper} else f"the paper's data: {paper}"
    return "" if all(aliases) or len(sheet.datasets) > 1 else "the paper has no such data"


def numbers(sheet: Sheet) -> pd.DataFrame:
    """The same as numbers, one row per dataset, method, variant and reference."""
    rows = []
    for (dataset, method, variant), entry in sheet.entries.items():
        head = {
            "suite": sheet.layout.name,
            "dataset": dataset,
            "scale": sheet.scale,
            "preset": sheet.preset,
            "protocol": sheet.protocol,
            "protocol_hash": sheet.protocol_hash,
            "track": sheet.track,
            "contrast": sheet.contrast,
            "method": method,
            "variant": variant,
            "n_patients": entry.n_patients,
        }
        for metric in sheet.shown:
            short = _short(metric)
            head |= {f"{short}_mean": entry.mean.get(metric, np.nan), f"{short}_std": entry.std.get(metric, np.nan)}
        for metric in sheet.metrics:
            short = _short(metric)
            paper = entry.printed.get(metric)
            head |= {f"{short}_paper": paper.mean if paper else ""}
        for reference in sheet.references or ("",):
            found = entry.comparisons.get(reference, {})
            row = {**head, "reference": reference}
            for metric in sheet.metrics:
                short = _short(metric)
                for column, key in _COMPARED.items():
                    row[f"{short}_{column}"] = found[metric][key] if metric in found else np.nan
            rows.append(row)
    return pd.DataFrame(rows)


def _short(metric: str) -> str:
    """As in the names of columns: "psnr", of a region "psnr_roi"."""
    kind, _, where = metric.partition("@")
    return f"{kind}_{where}" if where in REGIONS else kind


def metric_name(metric: str) -> str:
    """As in a column's head: "PSNR (dB)"."""
    known = METRICS[metric]
    return f"{known.title} ({known.unit})" if known.unit else known.title


def tested(found: Found) -> str:
    """A p-value as the paper prints it, or why there is none, with its marks: Holm's correction, one patient who dominates."""
    p = found["p_t"]
    if not np.isfinite(p):
        return "too few patients" if found["reason"] == TOO_FEW else "no test"
    return (
        p_text(p) + (_HOLM if p < 0.05 <= found["p_t_holm"] else "") + (_DOMINATED if found["dominant_patient"] else "")
    )


def score_text(entry: Entry, metric: str) -> str:
    """Mean±std over patients."""
    return plus_minus(entry.mean[metric], entry.std[metric], _DIGITS.get(metric, METRICS[metric].decimals))


def _direction(sheet: Sheet) -> str:
    lower = [METRICS[m].title for m in sheet.metrics if not METRICS[m].higher_is_better]
    better = f" (of {' and '.join(lower)}: a negative one)" if lower else ""
    return f"minus: the method's mean minus the reference's; a positive difference{better} is better."


def _first_column(sheet: Sheet) -> str:
    return "method" if all(row.label.startswith(row.method) for row in sheet.rows) else "setting"


def _where_printed(sheet: Sheet, dataset: str) -> str:
    paper = sheet.layout.paper_dataset
    alias = next(r.data.reported_as for r in sheet.records if r.dataset_label == dataset)
    return f" (on {paper})" if paper and paper != alias else ""


def _cells(sheet: Sheet, dataset: str, entry: Entry | None, has_paper: bool, intervals: bool) -> list[Cell]:
    per_reference = (1 + sheet.seeds_vary) * (1 + intervals)
    if entry is None:
        return [Cell(UNDEFINED)] * (len(sheet.shown) + len(sheet.references) * per_reference + has_paper)
    cells = [
        Cell(score_text(entry, m), best=entry.mean[m] == sheet.best(dataset, m)) if m in entry.mean else Cell(UNDEFINED)
        for m in sheet.shown
    ]
    for reference in sheet.references:
        found = entry.comparisons.get(reference)
        if found:
            cells += _compared(sheet, found, intervals)
        else:
            cells += [Cell("reference" if found is None else UNDEFINED)] + [Cell(UNDEFINED)] * (per_reference - 1)
    if has_paper:
        cells.append(Cell(" / ".join(entry.printed[m].text for m in sheet.metrics if m in entry.printed) or UNDEFINED))
    return cells


def _compared(sheet: Sheet, found: dict[str, Found], intervals: bool) -> list[Cell]:
    """A row's cells for one reference."""
    between = "\n" if intervals else " / "
    texts = [tested(found[m]) for m in sheet.metrics]
    words = len(set(texts)) == 1 and not any(c.isdigit() for c in texts[0])
    slices = [found[m]["p_slice_invalid"] for m in sheet.metrics]
    invalid = " / ".join(number(p, ".2g") for p in slices) if np.isfinite(slices).any() else ""
    p = (texts[0] if words else between.join(texts)) + (f"  [slices, invalid: {invalid}]" if invalid else "")
    cells = [Cell(p)]
    if intervals:
        lines = (f"{METRICS[m].title} {difference(found[m])}" for m in sheet.metrics)
        cells.insert(0, Cell(between.join(lines)))
    if sheet.seeds_vary:
        ends = [ends_text(found[m]["ci_weights_low"], found[m]["ci_weights_high"]) for m in sheet.metrics]
        cells += [Cell(between.join(ends))] if intervals else []
        cells.append(Cell(between.join(p_text(found[m]["p_weights"]) for m in sheet.metrics)))
    return cells


def difference(found: Found) -> str:
    """Method minus reference with its sign, and the 95 % interval where there is one: "+0.52 (+0.31 to +0.73)"."""
    low, high = found["ci_low"], found["ci_high"]
    shown = number(found["mean_difference"], _digits(low, high))
    return shown if (ends := ends_text(low, high)) == UNDEFINED else f"{shown} ({ends})"


def ends_text(low: float, high: float) -> str:
    """An interval of differences, with signs."""
    ends = number(low, _digits(low, high)), number(high, _digits(low, high))
    return UNDEFINED if UNDEFINED in ends else " to ".join(ends)


def _digits(low: float, high: float) -> str:
    """The format of a difference: two digits of the half width of its interval."""
    half = (high - low) / 2
    return f"+.{max(1 - math.floor(math.log10(half)), 0)}f" if half > 0 and math.isfinite(half) else "+.3g"


def _parameters(trials: list[Bundle]) -> str:
    found = {int(b.record.profile["parameters"]) for b in trials if "parameters" in b.record.profile}
    return " / ".join(f"{n:,}" for n in sorted(found)) or UNDEFINED


def _convergence(trials: list[Bundle]) -> str:
    """The first validation at which 99 % of the final validation PSNR is reached, of how many steps; a range over seeds."""
    steps, last = [], 0
    for bundle in trials:
        if not bundle.wrote(bundle.training_log):
            continue
        log = training_log(bundle)
        log = log[log["validation_psnr"].notna()]
        if log.empty:
            continue
        reached = log[log["validation_psnr"] >= _CONVERGED * log["validation_psnr"].iloc[-1]]
        steps.append(int(reached["step"].iloc[0]))
        last = int(log["step"].iloc[-1])
    if not steps:
        return UNDEFINED
    return (f"{min(steps)}" if min(steps) == max(steps) else f"{min(steps)}-{max(steps)}") + f" of {last}"


_EXTRA: dict[str, tuple[str, Callable[[list[Bundle]], str]]] = {
    "parameters": ("parameters", _parameters),
    "convergence": ("step at 99 % of the final validation PSNR", _convergence),
}


def rows_by_label(sheet: Sheet) -> dict[str, LayoutRow]:
    """The rows of a sheet by what the table calls them."""
    return {row.label: row for row in sheet.rows}
