"""Tables I and II in the paper's form with the images beside them: terminal, Markdown, CSV, and a page that needs nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from mcsr_bench import files
from mcsr_bench.errors import UserError
from mcsr_bench.report import Report, Table
from mcsr_bench.results import Results

from .figure import comparison, draw
from .page import Picture, markdown, page
from .ranking import Ranking, rankings
from .table import numbers, table

_DPI = 200


class PaperReport(Report):
    """Writes ``index.html``, ``report.md``, ``tables/scores.csv`` and ``figures/*.png``."""

    def tables(self, results: Results, *, against: tuple[str, ...]) -> list[Table]:
        """One table per scale, preset, protocol, track and contrast: what differs in one of these is never ranked together."""
        return [table(ranking, results) for ranking in rankings(results, against)]

    def write(self, results: Results, to: Path, *, against: tuple[str, ...]) -> list[Path]:
        """Everything, into ``to``; the page comes first in what is returned."""
        groups = rankings(results, against)
        tables = [table(ranking, results) for ranking in groups]
        pictures: list[Picture] = []
        written: list[Path] = []
        for ranking in groups:
            for dataset in ranking.datasets:
                picture = self._picture(ranking, results, dataset)
                if picture is None:
                    continue
                if picture.png:
                    path = to / "figures" / f"comparison-{dataset}-{ranking.name}.png"
                    with files.replacing(path) as temporary:
                        temporary.write_bytes(picture.png)
                    written.append(path)
                pictures.append(picture)
        if groups:
            files.write_table(to / "tables" / "scores.csv", pd.concat([numbers(ranking) for ranking in groups]))
            written.append(to / "tables" / "scores.csv")
        files.write_text(to / "report.md", markdown(tables))
        files.write_text(to / "index.html", page(tables, [p for p in pictures if p.png], results))
        return [to / "index.html", to / "report.md", *written]

    def _picture(self, ranking: Ranking, results: Results, dataset: str) -> Picture | None:
        try:
            shown = comparison(ranking, results, dataset)
        except UserError:  # the prepared data were cleared from the cache: tables need them no more, pictures do
            return None
        if shown is None:
            return None
        buffer = io.BytesIO()
        draw(shown).savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
        return Picture(shown.title, buffer.getvalue(), shown.caption)
