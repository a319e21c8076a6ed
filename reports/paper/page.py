"""The self-contained page: tables, images and what they rest on, without a script or a network request."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from mcsr_bench.errors import one_line
from mcsr_bench.plugin.report import Table, number
from mcsr_bench.results.load import Results


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption."""

    name: str
    """Of its file."""
    title: str
    png: bytes
    caption: str

    @property
    def uri(self) -> str:
        """The PNG as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


def page(tables: Sequence[Table], more: Sequence[Table], pictures: Sequence[Picture], results: Results) -> str:
    """HTML; every text is escaped. more: tables that are folded until they are opened."""
    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=select_autoescape(default=True),
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template("page.html").render(
        tables=tables,
        more=more,
        pictures=pictures,
        records=[
            r.model_dump()
            | {"method_label": r.method_label, "shown_method": r.shown_method}
            | {"dataset_label": r.dataset_label, "shown_dataset": r.shown_dataset}
            for r in results.records
        ],
    )


def _shown(value: Any) -> Any:
    """What the template prints: text that comes from others shows its control and bidi characters instead of obeying them."""
    return one_line(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def markdown(tables: Sequence[Table]) -> str:
    """The tables and their notes as Markdown."""
    out = []
    for table in tables:
        out += [f"## {_plain(table.title)}", ""]
        out.append("| " + " | ".join(map(_plain, table.columns)) + " |")
        out.append("|" + "---|" * len(table.columns))
        for row in table.rows:
            out.append("| " + " | ".join(f"**{_plain(c.text)}**" if c.best else _plain(c.text) for c in row) + " |")
        out += ["", *(f"- {_plain(note)}" for note in table.notes), ""]
    return "\n".join(out)


def _plain(text: str) -> str:
    """Text that Markdown takes as it is, on one line."""
    flat = one_line(" ".join(text.split()))
    for sign in "\\|*_`&<>[]":
        flat = flat.replace(sign, "\\" + sign) if sign != "<" else flat.replace("<", "&lt;")
    return flat
