"""Pair lists: which PD volume goes with which FS-PD volume.

The published lists are facts taken from SANet and MINet (Feng et al.), identical in both: file names and a score without
documentation. 227 train and 45 val rows, no file used twice.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from mcsr_bench.errors import UserError
from mcsr_bench.system.files import not_a_file

_HERE = Path(__file__).parent
MAX_BYTES = 16 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Pair:
    """Two files of a pair, names without folder and without ``.h5``."""

    pd: str
    fspd: str


@dataclass(frozen=True)
class PairLists:
    """The train list and the list that is tested on (the published one calls it val)."""

    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    published: bool

    def names(self) -> list[str]:
        """Every file name of both lists, in the lists' order."""
        return [name for pair in (*self.train, *self.test) for name in (pair.pd, pair.fspd)]


def published_lists() -> PairLists:
    """The lists shipped beside this file."""
    train, test = (read_list(_HERE / f"pairs-{part}.csv", "the published list") for part in ("train", "val"))
    return PairLists(train, test, published=True)


def own_lists(train_pairs: str, test_pairs: str) -> PairLists:
    """A user's own lists. UserError unless both are given, readable, and use no file twice."""
    if not (train_pairs and test_pairs):
        given, missing = ("train_pairs", "test_pairs") if train_pairs else ("test_pairs", "train_pairs")
        raise UserError(f"fastmri.{given} is set but fastmri.{missing} is not: an own list needs both")
    train, test = (
        read_list(Path(path).expanduser(), f"fastmri.{key}")
        for key, path in (("train_pairs", train_pairs), ("test_pairs", test_pairs))
    )
    both = {name for pair in train for name in (pair.pd, pair.fspd)} & {n for p in test for n in (p.pd, p.fspd)}
    if both:
        raise UserError(f"fastmri.train_pairs and fastmri.test_pairs share {len(both)} files: {shown(sorted(both))}")
    return PairLists(train, test, published=False)


def read_list(path: Path, where: str) -> tuple[Pair, ...]:
    """The pairs in a CSV file without header: PD file, FS-PD file, optional score; ``.h5`` may be left out.

    ``where`` is the setting, for messages. Raises UserError when the file is absent, no text, empty, or a line has other
    columns, an impossible name, or a file that an earlier line has.
    """
    text = _text(path, where)
    pairs: list[Pair] = []
    line_of: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        at = f"{where}: {path}, line {number}"
        cells = [cell.strip().strip('"') for cell in line.split(",")]
        if len(cells) not in (2, 3):
            raise UserError(f"{at} has {len(cells)} columns; PD file, FS-PD file and an optional score are needed")
        if len(cells) == 3 and not _is_score(cells[2]):
            raise UserError(f"{at}: the score {cells[2][:30]!r} is not a number (a list has no header line)")
        names = [cell.removesuffix(".h5") for cell in cells[:2]]
        for name in names:
            if not _NAME.fullmatch(name):
                raise UserError(
                    f"{at}: {name[:60]!r} is not a file name (letters, digits, '.', '_' and '-', no folder)"
                )
            if name in line_of:
                raise UserError(f"{at}: {name} is already used in line {line_of[name]}")
            line_of[name] = number
        pairs.append(Pair(*names))
    if not pairs:
        raise UserError(f"{where}: {path} has no pairs")
    return tuple(pairs)


def shown(names: list[str], limit: int = 10) -> str:
    """The first names of a list, and how many there are beyond them."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def _text(path: Path, where: str) -> str:
    if what := not_a_file(path):
        raise UserError(f"{where}: {path}: {what}")
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{where}: {path} cannot be read ({error.strerror})") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{where}: {path} is larger than {MAX_BYTES >> 20} MB: not a list of pairs")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"{where}: {path} is not a text file; a CSV of file names is needed")
    return text


def _is_score(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
