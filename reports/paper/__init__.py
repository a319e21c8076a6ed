"""The paper's tables and figures: terminal, Markdown, CSV, LaTeX, and a page that needs nothing else."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mcsr_bench import files
from mcsr_bench.errors import UserError
from mcsr_bench.metrics import METRICS
from mcsr_bench.report import FORMATS, Layout, Report, Table
from mcsr_bench.results import Results
from mcsr_bench.statistics import COLUMNS, comparisons

from .extra import extra_tables
from .figure import comparison, draw
from .latex import latex
from .page import Picture, markdown, page
from .sheets import Sheet, references, sheets, standard_layouts
from .table import numbers, table

_DPI = 200


class PaperReport(Report):
    """Writes ``index.html``, ``report.md``, ``tables/*.csv``, ``tables/*.tex`` and ``figures/*``."""

    def tables(self, results: Results, *, against: tuple[str, ...], layouts: tuple[Layout, ...] = ()) -> list[Table]:
        """One table per suite, scale, preset, protocol, track and contrast: what differs in these is never ranked together."""
        return [table(sheet, results) for sheet in sheets(results, against, layouts)]

    def write(
        self,
        results: Results,
        to: Path,
        *,
        against: tuple[str, ...],
        layouts: tuple[Layout, ...] = (),
        formats: tuple[str, ...] = FORMATS,
        brief: bool = False,
    ) -> list[Path]:
        """Everything, into ``to``; the page comes first in what is returned."""
        found = None
        if not brief:
            shown = standard_layouts(results, against, layouts)
            found = comparisons(results.volumes, METRICS, references(shown), slices=lambda: results.slices)
        groups = sheets(results, against, layouts, found)
        tables = [table(sheet, results) for sheet in groups]
        more = [] if brief else list(extra_tables(groups, results))
        pictures = list(self._pictures(groups, results, to)) if "html" in formats else []
        written: list[Path] = []
        if "html" in formats:
            files.write_text(to / "index.html", page(tables, more, pictures, results))
            written.append(to / "index.html")
        if "md" in formats:
            files.write_text(to / "report.md", markdown([*tables, *more]))
            written.append(to / "report.md")
        if "latex" in formats:
            for one in (*tables, *more):
                files.write_text(to / "tables" / f"{one.name}.tex", latex(one))
                written.append(to / "tables" / f"{one.name}.tex")
        if "csv" in formats and groups:
            scores = {"scores.csv": pd.concat([numbers(sheet) for sheet in groups])}
            if found is not None:
                scores["comparisons.csv"] = found[list(COLUMNS)]
            for name, frame in scores.items():
                files.write_table(to / "tables" / name, frame)
                written.append(to / "tables" / name)
        return [*written, *(to / "figures" / p.name for p in pictures)]

    def _pictures(self, groups: list[Sheet], results: Results, to: Path) -> Iterator[Picture]:
        for sheet in groups:
            for dataset in sheet.datasets:
                picture = self._picture(sheet, results, dataset)
                if picture is None:
                    continue
                with files.replacing(to / "figures" / picture.name) as temporary:
                    temporary.write_bytes(picture.png)
                yield picture

    def _picture(self, sheet: Sheet, results: Results, dataset: str) -> Picture | None:
        try:
            shown = comparison(sheet, results, dataset)
        except UserError:  # the prepared data were cleared from the cache: tables need them no more, pictures do
            return None
        if shown is None:
            return None
        buffer = io.BytesIO()
        draw(shown).savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
        return Picture(f"comparison-{dataset}-{sheet.name}.png", shown.title, buffer.getvalue(), shown.caption)
