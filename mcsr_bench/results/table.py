"""A table for people, as text, for whichever command or report prints it."""

from __future__ import annotations

from dataclasses import dataclass


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
