"""The pages: each from its template, every text escaped, without a script in the page itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from mcsr_bench.errors import one_line
from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.cards import DatasetCard, MethodCard
from mcsr_bench.plugin.published import METRICS as PAPER_METRICS
from mcsr_bench.plugin.published import published_numbers
from mcsr_bench.plugin.registry import datasets, methods
from mcsr_bench.plugin.report import number
from mcsr_bench.results.bundle import DataRecord
from mcsr_bench.results.load import Results
from mcsr_bench.results.naming import spans
from mcsr_bench.results.verdict import Verdict
from mcsr_bench.system import files
from mcsr_bench.system.provenance import command, versions

from .boards import Board, Row
from .scoring import Scores

Facts = tuple[Board, dict[str, Any], list[dict[str, Any]], dict[str, Scores]]
"""A board, what it is, its rows, and its scores by metric."""


class Pages:
    """Writes the pages of a site into a folder."""

    def __init__(self, to: Path, results: Results) -> None:
        self._to, self._results = to, results
        self._environment = Environment(
            loader=PackageLoader(__package__, "templates"),
            autoescape=select_autoescape(default=True),
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"number": number, "link": _link, "setting": _setting}

    def write(self, facts: Sequence[Facts], left_out: Sequence[Verdict]) -> None:
        """All of them."""
        named = {row.first.method for board, _, _, _ in facts for row in board.rows}
        data = {board.record.dataset for board, _, _, _ in facts}
        shared: dict[str, Any] = {
            "methods": [_method(name, facts) for name in sorted(named, key=_order)],
            "datasets": [_dataset(name, facts) for name in sorted(data)],
            "made": _made(),
            "viewers": any(about["viewer"] for _, about, _, _ in facts),
        }
        self._page("index.html", "index.html", **shared, boards=[about for _, about, _, _ in facts], left_out=left_out)
        self._page("viewer.html", "viewer.html", **shared, boards=[about for _, about, _, _ in facts])
        for one in shared["methods"]:
            self._page("method.html", one["page"], **shared, method=one)
        for one in shared["datasets"]:
            self._page("dataset.html", one["page"], **shared, data=one)

    def _page(self, template: str, place: str, **values: Any) -> None:
        path = self._to / place
        path.parent.mkdir(exist_ok=True)
        root = "../" if "/" in place else ""
        files.write_text(path, self._environment.get_template(template).render(root=root, **values), lasting=False)


def _shown(value: Any) -> Any:
    """What a template prints: text that comes from others shows its control and bidi characters instead of obeying them."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "\n".join(map(one_line, value.split("\n")))


def _link(text: str) -> str:
    """An address of the web; "" for anything else that a card may have there."""
    return text if text.startswith(("https://", "http://")) else ""


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {one:g}" if isinstance(one, float) else f"{key}: {one}" for key, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _order(name: str) -> tuple[int, str]:
    plugin = methods().plugins().get(name)
    return (plugin.card.order if plugin and plugin.card else 100, name)


def _made() -> dict[str, str]:
    return {"date": f"{datetime.now(UTC):%Y-%m-%d}", "command": command(), "version": versions()["mcsr-bench"]}


def _method(name: str, facts: Sequence[Facts]) -> dict[str, Any]:
    """What the page of a method says: the card of the installed plugin; of one that is not installed, what a bundle says of it."""
    mine = [
        (board, about, row, values, scores)
        for board, about, rows, scores in facts
        for row, values in zip(board.rows, rows, strict=True)
        if row.first.method == name
    ]
    record = mine[0][2].first
    plugin = methods().plugins().get(name)
    card = plugin.card if plugin and isinstance(plugin.card, MethodCard) else None
    said = record.card if card is None else card.model_dump(mode="json")
    alias = str(said.get("reported_as", ""))
    return {
        "name": name,
        "page": f"methods/{files.file_name(name)}.html",
        "title": str(said.get("title", name)),
        "card": {key: said.get(key) for key in _OF_CARDS},
        "lists": [(head, list(map(str, said.get(key, ())))) for key, head in _LISTS],
        "differences": [d.model_dump() for d in card.differences] if card else [],
        "presets": card.presets if card else {},
        "parameters": card.parameters if card else {},
        "reported": [
            p
            for p in published_numbers()
            if alias
            and p.method_alias == alias
            and not p.variant
            and p.dataset_alias
            and p.metric in PAPER_METRICS.values()
        ],
        "results": [_result(*one) for one in mine],
        "settings": [
            (row.title, row.first.settings)
            for row in {one[2].name: one[2] for one in mine}.values()
            if row.first.settings
        ],
    }


