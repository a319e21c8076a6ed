"""Scores of a function that nobody registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mcsr_bench.data.prepare import prepare_all
from mcsr_bench.data.sampler import Sampler
from mcsr_bench.data.scoring import Rows, score_rows
from mcsr_bench.engines.processes import Processes
from mcsr_bench.experiment.asking import Folders, data_spec, several
from mcsr_bench.experiment.joining import join
from mcsr_bench.experiment.suites import defaults
from mcsr_bench.plugin.batch import Batch, Prediction
from mcsr_bench.plugin.cards import MethodCard
from mcsr_bench.plugin.method import Method, Settings
from mcsr_bench.plugin.predicted import predict_volume
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.protocol import get_protocol
from mcsr_bench.roles import ROLES
from mcsr_bench.system.notebook import standard_listener
from mcsr_bench.system.progress import Listener


def evaluate(
    function: Callable[[Batch], Prediction | np.ndarray],
    dataset: str | None = None,
    scale: int | None = None,
    *,
    protocol: str | None = None,
    data_root: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    name: str = "function",
    out: str | Path | None = None,
    seed: int = 0,
    fresh: bool = False,
    plugins: Folders = (),
    jobs: int = 1,
    listener: Listener | None = None,
) -> pd.DataFrame:
    """Score a function that nobody registered on the test part of a dataset: one row per test volume.

    function: takes a `Batch` (whole slices, no target) and returns the super-resolved target (B, H, W), tensor or array,
    magnitude or complex, in physical units. settings: of the dataset. name: what messages call the function. Other arguments:
    `mcsr_bench.api`. Returns patient_id, volume_id, role, contrast and a column per metric id. Raises ValueError when the shape is
    wrong or the output is not finite, UserError for a dataset that cannot be had.

    out: the folder of a run with finished trials, in which the scores are kept, too: `load_results` and `report` then show the
    function under its name (lower-case letters, digits, hyphens) beside the methods. Data and protocol are the run's; dataset and
    scale say which of them, where there are several. seed: of your own training, where you have several. fresh: replace what a
    function of that name left there, which is refused otherwise, because nothing can tell whether it is the same function.
    """
    with scoped_plugins(plugins):
        if out is not None:
            return join(
                _FunctionMethod(function, name, 0 if scale is None else scale),
                name,
                Path(out),
                dataset=dataset,
                scale=scale,
                protocol=protocol,
                data_root=None if data_root is None else Path(data_root),
                settings=settings,
                seed=seed,
                fresh=fresh,
            )
        names = several(dataset, defaults().datasets)
        asked = data_spec(
            names, scale, data_root=data_root, protocol=protocol, settings={names[0]: settings or {}}, plugins=plugins
        )
        [prepared] = prepare_all(asked, Processes(jobs), listener or standard_listener())
        chosen, ready = get_protocol(asked.protocol), prepared.dataset
        sampler = Sampler(prepared.store, prepared.split, chosen, seed=0)
        method = _FunctionMethod(function, name, prepared.store.scale)
        contrasts = dict(zip(ROLES, ready.contrasts, strict=True))
        rows: Rows = []
        for volume in sampler.test_volumes():
            predictions = predict_volume(method, sampler.predicting(volume))
            rows += score_rows(predictions, volume, chosen, prepared.store.scale, contrasts)[0]
        return pd.DataFrame(rows)


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
