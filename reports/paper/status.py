"""How a page begins: what was run, what failed or is not here, and with which command and versions it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mcsr_bench.errors import UnreadFileError
from mcsr_bench.plugin.loading import SMOKE
from mcsr_bench.results.load import Results
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system.provenance import command, versions

from .figures import Undrawn

_ORDER = ("done", "failed", "interrupted", "running")


@dataclass(frozen=True)
class Status:
    """What stands above the first table."""

    summary: str
    """How many trials there are, by status."""
    problems: tuple[str, ...]
    """A sentence each: trials without scores, with their reason, and what could not be drawn."""
    made: tuple[tuple[str, str], ...]
    """Name and text: date, command, versions, machines."""


def status(results: Results, undrawn: Sequence[Undrawn]) -> Status:
    """The status of a report's trials; its date is now, its command that of this process."""
    counts = Counter[str](record.status for record in results.records)
    found = ", ".join(f"{counts[name]} {name}" for name in _ORDER if counts[name])
    total = len(results.records)
    return Status(
        f"{total} trial{'' if total == 1 else 's'}: {found}.",
        (*_unfinished(results), *_left_out(results), *_undrawn(undrawn)),
        tuple(_made(results)),
    )


def _unfinished(results: Results) -> Iterator[str]:
    for name in _ORDER[1:]:
        for record in results.records:
            if record.status == name:
                yield f"{name.capitalize()}: {record.label}" + (f": {record.reason}" if record.reason else "")


def _left_out(results: Results) -> Iterator[str]:
    """The trials of the folders that are not among the results because a file of theirs is damaged, or cannot be read now."""
    there = {bundle.folder for bundle in results.bundles}
    for root in results.folders:
        for place in RunFolder(root).trials():
            if place.folder in there:
                continue
            try:
                record = place.sound_record()
            except UnreadFileError as error:
                yield f"Left out: {place.folder}: {error}"
                continue
            if record is None or record.preset != SMOKE:
                yield f"Left out: {place.folder}: a file of this trial is damaged; the command that wrote it repairs it"


def _undrawn(undrawn: Sequence[Undrawn]) -> Iterator[str]:
    """By reason, because one that is gone from the cache can cost many figures."""
    by_reason: dict[str, list[str]] = {}
    for one in undrawn:
        by_reason.setdefault(one.reason, []).append(one.title)
    yield from (f"Not drawn: {'; '.join(titles)}: {reason}" for reason, titles in by_reason.items())


def _made(results: Results) -> Iterator[tuple[str, str]]:
    yield "date", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    yield "command", command()
    yield "runs", ", ".join(map(str, results.folders))
    yield "report by", _listed(versions())
    found = {
        _listed(r.versions) + (f", commit {r.git[:12]}{'+' * r.git.endswith('+')}" if r.git else "")
        for r in results.records
    }
    yield "trials by", "; ".join(sorted(found - {""}))
    started = sorted(r.started for r in results.records if r.started)
    if started:
        days = dict.fromkeys((started[0][:10], started[-1][:10]))
        yield "trials started", " to ".join(days)
    yield "devices", ", ".join(sorted({r.device for r in results.records if r.device})) or "not recorded"


def _listed(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
