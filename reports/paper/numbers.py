"""The numbers that the paper prints (``tables.csv``: facts of Feng et al., arXiv 2109.01664, Tables I to IV and text)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

METRICS = {"psnr@volume-max": "PSNR", "ssim@volume-max": "SSIM", "nmse@volume": "NMSE"}
"""Our metric id to the paper's word."""


@dataclass(frozen=True)
class Printed:
    """A cell of the paper: text as printed."""

    mean: str
    std: str

    @property
    def text(self) -> str:
        """Mean±std."""
        return f"{self.mean}±{self.std}" if self.std else self.mean


@cache
def _cells() -> dict[tuple[str, str, int, str], Printed]:
    with (Path(__file__).parent / "tables.csv").open(encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["table"] in ("I", "II")]
    return {
        (row["method_alias"], row["dataset_alias"], int(row["scale"]), row["metric"]): Printed(row["mean"], row["std"])
        for row in rows
    }


def printed(method_alias: str, dataset_alias: str, scale: int, metric: str) -> Printed | None:
    """What Tables I and II print for a method and dataset in the paper's spelling (the cards' ``reported_as``), or None."""
    return _cells().get((method_alias, dataset_alias, scale, METRICS[metric]))
