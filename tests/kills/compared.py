"""Two folders of runs compared: every byte, without the folders' own names and without times and dates."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

RECORD_TIMES = {"seconds": {}, "heartbeat": "", "started": "", "pid": 0}
"""What a `trial.json` says of when, how long and by which process."""
COLUMNS = {"s per step", "training, s", "prediction, s per slice"}
"""The columns of the table of costs that hold times; sizes and counts stand beside them."""
MADE = ("date", "command", "trials started")
"""What a page says of its own making: when, and with the command whose `--jobs` may be another."""
_TEX_CELL = re.compile(r"\\(?:begin\{tabular\}\[b\]\{@\{\}r@\{\}\}|end\{tabular\})")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that was made, by its path in the folder; the log of the command and the locks are not results."""
    out = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"):
        name = str(path.relative_to(folder))
        if name != "log":
            out[name] = _lasting(path, path.read_bytes().replace(str(folder).encode(), b"FOLDER"))
    return out


def _lasting(path: Path, data: bytes) -> bytes:
    """The content of a file without its times."""
    if path.name == "trial.json":
        record = json.loads(data) | RECORD_TIMES
        record["profile"].pop("seconds_per_step", None)
        return json.dumps(record, sort_keys=True).encode()
    if path.name.startswith("efficiency") and path.suffix == ".csv":
        return _joined(_untimed(csv.reader(io.StringIO(data.decode()))))
    if path.name.startswith("efficiency") and path.suffix == ".tex":
        return _joined(_untimed(line.split(" & ") for line in data.decode().splitlines()))
    if path.name == "report.md":
        lines = (line for line in data.decode().splitlines() if not line.startswith(tuple(f"- {k}: " for k in MADE)))
        return _joined(_untimed(line.split(" | ") for line in lines))
    if path.suffix == ".html":
        made = "|".join(MADE)
        text = re.sub(rf"<dt>({made})</dt><dd>.*?</dd>", "", data.decode())
        return _joined(_untimed(map(_html_cells, re.split(r"(?=<tr>)|(?<=</tr>)", text))))
    return data


def _html_cells(row: str) -> list[str]:
    return re.split(r"(?=<t[dh][ >])", row)


def _untimed(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """Rows of text, tables among it, without the cells below a header of `COLUMNS`, up to the end of that table."""
    timed: set[int] = set()
    width = 0
    for cells in rows:
        found = {i for i, cell in enumerate(cells) if _name(cell) in COLUMNS}
        if found:
            timed, width = found, len(cells)
        elif len(cells) > 1 and len(cells) != width:
            timed = set()
        yield [cell for i, cell in enumerate(cells) if i not in timed or len(cells) != width]


def _name(cell: str) -> str:
    """The words of a header, without the marks of Markdown, LaTeX and HTML."""
    plain = re.sub(r"<[^>]*>", "", _TEX_CELL.sub("", cell))
    return " ".join(plain.replace("\\\\", " ").strip(" |").split())


def _joined(rows: Iterable[list[str]]) -> bytes:
    return "\n".join(map("|".join, rows)).encode()


def temporaries(folder: Path) -> list[str]:
    """Files that a killed process left, and owners of claims that nobody has any more."""
    ends = (".tmp", ".removed", ".owner", ".building", ".unfinished", ".damaged", ".clearing")
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.name.endswith(ends)]


def differences(found: dict[str, bytes], whole: dict[str, bytes]) -> Iterator[str]:
    """A sentence for each file that differs from the undisturbed run's."""
    for name in sorted(found.keys() ^ whole.keys()):
        yield f"{name} is {'new' if name in found else 'missing'}"
    for name in sorted(found.keys() & whole.keys()):
        if found[name] != whole[name]:
            yield f"{name} differs ({len(found[name])} bytes, {len(whole[name])} undisturbed)"
