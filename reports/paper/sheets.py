"""Scores grouped into sheets: what may be ranked together, in the rows and order of a suite, or of Tables I and II."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.published import Published, published
from mcsr_bench.plugin.report import Cell, Layout, LayoutRow
from mcsr_bench.results.bundle import Bundle, TrialRecord
from mcsr_bench.results.load import Results
from mcsr_bench.results.naming import label, shown, shown_names
from mcsr_bench.results.statistics import comparisons, patient_scores, sample_sd

_PAPER_TABLE = {2: "I", 4: "II"}
_KEYS = ("scale", "preset", "protocol", "protocol_hash", "track", "contrast")
STANDARD_METRICS = ("psnr@volume-max", "ssim@volume-max")
BESIDE = ("psnr@roi", "ssim@roi")

Found = dict[str, Any]
"""A row of `mcsr_bench.results.statistics.comparisons`."""


@dataclass(frozen=True)
class Entry:
    """A method on one dataset of a sheet; the dictionaries are by metric id."""

    mean: dict[str, float]
    std: dict[str, float]
    """Over patients, sample standard deviation; NaN where it is not defined."""
    n_patients: int
    comparisons: dict[str, dict[str, Found]]
    """By reference, then by metric id; a reference itself is not in its own."""
    printed: dict[str, Published] = field(default_factory=dict)
    """The paper's own numbers where it has them."""


