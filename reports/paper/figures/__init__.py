"""The figures of the report, one file per subject; each with the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcsr_bench.results.load import Results

from ..sheets import Sheet
from .comparison import comparisons
from .curves import curves
from .drawing import Drawing, Undrawn
from .maps import maps
from .ranks import rank_diagrams
from .scores import ablation, differences, sweep
from .style import Palette
from .tradeoff import pareto

__all__ = ["Drawing", "Undrawn", "brief", "drawings"]


def drawings(sheets: Sequence[Sheet], results: Results) -> Iterator[Drawing | Undrawn]:
    """All that have something to show, one at a time: memory stays small. What is not there any more is an `Undrawn`."""
    palette = Palette(row.label for sheet in sheets for row in sheet.rows)
    for sheet in sheets:
        yield from comparisons(sheet, results)
        yield from ablation(sheet, results)
        yield from sweep(sheet, results)
        yield from differences(sheet, results, palette)
        yield from pareto(sheet, results, palette)
        yield from curves(sheet, results, palette)
        yield from maps(sheet, results)
    yield from rank_diagrams(sheets, palette)


def brief(sheets: Sequence[Sheet], results: Results) -> Iterator[Drawing | Undrawn]:
    """The images of the median patient alone: what `run` leaves at its end."""
    for sheet in sheets:
        yield from comparisons(sheet, results, ("median",))
