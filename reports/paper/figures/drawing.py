"""What a figure is: the drawing, the numbers behind it, and its caption."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure with its data."""

    name: str
    """File stem: lower case, safe characters."""
    title: str
    caption: str
    figure: Figure
    data: pd.DataFrame
    """Written as CSV beside the figure."""
