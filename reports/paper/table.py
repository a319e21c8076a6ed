"""Tables I and II: method, PSNR and SSIM mean±std over patients, p(PSNR) / p(SSIM) per reference, the paper's number beside."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mcsr_bench.report import Cell, Table
from mcsr_bench.results import Results
from mcsr_bench.statistics import TOO_FEW, Comparison

from .ranking import METRICS, Entry, Ranking

_PAPER_TABLE = {2: "Table I (2x)", 4: "Table II (4x)"}
_DIGITS = {"psnr@volume-max": 2, "ssim@volume-max": 4}


def label(method: str, variant: str) -> str:
    """How a row is named: the registry name, with its variant."""
    return f"{method}@{variant}" if variant else method


def table(ranking: Ranking, results: Results) -> Table:
    """One ranking as a table with its notes."""
    several = len(ranking.datasets) > 1
    has_paper = any(entry.printed for entry in ranking.entries.values())
    columns = ["method"]
    for dataset in ranking.datasets:
        head = f"{dataset}: " if several else ""
        columns += [f"{head}PSNR (dB)", f"{head}SSIM", *(f"{head}p against {name}" for name in ranking.references)]
        columns += [f"{head}in the paper"] if has_paper else []
    rows = []
    for method, variant in ranking.rows:
        cells = [Cell(label(method, variant))]
        for dataset in ranking.datasets:
            entry = ranking.entries.get((dataset, method, variant))
            cells += _cells(ranking, dataset, entry, has_paper)
        rows.append(tuple(cells))
    return Table(ranking.name, _title(ranking), tuple(columns), tuple(rows), tuple(_notes(ranking, results)))


def numbers(ranking: Ranking) -> pd.DataFrame:
    """The same as numbers, one row per dataset, method and reference."""
    rows = []
    for (dataset, method, variant), entry in ranking.entries.items():
        head = {
            "dataset": dataset,
            "scale": ranking.scale,
            "preset": ranking.preset,
            "protocol": ranking.protocol,
            "protocol_hash": ranking.protocol_hash,
            "track": ranking.track,
            "contrast": ranking.contrast,
            "method": method,
            "variant": variant,
            "n_patients": entry.n_patients,
        }
        for metric in METRICS:
            short = metric.split("@")[0]
            head |= {f"{short}_mean": entry.mean[metric], f"{short}_std": entry.std[metric]}
            said = entry.printed.get(metric)
            head |= {f"{short}_paper": said.mean if said else ""}
        for reference in ranking.references or ("",):
            found = entry.comparisons.get(reference, {})
            row = {**head, "reference": reference}
            for metric in METRICS:
                comparison = found.get(metric)
                row[f"{metric.split('@')[0]}_difference"] = comparison.mean_difference if comparison else np.nan
                row[f"{metric.split('@')[0]}_p_t"] = comparison.p_t if comparison else np.nan
            rows.append(row)
    return pd.DataFrame(rows)


def p_text(comparison: Comparison) -> str:
    """A p-value as the paper prints it, or why there is none."""
    if comparison.p_t is None:
        return {TOO_FEW: "too few patients"}.get(comparison.reason, "no test")
    return "<0.001" if comparison.p_t < 0.001 else f"{comparison.p_t:.3f}"


def score_text(entry: Entry, metric: str) -> str:
    """Mean±std over patients."""
    digits = _DIGITS[metric]
    std = entry.std[metric]
    return f"{entry.mean[metric]:.{digits}f}" + (f"±{std:.{digits}f}" if np.isfinite(std) else "")


def _cells(ranking: Ranking, dataset: str, entry: Entry | None, has_paper: bool) -> list[Cell]:
    if entry is None:
        return [Cell("failed")] + [Cell("-")] * (1 + len(ranking.references) + has_paper)
    cells = [Cell(score_text(entry, m), best=entry.mean[m] == ranking.best(dataset, m)) for m in METRICS]
    for reference in ranking.references:
        found = entry.comparisons.get(reference)
        if found is None:
            cells.append(Cell("reference"))
        else:
            texts = [p_text(found[m]) for m in METRICS]
            cells.append(Cell(texts[0] if texts[0] == texts[1] and "<" not in texts[0] else " / ".join(texts)))
    if has_paper:
        cells.append(Cell(" / ".join(entry.printed[m].text for m in METRICS if m in entry.printed) or "-"))
    return cells


def _title(ranking: Ranking) -> str:
    name = _PAPER_TABLE.get(ranking.scale, f"Scale {ranking.scale}x")
    on = ", ".join(ranking.datasets)
    smoke = "smoke: not a result. " if ranking.preset == "smoke" else ""
    others = "" if all(r.data.reported_as for r in ranking.records) else ", which the paper does not have"
    return f"{smoke}{name} on {on}{others if len(ranking.datasets) == 1 else ''}: {ranking.contrast}, preset {ranking.preset}"


def _notes(ranking: Ranking, results: Results) -> list[str]:
    first = ranking.records[0]
    version = ", ".join(sorted({r.versions.get("mcsr-bench", "?") for r in ranking.records}))
    notes = [
        f"Protocol {ranking.protocol} ({ranking.protocol_hash}), preset {ranking.preset}, mcsr-bench {version}. "
        "PSNR and SSIM over volumes with the reference volume's maximum; mean±std over patients; bold: best of its column."
    ]
    for dataset in ranking.datasets:
        data = next(r.data for r in ranking.records if r.dataset_label == dataset)
        kind = "real data" if data.real else "simulated, not real data"
        notes.append(
            f"{dataset}: {kind}, {data.track} track; {data.target} super-resolved with {data.auxiliary} as auxiliary; "
            f"{data.patients['test']} test patients, {data.slices['test']} slices; fingerprint {data.fingerprint[:12]}, "
            f"split {data.split_hash}."
        )
        notes += [f"{dataset}: {mark}" for mark in data.marks]
    notes.append(_seed_note(ranking))
    if ranking.references:
        names = " and ".join(ranking.references)
        notes.append(
            f"p(PSNR) / p(SSIM): paired t-test over patients against {names}, fixed before looking; not corrected."
        )
    notes += [f"No p-values against {name}: it was not run here." for name in ranking.missing_references]
    phase = sorted({r.method_label for r in ranking.records if r.card.get("track") == "complex"})
    if phase:
        notes.append(f"Works on complex data and sees the phase: {', '.join(phase)}; the others see magnitudes.")
    notes += _preset_notes(ranking)
    notes += list(dict.fromkeys(f"{r.method_label}: {note}" for r in ranking.records for note in r.notes))
    if first.protocol == "sanet-2021":
        notes.append(
            "sanet-2021 follows the published code: its validation list is the test set, and alignment is unknown."
        )
    failed = [
        r
        for r in results.records
        if r.status == "failed" and r.scale == ranking.scale and r.dataset_label in ranking.datasets
    ]
    notes += [f"Failed: {r.method_label} on {r.dataset_label} seed {r.seed}: {r.reason}" for r in failed]
    return notes


def _seed_note(ranking: Ranking) -> str:
    seeds = sorted({r.seed for r in ranking.records})
    if len(seeds) == 1:
        return f"One seed ({seeds[0]}): this is about these weights, not about the methods."
    return f"Seeds {', '.join(map(str, seeds))}: scores are means over seeds."


def _preset_notes(ranking: Ranking) -> list[str]:
    if ranking.preset == "smoke":
        return ["Preset smoke takes ten training steps: it shows that things run, nothing else."]
    if ranking.preset != "quick":
        return []
    single = sorted({r.method for r in ranking.records if r.card.get("trains") and r.card.get("contrasts") == "single"})
    notes = [
        "Preset quick is a small network and a budget of seconds, not the paper's recipe: it ranks nothing for good."
    ]
    if single:
        notes.append(
            f"In that time a single-contrast network ({', '.join(single)}) learns little more than a better interpolation: it "
            "invents no anatomy. A network with the auxiliary gains more at once, because the edges are there."
        )
    return notes
