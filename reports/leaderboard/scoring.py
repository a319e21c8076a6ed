"""The numbers of a board: means with intervals, ranks over all pairs, and every patient's scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mcsr_bench.metrics import METRICS
from mcsr_bench.results.ranks import Standing, patient_ranks, standings
from mcsr_bench.results.statistics import mean_interval, patient_scores, sample_sd, seed_scores

from .boards import Board

SHOWN = ("psnr@volume-max", "ssim@volume-max", "nmse@volume", "psnr@roi")


@dataclass(frozen=True)
class Score:
    """One row's scores by one metric."""

    mean: float
    low: float
    high: float
    """95 % interval of the mean, patients and seeds random; NaN where it is not defined."""
    sd_seeds: float
    standing: Standing
    patients: tuple[float, ...]
    """Means over seeds, in the order of `Scores.patients`; NaN for a patient that it lacks."""
    ranks: tuple[float, ...]
    """Its rank among the rows, patient by patient; NaN where a row lacks the patient."""


@dataclass(frozen=True)
class Scores:
    """All rows by one metric."""

    metric: str
    patients: tuple[str, ...]
    rows: dict[str, Score]
    """By the name of the row, best mean first."""
    pairs: pd.DataFrame
    """As `mcsr_bench.results.ranks.standings` gives them."""


def scored(board: Board, metric: str) -> Scores | None:
    """The scores of a board by a metric; None where no row has them."""
    volumes = pd.concat([row.volumes for row in board.rows])
    if metric not in volumes or volumes[metric].isna().all():
        return None
    up = METRICS[metric].higher_is_better
    by_seed = seed_scores(volumes, metric)
    found, pairs = standings(by_seed, higher_is_better=up, untrained=board.untrained)
    wide = patient_scores(volumes, metric).pivot(index="patient_id", columns="method", values="score")
    ranks = patient_ranks(wide, higher_is_better=up).reindex(wide.index)
    rows = {}
    for row in board.rows:
        own = by_seed[by_seed["method"] == row.name]
        low, high = mean_interval(own, trains=row.trains)
        seeds = own.groupby("seed")["score"].mean()
        rows[row.name] = Score(
            float(wide[row.name].dropna().mean()) if np.isfinite(own["score"]).all() else np.nan,
            low,
            high,
            sample_sd(seeds),
            found[row.name],
            tuple(wide[row.name].astype(float)),
            tuple(ranks[row.name].astype(float)),
        )
    order = sorted(
        rows, key=lambda name: (not np.isfinite(rows[name].mean), -rows[name].mean if up else rows[name].mean)
    )
    return Scores(metric, tuple(map(str, wide.index)), {name: rows[name] for name in order}, pairs)
