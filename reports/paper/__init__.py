"""The paper's tables and figures: terminal, Markdown, CSV, LaTeX, and a page that needs nothing else."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

from mcsr_bench.errors import one_line
from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.report import FORMATS, Layout, Report, Table
from mcsr_bench.results.load import Results
from mcsr_bench.results.statistics import COLUMNS, spread
from mcsr_bench.system import files, frames

from .extra import extra_tables
from .figures import Drawing, Undrawn, drawings
from .figures import brief as brief_drawings
from .figures.style import SETTINGS
from .latex import latex
from .page import Picture, markdown, page
from .sheets import Sheet, compared, sheets, standard_layouts
from .status import status
from .table import numbers, table


class PaperReport(Report):
    """Writes ``index.html``, ``report.md``, ``tables/*.csv``, ``tables/*.tex`` and ``figures/*``."""

    _kept: tuple[Results, tuple[object, ...], list[Sheet]] | None = None
    """The last results and arguments of `_sheets`, and what it made of them."""

    def tables(
        self,
        results: Results,
        *,
        against: tuple[str, ...],
        layouts: tuple[Layout, ...] = (),
        exploratory: tuple[str, ...] = (),
    ) -> list[Table]:
        """One table per suite, scale, preset, protocol, track and contrast: what differs in these is never ranked together."""
        return [table(sheet, results) for sheet in self._sheets(results, against, layouts, exploratory)]

    def write(
        self,
        results: Results,
        to: Path,
        *,
        against: tuple[str, ...],
        layouts: tuple[Layout, ...] = (),
        exploratory: tuple[str, ...] = (),
        formats: tuple[str, ...] = FORMATS,
        brief: bool = False,
    ) -> list[Path]:
        """Everything, into ``to``; the page comes first in what is returned."""
        found = None
        if brief:
            groups = self._sheets(results, against, layouts, exploratory)
        else:
            found = compared(results, standard_layouts(results, against, layouts), METRICS)
            groups = sheets(results, against, layouts, found, exploratory)
        tables = [table(sheet, results, intervals=True) for sheet in groups]
        more = [] if brief else list(extra_tables(groups, results))
        shown_figures = brief_drawings(groups, results) if brief else drawings(groups, results)
        wanted = {"html", "latex"} & set(formats)
        pictures = list(_pictures(shown_figures, to, formats)) if wanted else []
        state = status(results, [one for one in pictures if isinstance(one, Undrawn)])
        written: list[Path] = []
        if "html" in formats:
            files.write_text(to / "index.html", page(tables, more, pictures, results, state, csv="csv" in formats))
            written.append(to / "index.html")
        if "md" in formats:
            files.write_text(to / "report.md", markdown([*tables, *more], state))
            written.append(to / "report.md")
        if "latex" in formats:
            for one in (*tables, *more):
                files.write_text(to / "tables" / f"{files.file_name(one.name)}.tex", latex(one))
                written.append(to / "tables" / f"{files.file_name(one.name)}.tex")
        if "csv" in formats and groups:
            scores = {"scores.csv": pd.concat([numbers(sheet) for sheet in groups])}
            if found is not None:
                scores["comparisons.csv"] = found[[*COLUMNS, "suite"]]
                means = [spread(results.volumes, m).assign(metric=m) for m in METRICS if m in results.volumes]
                scores["metrics.csv"] = pd.concat(means)
            for one in more:
                cells = [[cell.csv for cell in row] for row in one.rows]
                scores[f"{files.file_name(one.name)}.csv"] = pd.DataFrame(cells, columns=list(one.names or one.columns))
            for name, frame in scores.items():
                frames.write_csv(to / "tables" / name, _for_file(frame))
                written.append(to / "tables" / name)
        drawn = [one for one in pictures if isinstance(one, Picture)]
        return [*written, *(to / "figures" / f"{one.name}.png" for one in drawn)]

    def _sheets(
        self,
        results: Results,
        against: tuple[str, ...],
        layouts: tuple[Layout, ...],
        exploratory: tuple[str, ...],
    ) -> list[Sheet]:
        """The sheets without bootstrap; at the end of a run, `tables` and `write` need the same ones."""
        asked = (against, layouts, exploratory)
        if self._kept is None or self._kept[0] is not results or self._kept[1] != asked:
            self._kept = (results, asked, sheets(results, against, layouts, exploratory=exploratory))
        return self._kept[2]


def _pictures(drawings: Iterator[Drawing | Undrawn], to: Path, formats: tuple[str, ...]) -> Iterator[Picture | Undrawn]:
    """Each drawing into ``figures/``: PNG in full size, CSV, and PDF where LaTeX is asked for; the page shows a smaller PNG."""
    for one in drawings:
        if isinstance(one, Undrawn):
            yield one
            continue
        shown = _png(one, Drawing.dpi)
        full = shown if one.dpi == Drawing.dpi else _png(one, one.dpi)
        place, name = to / "figures", files.file_name(one.name)
        if "latex" in formats:
            with mpl.rc_context(SETTINGS), files.replacing(place / f"{name}.pdf") as temporary:  # type: ignore[arg-type]
                one.figure.savefig(temporary, format="pdf", dpi=one.dpi, metadata={"CreationDate": None})
        with files.replacing(place / f"{name}.png") as temporary:
            temporary.write_bytes(full)
        frames.write_csv(place / f"{name}.csv", _for_file(one.data))
        yield Picture(name, one.title, shown, one.caption, (".png", ".pdf") if "latex" in formats else (".png",))


def _png(drawing: Drawing, dpi: int) -> bytes:
    image = io.BytesIO()
    with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
        drawing.figure.savefig(image, format="png", dpi=dpi, metadata={"Software": None})
    return image.getvalue()


def _for_file(table: pd.DataFrame) -> pd.DataFrame:
    """Finite numbers, and text without control characters: patients' ids and names of contrasts come from others."""
    finite = table.replace([np.inf, -np.inf], np.nan)
    shown = finite.rename(columns=one_line)
    return shown.map(lambda value: one_line(value) if isinstance(value, str) else value)
