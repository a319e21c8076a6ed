"""Two tables of scores of the same predictions: those of a bundle, and those computed now."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mcsr_bench.errors import damaged
from mcsr_bench.metrics import COMPANIONS, METRICS, REGIONAL, of_zero_filling, revisions
from mcsr_bench.system import frames

RELATIVE = 1e-6
"""How far scores of equal prepared data may be apart."""
DECIBEL = 1e-3
"""How far they may be apart, in dB, where the data were prepared by another machine, which rounds in another way."""
ROUNDING = {"kspace-error": 1e-6}
"""Differences that are the rounding of 32-bit numbers: zero-filling gives the LR data back but for that."""

_WHERE = ("patient_id", "volume_id", "role", "contrast")
_KEYS = ("role", "volume_id", "slice_index")


def differences(path: Path, fresh: pd.DataFrame, scored_by: Mapping[str, int], *, same_data: bool) -> list[str]:
    """What a bundle's table of scores says that its predictions do not give; a sentence each, none where the two agree.

    fresh: the scores computed now, with the columns of `mcsr_bench.data.scoring.score_rows`. scored_by: the metrics' revisions in
    the record: those of another revision than today's are not compared. same_data: whether the prepared data are equal to the byte,
    so that `RELATIVE` holds, and not `DECIBEL`. DamagedFileError or UnreadFileError for a table that cannot be read.
    """
    try:
        stored = frames.read_csv(path, _WHERE)
    except (OSError, ValueError) as error:
        raise damaged(path, f"cannot be read as a table of scores: {error}", error) from None
    keys = [key for key in _KEYS if key in fresh]
    columns = compared(scored_by, fresh.columns)
    if missing := [column for column in (*_WHERE, *keys, *columns) if column not in stored]:
        return [f"{path}: has no column {missing[0]}"]
    stored, fresh = (table.set_index(keys) for table in (stored, fresh))
    if stored.index.has_duplicates:
        return [f"{path}: holds {_named(keys, stored.index[stored.index.duplicated()][0])} twice"]
    for verb, odd in (("lacks", fresh.index.difference(stored.index)), ("holds", stored.index.difference(fresh.index))):
        if len(odd):
            what = "" if verb == "lacks" else ", which is not in the test part of the split"
            return [f"{path}: {verb} {_named(keys, odd[0])}{what}"]
    stored = stored.loc[fresh.index]
    for name in ("patient_id", "contrast"):
        if len(odd := fresh.index[stored[name].to_numpy() != fresh[name].to_numpy()]):
            said, found = stored.loc[odd[0], name], fresh.loc[odd[0], name]
            return [f"{path}: {name} of {_named(keys, odd[0])} is {said}, and the data say {found}"]
    found = []
    for column in columns:
        try:
            said, now = (table[column].to_numpy(dtype=np.float64) for table in (stored, fresh))
        except (ValueError, TypeError):
            found.append(f"{path}: {column} holds something other than numbers")
            continue
        wrong = np.flatnonzero(~agree(column, said, now, same_data=same_data))
        if len(wrong):
            first = wrong[0]
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            found.append(
                f"{path}: {column} of {_named(keys, fresh.index[first])} is {said[first]:.10g}, and the predictions give "
                f"{now[first]:.10g}{more}"
            )
    return found


def compared(scored_by: Mapping[str, int], columns: Collection[str]) -> list[str]:
    """The columns that can be compared: of metrics with today's revision, and of what stands beside them."""
    now = [metric for metric, revision in revisions().items() if scored_by.get(metric) == revision]
    beside = COMPANIONS if len(now) == len(METRICS) else ()  # written by the revisions of the regional metrics
    return [column for column in (*now, *beside) if column in columns]


def agree(column: str, said: NDArray[np.float64], now: NDArray[np.float64], *, same_data: bool) -> NDArray[np.bool_]:
    """Whether scores of a column are equal within what may be. NaN agrees with NaN, infinity with infinity."""
    of = {of_zero_filling(metric): metric for metric in REGIONAL}.get(column, column)
    decibel = of in METRICS and METRICS[of].unit == "dB"
    with np.errstate(invalid="ignore"):
        apart = np.abs(said - now)
        if same_data:
            allowed = RELATIVE * np.abs(now)
        elif decibel:
            allowed = np.full_like(now, DECIBEL)
        else:  # what that many dB are as a ratio of squared errors
            allowed = math.expm1(DECIBEL / 10 * math.log(10)) * np.abs(now)
        close = apart <= np.maximum(allowed, ROUNDING.get(of, 0.0))
    return np.asarray((said == now) | (np.isnan(said) & np.isnan(now)) | (close & np.isfinite(now)))


def _named(keys: list[str], value: tuple[object, ...]) -> str:
    """For people: "volume subject-0003 (target)", "slice 2 of volume subject-0003 (target)"."""
    named = dict(zip(keys, value, strict=True))
    volume = f"volume {named['volume_id']} ({named['role']})"
    return f"slice {named['slice_index']} of {volume}" if "slice_index" in named else volume
