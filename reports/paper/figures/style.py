"""One look for all figures: colours that colour-blind readers tell apart, and marks that tell apart without colour."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, LogLocator, NullLocator

COLUMN, PAGE = 3.5, 7.2
"""Widths in inches: a column and a page of a journal."""

# Printed in grey, two colours can be one: what then shares a line style (seven apart) differs in lightness.
_COLOURS = (
    "#000000",
    "#7f7f7f",
    "#a65628",
    "#0072b2",
    "#56b4e9",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#332288",
    "#b8a800",
    "#e69f00",
    "#882255",
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*", ">", "p")
_LINES = (
    "-",
    (0, (6, 2)),
    (0, (1.2, 1.4)),
    (0, (6, 1.6, 1.2, 1.6)),
    (0, (12, 2.5)),
    (0, (2.6, 1.2)),
    (0, (6, 1.6, 1.2, 1.6, 1.2, 1.6)),
)

SETTINGS = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.handlelength": 4,  # a marker leaves the line style to be seen
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,  # text stays text in journals' PDF checkers
    "savefig.dpi": 200,
    "text.parse_math": False,  # names come from others: a dollar sign in them is a dollar sign
}


class Palette:
    """Colour, marker and line of each name, the same in every figure of a report."""

    def __init__(self, names: Iterable[str]) -> None:
        self._index = {name: i for i, name in enumerate(dict.fromkeys(names))}

    def colour(self, name: str) -> str:
        """As "#rrggbb"."""
        return _COLOURS[self._index.get(name, 0) % len(_COLOURS)]

    def marker(self, name: str) -> str:
        """A marker of matplotlib's."""
        return _MARKERS[self._index.get(name, 0) % len(_MARKERS)]

    def line(self, name: str) -> str | tuple[int, tuple[float, ...]]:
        """A line style of matplotlib's."""
        return _LINES[self._index.get(name, 0) % len(_LINES)]


def log_axis(axis: Axis, low: float, high: float, form: Formatter) -> None:
    """Give a logarithmic axis ticks at round numbers, few enough not to touch, written out by ``form``."""
    wide = high > 5 * low or high < 1.01 * low  # around a single value matplotlib shows more than a decade
    steps = (1, 2, 5) if wide else (1, 1.5, 2, 3, 4, 5, 7)
    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(form)
    axis.set_minor_locator(NullLocator())


def canvas(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure of a size in inches with a grid of axes, row by row; drawn with the settings above."""
    with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)
