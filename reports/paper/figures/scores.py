"""Figures of scores: ablation bars (Fig. 6), sweeps (Figs. 8 and 9), and differences patient by patient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator
from scipy import stats

from mcsr_bench.metrics import METRICS
from mcsr_bench.results.inference import CONFIDENCE
from mcsr_bench.results.load import Results
from mcsr_bench.results.statistics import patient_scores, sample_sd

from ..sheets import STANDARD_METRICS, Sheet, volumes
from ..table import metric_name, rows_by_label, title
from .drawing import Drawing
from .style import COLUMN, PAGE, SETTINGS, Palette, canvas

_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % t interval; NaN half width for fewer than two, or one that is not finite."""
    n = len(scores)
    half = stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * sample_sd(scores) / np.sqrt(n) if n > 1 else np.nan
    return float(np.mean(scores)), float(half)


def by_row(sheet: Sheet, results: Results, metrics: Sequence[str] = STANDARD_METRICS) -> pd.DataFrame:
    """Per dataset, row and metric: mean, half width of the 95 % interval over patients, and their number."""
    rows = []
    part = volumes(sheet, results)
    for metric in metrics:
        scores = patient_scores(part, metric)
        for row in sheet.rows:
            own = scores[(scores["method"] == row.method) & (scores["variant"] == row.variant)]
            for dataset, one in own.groupby("dataset", sort=True):
                mean, half = interval(list(one["score"]))
                where = {"dataset": dataset, "label": row.label, "method": row.method, "variant": row.variant}
                rows.append({**where, "metric": metric, "mean": mean, "half_width": half, "n_patients": len(one)})
    return pd.DataFrame(rows)


def note(sheet: Sheet) -> str:
    """Patients, seeds, preset, and that simulated data are simulated."""
    data = [r.data for r in sheet.records]
    seeds = len({r.seed for r in sheet.records})
    text = f"Protocol {sheet.protocol}, preset {sheet.preset}, {seeds} seed(s)."
    return text if all(d.real for d in data) else text + " Simulated, not real data."


def ablation(sheet: Sheet, results: Results) -> Iterator[Drawing]:
    """Bars with intervals for a table whose rows are settings of one method."""
    if (
        sheet.layout.kind != "table"
        or not sheet.layout.name
        or len({r.method for r in sheet.rows}) != 1
        or len(sheet.rows) < 2
    ):
        return
    data = by_row(sheet, results)
    for dataset in sheet.datasets:
        here = data[data["dataset"] == dataset]
        figure, axes = canvas(PAGE, 2.2, 1, len(STANDARD_METRICS))
        with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
            for ax, metric in zip(axes, STANDARD_METRICS, strict=True):
                part = here[here["metric"] == metric]
                for i, (mean, half) in enumerate(zip(part["mean"], part["half_width"], strict=True)):
                    hatch = _HATCHES[i % len(_HATCHES)]
                    ax.bar(i, mean, 0.7, color="#9ecae1", edgecolor="black", linewidth=0.7, hatch=hatch)
                    ax.errorbar(i, mean, half, color="black", capsize=3, linewidth=1)
                ends = np.concatenate(
                    [part["mean"] - part["half_width"], part["mean"] + part["half_width"], part["mean"]]
                )
                low, high = ends[np.isfinite(ends)].min(initial=np.inf), ends[np.isfinite(ends)].max(initial=-np.inf)
                if high > low:
                    ax.set_ylim(low - 0.6 * (high - low), high + 0.1 * (high - low))
                ax.set_xticks(range(len(part)), list(part["label"]))
                ax.set_ylabel(metric_name(metric))
                ax.grid(axis="x", visible=False)
        shown = title(sheet, "mean and 95 % interval over patients")
        caption = f"{shown} on {sheet.data(dataset)}; the axis does not begin at 0. {note(sheet)}"
        yield Drawing(
            f"ablation-{dataset}-{sheet.name}",
            f"Ablation on {sheet.data(dataset)}, {sheet.scale}x",
            caption,
            figure,
            here,
        )


