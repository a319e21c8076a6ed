"""Tables that fit a terminal: folded at words, turned or split where they are too wide. Nothing is ever cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table as RichTable
from rich.text import Text

_FRAME = 3
"""What the frame adds to each column: a line and a blank on either side; one more line closes the table."""
_LONGEST_WORD = 24
"""A longer word may be broken (a path, an address)."""
_SHORT = 13
"""Cells up to this width stay on one line ("0.012 / 0.003")."""
_TURNED_ROWS = 4
"""A table of more rows is split rather than turned."""


@dataclass(frozen=True)
class Column:
    """One column: its head and its cells, ready to be shown, and whether they stand at the right."""

    head: Text
    cells: tuple[Text, ...]
    right: bool = False

    @property
    def natural(self) -> int:
        """The width at which nothing is folded."""
        return max(cell_len(text.plain) for text in (self.head, *self.cells))

    @property
    def tight(self) -> int:
        """The width at which only the head is folded, at words."""
        return max([_longest_word(self.head), *(cell_len(cell.plain) for cell in self.cells)])

    def least(self, most: int) -> int:
        """The width below which it is not folded, itself at most ``most``: words and short cells stay whole."""
        short = (cell_len(cell.plain) for cell in self.cells if cell_len(cell.plain) <= _SHORT)
        words = (min(_longest_word(text), _LONGEST_WORD) for text in (self.head, *self.cells))
        return max(1, min(most, max([*words, *short])))


def full_width(columns: Sequence[Column]) -> int:
    """The width of a table in which nothing is folded."""
    return sum(column.natural + _FRAME for column in columns) + 1


def fitted(columns: Sequence[Column], width: int | None) -> Iterator[RichTable]:
    """The columns as one or several tables of at most so many characters a line; None: one table, as wide as it is.

    In this order: as it is; with folded heads; with folded cells; turned, where it has few rows; split into tables that each begin
    with the columns that tell the rows apart.
    """
    if width is None or full_width(columns) <= width:
        yield _table(columns, [column.natural for column in columns])
        return
    widths = _widths(columns, width)
    if widths is not None:
        yield _table(columns, widths)
        return
    turned = _turned(columns)
    if 0 < len(columns[0].cells) <= _TURNED_ROWS and (widths := _widths(turned, width)) is not None:
        yield _table(turned, widths)
        return
    for part in _split(columns, width):
        yield _table(part, _widths(part, width) or [column.least(_half(width)) for column in part])


def _widths(columns: Sequence[Column], width: int) -> list[int] | None:
    """The widths of columns that fit together, folded as little as can be; None where they would be too narrow to read."""
    room = width - _FRAME * len(columns) - 1
    for lowest in ([c.tight for c in columns], [c.least(_half(width)) for c in columns]):
        if sum(lowest) <= room:
            widths = [column.natural for column in columns]
            while sum(widths) > room:
                widest = max((i for i, w in enumerate(widths) if w > lowest[i]), key=widths.__getitem__)
                widths[widest] -= 1
            return widths
    return None


def _half(width: int) -> int:
    """The widest that a column must be able to become, so that any two fit."""
    return max(1, (width - 2 * _FRAME - 1) // 2)


def _turned(columns: Sequence[Column]) -> list[Column]:
    """Rows as columns. The first column becomes the heads."""
    first, *others = columns
    names = Column(first.head, tuple(column.head for column in others))
    return [names, *(Column(head, tuple(c.cells[i] for c in others), True) for i, head in enumerate(first.cells))]


def _split(columns: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """Groups of columns that fit, each behind those that tell the rows apart."""
    keys = _keys(columns, width)
    room = width - 1 - sum(column.least(_half(width)) + _FRAME for column in keys)
    group: list[Column] = []
    left = room
    for column in columns[len(keys) :]:
        needed = column.least(_half(width)) + _FRAME
        if group and needed > left:
            yield [*keys, *group]
            group, left = [], room
        group.append(column)
        left -= needed
    yield [*keys, *group]


def _keys(columns: Sequence[Column], width: int) -> list[Column]:
    """The fewest first columns that tell the rows apart; the first alone where those would take more than half of the width."""
    for n in range(1, len(columns)):
        keys = list(columns[:n])
        if n > 1 and sum(column.least(_half(width)) + _FRAME for column in keys) > width // 2:
            break
        if len({tuple(c.cells[i].plain for c in keys) for i in range(len(keys[0].cells))}) == len(keys[0].cells):
            return keys
    return list(columns[:1])


def _table(columns: Sequence[Column], widths: Sequence[int]) -> RichTable:
    """A table with columns of these widths; lines between the rows where cells are folded."""
    folded = any(cell_len(cell.plain) > w for c, w in zip(columns, widths, strict=True) for cell in c.cells)
    out = RichTable(show_lines=folded)
    for column, width in zip(columns, widths, strict=True):
        out.add_column(column.head, width=width, overflow="fold", justify="right" if column.right else "left")
    for row in zip(*(column.cells for column in columns), strict=True):
        out.add_row(*row)
    return out


def _longest_word(text: Text) -> int:
    return max(map(cell_len, text.plain.split()), default=0)
