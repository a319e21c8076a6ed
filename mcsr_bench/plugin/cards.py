"""The schema of ``card.toml``, by which a plugin describes itself without being imported."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Card(BaseModel):
    """What every plugin states about itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["method", "dataset", "report"] = "method"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    """The name that users type."""
    title: str
    class_name: str = Field(alias="class")
    """The class in the plugin's ``__init__.py``."""
    revision: int = Field(default=1, ge=1)
    """Raised when the plugin computes other numbers from the same input; enters the key of a trial."""
    order: int = 100
    """Where tables and ``list`` put it: low numbers first, equal ones by name."""
    requires: tuple[str, ...] = ()
    """Python modules beyond mcsr-bench's own dependencies."""


class Difference(BaseModel):
    """One topic on which paper and released code disagree, and what this implementation does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: str
    paper: str
    released: str
    here: str
    setting: str = ""
    """The setting that switches between them, if there is one."""


class Searched(BaseModel):
    """The values among which ``tune`` looks for a setting: a range of numbers, or choices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float | None = None
    high: float | None = None
    log: bool = False
    """Whether the range is searched by ratios instead of differences."""
    choices: tuple[int | float | str, ...] = ()

    @model_validator(mode="after")
    def _one_of_range_and_choices(self) -> Searched:
        if self.choices:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("has either choices or low and high")
            if len(set(self.choices)) < max(2, len(self.choices)):
                raise ValueError("choices are at least two, all different")
        elif self.low is None or self.high is None or not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("needs low below high, above zero with log, or choices")
        return self

    def text(self) -> str:
        """For people."""
        if self.choices:
            return " or ".join(map(str, self.choices))
        return f"{self.low:g} to {self.high:g}" + (", by ratios" if self.log else "")

    def examples(self) -> tuple[int | float | str, ...]:
        """All choices; of a range its ends and a number between them that is not an integer."""
        if self.low is None or self.high is None:
            return self.choices
        return self.low, self.high, self.low + (self.high - self.low) / 2**0.5


class Tuning(BaseModel):
    """The search space and the budget of ``tune``. Those of the built-in methods are the same: none is tuned harder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folds: int = Field(ge=3)
    trials: int = Field(ge=1)
    """Points of the space that are tried, each in every fold."""
    space: dict[str, Searched] = Field(min_length=1)
    """By setting."""


class MethodCard(Card):
    """The card of a method."""

    authors: str
    venue: str
    year: int
    doi: str = ""
    arxiv: str = ""
    code: str = ""
    """The authors' repository (never copied from)."""
    code_licence: str = ""
    contrasts: Literal["single", "multi"]
    """Whether the auxiliary contrast is used."""
    track: Literal["complex", "magnitude"]
    """Whether the method sees phase."""
    trains: bool = True
    scales: tuple[int, ...] = (2, 3, 4, 8)
    size_multiple: int = Field(default=1, ge=1)
    """H and W of the LR image must be multiples of this."""
    smallest_patch: int = Field(default=0, ge=0)
    """LR pixels per side: smaller training patches would teach another task than whole slices are. 0: any patch will do."""
    smoke_size: int = 32
    """HR pixels per side that preset ``smoke`` needs."""
    reported_as: str = ""
    """This method in the alias column of the paper's table; empty: not in the paper."""
    published: tuple[str, ...] = ()
    """What is as published."""
    derived: tuple[str, ...] = ()
    """What follows from published facts."""
    assumptions: tuple[str, ...] = ()
    """What no source confirms."""
    checked_against: str = ""
    """Which independent reference the implementation was compared with, and how."""
    differences: tuple[Difference, ...] = ()
    dead_parameters: tuple[str, ...] = ()
    """Names (shell patterns) of parameters that get no gradient, and are meant to; ``x2: PATTERN`` holds at that scale alone."""
    parameters: dict[str, dict[str, int]] = {}
    """Per preset, per scale ("x2"): the exact number of parameters of the networks that predict."""
    presets: dict[str, dict[str, Any]] = {}
    """Per preset, the value of every setting, or a table of values by scale ("x2"). Empty for methods that have none
    (interpolation): every preset is accepted."""
    training_flop: dict[str, dict[str, int]] = {}
    """Per preset, per scale: FLOP of one training step, as `mcsr_bench.training.budget` counts them."""
    rates: dict[str, dict[str, dict[str, float]]] = {}
    """Per preset, per scale: validation PSNR (dB) by learning rate, each trained for a quarter of the budget with seed 0."""
    collapsed: dict[str, dict[str, tuple[str, ...]]] = {}
    """Per preset, per scale: rates of that search with which a training of the whole budget collapsed; they are not chosen."""
    shipped: dict[str, str] = {}
    """Per scale: SHA-256 of the weights that come with the method, see `mcsr_bench.weights.shipped`."""

    tuning: Tuning | None = None
    """None: there is nothing to tune."""

    @model_validator(mode="after")
    def _values_by_scale_are_complete(self) -> MethodCard:
        expected = {f"x{scale}" for scale in self.scales}
        for preset, values in self.presets.items():
            for key, value in values.items():
                if isinstance(value, dict) and value.keys() != expected:
                    raise ValueError(f"presets.{preset}.{key} needs a value for each of {', '.join(sorted(expected))}")
        return self

    def dead_at(self, scale: int) -> list[str]:
        """The patterns of `dead_parameters` that hold at a scale."""
        parts = [entry.rpartition(": ") for entry in self.dead_parameters]
        return [pattern for where, _, pattern in parts if where in ("", f"x{scale}")]


class DatasetCard(Card):
    """The card of a dataset."""

    class_name: str = Field(default="", alias="class")
    source: str
    licence: str
    access: str
    """How a user gets it."""
    contrasts: tuple[str, ...]
    track: Literal["complex", "magnitude"]
    real: bool
    """False for generated data, which are never called real."""
    reported_as: str = ""
    """This dataset, its first contrast the target, in the paper's tables; empty: not in the paper."""
    size_setting: str = ""
    """The setting that is the HR size in pixels per side, where data are generated: preset ``smoke`` makes it small."""
    notes: tuple[str, ...] = ()
    configures: str = ""
    """Another dataset that this one is a named configuration of, instead of ``class`` and code of its own."""
    settings: dict[str, Any] = {}
    """With ``configures``: the settings that differ from that dataset's defaults."""

    @model_validator(mode="after")
    def _one_of_class_and_configures(self) -> DatasetCard:
        if bool(self.class_name) == bool(self.configures):
            raise ValueError("a dataset's card has either class or configures")
        if self.settings and not self.configures:
            raise ValueError("settings go with configures; a class has its own defaults")
        return self


class ReportCard(Card):
    """The card of a report."""

    published_numbers: str = ""
    """A CSV in the report's folder with what a paper printed, see `mcsr_bench.plugin.published`; empty: none."""
