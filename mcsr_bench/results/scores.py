"""The CSV files of scores of many trials as one table, each checked to be what its trial wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from mcsr_bench.errors import DamagedFileError, UserError, damaged
from mcsr_bench.results.bundle import Bundle, TrialRecord
from mcsr_bench.roles import ROLES
from mcsr_bench.system import frames

WHERE = ("patient_id", "volume_id", "role", "contrast")
IDENTITY = ("dataset", "scale", "method", "variant", "seed", "preset", "protocol", "protocol_hash", "track")
_KEYS = ("role", "volume_id", "slice_index")


def identity(record: TrialRecord) -> dict[str, Any]:
    """What tells the rows of a trial from those of others."""
    found = {"dataset": record.dataset_label, "track": record.data.track}
    return {name: found.get(name, getattr(record, name, None)) for name in IDENTITY}


def score_table(found: Sequence[Bundle], file: Callable[[Bundle], Path]) -> pd.DataFrame:
    """A CSV of all finished trials in one table, the identity of the trial in front of each row.

    A column per metric there is: empty where it was not computed, or by another revision than today's. DamagedFileError for a file
    that is not the one that was written, UnreadFileError for one that cannot be read at the moment.
    """
    done = [bundle for bundle in found if bundle.record.status == "done"]
    if not done:
        return pd.DataFrame(columns=[*IDENTITY, *WHERE])
    table = _all(done, file)
    if table is None:  # one by one, to find which file it is, and what is wrong with it
        table = pd.concat([_one(file(bundle), bundle) for bundle in done], ignore_index=True)
    return table


def _all(done: Sequence[Bundle], file: Callable[[Bundle], Path]) -> pd.DataFrame | None:
    """All files, those with equal columns read as one; None where anything is odd."""
    texts: dict[bytes, tuple[list[int], list[bytes]]] = {}
    for number, bundle in enumerate(done):
        try:
            head, rows = frames.split_csv(bundle.checked(file(bundle)))
        except (OSError, ValueError, UserError):
            return None
        numbers, parts = texts.setdefault(head, ([], []))
        numbers += [number] * rows.count(b"\n")
        parts.append(rows)
    tables = []
    for head, (numbers, parts) in texts.items():
        try:
            table = frames.parse_csv(b"".join([head, *parts]), WHERE)
        except ValueError:
            return None
        if len(table) != len(numbers) or not {*WHERE} <= set(table) or _not_scores(table):
            return None
        table.index = pd.Index(numbers)
        if table.assign(trial=numbers).duplicated(["trial", *_keys(table)]).any():
            return None
        tables.append(table)
    scores = tables[0] if len(tables) == 1 else pd.concat(tables).sort_index(kind="stable")
    for number, bundle in enumerate(done):
        for metric in bundle.record.outdated():
            if metric not in scores:
                scores[metric] = math.nan
            scores.loc[scores.index == number, metric] = math.nan
    rows = scores.index.to_numpy()
    about = pd.DataFrame([identity(bundle.record) for bundle in done]).iloc[rows].reset_index(drop=True)
    return pd.concat([about, scores.reset_index(drop=True)], axis=1)


def _one(path: Path, bundle: Bundle) -> pd.DataFrame:
    try:
        table = frames.read_csv(path, WHERE)
    except (OSError, ValueError) as error:
        raise damaged(path, f"the scores of a finished trial cannot be read: {error}", error) from None
    if missing := sorted({*WHERE} - set(table)):
        raise DamagedFileError(path, f"the scores of a finished trial have no column {missing[0]}")
    if wrong := _not_scores(table):
        raise DamagedFileError(path, f"the scores of a finished trial cannot be read: {wrong}")
    twice = table[table.duplicated(_keys(table))]
    if len(twice):
        raise DamagedFileError(path, f"holds volume {twice['volume_id'].iloc[0]} ({twice['role'].iloc[0]}) twice")
    bundle.checked(path)
    for metric in bundle.record.outdated():
        table[metric] = math.nan
    return pd.concat([pd.DataFrame(identity(bundle.record), index=table.index), table], axis=1)


def _keys(table: pd.DataFrame) -> list[str]:
    return [key for key in _KEYS if key in table]


def _not_scores(table: pd.DataFrame) -> str:
    """Why a table is not one of scores, as a clause, or ""."""
    for column in table:
        values = table[column]
        if column in IDENTITY:
            return f"a column {column}, which the record gives"
        if column in WHERE and values.isna().any():
            return f"a row without {column}"
        if column not in WHERE and not (is_numeric_dtype(values) or values.isna().all()):
            return f"{column} holds text"
    return "" if set(table["role"]) <= set(ROLES) else "a role that is neither target nor auxiliary"
