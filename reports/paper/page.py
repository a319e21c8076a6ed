"""The self-contained page: status, tables, images and what they rest on, without a script or a network request."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, Template, select_autoescape

from mcsr_bench.errors import one_line
from mcsr_bench.plugin.report import Table, number
from mcsr_bench.results.load import Results

from .figures import Undrawn
from .fitting import blocks
from .status import Status

_PRINTED = 700.0
"""Points: the width of A4 across, less the margins and what sans serif letters are wider than those that `blocks` knows."""


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption."""

    name: str
    """Of its files in ``figures/``, without suffix."""
    title: str
    png: bytes
    """As it is shown within the page."""
    caption: str
    suffixes: tuple[str, ...] = (".png",)
    """Of the files that hold it in full size."""

    @property
    def uri(self) -> str:
        """The PNG as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


def page(
    tables: Sequence[Table],
    more: Sequence[Table],
    figures: Sequence[Picture | Undrawn],
    results: Results,
    status: Status,
    *,
    csv: bool = True,
) -> str:
    """HTML; every text is escaped. more: the tables after the figures. csv: whether ``tables/`` has the numbers."""
    groups = (
        ("Tables", [(f"table-{one.name}", one.title) for one in tables]),
        ("Figures", [(f"figure-{one.name}", one.title) for one in figures]),
        ("More tables", [(f"table-{one.name}", one.title) for one in more]),
    )
    return _template().render(
        status=status,
        contents=[*((name, entries) for name, entries in groups if entries), ("Trials", []), ("Made with", [])],
        tables=tables,
        more=more,
        figures=figures,
        csv=csv,
        records=[
            r.model_dump()
            | {"method_label": r.method_label, "shown_method": r.shown_method}
            | {"dataset_label": r.dataset_label, "shown_dataset": r.shown_dataset}
            for r in results.records
        ],
    )


@cache
def _template() -> Template:
    """The page, compiled once in a process."""
    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=select_autoescape(default=True),
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "parts": parts}
    return environment.get_template("page.html")


def _shown(value: Any) -> Any:
    """What the template prints: text that comes from others shows its control and bidi characters instead of obeying them."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "\n".join(map(one_line, value.split("\n")))  # cells may have several lines


def parts(table: Table) -> list[Table]:
    """A table as it is printed: as it is, or, where it is wider than a page, its columns in several with those that name rows."""
    found = []
    for block in blocks(table, _PRINTED):
        columns = tuple(table.columns[k] for k in block.columns)
        rows = tuple(tuple(row[k] for k in block.columns) for row in table.rows)
        found.append(replace(table, columns=columns, rows=rows))
    return found


def markdown(tables: Sequence[Table], status: Status) -> str:
    """The status, the tables and their notes, and what they were made with, as Markdown."""
    out = [_plain(status.summary), "", *(f"- **{_plain(problem)}**" for problem in status.problems), ""]
    for table in tables:
        out += [f"## {_plain(table.title)}", ""]
        out.append("| " + " | ".join(map(_plain, table.columns)) + " |")
        out.append("|" + "---|" * len(table.columns))
        for row in table.rows:
            cells = ("<br>".join(map(_plain, c.text.split("\n"))) for c in row)
            out.append(
                "| " + " | ".join(f"**{text}**" if c.best else text for c, text in zip(row, cells, strict=True)) + " |"
            )
        out += ["", *(f"- {_plain(note)}" for note in table.notes), ""]
    out += ["---", "", *(f"- {name}: {_plain(text)}" for name, text in status.made), ""]
    return "\n".join(out)


def _plain(text: str) -> str:
    """Text that Markdown takes as it is, on one line."""
    flat = one_line(" ".join(text.split()))
    for sign in "\\|*_`&<>[]":
        flat = flat.replace(sign, "\\" + sign) if sign != "<" else flat.replace("<", "&lt;")
    return flat
