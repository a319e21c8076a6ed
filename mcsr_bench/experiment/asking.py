"""From the words of a call to what is asked, with the defaults of ``suites/default.toml`` for what is not said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mcsr_bench.data.spec import DataSpec, Preparation
from mcsr_bench.experiment.grid import ExperimentSpec
from mcsr_bench.experiment.suites import defaults
from mcsr_bench.system.computing import AS_THE_DEVICE_HAS_IT, Computing
from mcsr_bench.weights.loading import shipped_preset

Names = str | Iterable[str]
Numbers = int | Iterable[int]
Folders = str | Path | Iterable[str | Path]


def experiment_spec(
    methods: Names | None = None,
    dataset: Names | None = None,
    scale: Numbers | None = None,
    *,
    suite: Names | None = None,
    data_root: str | Path | None = None,
    split: str | Path | None = None,
    out: str | Path | None = None,
    preset: str | None = None,
    protocol: str | None = None,
    pretrained: bool = False,
    seeds: Numbers | None = None,
    against: Names | None = None,
    register: str | None = None,
    store_dtype: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Folders = (),
    device: str = "auto",
    computing: Computing = AS_THE_DEVICE_HAS_IT,
    jobs: int = 0,
    fresh: bool = False,
) -> ExperimentSpec:
    """The experiment that is asked for, with the defaults of ``suites/default.toml`` for what is not said."""
    standard = defaults()
    given = {name: dict(changes) for name, changes in (settings or {}).items()}
    names = several(dataset, standard.datasets)
    data = data_spec(
        names,
        scale if scale is not None or suite is None else (),
        data_root=data_root,
        split=split,
        protocol=protocol,
        register=register,
        store_dtype=store_dtype,
        settings={name: changes for name, changes in given.items() if name in names},
        plugins=plugins,
    )
    return ExperimentSpec(
        data=data,
        methods=several(methods, standard.methods),
        suites=several(suite, ()),
        seeds=several(seeds, standard.seeds),
        preset=shipped_preset(preset) if pretrained else preset or standard.preset,
        pretrained=pretrained,
        settings={name: changes for name, changes in given.items() if name not in names},
        against=several(against, standard.against),
        against_given=against is not None,
        out=standard.out if out is None else Path(out),
        report=standard.report,
        device=device,
        computing=computing,
        jobs=jobs,
        fresh=fresh,
    )


def data_spec(
    dataset: Names | None = None,
    scale: Numbers | None = None,
    *,
    data_root: str | Path | None = None,
    split: str | Path | None = None,
    protocol: str | None = None,
    register: str | None = None,
    store_dtype: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: Folders = (),
) -> DataSpec:
    """The data that are asked for, with the same defaults."""
    standard = defaults()
    return DataSpec(
        names=several(dataset, standard.datasets),
        scales=several(scale, standard.scales),
        protocol=standard.protocol if protocol is None else protocol,
        root=None if data_root is None else Path(data_root),
        split=None if split is None else Path(split),
        preparation=Preparation.of(register, store_dtype),
        settings={name: dict(changes) for name, changes in (settings or {}).items()},
        plugins=tuple(Path(path) for path in several(plugins, ())),
    )


def several(value: Any, otherwise: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """One value or several as a tuple; ``otherwise`` for None."""
    if value is None:
        return otherwise
    return (value,) if isinstance(value, (str, int, Path)) else tuple(value)
