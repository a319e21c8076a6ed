"""The tables beside the main one: reported against reproduced, where the error lies, cost, patients, seeds, ranks, stress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd

from mcsr_bench.errors import UserError
from mcsr_bench.metrics import METRICS
from mcsr_bench.profiling import SIZE, Cost, cost
from mcsr_bench.published import METRICS as PAPER_METRICS
from mcsr_bench.report import Cell, Table
from mcsr_bench.results import Results, TrialRecord
from mcsr_bench.statistics import Friedman, friedman, patient_scores, spread
from mcsr_bench.stress import stress_table

from .sheets import Sheet
from .table import metric_name, score_text, title

REGIONS = ("psnr@foreground", "psnr@high", "psnr@low", "psnr@boundary", "hfen", "kspace-error")
PSNR = "psnr@volume-max"


def extra_tables(sheets: Sequence[Sheet], results: Results) -> Iterator[Table]:
    """All of them that have something to say, sheet by sheet."""
    for sheet in sheets:
        for make in (reported, regions, efficiency, seeds, stress, patients):
            table = make(sheet, results)
            if table is not None:
                yield table
    yield from ranks(sheets)


def reported(sheet: Sheet, results: Results) -> Table | None:
    """The paper's value, ours, the gap, and why they may differ."""
    rows = []
    for (dataset, method, variant), entry in sheet.entries.items():
        for metric, said in entry.printed.items():
            gap = entry.mean[metric] - float(said.mean)
            digits = METRICS[metric].decimals
            rows.append(
                (
                    Cell(sheet.label(method, variant)),
                    Cell(dataset),
                    Cell(PAPER_METRICS[metric]),
                    Cell(f"{said.text}" + (f" ({said.note})" if said.note else "")),
                    Cell(score_text(entry, metric)),
                    Cell(f"{gap:+.{digits}f}"),
                )
            )
    if not rows:
        return None
    columns = ("method", "dataset", "metric", "reported", "reproduced", "gap")
    return Table(
        f"reported-{sheet.name}", f"Reported against reproduced: {title(sheet)}", columns, tuple(rows), _why(sheet)
    )


def _why(sheet: Sheet) -> tuple[str, ...]:
    """Why a gap need not mean that somebody is wrong."""
    out = []
    aliases = {r.data.reported_as for r in sheet.records}
    paper = sheet.layout.paper_dataset
    if paper and aliases != {paper}:
        out.append(
            f"The paper's values are of {paper}, ours of {', '.join(sheet.datasets)}: only their order compares."
        )
    if sheet.preset != "paper":
        out.append(f"Preset {sheet.preset} is not the paper's size and budget.")
    if sheet.protocol != "sanet-2021":
        out.append(
            f"Protocol {sheet.protocol}: LR at the HR amplitude, centred crop, no clamping, test data untouched; the paper's "
            "pipeline leaves LR brighter, normalises HR by LR statistics, clamps the reference and validates on the test list."
        )
    out.append("The paper's ± is not defined alike in all its tables; ours is over patients.")
    assumed = sorted({r.method for r in sheet.records if r.card.get("assumptions") and r.card.get("trains")})
    if assumed:
        out.append(f"Assumptions about the methods ({', '.join(assumed)}): mcsr-bench info method NAME lists them.")
    return tuple(out)


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
    return Table(f"regions-{sheet.name}", f"Where the error lies: {title(sheet)}", columns, tuple(rows), notes)


def _best(stats: pd.DataFrame, dataset: str, metric: str) -> float:
    column = stats.xs((dataset, metric), level=("dataset", "metric"))["mean"]
    return float(column.max() if METRICS[metric].higher_is_better else column.min())


