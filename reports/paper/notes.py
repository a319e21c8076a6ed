"""The notes under a table: protocol, preset, data, patients, seeds, tests, and what must not be concluded."""

from __future__ import annotations

import numpy as np

from mcsr_bench.metrics import METRICS
from mcsr_bench.results.load import Results
from mcsr_bench.results.naming import spans
from mcsr_bench.results.statistics import FEWEST_PATIENTS, TOO_FEW, WEIGHTS

from .sheets import Sheet


def basis(sheet: Sheet) -> str:
    """What a table is based on, in one line: protocol, data, patients, seeds, version."""
    version = ", ".join(sorted({r.versions.get("mcsr-bench", "?") for r in sheet.records}))
    data = []
    for dataset in sheet.datasets:
        d = next(r.data for r in sheet.records if r.dataset_label == dataset)
        simulated = "" if d.real else ", simulated"
        data.append(
            f"{sheet.data(dataset)}{simulated} ({d.fingerprint[:12]}, {d.patients['test']} patients, {d.slices['test']} slices, "
            f"{d.track} track)"
        )
    seeds = ", ".join(map(str, sorted({r.seed for r in sheet.records})))
    return (
        f"Protocol {sheet.protocol} ({sheet.protocol_hash}), preset {sheet.preset}, seeds {seeds}, mcsr-bench {version}; "
        f"{'; '.join(data)}."
    )


def notes(sheet: Sheet, results: Results) -> list[str]:
    """One sentence or two each, in the order of what a reader must know first."""
    version = ", ".join(sorted({r.versions.get("mcsr-bench", "?") for r in sheet.records}))
    names = " and ".join(METRICS[m].title for m in sheet.metrics)
    out = [
        f"Protocol {sheet.protocol} ({sheet.protocol_hash}), preset {sheet.preset}, mcsr-bench {version}. "
        f"{names} over volumes ({', '.join(sheet.metrics)}); mean±std over patients; bold: best of its column."
    ]
    if any(METRICS[m].title.endswith("ROI") for m in sheet.shown):
        out.append(
            "ROI: the region of interest that the data set gives (of a head, the brain); else the foregrounds of both contrasts."
        )
    out += sheet.layout.notes
    for dataset in sheet.datasets:
        data = next(r.data for r in sheet.records if r.dataset_label == dataset)
        kind = "real data" if data.real else "simulated, not real data"
        how = (
            f"{data.target} super-resolved with {data.auxiliary} as auxiliary"
            if sheet.role == "target"
            else f"{data.auxiliary} super-resolved jointly with {data.target}"
        )
        out.append(
            f"{sheet.data(dataset)}: {kind}, {data.track} track; {how}; "
            f"{data.patients['test']} test patients, {data.slices['test']} slices; fingerprint {data.fingerprint[:12]}, "
            f"split {data.split_hash} ({data.split_rule})."
        )
        out += [f"{sheet.data(dataset)}: {mark}" for mark in data.marks]
    out += _seeds(sheet)
    out += _references(sheet)
    out += _gaps(sheet)
    out += [f"No p-values against {sheet.called(name)}: it was not run here." for name in sheet.missing_references]
    phase = sorted({sheet.label(r.method, r.variant) for r in sheet.records if r.method_track == "complex"})
    if phase and len(phase) < len(sheet.rows):
        out.append(f"Methods on complex data, with phase: {', '.join(phase)}; the others use magnitudes.")
    out += _training(sheet)
    out += _preset(sheet)
    out += list(dict.fromkeys(f"{sheet.label(r.method, r.variant)}: {note}" for r in sheet.records for note in r.notes))
    if sheet.protocol == "sanet-2021":
        out.append(
            "sanet-2021 follows the published code: its validation list is the test set, and alignment is unknown. "
            "Slice-level values are what papers print; slices of one patient are not independent, so they are not p-values."
        )
    for r in results.records:
        here = (r.scale, r.preset, r.protocol_hash) == (sheet.scale, sheet.preset, sheet.protocol_hash)
        if r.status == "done" or not here or r.dataset_label not in sheet.datasets:
            continue
        where = f"{r.shown_method} on {r.shown_dataset} seed {r.seed}"
        kind = "Still running" if r.status == "running" else "Unfinished"
        out.append(f"Failed: {where}: {r.reason}" if r.status == "failed" else f"{kind}, left out: {where}.")
    return out