_OF_CARDS = (
    *("authors", "venue", "year", "doi", "arxiv", "code", "code_licence", "contrasts", "track", "trains", "revision"),
    "checked_against",
)
_LISTS = (
    ("published", "As published"),
    ("derived", "Derived from published facts"),
    ("assumptions", "Assumptions that no source confirms"),
)


def _result(
    board: Board, about: dict[str, Any], row: Row, values: dict[str, Any], scores: dict[str, Scores]
) -> dict[str, Any]:
    """A row of a method in one board."""
    numbers = []
    for metric, found in scores.items():
        one, digits = found.rows[row.name], METRICS[metric].decimals
        interval = f"{number(one.low, f'.{digits}f')} to {number(one.high, f'.{digits}f')}"
        numbers.append(
            {
                "title": METRICS[metric].title,
                "mean": number(one.mean, f".{digits}f"),
                "interval": interval,
                "rank": one.standing.rank,
                "why": one.standing.reason,
                "reported": values["reported"].get(metric),
            }
        )
    profile = row.first.profile
    return {
        **values,
        "board": about["name"],
        "title": about["title"],
        "row": row.title,
        "numbers": numbers,
        "seeds": spans(row.seeds),
        "steps": profile.get("steps"),
        "flop": profile["training_flop"] / 1e12 if "training_flop" in profile else None,
        "signature": next(iter(values["signatures"].values()), ""),
    }


def _dataset(name: str, facts: Sequence[Facts]) -> dict[str, Any]:
    """What the page of a data set says: its card, and each version of the data with its split."""
    mine = [(board, about) for board, about, _, _ in facts if board.record.dataset == name]
    plugin = datasets().plugins().get(name)
    card = plugin.card if plugin and isinstance(plugin.card, DatasetCard) else None
    kinds: dict[tuple[str, str, str], tuple[Board, list[dict[str, Any]]]] = {}
    for board, about in mine:
        key = (board.record.dataset_label, board.data.fingerprint, board.data.split_hash)
        kinds.setdefault(key, (board, []))[1].append(about)
    return {
        "name": name,
        "page": f"datasets/{files.file_name(name)}.html",
        "title": mine[0][0].data.title,
        "card": card,
        "real": mine[0][0].data.real,
        "kinds": [
            {"shown": board.record.shown_dataset, "data": board.data, "facts": _split(board.data), "boards": abouts}
            for board, abouts in kinds.values()
        ],
    }


def _split(data: DataRecord) -> list[tuple[str, str]]:
    counts = [f"{part} {data.patients[part]} ({data.slices[part]} slices)" for part in ("train", "validation", "test")]
    prepared = ", ".join(f"{key} {value}" for key, value in data.preparation.items())
    return [
        ("target, auxiliary", f"{data.target}, {data.auxiliary}"),
        ("track", data.track),
        ("HR sizes", ", ".join(f"{h} x {w}" for h, w in data.hr_shapes)),
        ("fingerprint of the data", data.fingerprint),
        ("split", f"{data.split_rule} (hash {data.split_hash})"),
        ("patients", "; ".join(counts)),
        ("patient-disjoint", "yes" if data.patient_disjoint else "no"),
        *([("preparation", prepared)] if prepared else []),
    ]
