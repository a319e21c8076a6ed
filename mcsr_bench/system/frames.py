"""Data frames in files: CSV of one fixed form, and Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mcsr_bench.errors import UserError
from mcsr_bench.system.files import check_finite, replacing

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 1 << 25
"""Bytes of a CSV that are read: some 90 000 slices with all scores."""
LONGEST_HEAD = 1 << 16
"""Bytes of the first line of a CSV."""


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a CSV in one move, with a fixed float format: equal numbers give equal bytes."""
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.12g", lineterminator="\n")


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a Parquet file in one move. UserError without pyarrow."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UserError('Parquet needs pyarrow: pip install "mcsr-bench[parquet]"') from None
    with replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)


def read_csv(path: Path, text: Iterable[str] = ()) -> pd.DataFrame:
    """Read what `write_csv` wrote; ``text``: columns of names, in which even "NA" or "007" is one. OSError, ValueError.

    ValueError also for a file that would need more memory than such tables have.
    """
    return parse_csv(b"".join(split_csv(path)), text)


def split_csv(path: Path) -> tuple[bytes, bytes]:
    """The line with the names of the columns, and the others. Errors as `read_csv`."""
    check_finite(path)
    with path.open("rb") as handle:
        head = handle.readline(LONGEST_HEAD + 1)
        if len(head) > LONGEST_HEAD or b'"' in head:
            raise ValueError("its first line is not the names of columns")
        rows = handle.read(LARGEST + 1)
    if len(head) + len(rows) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    return head, rows


def parse_csv(data: bytes, text: Iterable[str] = ()) -> pd.DataFrame:
    """What is in the bytes of a CSV, or of several with the same columns after each other. ValueError."""
    import pandas as pd

    return pd.read_csv(io.BytesIO(data), dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=[""])
