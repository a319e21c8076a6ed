"""What `regress` found: for people, for GitHub's annotations and as JUnit XML, from one list of sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Literal

from mcsr_bench.audit.regress_limits import LOSS
from mcsr_bench.audit.regress_numbers import METRIC
from mcsr_bench.errors import one_line
from mcsr_bench.system import files

_NAME = "mcsr-bench regress"
_MOVED = "moved"


@dataclass(frozen=True)
class Said:
    """A sentence about a run. level: of an error the run does not pass."""

    level: Literal["error", "warning", "notice"]
    kind: str
    """In a word or two: "moved", "missing"."""
    text: str

    @property
    def line(self) -> str:
        """For people."""
        return f"{self.kind}: {self.text}"

    @property
    def annotation(self) -> str:
        """For GitHub, which shows it at the change."""
        return f"::{self.level} title={_NAME} ({self.kind})::" + one_line(self.text).replace("%", "%25")


@dataclass(frozen=True)
class Compared:
    """A number of a run beside the reported one; in dB."""

    trial: str
    retrained: bool
    """Whether each seed is a training of its own, so that seeds scatter."""
    reported: float
    now: float
    reported_seeds: int
    seeds: int
    allowed: float
    """The largest difference that is not a move."""
    smallest_loss: float
    """What would have been found 95 times in 100."""
    seeds_needed: int | None
    """How many new seeds find half a dB that often; None: no number of them."""
    moved: bool
    """Whether the score has."""
    changed: tuple[str, ...]
    """What has to be equal and is not, a clause each: parameters, MACs."""
    times: tuple[str, ...]
    """Times that have changed, a clause each: a warning, no more."""

    @property
    def difference(self) -> float:
        """Now less reported: a loss is negative."""
        return self.now - self.reported

    @property
    def verdict(self) -> str:
        """What became of it, as a clause."""
        way = "lost" if self.difference < 0 else "gained"
        by = [f"{way} {abs(self.difference):.3f} dB ({self.allowed:.3f} dB are allowed)"] if self.moved else []
        return "; ".join([*by, *self.changed]) or "as reported"


@dataclass(frozen=True)
class Regression:
    """What `regress` found; but for `compared`, sentences."""

    compared: tuple[Compared, ...]
    missing: tuple[str, ...]
    """Trials that the run was asked for and did not finish, and damaged ones."""
    not_comparable: tuple[str, ...]
    """Numbers that rest on another protocol, preset, data, split or version of the method than the reported ones."""
    extra: tuple[str, ...]
    """Trials that the file has no number of."""
    not_asked: tuple[str, ...]
    """Reported numbers of what the run was not asked for."""

    @property
    def moved(self) -> tuple[Compared, ...]:
        """What has another score, or another size, than was reported."""
        return tuple(one for one in self.compared if one.moved or one.changed)

    @property
    def outcome(self) -> Literal["unmoved", "moved", "incomplete"]:
        """ "moved" also of a run that is incomplete; "incomplete" also where nothing was compared."""
        if self.moved:
            return "moved"
        complete = self.compared and not self.missing and not self.not_comparable
        return "unmoved" if complete else "incomplete"

    @cached_property
    def said(self) -> tuple[Said, ...]:
        """All that is to be said, what fails the run first."""
        return tuple(_said(self))

    @property
    def summary(self) -> str:
        """How much was compared, and what came of it."""
        total = len(self.compared)
        return f"{total} {'number' if total == 1 else 'numbers'} compared ({METRIC}): {len(self.moved)} moved"

    def to_junit(self, path: str | Path) -> Path:
        """Write JUnit XML: a test case per number, and one for each thing else that fails the run. Returns the file.

        An incomplete run has errors, and a run in which nothing was compared, too: it is no green suite.
        """
        cases = [(one.trial, "failure" if one in self.moved else "", one.verdict) for one in self.compared]
        cases += [(one.kind, "error", one.text) for one in self.said if one.level == "error" and one.kind != _MOVED]
        counts = {kind: sum(found == kind for _, found, _ in cases) for kind in ("failure", "error")}
        head = f'tests="{len(cases)}" failures="{counts["failure"]}" errors="{counts["error"]}" skipped="0"'
        lines = ['<?xml version="1.0" encoding="utf-8"?>', f'<testsuites><testsuite name="{_NAME}" {head}>']
        for name, kind, text in cases:
            inside = f'<{kind} message="{_xml(text)}"/>' if kind else ""
            lines.append(f'<testcase classname="{_NAME}" name="{_xml(name)}">{inside}</testcase>')
        others = "\n".join(_xml(one.line) for one in self.said if one.level != "error")
        lines.append(f"<system-out>{others}</system-out></testsuite></testsuites>\n")
        files.write_text(Path(path), "\n".join(lines))
        return Path(path)


def _said(found: Regression) -> Iterator[Said]:
    for one in found.moved:
        yield Said("error", _MOVED, f"{one.trial}: {one.verdict}")
    for kind, texts in (("missing", found.missing), ("not comparable", found.not_comparable)):
        for text in texts:
            yield Said("error", kind, text)
    if not found.compared:
        yield Said("error", "nothing compared", "the run and the file have no number in common that may be compared")
    for one in found.compared:
        for text in one.times:
            yield Said("warning", "time", f"{one.trial}: {text}")
    for one in found.compared:
        if one.smallest_loss > LOSS:
            needed = one.seeds_needed
            enough = "no number of new seeds finds it" if needed is None else f"{needed} new seeds would find it"
            yield Said("notice", "blind", f"{one.trial}: a loss of {LOSS} dB may pass; {enough}")
    for text in found.extra:
        yield Said("notice", "extra", text)
    if found.not_asked:
        yield Said("notice", "not part of this run", ", ".join(found.not_asked))


def _xml(text: str) -> str:
    """Text for an attribute or an element; what XML forbids is an escape in it."""
    return escape(one_line(text))