def sweep(sheet: Sheet, results: Results) -> Iterator[Drawing]:
    """Score against the value of a setting, for suites whose rows are named KEY=VALUE."""
    if sheet.layout.kind != "sweep" or len(sheet.rows) < 2:
        return
    data = by_row(sheet, results)
    named = {(row.method, row.variant): row.name for row in sheet.rows}
    parts = pd.Series([named[key] for key in zip(data["method"], data["variant"], strict=True)]).str.partition("=")
    data["setting"], data["value"] = parts[0], pd.to_numeric(parts[2], errors="coerce")
    data = data.dropna(subset=["value"]).sort_values(["dataset", "metric", "value"])
    chosen = {name.partition("@")[2].partition("=")[2] for name in sheet.references}
    for dataset in sheet.datasets:
        here = data[data["dataset"] == dataset]
        figure, axes = canvas(PAGE, 2.2, 1, len(STANDARD_METRICS))
        with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
            for ax, metric in zip(axes, STANDARD_METRICS, strict=True):
                part = here[here["metric"] == metric]
                ax.fill_between(
                    part["value"], part["mean"] - part["half_width"], part["mean"] + part["half_width"], color="#dddddd"
                )
                ax.plot(part["value"], part["mean"], "o-", color="black")
                for text in chosen:
                    if text:
                        ax.axvline(float(text), color="#0072b2", linestyle="--", linewidth=1)
                ax.set_xlabel(str(part["setting"].iloc[0]))
                ax.set_ylabel(metric_name(metric))
        marked = f" Dashed: the paper's choice ({', '.join(sorted(chosen - {''}))})." if chosen - {""} else ""
        shown = title(sheet, "mean and 95 % interval over patients")
        caption = f"{shown} on {sheet.data(dataset)}.{marked} {note(sheet)}"
        yield Drawing(
            f"sweep-{dataset}-{sheet.name}", f"{sheet.layout.title}: {sheet.data(dataset)}", caption, figure, here
        )


def differences(sheet: Sheet, results: Results, palette: Palette) -> Iterator[Drawing]:
    """Method minus reference for every patient, with the mean and the interval of the tables."""
    part = volumes(sheet, results)
    for reference in sheet.references:
        name, _, variant = reference.partition("@")
        rows = []
        for metric in STANDARD_METRICS:
            scores = patient_scores(part, metric)
            base = scores[(scores["method"] == name) & (scores["variant"] == variant)].set_index(
                ["dataset", "patient_id"]
            )["score"]
            for row in sheet.rows:
                if (row.method, row.variant) == (name, variant):
                    continue
                own = scores[(scores["method"] == row.method) & (scores["variant"] == row.variant)]
                own_score = own.set_index(["dataset", "patient_id"])["score"]
                gap = (own_score - base).dropna().rename("difference").reset_index()
                rows.append(gap.assign(label=row.label, metric=metric))
        if not rows:
            continue
        data = pd.concat(rows, ignore_index=True)[["dataset", "label", "metric", "patient_id", "difference"]]
        for dataset, here in data.groupby("dataset", sort=True):
            labels = [row.label for row in sheet.rows if row.label in set(here["label"])]
            figure, axes = canvas(PAGE, 0.9 + 0.24 * len(labels), 1, len(STANDARD_METRICS))
            with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
                for ax, metric in zip(axes, STANDARD_METRICS, strict=True):
                    for i, label in enumerate(labels):
                        values = here[(here["label"] == label) & (here["metric"] == metric)]["difference"].to_numpy()
                        jitter = (np.arange(len(values)) % 5 - 2) * 0.07
                        ax.plot(values, i + jitter, "o", color="#c4c4c4", markersize=2.5, zorder=1)
                        mean, ends = _compared(sheet, str(dataset), label, reference, metric)
                        colour, marker = palette.colour(label), palette.marker(label)
                        ax.errorbar(mean, i, xerr=ends, capsize=3, color=colour, zorder=2)
                        ax.plot(
                            mean, i, marker, color=colour, markersize=6.5, markeredgecolor="white", markeredgewidth=0.6
                        )
                    ax.axvline(0, color="black", linewidth=0.8)
                    ax.set_yticks(range(len(labels)), labels if metric == STANDARD_METRICS[0] else [""] * len(labels))
                    ax.invert_yaxis()
                    ax.xaxis.set_major_locator(MaxNLocator(4))
                    better = "right" if METRICS[metric].higher_is_better else "left"
                    ax.set_xlabel(f"{metric_name(metric)} minus {sheet.called(reference)}'s ({better} is better)")
            shown = title(sheet, f"difference to {sheet.called(reference)}")
            caption = (
                f"{shown} on {sheet.data(str(dataset))}: every patient (grey), mean and 95 % interval. {note(sheet)}"
            )
            safe = reference.replace("@", "-")
            yield Drawing(
                f"differences-{dataset}-{safe}-{sheet.name}",
                f"Against {sheet.called(reference)}, patient by patient: {sheet.data(dataset)}, {sheet.scale}x",
                caption,
                figure,
                here,
            )


def _compared(
    sheet: Sheet, dataset: str, label: str, reference: str, metric: str
) -> tuple[float, list[list[float]] | None]:
    """The mean difference and the lengths of its 95 % interval to either side; None where there is none."""
    row = rows_by_label(sheet)[label]
    found = sheet.entries[dataset, row.method, row.variant].comparisons[reference][metric]
    mean = found["mean_difference"]
    ends = [[mean - found["ci_low"]], [found["ci_high"] - mean]]
    return mean, ends if np.isfinite(ends).all() else None


__all__ = ["COLUMN", "ablation", "by_row", "differences", "interval", "note", "sweep"]
