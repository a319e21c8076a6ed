"""The leaderboard as a site: one folder that works from a file and from any web server, and asks nobody for anything."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from mcsr_bench.errors import UserError, one_line
from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.report import Site
from mcsr_bench.results.identity import signatures
from mcsr_bench.results.load import Results
from mcsr_bench.results.verdict import Verdict
from mcsr_bench.system import files, frames

from .boards import Board, Row, boards
from .facts import command, flags, latency, reported, size
from .pages import Pages
from .pictures import write_pictures
from .scoring import SHOWN, Scores, scored
from .scripts import write_script
from .vouching import Vouched, vouched

_OWN = Path(__file__).parent


class Leaderboard(Site):
    """Writes ``index.html``, ``viewer.html``, ``methods/``, ``datasets/``, ``data/``, ``downloads/`` and ``assets/``."""

    def write(self, results: Results, to: Path, *, verdicts: Mapping[Path, Verdict], real_images: bool = False) -> Path:
        """See `Site`."""
        shown, facts = boards(results), []
        for board in shown:
            by_metric = {metric: found for metric in SHOWN if (found := scored(board, metric)) is not None}
            if not by_metric:  # all by another revision of the metrics
                continue
            rows = [_row(board, row, results, verdicts, to) for row in board.rows]
            ranked = next(iter(by_metric.values()))
            pictures = write_pictures(board, ranked, results, to, verdicts=verdicts, real_images=real_images)
            write_script(to, f"{board.name}/viewer", {"title": board.title, **pictures})
            about = _about(board, pictures)
            write_script(to, f"{board.name}/board", about | {"rows": rows} | _numbers(board, by_metric))
            facts.append((board, about, rows, by_metric))
        if not facts:
            raise UserError(
                "every score is by another revision of its metric: the version that computed them can show them"
            )
        write_script(to, "boards", [about for _, about, _, _ in facts])
        left_out = [one for one in verdicts.values() if one.outcome == "failed"]
        Pages(to, results).write(facts, left_out)
        _copy_assets(to / "assets")
        return to / "index.html"


def _about(board: Board, pictures: dict[str, Any]) -> dict[str, Any]:
    """What a board is, for choosing it and for the line above its table."""
    r, d = board.record, board.data
    return {
        "name": board.name,
        "title": board.title,
        "dataset": r.shown_dataset,
        "dataset_page": f"datasets/{files.file_name(r.dataset)}.html",
        "scale": r.scale,
        "preset": r.preset,
        "rules": f"{r.protocol}, {d.track} track, {board.contrast}",
        "protocol": r.protocol,
        "protocol_hash": r.protocol_hash,
        "real": d.real,
        "patients": d.patients["test"],
        "slices": d.slices["test"],
        "fingerprint": d.fingerprint[:12],
        "split": d.split_hash,
        "marks": list(d.marks),
        "viewer": bool(pictures.get("cases")),
    }


def _row(board: Board, row: Row, results: Results, verdicts: Mapping[Path, Verdict], to: Path) -> dict[str, Any]:
    r = row.first
    who: Vouched = vouched(board, row, results, verdicts)
    return {
        "name": row.name,
        "title": row.title,
        "page": f"methods/{files.file_name(r.method)}.html",
        "about": str(r.card.get("title", "")),
        "contrasts": str(r.card.get("contrasts", "")),
        "phase": r.method_track == "complex",
        "trains": row.trains,
        "seeds": list(row.seeds),
        "flags": flags(board, row),
        "vouched": {
            "level": who.level,
            "verified": who.verified,
            "seeds": who.seeds,
            "reproduced": who.reproduced,
            "apart": who.apart,
            "reason": who.reason,
        },
        **size(row),
        "latency": latency(row, results),
        "reported": reported(board, row),
        "command": command(row),
        "signatures": signatures(r),
        "notes": list(r.notes),
        "downloads": _downloads(board, row, to),
    }


def _downloads(board: Board, row: Row, to: Path) -> dict[str, str]:
    """The scores of a row per volume and per slice, as CSV: where they are in the site."""
    found = {}
    for kind, table in (("volumes", row.results.volumes), ("slices", row.results.slices)):
        kept = table[(table["role"] == board.role) & (table["contrast"] == board.contrast)]
        place = f"downloads/{board.name}/{files.file_name(row.name)}-{kind}.csv"
        (to / place).parent.mkdir(parents=True, exist_ok=True)
        frames.write_csv(to / place, _for_file(kept))
        found[kind] = place
    return found


def _for_file(table: pd.DataFrame) -> pd.DataFrame:
    """Text without control characters, and none that a spreadsheet would take for a formula."""
    text = {name: table[name].map(_cell) for name in table if not is_numeric_dtype(table[name])}
    return table.assign(**text)


def _cell(value: Any) -> Any:
    return re.sub(r"^(?=[=+@\-])", "'", one_line(value)) if isinstance(value, str) else value


def _numbers(board: Board, by_metric: Mapping[str, Scores]) -> dict[str, Any]:
    """The scores of all rows by all metrics, as the pages read them."""
    place = {row.name: k for k, row in enumerate(board.rows)}
    out = {}
    for metric, found in by_metric.items():
        of = METRICS[metric]
        out[metric] = {
            "title": of.title,
            "unit": of.unit,
            "up": of.higher_is_better,
            "decimals": of.decimals,
            "description": of.description,
            "patients": found.patients,
            "rows": {
                name: {
                    "mean": one.mean,
                    "low": one.low,
                    "high": one.high,
                    "sd": one.sd_seeds,
                    "rank": one.standing.rank,
                    "why": one.standing.reason,
                    "patients": one.patients,
                    "ranks": one.ranks,
                }
                for name, one in found.rows.items()
            },
            "pairs": [
                [place[p.method], place[p.other], p.mean_difference, p.ci_low, p.ci_high, p.p_holm]
                for p in found.pairs.itertuples()
            ],
        }
    return {"metrics": out}


def _copy_assets(to: Path) -> None:
    """Styles, scripts and what is vendored, with its licences."""
    shutil.copytree(_OWN / "assets", to)
    shutil.copytree(_OWN / "vendored", to / "vendored")
