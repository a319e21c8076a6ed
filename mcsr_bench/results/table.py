"""A table for people, as text, for whichever command or report prints it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from mcsr_bench.errors import one_line

UNDEFINED = "–"
"""What a cell shows where there is no number: not computed, not defined (a spread of one patient), or not finite. In CSV: empty."""


_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")


def number(value: float | None, form: str = "") -> str:
    """A number by its format specification; `UNDEFINED` for None, NaN and infinities.

    Without one: three digits, and all before the point where there are more (1,028; never 1.03e+03).
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return format(value, form or (".3g" if abs(value) < 999.5 else ",.0f"))


def plus_minus(mean: float, spread: float, digits: int) -> str:
    """``mean±spread``; the mean alone where the spread is not defined, `UNDEFINED` where the mean is not."""
    shown = number(mean, f".{digits}f")
    return shown if UNDEFINED in (shown, number(spread)) else f"{shown}±{spread:.{digits}f}"


def p_text(p: float) -> str:
    """A p-value as papers print it; `UNDEFINED` where there is none."""
    return "<0.001" if p < 0.001 else number(p, ".3f")


@dataclass(frozen=True)
class Cell:
    """One cell of a table, as text."""

    text: str
    best: bool = False
    """The best value of its column among those that may be ranked together: printed bold."""
    name: str = ""
    """Of a method or data set: its ``NAME[@VARIANT]``, which CSV files have in place of the text."""

    @property
    def csv(self) -> str:
        """What a CSV file has in this place: numbers without commas between thousands; nothing where nothing is defined."""
        if self.name or self.text == UNDEFINED:
            return self.name
        return self.text.replace(",", "") if _THOUSANDS.fullmatch(self.text) else self.text


@dataclass(frozen=True)
class Table:
    """A table for a person: printed by the command line, written as Markdown, CSV and HTML by reports."""

    name: str
    """For the names of its files, which `system.files.file_name` makes of it."""
    title: str
    columns: tuple[str, ...]
    """The first one is the method, as `mcsr_bench.results.naming.shown` calls it."""
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    """Protocol, preset, seeds, patients, data track, assumptions: one sentence each, under the table."""
    names: tuple[str, ...] = ()
    """The heads of the columns in a CSV file where they are not `columns`: those of methods are their ``NAME[@VARIANT]``."""

    def _repr_html_(self) -> str:
        """For a notebook, which gives it its colours."""

        def cells(tag: str, words: Iterable[str]) -> str:
            row = "".join(f"<{tag}>{word}</{tag}>" for word in words)
            return f"<tr>{row}</tr>"

        bold = (((f"<b>{html_text(c.text)}</b>" if c.best else html_text(c.text)) for c in row) for row in self.rows)
        rows = [cells("th", map(html_text, self.columns)), *(cells("td", row) for row in bold)]
        notes = "".join(f"<div>{html_text(note)}</div>" for note in self.notes)
        return f"<div><b>{html_text(self.title)}</b><table>{''.join(rows)}</table><small>{notes}</small></div>"


def html_text(text: str) -> str:
    """Text as HTML, without anything in it that HTML or a terminal would act on."""
    return escape(one_line(text))
