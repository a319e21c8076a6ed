"""What stands beside a row's scores: what it costs, what to be careful about, what a paper printed, and how to get it again."""

from __future__ import annotations

import math
import shlex
from typing import Any

import numpy as np

from mcsr_bench.plugin.published import METRICS as PAPER_METRICS
from mcsr_bench.plugin.published import published_numbers
from mcsr_bench.results.bundle import TrialRecord
from mcsr_bench.results.load import Results
from mcsr_bench.results.naming import variant_of

from .boards import Board, Row

CLOCK = "edsr"
"""The method whose time is the unit of all others' in its run: seconds compare within one run of one machine alone."""


def flags(board: Board, row: Row) -> list[str]:
    """What a reader must know before believing a number."""
    card = row.first.card
    known = sum(len(card.get(key, ())) for key in ("published", "derived"))
    heavy = card.get("trains", True) and len(card.get("assumptions", ())) > 2 * known
    said = {
        "simulated": not board.data.real,
        "not patient-disjoint": not board.data.patient_disjoint,
        "folds share training patients": board.shares_patients,
        "assumption-heavy baseline": bool(heavy),
    }
    return [text for text, holds in said.items() if holds]


def latency(row: Row, results: Results) -> float:
    """Seconds of predicting the test part, as a multiple of `CLOCK`'s in the same run; NaN without it, or on another device."""
    r = row.first
    same = [
        bundle.record
        for bundle in results.bundles
        if bundle.folder.is_relative_to(row.run.root)
        and (bundle.record.method, bundle.record.variant) == (CLOCK, "")
        and _where(bundle.record) == _where(r)
    ]
    unit, own = _seconds(same), _seconds([bundle.record for bundle in row.bundles])
    return own / unit if unit > 0 else math.nan


def _where(record: TrialRecord) -> tuple[object, ...]:
    return record.dataset_label, record.scale, record.preset, record.protocol_hash, record.device, record.threads


def _seconds(records: list[TrialRecord]) -> float:
    found = [record.seconds["predict"] for record in records if record.seconds.get("predict", 0) > 0]
    return float(np.median(found)) if found else math.nan


def reported(board: Board, row: Row) -> dict[str, dict[str, str]]:
    """By metric id: what a paper printed for this method on this data at this scale, as text, and where."""
    alias, data = str(row.first.card.get("reported_as", "")), board.data.reported_as
    if not (alias and data) or row.first.variant or board.role != "target":
        return {}
    out: dict[str, dict[str, str]] = {}
    for number in published_numbers():
        here = (number.dataset_alias, number.scale, number.method_alias) == (data, str(row.first.scale), alias)
        for metric, word in PAPER_METRICS.items():
            if here and number.metric == word and not number.variant and metric not in out:
                where = f"Table {number.table}" + (f"; {number.note}" if number.note else "")
                out[metric] = {"text": number.text, "where": where}
    return out


def command(row: Row) -> str:
    """The command that computes the row, as a shell takes it; paths of the user's own data and plugins are left open."""
    record, asked = row.first, row.run.asked()
    words = ["mcsr-bench", "run"]
    named = (
        record.variant.removesuffix(variant_of(record.changes)).removesuffix("-") if record.changes else record.variant
    )
    suites = [str(name) for name in found] if isinstance(found := asked.get("suites"), list) else []
    if named and suites:  # a suite without the method would be refused
        words += ["--suite", ",".join(suites), *(["--methods", record.method] if len(suites) == 1 else [])]
    else:
        words += ["--methods", "all" if named else record.method]
    words += ["--dataset", record.dataset, "--scale", str(record.scale), "--seeds", ",".join(map(str, row.seeds))]
    words += ["--preset", record.preset, "--protocol", record.protocol]
    for name, changes in ((record.method, record.changes), (record.dataset, record.dataset_changes)):
        for key, value in changes.items():
            words += ["--set", f"{name}.{key}={_value(value)}"]
    for option, value in sorted(record.data.preparation.items()):
        words += [f"--{option.replace('_', '-')}", value]
    given = " ".join(map(shlex.quote, words))
    given += " --data-root DIR" if record.data.real else ""
    given += " --plugins PATH" if record.code or record.data.code else ""
    return given


def _value(value: Any) -> str:
    """As ``--set`` reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(f'"{one}"' if isinstance(one, str) else _value(one) for one in value) + "]"
    return str(value)


def size(row: Row) -> dict[str, float | None]:
    """Parameters, and multiply-accumulates of a slice at HR 320, as the trial counted them; None where it did not."""
    profile = row.first.profile
    return {key: profile.get(key) for key in ("parameters", "macs", "steps", "training_flop")}