@dataclass(frozen=True)
class Sheet:
    """Rows that may be ranked together: one scale, preset, protocol, track and contrast, one or several datasets."""

    layout: Layout
    scale: int
    preset: str
    protocol: str
    protocol_hash: str
    track: str
    contrast: str
    role: str
    """"target" or "auxiliary"."""
    datasets: tuple[str, ...]
    references: tuple[str, ...]
    missing_references: tuple[str, ...]
    exploratory: tuple[str, ...]
    """Those of the references that were chosen after the run."""
    rows: tuple[LayoutRow, ...]
    """Those of the layout that have results."""
    entries: dict[tuple[str, str, str], Entry]
    """By (dataset, method, variant); a failed trial has none."""
    bundles: tuple[Bundle, ...]
    """The finished trials behind it, each with its own files."""

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """The records of `bundles`."""
        return tuple(bundle.record for bundle in self.bundles)

    @property
    def name(self) -> str:
        """For file names."""
        parts = (self.layout.name, f"x{self.scale}", self.preset, self.protocol, self.track, self.contrast)
        return "-".join(part for part in parts if part).lower()

    @property
    def found(self) -> list[Found]:
        """All its comparisons."""
        by_reference = (found for entry in self.entries.values() for found in entry.comparisons.values())
        return [one for found in by_reference for one in found.values()]

    @property
    def seeds_vary(self) -> bool:
        """Whether seeds are part of a test, which then differs from the one of these weights."""
        return any(np.isfinite(one["p_t"]) and one["p_t"] != one["p_weights"] for one in self.found)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metric ids of its columns that are tested."""
        return self.layout.metrics

    @property
    def shown(self) -> tuple[str, ...]:
        """The metric ids of all its columns."""
        return _shown(self.layout)

    def best(self, dataset: str, metric: str) -> float:
        """The best mean of a column."""
        values = [e.mean[metric] for (d, _, _), e in self.entries.items() if d == dataset]
        pick = max if METRICS[metric].higher_is_better else min
        return pick((v for v in values if np.isfinite(v)), default=float("nan"))

    def label(self, method: str, variant: str) -> str:
        """How the sheet calls a row."""
        return next(row.label for row in self.rows if (row.method, row.variant) == (method, variant))

    def called(self, reference: str) -> str:
        """How the sheet calls a ``METHOD[@VARIANT]``: as its row, if it has one."""
        labels = {label(row.method, row.variant): row.label for row in self.rows}
        name, _, variant = reference.partition("@")
        return labels.get(reference) or shown(name, variant, {})

    def cell(self, method: str, variant: str) -> Cell:
        """The first cell of a row."""
        return Cell(self.label(method, variant), name=label(method, variant))

    def data(self, dataset: str) -> str:
        """What people read in place of one of `datasets`."""
        of = ((r.dataset, r.dataset_variant, r.dataset_changes) for r in self.records)
        return shown_names(of)[dataset]

    def data_cell(self, dataset: str) -> Cell:
        """The cell of one of `datasets`."""
        return Cell(self.data(dataset), name=dataset)

    def trials(self, dataset: str, method: str, variant: str) -> list[Bundle]:
        """The finished trials of a row on a dataset, by seed."""
        key = (dataset, method, variant)
        found = [b for b in self.bundles if (b.record.dataset_label, b.record.method, b.record.variant) == key]
        return sorted(found, key=lambda b: b.record.seed)


def sheets(
    results: Results,
    against: Sequence[str],
    layouts: Sequence[Layout],
    found: pd.DataFrame | None = None,
    exploratory: Sequence[str] = (),
) -> list[Sheet]:
    """All sheets of a set of results, in the order of the layouts; never two protocols, presets, tracks or contrasts in one.

    found: `compared` of the same results and layouts where it is there already. exploratory: references chosen after the run.
    """
    if results.volumes.empty:
        return []
    shown = standard_layouts(results, against, layouts)
    metrics = list(dict.fromkeys(metric for layout in shown for metric in layout.metrics))
    index = _indexed(compared(results, shown, metrics, bootstrap=False) if found is None else found)
    scores = {m: patient_scores(results.volumes, m) for layout in shown for m in _shown(layout) if m in results.volumes}
    groups = scores[metrics[0]].groupby(list(_KEYS), sort=True)
    return [
        sheet
        for number, layout in enumerate(shown)
        for values, part in groups
        if (
            sheet := _sheet(
                results, scores, index, number, layout, dict(zip(_KEYS, values, strict=True)), part, exploratory
            )
        )
    ]


def compared(
    results: Results, layouts: Sequence[Layout], metrics: Iterable[str], *, bootstrap: bool = True
) -> pd.DataFrame:
    """`comparisons` within the rows of each layout, so that Holm's correction runs over one table.

    ``layout`` is the position of the layout, ``suite`` its name.
    """
    untrained = {record.method for record in results.records if not record.card.get("trains", True)}
    named = pd.MultiIndex.from_frame(results.volumes[["scale", "method", "variant"]])
    parts = []
    for number, layout in enumerate(layouts):
        rows = [(scale, row.method, row.variant) for scale in layout.scales for row in layout.rows]
        part = comparisons(
            results.volumes[named.isin(rows)],
            metrics,
            layout.against,
            untrained=untrained,
            slices=lambda: results.slices,
            bootstrap=bootstrap,
        )
        parts.append(part.assign(suite=layout.name, layout=number))
    return pd.concat([part for part in parts if len(part)] or parts[:1])


def volumes(sheet: Sheet, results: Results) -> pd.DataFrame:
    """The rows of `Results.volumes` behind a sheet."""
    table = results.volumes
    same = ["scale", "preset", "protocol_hash", "track", "contrast"]
    keep = (table[same] == [getattr(sheet, key) for key in same]).all(axis=1)
    return table[keep & pd.MultiIndex.from_frame(table[["dataset", "method", "variant"]]).isin(list(sheet.entries))]


def standard_layouts(results: Results, against: Sequence[str], layouts: Sequence[Layout]) -> list[Layout]:
    """The layouts given, or the one of Tables I and II over all rows."""
    return list(layouts) or [_standard(results, against)]


def _label(row: LayoutRow) -> str:
    return label(row.method, row.variant)


def _standard(results: Results, against: Sequence[str]) -> Layout:
    order = {record.method: record.card.get("order", 100) for record in results.records}
    names = {(r.method, r.variant) for r in results.records}
    called = shown_names((r.method, r.variant, r.changes) for r in results.records)
    rows = [
        LayoutRow(method, variant, called[label(method, variant)], None if variant else "")
        for method, variant in sorted(names, key=lambda r: (order[r[0]], r))
    ]
    scales = tuple(sorted({r.scale for r in results.records}))
    return Layout("", "", "table", scales, "", "", STANDARD_METRICS, BESIDE, (), tuple(rows), tuple(against), ())


def _shown(layout: Layout) -> tuple[str, ...]:
    return layout.metrics + tuple(metric for metric in layout.beside if metric not in layout.metrics)


def _indexed(found: pd.DataFrame) -> dict[tuple[object, ...], Found]:
    keys = ["layout", "dataset", *_KEYS, "metric", "method", "variant", "reference"]
    rows = ({str(name): value for name, value in row.items()} for row in found.to_dict("records"))
    return {tuple(row[k] for k in keys): row for row in rows}


def _sheet(
    results: Results,
    scores: dict[str, pd.DataFrame],
    index: dict[tuple[object, ...], Found],
    number: int,
    layout: Layout,
    chosen: dict[str, Any],
    part: pd.DataFrame,
    exploratory: Sequence[str],
) -> Sheet | None:
    if chosen["scale"] not in layout.scales:
        return None
    present = set(zip(part["method"].astype(str), part["variant"].astype(str), strict=True))
    rows = tuple(row for row in layout.rows if (row.method, row.variant) in present)
    if not rows:
        return None
    labels = [_label(row) for row in rows]
    asked = [name for name in layout.against if name in labels]
    here = {metric: _where(scores[metric], chosen) for metric in _shown(layout) if metric in scores}
    mine = [(d, m, v) for d, m, v in part[["dataset", "method", "variant"]].drop_duplicates().itertuples(index=False)]
    place = {(row.method, row.variant): k for k, row in enumerate(rows)}
    mine = sorted((key for key in mine if key[1:] in place), key=lambda key: (key[0], place[key[1:]]))
    datasets = tuple(sorted({key[0] for key in mine}))
    found = tuple(bundle for bundle in results.bundles if _belongs(bundle.record, chosen, set(mine)))
    records = [bundle.record for bundle in found]
    role = "target" if chosen["contrast"] == records[0].data.target else "auxiliary"
    by_name = {(row.method, row.variant): row for row in rows}
    entries = {
        key: _entry(here, index, number, layout, by_name[key[1], key[2]], chosen, key[0], asked, records, role)
        for key in mine
    }
    return Sheet(
        layout=layout,
        **{key: value for key, value in chosen.items() if key != "scale"},
        scale=int(chosen["scale"]),
        role=role,
        datasets=datasets,
        references=tuple(asked),
        missing_references=tuple(name for name in layout.against if name not in labels),
        exploratory=tuple(name for name in asked if name in exploratory),
        rows=rows,
        entries=entries,
        bundles=found,
    )


def _entry(
    scores: dict[str, pd.DataFrame],
    index: dict[tuple[object, ...], Found],
    number: int,
    layout: Layout,
    row: LayoutRow,
    chosen: dict[str, Any],
    dataset: str,
    against: Sequence[str],
    records: Sequence[TrialRecord],
    role: str,
) -> Entry:
    own = {m: _where(t, {"dataset": dataset, "method": row.method, "variant": row.variant}) for m, t in scores.items()}
    compared: dict[str, dict[str, Found]] = {}
    for reference in against:
        if _label(row) == reference:
            continue
        keys = {m: (number, dataset, *chosen.values(), m, row.method, row.variant, reference) for m in own}
        compared[reference] = {m: index[key] for m, key in keys.items() if key in index}
    record = next(r for r in records if (r.dataset_label, r.method, r.variant) == (dataset, row.method, row.variant))
    paper: dict[str, Published | None] = {}
    if row.paper is not None:
        table = layout.paper_table or _PAPER_TABLE.get(record.scale, "")
        alias = str(record.card.get("reported_as", ""))
        where = layout.paper_dataset or record.data.reported_as
        variant = row.paper.format(role=role)
        paper = {m: published(table, where, record.scale, alias, m, variant) for m in own} if alias else {}
    return Entry(
        mean={m: float(t["score"].mean(skipna=False)) for m, t in own.items()},
        std={m: sample_sd(t["score"]) for m, t in own.items()},
        n_patients=len(own[layout.metrics[0]]),
        comparisons=compared,
        printed={m: p for m, p in paper.items() if p is not None},
    )


def _where(table: pd.DataFrame, values: dict[str, object]) -> pd.DataFrame:
    keep = np.ones(len(table), bool)
    for key, value in values.items():
        keep &= (table[key] == value).to_numpy()
    return table[keep]


def _belongs(record: TrialRecord, chosen: dict[str, object], mine: set[tuple[str, str, str]]) -> bool:
    same = all(getattr(record, key) == chosen[key] for key in ("scale", "preset", "protocol", "protocol_hash"))
    there = (record.dataset_label, record.method, record.variant) in mine
    return same and there and record.data.track == chosen["track"] and record.status == "done"
