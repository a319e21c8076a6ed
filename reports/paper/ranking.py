"""Scores grouped into what may be ranked together, and the statistics of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mcsr_bench.results import Results, TrialRecord
from mcsr_bench.statistics import Comparison, compare, patient_scores

from .numbers import Printed, printed

METRICS = ("psnr@volume-max", "ssim@volume-max")


@dataclass(frozen=True)
class Entry:
    """A method on one dataset of a ranking; the dictionaries are by metric id."""

    mean: dict[str, float]
    std: dict[str, float]
    """Over patients, sample standard deviation; NaN for one patient."""
    n_patients: int
    comparisons: dict[str, dict[str, Comparison]]
    """By reference, then by metric id; the reference itself is not in it."""
    printed: dict[str, Printed]
    """The paper's own numbers where it has them."""


@dataclass(frozen=True)
class Ranking:
    """Rows that may be ranked together: one scale, preset, protocol, track and contrast, one or several datasets."""

    scale: int
    preset: str
    protocol: str
    protocol_hash: str
    track: str
    contrast: str
    datasets: tuple[str, ...]
    references: tuple[str, ...]
    missing_references: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]
    """(method, variant), in the order of tables."""
    entries: dict[tuple[str, str, str], Entry]
    """By (dataset, method, variant); a failed trial has none."""
    records: tuple[TrialRecord, ...]
    """The finished trials behind it."""

    @property
    def name(self) -> str:
        """For file names."""
        return f"x{self.scale}-{self.preset}-{self.protocol}-{self.track}-{self.contrast}".lower()

    def best(self, dataset: str, metric: str) -> float:
        """The highest mean of a column (PSNR and SSIM: higher is better)."""
        values = [e.mean[metric] for (d, _, _), e in self.entries.items() if d == dataset]
        return max((v for v in values if np.isfinite(v)), default=float("nan"))


def rankings(results: Results, against: Sequence[str]) -> list[Ranking]:
    """All rankings in a set of results, sorted; never two protocols, presets, tracks or contrasts in one."""
    if results.volumes.empty:
        return []
    order = {record.method: record.card.get("order", 100) for record in results.records}
    scores = {metric: patient_scores(results.volumes, metric) for metric in METRICS}
    keys = ["scale", "preset", "protocol", "protocol_hash", "track", "contrast"]
    out = []
    for values, part in scores[METRICS[0]].groupby(keys, sort=True):
        chosen: dict[str, Any] = dict(zip(keys, values, strict=True))
        here = {metric: _where(table, chosen) for metric, table in scores.items()}
        datasets = tuple(sorted(part["dataset"].unique()))
        names = zip(part["method"].astype(str), part["variant"].astype(str), strict=True)
        rows = sorted(set(names), key=lambda r: (order.get(r[0], 100), r))
        present = {method for method, _ in rows}
        references = tuple(name for name in against if name in present)
        entries = {}
        for dataset in datasets:
            for method, variant in rows:
                entry = _entry(results, here, dataset, method, variant, references)
                if entry is not None:
                    entries[dataset, method, variant] = entry
        out.append(
            Ranking(
                **{key: value for key, value in chosen.items() if key != "scale"},
                scale=int(chosen["scale"]),
                datasets=datasets,
                references=references,
                missing_references=tuple(name for name in against if name not in present),
                rows=tuple(rows),
                entries=entries,
                records=tuple(r for r in results.records if _belongs(r, chosen, datasets)),
            )
        )
    return out


def _entry(
    results: Results,
    scores: dict[str, pd.DataFrame],
    dataset: str,
    method: str,
    variant: str,
    references: Sequence[str],
) -> Entry | None:
    own = {m: _where(t, {"dataset": dataset, "method": method, "variant": variant}) for m, t in scores.items()}
    first = own[METRICS[0]]
    if first.empty:
        return None
    comparisons: dict[str, dict[str, Comparison]] = {}
    for reference in references:
        if (method, variant) == (reference, ""):
            continue
        comparisons[reference] = {
            m: compare(own[m], _where(t, {"dataset": dataset, "method": reference, "variant": ""}))
            for m, t in scores.items()
        }
    record = next(
        r for r in results.records if (r.method, r.variant) == (method, variant) and r.dataset_label == dataset
    )
    alias = str(record.card.get("reported_as", ""))
    said = (
        {m: printed(alias, record.data.reported_as, int(first["scale"].iloc[0]), m) for m in METRICS}
        if not variant
        else {}
    )
    return Entry(
        mean={m: float(t["score"].mean()) for m, t in own.items()},
        std={m: float(t["score"].std(ddof=1)) for m, t in own.items()},
        n_patients=len(first),
        comparisons=comparisons,
        printed={m: p for m, p in said.items() if p is not None},
    )


def _where(table: pd.DataFrame, values: dict[str, object]) -> pd.DataFrame:
    keep = np.ones(len(table), bool)
    for key, value in values.items():
        keep &= (table[key] == value).to_numpy()
    return table[keep]


def _belongs(record: TrialRecord, chosen: dict[str, object], datasets: Sequence[str]) -> bool:
    same = all(getattr(record, key) == chosen[key] for key in ("scale", "preset", "protocol", "protocol_hash"))
    return (
        same and record.data.track == chosen["track"] and record.dataset_label in datasets and record.status == "done"
    )
