"""How wide and high a table is in LaTeX's small print, and how its columns are divided so that it fits a line.

Widths are those of Computer Modern at 8 pt, rounded up; they need not be exact, only never too small by much.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mcsr_bench.plugin.report import Table

LINE = 345.0
"""Points: a line of the class article."""
BASELINE = 9.5
"""Points from line to line."""
_BETWEEN = 6.0
"""Points between two columns."""
_CELL = 165.0
"""A cell is broken between words beyond this width, a name of one word beyond any of its signs."""
_HEAD = 44.0
"""A head is broken between words beyond this width, or that of the cells below it."""
_BOLD = 1.16
_WIDTHS = {
    **dict.fromkeys(" .,:;'|!()[]/iljft-", 3.6),
    **dict.fromkeys("0123456789", 4.3),
    **dict.fromkeys("mwMW%@&", 8.4),
    **dict.fromkeys("±×<>=+≤≥†‡", 6.9),
}


_SPACE = re.compile(r"\s+(?!%)")  # "95 %" is one word


@dataclass(frozen=True)
class Block:
    """Columns of a table that stand side by side in a line."""

    columns: tuple[int, ...]
    """Positions in the table; those at the left that tell the rows apart are in every block."""
    heads: tuple[tuple[str, ...], ...]
    """Lines of each head."""
    lines: tuple[int, ...]
    """How many lines each row of the table takes."""

    def height(self, rows: Iterable[int]) -> float:
        """Points of the head with some of the rows."""
        return BASELINE * (max(map(len, self.heads)) + sum(self.lines[row] for row in rows))


def blocks(table: Table, line: float = LINE) -> list[Block]:
    """A table's columns in as few blocks as fit a line of so many points."""
    heads, widths = [], []
    for k, column in enumerate(table.columns):
        body = max((width(line, bold=row[k].best) for row in table.rows for line in wrapped(row[k].text)), default=0.0)
        head = wrapped(column, max(body, _HEAD))
        heads.append(tuple(head))
        widths.append(max(body, *map(width, head)) + _BETWEEN)
    keys = _keys(table)
    if sum(widths[:keys]) > 0.6 * line:
        keys = 1
    limit, rest = line - sum(widths[:keys]), widths[keys:]
    groups = _packed(rest, limit)
    if len(groups) > 1 and len(groups[-1]) == 1:  # not one column alone: as wide as each other
        narrow = sum(rest) / len(groups)
        while len(_packed(rest, narrow)) > len(groups):
            narrow += 5
        groups = _packed(rest, narrow)
    out = []
    for group in groups or [[]]:
        columns = (*range(keys), *(k + keys for k in group))
        lines = tuple(max(len(wrapped(row[k].text)) for k in columns) for row in table.rows)
        out.append(Block(columns, tuple(heads[k] for k in columns), lines))
    return out


def _keys(table: Table) -> int:
    """How many columns at the left tell the rows apart; 1 where even all do not."""
    texts = [[cell.text for cell in row] for row in table.rows]
    whole = range(1, len(table.columns))
    return next((k for k in whole if len({tuple(row[:k]) for row in texts}) == len(texts)), 1)


def _packed(widths: Sequence[float], limit: float) -> list[list[int]]:
    groups: list[list[int]] = []
    room = 0.0
    for k, one in enumerate(widths):
        if one > room:
            groups.append([])
            room = limit
        groups[-1].append(k)
        room -= one
    return groups


def width(text: str, *, bold: bool = False) -> float:
    """Points of a line of text."""
    points = sum(_WIDTHS.get(c, 6.6 if c.isupper() else 4.7) for c in text)
    return points * (_BOLD if bold else 1)


def wrapped(text: str, limit: float = _CELL) -> list[str]:
    """The lines of a cell: its own, broken where they are wider than the limit; never none."""
    out = []
    for line in text.split("\n"):
        current = ""
        for word in _broken(line, limit):
            if current and width(f"{current} {word}") > limit:
                out.append(current)
                current = word
            else:
                current = f"{current} {word}".lstrip()
        out.append(current)
    return out


def _broken(line: str, limit: float) -> list[str]:
    """The words of a line; a word that is wider than a cell may be is several."""
    most = max(int(max(limit, _CELL) / 6.6), 1)
    return [
        word[i : i + most]
        for word in _SPACE.split(line.strip())
        if word
        for i in range(0, len(word), most if width(word) > max(limit, _CELL) else len(word))
    ]


def lines_of_text(text: str) -> int:
    """How many lines a paragraph takes, rounded up."""
    return math.ceil(width(text) * 1.05 / LINE)
