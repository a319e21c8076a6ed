"""The Python interface, what the command line is a thin skin over."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mcsr_bench.data.prepare import prepare_all
from mcsr_bench.data.sampler import Sampler
from mcsr_bench.data.scoring import Rows, score_rows
from mcsr_bench.data.spec import DataSpec, Preparation
from mcsr_bench.engines.processes import Processes
from mcsr_bench.experiment.grid import ExperimentSpec
from mcsr_bench.experiment.report import make_report
from mcsr_bench.experiment.run import run_experiment
from mcsr_bench.experiment.suites import defaults
from mcsr_bench.plugin.batch import Batch, Prediction
from mcsr_bench.plugin.cards import MethodCard
from mcsr_bench.plugin.method import Method, Settings
from mcsr_bench.plugin.predicted import predict_volume
from mcsr_bench.protocol import get_protocol
from mcsr_bench.results.load import Results
from mcsr_bench.roles import ROLES
from mcsr_bench.system.progress import Listener


def experiment_spec(
    methods: str | Iterable[str] | None = None,
    dataset: str | Iterable[str] | None = None,
    scale: int | Iterable[int] | None = None,
    *,
    suite: str | Iterable[str] | None = None,
    data_root: str | Path | None = None,
    split: str | Path | None = None,
    out: str | Path | None = None,
    preset: str | None = None,
    protocol: str | None = None,
    seeds: int | Iterable[int] | None = None,
    against: str | Iterable[str] | None = None,
    register: str | None = None,
    store_dtype: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: str | Path | Iterable[str | Path] = (),
    device: str = "auto",
    jobs: int = 0,
    fresh: bool = False,
) -> ExperimentSpec:
    """The experiment that is asked for, with the defaults of ``suites/default.toml`` for what is not said."""
    standard = defaults()
    given = {name: dict(changes) for name, changes in (settings or {}).items()}
    names = _several(dataset, standard.datasets)
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
        methods=_several(methods, standard.methods),
        suites=_several(suite, ()),
        seeds=_several(seeds, standard.seeds),
        preset=standard.preset if preset is None else preset,
        settings={name: changes for name, changes in given.items() if name not in names},
        against=_several(against, standard.against),
        against_given=against is not None,
        out=standard.out if out is None else Path(out),
        report=standard.report,
        device=device,
        jobs=jobs,
        fresh=fresh,
    )


def data_spec(
    dataset: str | Iterable[str] | None = None,
    scale: int | Iterable[int] | None = None,
    *,
    data_root: str | Path | None = None,
    split: str | Path | None = None,
    protocol: str | None = None,
    register: str | None = None,
    store_dtype: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    plugins: str | Path | Iterable[str | Path] = (),
) -> DataSpec:
    """The data that are asked for, with the same defaults."""
    standard = defaults()
    return DataSpec(
        names=_several(dataset, standard.datasets),
        scales=_several(scale, standard.scales),
        protocol=standard.protocol if protocol is None else protocol,
        root=None if data_root is None else Path(data_root),
        split=None if split is None else Path(split),
        preparation=Preparation.of(register, store_dtype),
        settings={name: dict(changes) for name, changes in (settings or {}).items()},
        plugins=tuple(Path(path) for path in _several(plugins, ())),
    )


def run(*args: Any, listener: Listener | None = None, **kwargs: Any) -> Results:
    """Run an experiment (or what is missing of it), write its report, and return its results.

    ``run(methods=["sanet", "minet"], dataset="fastmri", scale=4, data_root="...", out="runs/knee")``; the arguments are
    those of `experiment_spec`, and what is left out is as in ``mcsr-bench run``. Trials that fail are recorded in
    ``.trials`` with status "failed" and their reason. Raises UserError for anything asked that cannot be had.
    """
    spec = experiment_spec(*args, **kwargs)
    results, _ = run_experiment(spec, listener or _Warnings())
    make_report(spec, results)
    return results


def evaluate(
    function: Callable[[Batch], Prediction | np.ndarray],
    dataset: str | None = None,
    scale: int | None = None,
    *,
    protocol: str | None = None,
    data_root: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    name: str = "function",
    jobs: int = 1,
    listener: Listener | None = None,
) -> pd.DataFrame:
    """Score a function that nobody registered on the test part of a dataset: one row per test volume.

    function: takes a `Batch` (whole slices, no target) and returns the super-resolved target (B, H, W), tensor or array,
    magnitude or complex, in physical units. Returns patient_id, volume_id, role, contrast and a column per metric id. Raises
    ValueError when the shape is wrong or the output is not finite, UserError for a dataset that cannot be had.
    """
    names = _several(dataset, defaults().datasets)
    asked = data_spec(names, scale, data_root=data_root, protocol=protocol, settings={names[0]: settings or {}})
    [prepared] = prepare_all(asked, Processes(jobs), listener or _Warnings())
    chosen, ready = get_protocol(asked.protocol), prepared.dataset
    sampler = Sampler(prepared.store, prepared.split, chosen, seed=0)
    method = _FunctionMethod(function, name, prepared.store.scale)
    contrasts = dict(zip(ROLES, ready.contrasts, strict=True))
    rows: Rows = []
    for volume in sampler.test_volumes():
        predictions = predict_volume(method, sampler.predicting(volume))
        rows += score_rows(predictions, volume, chosen, prepared.store.scale, contrasts)[0]
    return pd.DataFrame(rows)


class _Warnings(Listener):
    """Silent but for warnings, which a program gets as Python's."""

    def warning(self, message: str) -> None:
        warnings.warn(message, stacklevel=2)


class _FunctionMethod(Method):
    def __init__(self, function: Callable[[Batch], Prediction | np.ndarray], name: str, scale: int) -> None:
        card = MethodCard.model_validate(
            {
                "name": "function",
                "title": name,
                "class": "-",
                "authors": "-",
                "venue": "-",
                "year": 0,
                "contrasts": "multi",
                "track": "complex",
                "trains": False,
            }
        )
        super().__init__(card, scale, Settings())
        self._function = function

    def predict(self, batch: Batch) -> Prediction:
        output = self._function(batch)
        return torch.from_numpy(output) if isinstance(output, np.ndarray) else output


def _several(value: Any, otherwise: tuple[Any, ...]) -> tuple[Any, ...]:
    """One value or several as a tuple; ``otherwise`` for None."""
    if value is None:
        return otherwise
    return (value,) if isinstance(value, (str, int, Path)) else tuple(value)
