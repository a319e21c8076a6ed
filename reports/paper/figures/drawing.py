"""What a figure is: the drawing, the numbers behind it, and its caption; or why it could not be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure with its data."""

    name: str
    """For the names of its files, which `system.files.file_name` makes of it."""
    title: str
    caption: str
    figure: Figure
    data: pd.DataFrame
    """Written as CSV beside the figure."""
    dpi: int = 150
    """Of the PNG in full size."""


@dataclass(frozen=True)
class Undrawn:
    """A figure that cannot be drawn: a report says so in its place."""

    name: str
    """As that of a `Drawing`."""
    title: str
    reason: str
    """A sentence: what is missing, and how to get it back."""
