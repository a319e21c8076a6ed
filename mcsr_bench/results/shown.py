"""What a notebook or an interpreter shows of results: a few lines of text, a small table of HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mcsr_bench.errors import one_line
from mcsr_bench.results.bundle import TrialRecord, label
from mcsr_bench.results.statistics import GROUP, spread
from mcsr_bench.results.table import html_text, number

METRICS = ("psnr@volume-max", "ssim@volume-max")
_LINES = 8
"""Of scores, in text: with what is around them a handful of lines more."""
_ROWS = 60
"""Of scores, in HTML."""
_FAILED, _REASON = 2, 160
"""How many failed trials are named, and characters of a reason."""


@dataclass(frozen=True)
class _Row:
    name: str
    psnr: float
    ssim: float
    patients: int
    seeds: int

    @property
    def scores(self) -> tuple[str, str]:
        return number(self.psnr, ".2f"), number(self.ssim, ".3f")


Blocks = Sequence[tuple[str, list[_Row]]]
"""What may be ranked together: a title, and the methods by PSNR, highest first."""


def text(folders: Sequence[Path], records: Sequence[TrialRecord], volumes: pd.DataFrame) -> str:
    """At most 15 lines: where, how many trials, and the highest mean scores."""
    blocks = _blocks(volumes)
    lines = [_head(folders, records)]
    if len(blocks) == 1:
        [(title, rows)] = blocks
        width = max(len(row.name) for row in rows[:_LINES])
        lines += [title, f"  {'method':<{width}}  PSNR, dB   SSIM"]
        lines += [f"  {row.name:<{width}}  {row.scores[0]:>8}  {row.scores[1]:>5}" for row in rows[:_LINES]]
        lines += _more(len(rows) - _LINES, "method")
    elif blocks:
        lines.append("highest mean PSNR (of how many methods):")
        for title, rows in blocks[:_LINES]:
            lines.append(
                f"  {title}: {rows[0].name}, {rows[0].scores[0]} dB, SSIM {rows[0].scores[1]} (of {len(rows)})"
            )
        lines += _more(len(blocks) - _LINES, "table")
    lines += [f"failed: {line}" for line in _failures(records)]
    return "\n".join(lines)


def html(folders: Sequence[Path], records: Sequence[TrialRecord], volumes: pd.DataFrame) -> str:
    """One small table, which leaves colours to the page around it."""
    left = 'style="text-align:left"'
    rows = [f"<tr><th {left}>method</th><th>PSNR, dB</th><th>SSIM</th><th>patients</th><th>seeds</th></tr>"]
    blocks = _blocks(volumes)
    shown = 0
    for title, found in blocks:
        if shown >= _ROWS:
            break
        rows.append(f'<tr><th colspan="5" {left}>{html_text(title)}</th></tr>')
        for row in found[: _ROWS - shown]:
            cells = "".join(f"<td>{cell}</td>" for cell in (*row.scores, row.patients, row.seeds))
            rows.append(f"<tr><td {left}>{html_text(row.name)}</td>{cells}</tr>")
        shown += len(found[: _ROWS - shown])
    more = _more(sum(len(found) for _, found in blocks) - shown, "row")
    below = [*more, *(f"failed: {line}" for line in _failures(records))]
    table = f'<table style="text-align:right">{"".join(rows)}</table>' if blocks else ""
    head = html_text(_head(folders, records))
    return f"<div><div>{head}</div>{table}{''.join(f'<div>{html_text(line)}</div>' for line in below)}</div>"


def _head(folders: Sequence[Path], records: Sequence[TrialRecord]) -> str:
    counts = Counter(record.status for record in records)
    states = ", ".join(
        f"{counts[status]} {status}" for status in ("done", "failed", "interrupted", "running") if counts[status]
    )
    places = ", ".join(str(folder) for folder in folders[:3]) + (
        f" and {len(folders) - 3} more" if len(folders) > 3 else ""
    )
    return one_line(f"Results in {places}: {len(records)} trial{'s' * (len(records) != 1)} ({states or 'none'})")


def _blocks(volumes: pd.DataFrame) -> Blocks:
    """Means over patients (of means over seeds), by what may be ranked together."""
    if volumes.empty:
        return []
    psnr, ssim = (spread(volumes, metric) for metric in METRICS)
    table = psnr.assign(ssim=ssim["mean"])
    blocks = []
    for values, part in table.groupby(list(GROUP), sort=True):
        ranked = part.sort_values("mean", ascending=False, kind="stable")
        blocks.append((_title(dict(zip(GROUP, values, strict=True))), list(_rows(ranked))))
    return blocks


def _rows(table: pd.DataFrame) -> Iterator[_Row]:
    for row in table.itertuples():
        yield _Row(label(row.method, row.variant), row.mean, row.ssim, int(row.n_patients), int(row.n_seeds))


def _title(group: dict[str, object]) -> str:
    smoke = " (not a result)" if group["preset"] == "smoke" else ""
    return one_line(
        f"{group['dataset']}, {group['scale']}x, {group['contrast']}, preset {group['preset']}{smoke}, {group['protocol']}"
    )


def _failures(records: Iterable[TrialRecord]) -> list[str]:
    found = [record for record in records if record.status == "failed"]
    lines = [one_line(f"{record.label}: {record.reason}") for record in found[:_FAILED]]
    cut = [line if len(line) <= _REASON else f"{line[:_REASON]}..." for line in lines]
    if len(found) > _FAILED:
        cut[-1] = f"{len(found) - _FAILED + 1} more, see .trials"
    return cut


def _more(count: int, what: str) -> list[str]:
    return [f"and {count} {what}{'s' * (count != 1)} more"] if count > 0 else []
