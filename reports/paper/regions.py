"""Where the error is: what each method gains over zero-filling in every region, and how much of its error is there."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mcsr_bench.metrics import METRICS, REGIONAL, of_zero_filling, share_of_error
from mcsr_bench.plugin.report import UNDEFINED, Cell, Table, number
from mcsr_bench.regions import NAMES
from mcsr_bench.results.load import Results
from mcsr_bench.results.statistics import patient_scores, sample_sd
from mcsr_bench.results.table import plus_minus

from .sheets import Sheet, volumes
from .table import metric_name, title

WHOLE = ("hfen", "kspace-error")


def regions(sheet: Sheet, results: Results) -> Table | None:
    """Gain over |zero-filled| and share of the error per region; high-frequency error and k-space consistency of the whole."""
    table = volumes(sheet, results)
    gained = [m for m in REGIONAL if {m, of_zero_filling(m)} <= set(table)]
    if not gained:
        return None
    gains = table.assign(**{m: table[m] - table[of_zero_filling(m)] for m in gained})
    shares = [name for name in NAMES if share_of_error(name) in table and name != "foreground"]
    columns = [
        "method",
        "dataset",
        *(f"gain: {metric_name(m)}" for m in gained),
        *(f"error in {METRICS[f'psnr@{name}'].title.removeprefix('PSNR, ')} (%)" for name in shares),
        *(metric_name(m) for m in WHOLE),
    ]
    found = {
        **{m: _per_row(gains, m) for m in gained},
        **{share_of_error(name): _per_row(table, share_of_error(name)) for name in shares},
        **{m: _per_row(table, m) for m in WHOLE},
    }
    rows = []
    for dataset in sheet.datasets:
        for row in sheet.rows:
            key = (dataset, row.method, row.variant)
            if key not in sheet.entries:
                continue
            cells = [sheet.cell(row.method, row.variant), sheet.data_cell(dataset)]
            for name, values in found.items():
                if key not in values.index:
                    cells.append(Cell(UNDEFINED))
                    continue
                mean, std = values.loc[key, ["mean", "std"]]
                if name.startswith("error-share"):
                    cells.append(Cell(number(100 * mean, ".0f")))
                else:
                    best = _best(values, dataset, higher=METRICS[name].higher_is_better)
                    zero = (
                        round(mean, METRICS[name].decimals) == 0
                    )  # of zero-filling itself, a rounding error: not "-0.00"
                    shown = plus_minus(0.0 if zero else mean, std, METRICS[name].decimals)
                    cells.append(Cell(shown, best=mean == best))
            rows.append(tuple(cells))
    notes = (
        "gain: score minus that of |zero-filled| in the same region, because a region that is easy is easy for every method; "
        "absolute values are in volumes.csv.",
        *(f"{m}: {METRICS[m].description}." for m in (*gained, *WHOLE)),
    )
    return Table(f"regions-{sheet.name}", title(sheet, "where the error is"), tuple(columns), tuple(rows), notes)


def _per_row(table: pd.DataFrame, column: str) -> pd.DataFrame:
    scores = patient_scores(table, column).groupby(["dataset", "method", "variant"])["score"]
    return scores.agg(mean=lambda x: x.mean(skipna=False), std=sample_sd)


def _best(values: pd.DataFrame, dataset: str, *, higher: bool) -> float:
    column = values.xs(dataset, level="dataset")["mean"]
    column = column[np.isfinite(column)]
    return float(column.max() if higher else column.min())
