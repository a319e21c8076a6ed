"""What a report plugin is, and the table that it returns for printing.

A report plugin subclasses `Report` in ``reports/NAME/__init__.py`` beside its card. It reads `Results` and writes files; it
computes no score. One that subclasses `Site` makes a folder of pages from the results of many runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mcsr_bench.results.load import Results
from mcsr_bench.results.table import UNDEFINED, Cell, Table, number
from mcsr_bench.results.verdict import Verdict

__all__ = ["FORMATS", "UNDEFINED", "Cell", "Layout", "LayoutRow", "Report", "Site", "Table", "number"]

FORMATS = ("html", "md", "latex", "csv")
"""What a report can be written as; figures come with html (within the page) and latex (as PDF)."""


@dataclass(frozen=True)
class LayoutRow:
    """A line of a suite's table."""

    method: str
    variant: str
    label: str
    paper: str | None
    """The paper's name for this line (empty: the method as it is); None: the paper has no such line."""
    name: str = ""
    """The suite's name for its settings; in a sweep ``KEY=VALUE``."""


@dataclass(frozen=True)
class Layout:
    """How a suite wants its results laid out (`mcsr_bench.experiment.suites.Suite`, with the names that its trials have)."""

    name: str
    title: str
    kind: Literal["table", "sweep"]
    scales: tuple[int, ...]
    paper_table: str
    paper_dataset: str
    metrics: tuple[str, ...]
    beside: tuple[str, ...]
    """Metrics that stand beside without p-values."""
    columns: tuple[str, ...]
    rows: tuple[LayoutRow, ...]
    against: tuple[str, ...]
    notes: tuple[str, ...]


class Report(ABC):
    """Turns results into tables and files.

    against: the references that p-values compare with, fixed before looking (``METHOD`` or ``METHOD@VARIANT``). layouts: those
    of the suites that were run; each has references of its own. Without any, everything is laid out as Tables I and II.
    exploratory: those of the references that were chosen after the run; a report says so beside their p-values.
    """

    @abstractmethod
    def tables(
        self,
        results: Results,
        *,
        against: tuple[str, ...],
        layouts: tuple[Layout, ...] = (),
        exploratory: tuple[str, ...] = (),
    ) -> list[Table]:
        """The tables for the terminal."""

    @abstractmethod
    def write(
        self,
        results: Results,
        to: Path,
        *,
        against: tuple[str, ...],
        layouts: tuple[Layout, ...] = (),
        exploratory: tuple[str, ...] = (),
        formats: tuple[str, ...] = FORMATS,
        brief: bool = False,
    ) -> list[Path]:
        """Write into the folder ``to`` and return the files, the one to open first in front.

        brief: what `run` leaves at its end: the tables and one picture, within a second or two.
        """


class Site(ABC):
    """Turns the results of any number of runs into a folder of pages that needs nothing else."""

    @abstractmethod
    def write(self, results: Results, to: Path, *, verdicts: Mapping[Path, Verdict], real_images: bool = False) -> Path:
        """Write into the empty folder ``to`` and return the page to open first.

        results: of bundles that may be shown. Runs may hold results of different data, and the same trial twice: what is not
        comparable is never put in one table. verdicts: of every bundle of the runs, by its folder; the "failed" ones are not among
        the results. real_images: whether images of real data are published; their licence must allow it.
        """
