"""The paper's tables with the images beside them: terminal, Markdown, CSV, and a page that needs nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from mcsr_bench import files
from mcsr_bench.errors import UserError
from mcsr_bench.report import Layout, Report, Table
from mcsr_bench.results import Results

from .figure import comparison, draw
from .page import Picture, markdown, page
from .sheets import Sheet, sheets
from .table import numbers, table

_DPI = 200


class PaperReport(Report):
    """Writes ``index.html``, ``report.md``, ``tables/scores.csv`` and ``figures/*.png``."""

    def tables(self, results: Results, *, against: tuple[str, ...], layouts: tuple[Layout, ...] = ()) -> list[Table]:
        """One table per suite, scale, preset, protocol, track and contrast: what differs in these is never ranked together."""
        return [table(sheet, results) for sheet in sheets(results, against, layouts)]

    def write(
        self, results: Results, to: Path, *, against: tuple[str, ...], layouts: tuple[Layout, ...] = ()
    ) -> list[Path]:
        """Everything, into ``to``; the page comes first in what is returned."""
        groups = sheets(results, against, layouts)
        tables = [table(sheet, results) for sheet in groups]
        pictures: list[Picture] = []
        written: list[Path] = []
        for sheet in groups:
            for dataset in sheet.datasets:
                picture = self._picture(sheet, results, dataset)
                if picture is None:
                    continue
                path = to / "figures" / f"comparison-{dataset}-{sheet.name}.png"
                with files.replacing(path) as temporary:
                    temporary.write_bytes(picture.png)
                written.append(path)
                pictures.append(picture)
        if groups:
            files.write_table(to / "tables" / "scores.csv", pd.concat([numbers(sheet) for sheet in groups]))
            written.append(to / "tables" / "scores.csv")
        files.write_text(to / "report.md", markdown(tables))
        files.write_text(to / "index.html", page(tables, pictures, results))
        return [to / "index.html", to / "report.md", *written]

    def _picture(self, sheet: Sheet, results: Results, dataset: str) -> Picture | None:
        try:
            shown = comparison(sheet, results, dataset)
        except UserError:  # the prepared data were cleared from the cache: tables need them no more, pictures do
            return None
        if shown is None:
            return None
        buffer = io.BytesIO()
        draw(shown).savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
        return Picture(shown.title, buffer.getvalue(), shown.caption)