def _gaps(sheet: Sheet) -> list[str]:
    """Patients that only one of two methods has, and scores that are not finite."""
    out = []
    for (dataset, method, variant), entry in sheet.entries.items():
        name = f"{sheet.label(method, variant)} on {sheet.data(dataset)}"
        for reference, found in entry.comparisons.items():
            dropped = max((int(one["n_dropped"]) for one in found.values()), default=0)
            if dropped:
                out.append(
                    f"{name} and {sheet.called(reference)} are compared on their common patients; {dropped} were dropped."
                )
        wrong = sorted(METRICS[m].title for m, value in entry.mean.items() if not np.isfinite(value))
        if wrong:
            out.append(f"{name}: {', '.join(wrong)} is not finite for at least one patient.")
    return list(dict.fromkeys(out))


def _seeds(sheet: Sheet) -> list[str]:
    """What scores, p-values and intervals are about: these weights, or the methods."""
    seeds = sorted({r.seed for r in sheet.records})
    if len(seeds) == 1:
        return [f"One seed ({seeds[0]}): scores and p-values are about these weights, not about the methods."]
    out = [
        f"Seeds {spans(seeds)}: scores are means over seeds. p takes patients and seeds as random (Cochran and Cox) "
        'and is about the methods; "these weights" is the paired t-test over patients alone.'
    ]
    alone = [
        sheet.label(method, variant)
        for (_, method, variant), entry in sheet.entries.items()
        for found in entry.comparisons.values()
        if any(np.isfinite(one["p_t"]) and one["about"] == WEIGHTS for one in found.values())
    ]
    if alone:
        out.append(
            f"About these weights alone, because a method or its reference has one seed: {', '.join(dict.fromkeys(alone))}."
        )
    return out


def _references(sheet: Sheet) -> list[str]:
    """What p-values compare with, and when that was chosen."""
    cell = " / ".join(f"p({METRICS[m].title})" for m in sheet.metrics)
    test = "t-test with patients and seeds random" if sheet.seeds_vary else "paired t-test over patients"
    fixed = [sheet.called(name) for name in sheet.references if name not in sheet.exploratory]
    out = [f"{cell}: {test} against {' and '.join(fixed)}, fixed before looking; not corrected."] if fixed else []
    if any(one["reason"] == TOO_FEW for one in sheet.found):
        out.append(f"No p-value with fewer than {FEWEST_PATIENTS} patients.")
    if sheet.exploratory:
        out.append(
            f"{cell} against {' and '.join(map(sheet.called, sheet.exploratory))}: exploratory, because this reference was "
            "chosen after the run; not corrected."
        )
    return out


def _training(sheet: Sheet) -> list[str]:
    """What each method was trained with: steps, pixels seen and arithmetic."""
    found = {}
    for r in sheet.records:
        if {"steps", "training_pixels", "training_flop"} <= r.profile.keys():
            steps, pixels, flop = (r.profile[key] for key in ("steps", "training_pixels", "training_flop"))
            name = sheet.label(r.method, r.variant)
            found[name] = f"{name} {steps:,.0f} steps, {pixels / 1e6:,.1f}, {flop / 1e12:,.3g}"
    if not found:
        return []
    return [f"Training (HR Mpixels seen, TFLOP): {'; '.join(found.values())}."]


def _preset(sheet: Sheet) -> list[str]:
    if sheet.preset == "smoke":
        return ["Preset smoke takes ten training steps: it shows only that the commands run."]
    if sheet.preset != "quick":
        return []
    single = sorted({r.method for r in sheet.records if r.card.get("trains") and r.card.get("contrasts") == "single"})
    out = [
        "Preset quick is a small network and a budget of seconds, not the paper's recipe: its ranking is not a result."
    ]
    if single:
        out.append(
            f"In that time a single-contrast network ({', '.join(single)}) learns little more than a better interpolation: it "
            "adds no anatomy. A network with an auxiliary gains more, because the edges are in it."
        )
    return out
