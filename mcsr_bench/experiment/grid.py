"""The experiment that was asked for: the grid of trials as names, validated before anything is read or trained, and its layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mcsr_bench.data.spec import DataSpec
from mcsr_bench.errors import UserError, unknown_name
from mcsr_bench.experiment.suites import Row, Suite, defaults, get_suite
from mcsr_bench.plugin.loading import SMOKE, check_method, check_seed, smoke_settings
from mcsr_bench.plugin.registry import datasets, methods
from mcsr_bench.protocol import get_protocol
from mcsr_bench.results.bundle import SCHEMA_VERSION
from mcsr_bench.results.naming import changed, variant_of
from mcsr_bench.system.computing import Computing
from mcsr_bench.weights.shipped import SEED, VARIANT, shipped_digest


class ExperimentSpec(BaseModel):
    """A grid of trials as asked, every field filled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[2] = SCHEMA_VERSION
    data: DataSpec
    """Its scales are empty with suites: each at its own."""
    methods: tuple[str, ...]
    """May be ("all",)."""
    suites: tuple[str, ...] = ()
    """Named experiments; their methods, restricted to ``methods``, with their named settings."""
    seeds: tuple[int, ...]
    preset: str
    pretrained: bool = False
    """With the weights that come with the methods; nothing is trained."""
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """``--set``: per method, what differs from the preset."""
    against: tuple[str, ...]
    """References of p-values as asked for, or the default."""
    against_given: bool = False
    """Whether the user named them; otherwise the default falls back to the first method where it was not run."""
    references: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """What p-values compare with, by suite ("" without one): fixed by the first run of the folder, before any result, and kept."""
    out: Path
    report: str
    device: str = "auto"
    computing: Computing = Computing()
    jobs: int = 0
    """Worker processes; 0: as many as there are cores (GPUs)."""
    fresh: bool = False

    def asked(self) -> dict[str, Any]:
        """What ``experiment.json`` holds: all but how the command that was given computes. JSON."""
        left_out: dict[str, Any] = {"fresh": True, "jobs": True, "device": True}
        left_out["computing"] = {"resident", "compile", "devices"}
        return self.model_dump(mode="json", exclude=left_out)


@dataclass(frozen=True)
class Point:
    """A method with all its settings at a scale: a trial but for data and seed."""

    method: str
    variant: str
    settings: dict[str, Any]
    scale: int
    changes: dict[str, Any] = field(default_factory=dict)
    """Of the settings, those that differ from the preset and from the suite's row."""
    shipped: str = ""
    """SHA-256 of the weights that come with the method, where it is not trained."""


def points(spec: ExperimentSpec) -> list[Point]:
    """The points of the grid in the order of tables. UserError for any name, scale, preset or setting that cannot be had."""
    protocol = get_protocol(spec.data.protocol)
    _check(spec)
    out: dict[tuple[str, str, int], Point] = {}
    for scales, rows in _blocks(spec):
        for scale in scales:
            protocol.check_scale(scale)
            for row in rows:
                point = point_of(row, scale, spec.preset, spec.settings.get(row.method, {}))
                point = _pretrained(point) if spec.pretrained else point
                out.setdefault((point.method, point.variant, scale), point)
    return list(out.values())


def method_names(spec: ExperimentSpec) -> list[str]:
    """The methods of a spec by name, in the order asked (of tables, for "all"), without repetition."""
    if spec.suites:
        rows = [row for name in spec.suites for row in suite_rows(spec, get_suite(name))]
        return list(dict.fromkeys(row.method for row in rows))
    return methods().names() if "all" in spec.methods else list(dict.fromkeys(spec.methods))


def _blocks(spec: ExperimentSpec) -> list[tuple[tuple[int, ...], list[Row]]]:
    if not spec.suites:
        names = method_names(spec)
        rows = defaults().lines(names) if "all" in spec.methods else [Row(method=name) for name in names]
        return [(spec.data.scales, rows)]
    return [(spec.data.scales or suite.scales, suite_rows(spec, suite)) for suite in map(get_suite, spec.suites)]


def suite_rows(spec: ExperimentSpec, suite: Suite) -> list[Row]:
    rows = suite.lines(methods().names())
    if "all" in spec.methods:
        return rows
    kept = [row for row in rows if row.method in spec.methods]
    if not kept:
        raise UserError(f"--suite {suite.id}: has none of the methods {', '.join(spec.methods)}")
    return kept


def point_of(row: Row, scale: int, preset: str, changes: Mapping[str, Any]) -> Point:
    """A suite's row with changes of its settings. UserError for a name, scale, preset or setting that cannot be had."""
    standard = check_method(row.method, scale, preset, row.settings).model_dump(mode="json")
    settings = check_method(row.method, scale, preset, {**row.settings, **changes}).model_dump(mode="json")
    differs = changed(standard, settings)
    return Point(row.method, variant_of(differs, row.name), settings, scale, differs)


def _pretrained(point: Point) -> Point:
    """The point with the weights that come with its method, if that trains. UserError where there are none."""
    digest = shipped_digest(point.method, point.scale, point.settings)
    return replace(point, variant=VARIANT, shipped=digest) if digest else point


def smoke_standards(data: DataSpec, methods_used: Sequence[str], preset: str) -> dict[str, dict[str, Any]]:
    """What preset ``smoke`` changes of the datasets: images as small as the methods allow. Nothing at other presets."""
    if preset != SMOKE:
        return {}
    cards = [methods().card(name) for name in methods_used]
    return {name: smoke_settings(datasets().card(name), cards, data.scales) for name in data.names}


def _check(spec: ExperimentSpec) -> None:
    for name in spec.suites:
        get_suite(name)
    if "all" not in spec.methods:
        for name in spec.methods:
            methods().card(name)
    names = method_names(spec)
    for name in names:
        methods().card(name)
    spec.data.check()
    for name in spec.settings:
        if name in names:
            continue
        known = {*methods().plugins(), *datasets().plugins()}
        if name not in known:
            raise unknown_name("method or dataset", name, known)
        raise UserError(f"--set {name}...: '{name}' is not part of this run")
    for what, values in (
        ("--methods", names),
        ("--scale", spec.data.scales or spec.suites),
        ("--seeds", spec.seeds),
    ):
        if not values:
            raise UserError(f"{what} is empty")
    for seed in spec.seeds:
        check_seed("--seeds", seed)
        if spec.pretrained and seed != SEED:
            raise UserError(f"--seeds {seed}: the weights of --pretrained are of seed {SEED}")
    if spec.pretrained and spec.suites:
        raise UserError(f"--suite {spec.suites[0]}: trains with settings of its own, and --pretrained trains nothing")
