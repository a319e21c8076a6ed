"""What a figure is: the drawing, the numbers behind it, and its caption."""

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
