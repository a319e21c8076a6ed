"""Floor 3: what a report plugin is, and the table that it hands to whoever prints.

A report plugin subclasses `Report` in ``reports/NAME/__init__.py`` beside its card. It reads `Results` and writes files; it
computes no score.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from mcsr_bench.results import Results


@dataclass(frozen=True)
class Cell:
    """One cell of a table, as text."""

    text: str
    best: bool = False
    """The best value of its column among those that may be ranked together: printed bold."""


@dataclass(frozen=True)
class Table:
    """A table for a person: printed by the command line, written as Markdown, CSV and HTML by reports."""

    name: str
    """For file names: lower case, no spaces."""
    title: str
    columns: tuple[str, ...]
    """The first one is the registry name of the method."""
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    """Protocol, preset, seeds, patients, data track, assumptions: one sentence each, under the table."""


class Report(ABC):
    """Turns results into tables and files."""

    @abstractmethod
    def tables(self, results: Results, *, against: tuple[str, ...]) -> list[Table]:
        """The tables for the terminal. against: the references that p-values compare with, fixed before looking."""

    @abstractmethod
    def write(self, results: Results, to: Path, *, against: tuple[str, ...]) -> list[Path]:
        """Write everything into the folder ``to`` and return the files, the one to open first in front."""
