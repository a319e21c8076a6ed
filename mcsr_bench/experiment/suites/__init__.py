"""Named experiments, one TOML file each in this folder; ``default.toml`` holds what `run` does by default.

A suite is data: which methods with which settings under which names, at which scales, and which table or figure of the paper
its results are laid out as. The engine reads it and knows no method.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mcsr_bench.errors import UserError, explain, unknown_name

FOLDER = Path(__file__).parent
_DEFAULT = "default"


class Row(BaseModel):
    """One line of a suite's table: a method with named settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    name: str = Field(default="", pattern=r"^[A-Za-z0-9_.=-]*$")
    """The trial's variant; empty: the preset as it is."""
    label: str = ""
    """What the table calls it; empty: method, with the name in brackets."""
    settings: dict[str, Any] = {}
    """What differs from the preset."""
    paper: str = ""
    """The paper's own name for this line in its table of numbers (column ``variant``)."""


class Defaults(BaseModel):
    """``default.toml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    scales: tuple[int, ...]
    seeds: tuple[int, ...]
    preset: str
    protocol: str
    out: Path
    report: str
    site: str
    """The report that `leaderboard` writes."""
    against: tuple[str, ...]
    pace: str
    """The method whose times those of others are divided by, where two runs are compared."""
    rows: tuple[Row, ...] = ()
    """Lines beside those of the methods themselves, where all methods are asked for."""

    def lines(self, names: Sequence[str]) -> list[Row]:
        """A line for every method, each followed by its further ones."""
        return [row for name in names for row in (Row(method=name), *(r for r in self.rows if r.method == name))]


class Suite(BaseModel):
    """A table or figure of the paper as an experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str
    table: str = ""
    """The paper's table (column ``table`` of its numbers) whose values are printed beside ours."""
    paper_dataset: str = ""
    """The dataset the paper made it on, by the paper's spelling; empty: several."""
    kind: Literal["table", "sweep"] = "table"
    """``sweep``: the names are values of one setting (``alpha=0.3``), drawn as a curve."""
    scales: tuple[int, ...]
    against: tuple[str, ...] = ()
    """References of the p-values: methods, or ``METHOD@NAME``."""
    metrics: tuple[str, ...] = ("psnr@volume-max", "ssim@volume-max")
    beside: tuple[str, ...] = ("psnr@roi", "ssim@roi")
    """Metrics that stand beside these without p-values."""
    columns: tuple[Literal["parameters", "convergence"], ...] = ()
    """``parameters`` of the networks; ``convergence``: step at which 99 % of the final validation PSNR is reached."""
    notes: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    """Methods with their preset as it is; ("all",): every one there is."""
    rows: tuple[Row, ...] = ()
    """Lines with settings of their own, after `methods`."""

    def lines(self, available: Sequence[str]) -> list[Row]:
        """All lines, "all" spelled out."""
        names = available if "all" in self.methods else self.methods
        return [*(Row(method=name) for name in names), *self.rows]


def defaults() -> Defaults:
    """What `run` does by default."""
    return Defaults.model_validate(_read(FOLDER / f"{_DEFAULT}.toml"))


def suites() -> dict[str, Suite]:
    """The suites by name, in the order of names."""
    found = sorted(path for path in FOLDER.glob("*.toml") if path.stem != _DEFAULT)
    return {path.stem: _suite(path) for path in found}


def get_suite(name: str) -> Suite:
    """The suite of that name; UserError with the nearest name if there is none."""
    path = FOLDER / f"{name}.toml"
    known = [p.stem for p in FOLDER.glob("*.toml") if p.stem != _DEFAULT]
    if name not in known:
        raise unknown_name("suite", name, sorted(known))
    return _suite(path)


def _suite(path: Path) -> Suite:
    try:
        return Suite.model_validate({"id": path.stem, **_read(path)})
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}") from None


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))
