"""The numbers that papers printed, as facts in the CSV of a report's folder (its card names the file).

Columns: table, dataset, dataset_alias, scale, method, method_alias, variant, metric, mean, std, p_value, note; all text as
printed. Methods and datasets are found by their spelling in the paper, which their cards give as ``reported_as``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from functools import cache

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


@cache
def published_numbers() -> tuple[Published, ...]:
    """All of them, in the order of the files."""
    out: list[Published] = []
    names = [field.name for field in fields(Published)]
    for plugin in reports().plugins().values():
        if plugin.card is None or not plugin.card.published_numbers:
            continue
        with (plugin.folder / plugin.card.published_numbers).open(encoding="utf-8", newline="") as handle:
            out += [Published(**{name: row[name] for name in names}) for row in csv.DictReader(handle)]
    return tuple(out)


@cache
def _by_key() -> dict[tuple[str, str, str, str, str, str], Published]:
    return {(p.table, p.dataset_alias, p.scale, p.method_alias, p.variant, p.metric): p for p in published_numbers()}


def published(
    table: str, dataset_alias: str, scale: int, method_alias: str, metric: str, variant: str = ""
) -> Published | None:
    """The number in a table of the paper for one of our metric ids, or None."""
    return _by_key().get((table, dataset_alias, str(scale), method_alias, variant, METRICS.get(metric, "")))