def efficiency(sheet: Sheet, results: Results) -> Table | None:
    """Size and arithmetic at HR 320, and the wall time that the trials took where they ran."""
    rows = []
    uncounted: set[str] = set()
    for row in sheet.rows:
        trials = [r for r in sheet.records if (r.method, r.variant) == (row.method, row.variant)]
        if not trials or not trials[0].card.get("trains"):
            continue
        found = _cost(trials[0])
        uncounted |= set(found.uncounted) if found else set()
        slices = trials[0].data.slices["test"]
        rows.append(
            (
                Cell(row.label),
                Cell(f"{found.parameters:,}" if found else _profile(trials, "parameters", "{:,.0f}")),
                Cell(f"{found.dead_parameters:,}" if found else "-"),
                Cell(f"{found.macs / 1e9:.2f}" if found else "-"),
                Cell(f"{found.flops / 1e9:.2f}" if found else "-"),
                Cell(_profile(trials, "seconds_per_step", "{:.3f}")),
                Cell(_seconds(trials, "train", 1)),
                Cell(_seconds(trials, "predict", slices)),
            )
        )
    if not rows:
        return None
    columns = (
        *("method", "parameters", "of them without gradient", "GMACs", "GFLOPs"),
        *("s per step", "training, s", "prediction, s per slice"),
    )
    devices = ", ".join(sorted({f"{r.device}, {r.threads} thread(s)" for r in sheet.records}))
    shapes = sorted({shape for r in sheet.records for shape in r.data.hr_shapes})
    notes = (
        f"GMACs and GFLOPs (2 x MACs) of one slice at HR {SIZE} x {SIZE}, {sheet.scale}x, batch 1: convolutions and matrix "
        f"products; not counted: {', '.join(sorted(uncounted)) or 'nothing'}.",
        f"Wall times (median over trials) on {devices}, float32, HR {', '.join(f'{h} x {w}' for h, w in shapes)}; training "
        "includes validation; other work on the machine counts too. `mcsr-bench profile` measures properly.",
    )
    return Table(f"efficiency-{sheet.name}", f"Cost: {title(sheet)}", columns, tuple(rows), notes)


@cache
def _counted(method: str, scale: int, preset: str, settings: tuple[tuple[str, object], ...]) -> Cost | None:
    try:
        return cost(method, scale, preset, settings=dict(settings))
    except UserError:  # the method of an earlier or foreign run is not here any more: its record still has the size
        return None


def _cost(record: TrialRecord) -> Cost | None:
    settings = tuple(sorted((k, v) for k, v in record.settings.items() if not isinstance(v, (list, dict))))
    return _counted(record.method, record.scale, record.preset, settings)


def _profile(trials: Sequence[TrialRecord], key: str, form: str) -> str:
    values = [r.profile[key] for r in trials if key in r.profile]
    return form.format(float(np.median(values))) if values else "-"


def _seconds(trials: Sequence[TrialRecord], stage: str, per: int) -> str:
    values = [r.seconds[stage] / max(per, 1) for r in trials if stage in r.seconds]
    return f"{np.median(values):.3g}" if values else "-"


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
    note = "Patients: of means over seeds. Seeds: of means over patients, what another initialisation would change."
    return Table(f"seeds-{sheet.name}", f"Patients and seeds: {title(sheet)}", columns, tuple(rows), (note,))


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
    note = "PSNR (dB) per patient, mean over volumes and seeds; bold: best of the patient."
    return Table(f"patients-{sheet.name}", f"Per patient: {title(sheet)}", columns, tuple(rows), (note,))


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
    mine = {id(record) for record in sheet.records}
    table = stress_table(results, lambda record: id(record) in mine)
    return table and replace(table, name=f"stress-{sheet.name}", title=f"{table.title}: {title(sheet)}")


def _volumes(sheet: Sheet, results: Results) -> pd.DataFrame:
    table = results.volumes
    keep: Callable[[str], pd.Series] = lambda key: table[key] == getattr(sheet, key)  # noqa: E731
    where = keep("scale") & keep("preset") & keep("protocol_hash") & keep("track") & keep("contrast")
    rows = pd.MultiIndex.from_tuples(sheet.entries)
    return table[where & pd.MultiIndex.from_frame(table[["dataset", "method", "variant"]]).isin(rows)]
