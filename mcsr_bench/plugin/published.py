"""The numbers that papers printed, as facts in the CSV of a report's folder (its card names the file).

Columns: table, dataset, dataset_alias, scale, method, method_alias, variant, metric, mean, std, p_value, note; all text as
printed. Methods and datasets are found by their spelling in the paper, which their cards give as ``reported_as``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from mcsr_bench.plugin.registry import reports

METRICS = {"psnr@volume-max": "PSNR", "ssim@volume-max": "SSIM", "nmse@volume": "NMSE"}
"""Our metric id to the paper's word."""


@dataclass(frozen=True)
class Published:
    """One number as printed."""

    table: str
    dataset_alias: str
    scale: str
    method_alias: str
    variant: str
    metric: str
    mean: str
    std: str
    note: str

    @property
    def text(self) -> str:
        """Mean±std."""
        return f"{self.mean}±{self.std}" if self.std else self.mean


def published_numbers() -> tuple[Published, ...]:
    """All of them, in the order of the files."""
    return tuple(number for file in _files() for number in _numbers(file).values())


_File = tuple[Path, int, int]
"""A path, and when it was changed and how long it is: another file is read again."""
_Key = tuple[str, str, str, str, str, str]


def _files() -> tuple[_File, ...]:
    """The files of the reports that are known now."""
    cards = [(plugin.folder, plugin.card) for plugin in reports().plugins().values() if plugin.available]
    paths = [folder / card.published_numbers for folder, card in cards if card is not None and card.published_numbers]
    return tuple((path, (found := path.stat()).st_mtime_ns, found.st_size) for path in paths)


@lru_cache(maxsize=16)
def _numbers(file: _File) -> dict[_Key, Published]:
    names = [field.name for field in fields(Published)]
    try:
        with file[0].open(encoding="utf-8", newline="") as handle:
            rows = [Published(**{name: str(row[name]) for name in names}) for row in csv.DictReader(handle)]
    except (OSError, ValueError, KeyError, csv.Error):  # a third party's: its numbers are not there, all others are
        return {}
    return {(p.table, p.dataset_alias, p.scale, p.method_alias, p.variant, p.metric): p for p in rows}


def published(
    table: str, dataset_alias: str, scale: int, method_alias: str, metric: str, variant: str = ""
) -> Published | None:
    """The number in a table of the paper for one of our metric ids, or None."""
    key = (table, dataset_alias, str(scale), method_alias, variant, METRICS.get(metric, ""))
    return next((found[key] for file in reversed(_files()) if key in (found := _numbers(file))), None)
