"""The tables beside the main one: where the error is, patients, seeds, ranks, stress; and all of them in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.report import Cell, Table
from mcsr_bench.results.load import Results
from mcsr_bench.results.statistics import Friedman, friedman, patient_scores, spread
from mcsr_bench.results.stress_table import stress_table

from .efficiency import efficiency
from .notes import basis
from .reported import reported
from .sheets import Sheet
from .table import metric_name, title

REGIONS = ("psnr@foreground", "psnr@high", "psnr@low", "psnr@boundary", "hfen", "kspace-error")
PSNR = "psnr@volume-max"


def extra_tables(sheets: Sequence[Sheet], results: Results) -> Iterator[Table]:
    """All of them that are not empty, sheet by sheet."""
    for sheet in sheets:
        for make in (reported, regions, efficiency, seeds, stress, patients):
            table = make(sheet, results)
            if table is not None:
                yield replace(table, notes=(*table.notes, basis(sheet)))
    yield from ranks(sheets)


def regions(sheet: Sheet, results: Results) -> Table | None:
    """PSNR in regions, high-frequency error and k-space consistency: the paper's claim about boundaries, scored."""
    parts = []
    for metric in REGIONS:
        if metric in results.volumes:
            table = patient_scores(_volumes(sheet, results), metric)
            parts.append(table.assign(metric=metric))
    if not parts:
        return None
    scores = pd.concat(parts)
    stats = scores.groupby(["dataset", "method", "variant", "metric"])["score"].agg(["mean", "std"])
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
                cells.append(Cell(f"{mean:.{digits}f}±{std:.{digits}f}", best=mean == best[metric]))
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
    return float(column.max() if METRICS[metric].higher_is_better else column.min())


def seeds(sheet: Sheet, results: Results) -> Table | None:
    """The spread over seeds beside the spread over patients; nothing with one seed."""
    if len({r.seed for r in sheet.records}) < 2:
        return None
    found = spread(_volumes(sheet, results), PSNR)
    rows = []
    for row in sheet.rows:
        for one in found[(found["method"] == row.method) & (found["variant"] == row.variant)].to_dict("records"):
            over_seeds = f"{one['sd_seeds']:.3f}" if np.isfinite(one["sd_seeds"]) else "-"
            cells = (
                row.label,
                one["dataset"],
                f"{one['mean']:.2f}",
                f"{one['sd_patients']:.3f}",
                over_seeds,
                str(one["n_seeds"]),
            )
            rows.append(tuple(Cell(str(text)) for text in cells))
    columns = ("method", "dataset", "PSNR (dB)", "sd over patients", "sd over seeds", "seeds")
    note = "sd over patients: of means over seeds. sd over seeds: of means over patients; another initialisation changes them so."
    return Table(f"seeds-{sheet.name}", title(sheet, "patients and seeds"), columns, tuple(rows), (note,))


def patients(sheet: Sheet, results: Results) -> Table | None:
    """PSNR of every test patient under every method."""
    scores = patient_scores(_volumes(sheet, results), PSNR)
    if scores.empty:
        return None
    wide = scores.pivot_table(index=["dataset", "patient_id"], columns=["method", "variant"], values="score")
    keys = [(row.method, row.variant) for row in sheet.rows if (row.method, row.variant) in wide.columns]
    rows = []
    for where, values in zip(wide.index, wide[keys].to_numpy(), strict=True):
        best = np.nanmax(values)
        cells = [Cell("-" if np.isnan(v) else f"{v:.2f}", best=v == best) for v in values]
        rows.append((Cell(str(where[1])), Cell(str(where[0])), *cells))
    columns = ("patient", "dataset", *(sheet.label(*key) for key in keys))
    note = "PSNR (dB) per patient, mean over volumes and seeds; bold: best for the patient."
    return Table(f"patients-{sheet.name}", title(sheet, "per patient"), columns, tuple(rows), (note,))


def ranks(sheets: Sequence[Sheet]) -> Iterator[Table]:
    """Friedman's test over datasets x scales, where there are enough of them."""
    for (preset, protocol, track), found in friedman_groups(sheets).items():
        rows = [(Cell(str(name)), Cell(f"{rank:.2f}")) for name, rank in found.mean_ranks.sort_values().items()]
        p = "not defined (ties)" if np.isnan(found.p) else f"{found.p:.3g}"
        notes = (
            f"Friedman's test over {found.n_blocks} blocks (datasets x scales) by PSNR: chi-squared {found.statistic:.2f}, p {p}. "
            "Exploratory: pairwise comparisons (Nemenyi) are in the figure's CSV.",
            f"Protocol {protocol}, preset {preset}, {track} track.",
        )
        name = f"ranks-{preset}-{protocol}-{track}"
        yield Table(name, "Mean ranks over datasets and scales", ("method", "mean rank"), tuple(rows), notes)


def friedman_groups(sheets: Sequence[Sheet]) -> dict[tuple[str, str, str], Friedman]:
    """Friedman's test per preset, protocol and track, over the target contrast's sheets."""
    cells: dict[tuple[str, str, str], dict[tuple[str, int], dict[str, float]]] = {}
    for sheet in sheets:
        if sheet.role != "target":
            continue
        group = cells.setdefault((sheet.preset, sheet.protocol, sheet.track), {})
        for (dataset, method, variant), entry in sheet.entries.items():
            if not variant and PSNR in entry.mean:
                group.setdefault((dataset, sheet.scale), {})[method] = entry.mean[PSNR]
    found = {key: friedman(pd.DataFrame(group).T) for key, group in cells.items()}
    return {key: result for key, result in found.items() if result is not None}


def stress(sheet: Sheet, results: Results) -> Table | None:
    """What a wrong auxiliary costs, where ``stress`` was run."""
    if sheet.role != "target":
        return None
    table = stress_table(sheet.bundles)
    return table and replace(table, name=f"stress-{sheet.name}", title=title(sheet, "a wrong auxiliary"))


def _volumes(sheet: Sheet, results: Results) -> pd.DataFrame:
    table = results.volumes
    keep: Callable[[str], pd.Series] = lambda key: table[key] == getattr(sheet, key)  # noqa: E731
    where = keep("scale") & keep("preset") & keep("protocol_hash") & keep("track") & keep("contrast")
    rows = pd.MultiIndex.from_tuples(sheet.entries)
    return table[where & pd.MultiIndex.from_frame(table[["dataset", "method", "variant"]]).isin(rows)]
