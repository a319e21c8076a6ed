"""Many findings in few sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mcsr_bench.errors import UserError, one_line
from mcsr_bench.plugin.case import Finding


def in_short(findings: Iterable[Finding]) -> list[Finding]:
    """One finding per severity, code and mark, in the order of the first of each: it gives how many there are, and shows one."""
    groups: dict[tuple[str, str, bool], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.code, finding.marks), []).append(finding)
    return [_one(group) for group in groups.values()]


def refuse(findings: Sequence[Finding]) -> None:
    """UserError where a finding is an error: one sentence about the first of each code."""
    wrong = in_short(f for f in findings if f.severity == "error")
    if wrong:
        raise UserError("; ".join(map(located, wrong)))


def located(finding: Finding) -> str:
    """The message with its file in front, to be printed."""
    return one_line(f"{finding.file}: {finding.message}" if finding.file else finding.message)


def sentence(finding: Finding) -> str:
    """The message with the name of its file in front, without the folder."""
    name = Path(finding.file).name
    return f"{name}: {finding.message}" if name and name not in finding.message else finding.message


def _one(group: Sequence[Finding]) -> Finding:
    first = group[0]
    if len(group) == 1:
        return first
    where = {f.file for f in group}
    text = f"{len(group)} findings '{first.code}' in {len(where)} files, e.g. {sentence(first)}"
    return Finding(first.severity, first.code, "", text, first.marks)
