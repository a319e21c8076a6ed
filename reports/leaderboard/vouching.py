"""Who vouches for a row: its scores were computed again here, others got the same, or only the scores are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcsr_bench.results.bundle import Bundle
from mcsr_bench.results.load import Results
from mcsr_bench.results.statistics import prediction_interval, seed_scores
from mcsr_bench.results.verdict import Verdict

from .boards import Board, Row, weights
from .scoring import SHOWN

_CLOSE = 1e-3
"""What scores of the same weights may differ by, in dB and relative: `verify` allows as much on another machine."""


@dataclass(frozen=True)
class Vouched:
    """What is known of a row."""

    verified: int
    """How many of its seeds were computed again, from their predictions or from the same weights, and agree."""
    seeds: int
    reproduced: int
    """Bundles of other runs, with other weights, whose mean is where another seed's would be."""
    apart: int
    """Those whose mean is not there."""
    reason: str
    """Why not all seeds are verified, as a clause."""

    @property
    def level(self) -> str:
        """ "verified" or "claimed"."""
        return "verified" if self.verified == self.seeds else "claimed"


def vouched(board: Board, row: Row, results: Results, verdicts: Mapping[Path, Verdict]) -> Vouched:
    """Who vouches for a row. Repetitions are compared by PSNR, the mean over patients of each seed."""
    not_verified = [bundle for bundle in row.bundles if shown(row, bundle, results, verdicts) is None]
    known = (verdicts.get(bundle.folder) for bundle in not_verified)
    first = next((one for one in known if one is not None), None)
    inside, outside = _repeated(board, row, results)
    return Vouched(
        verified=len(row.bundles) - len(not_verified),
        seeds=len(row.bundles),
        reproduced=inside,
        apart=outside,
        reason=first.reasons[0] if first and first.reasons else "",
    )


def shown(row: Row, bundle: Bundle, results: Results, verdicts: Mapping[Path, Verdict]) -> Bundle | None:
    """The bundle whose verified predictions give the scores of a row's bundle.

    It is the bundle itself, one of the same weights elsewhere or, of a method without training, one of any seed with equal scores.
    """
    candidates = [bundle, row.again.get(bundle.record.seed)]
    if not row.first.card.get("trains", True):
        candidates += [*row.bundles, *row.again.values()]
    for one in candidates:
        verdict = verdicts.get(one.folder) if one is not None else None
        if one is not None and verdict is not None and verdict.outcome == "verified" and _agree(bundle, one, results):
            return one
    return None


def _agree(bundle: Bundle, again: Bundle, results: Results) -> bool:
    """Whether the shown metrics of every volume are the same, as far as machines round alike."""
    if again is bundle:
        return True
    keys = ["volume_id", "role"]
    tables = [results.of(lambda r, one=one: r is one.record).volumes.set_index(keys) for one in (bundle, again)]  # type: ignore[misc]
    one, other = tables
    if set(one.index) != set(other.index):
        return False
    metrics = [metric for metric in SHOWN if metric in one and metric in other]
    near = np.isclose(one[metrics], other.loc[one.index, metrics], rtol=_CLOSE, atol=_CLOSE, equal_nan=True)
    return bool(near.all())


def _repeated(board: Board, row: Row, results: Results) -> tuple[int, int]:
    known = {weights(bundle) for bundle in row.bundles}
    others: dict[str, Bundle] = {}
    for bundle in row.others:
        if (mark := weights(bundle)) and mark not in known:
            others.setdefault(mark, bundle)
    metric = SHOWN[0]
    if not others or metric not in row.volumes:
        return 0, 0
    low, high = prediction_interval(seed_scores(row.volumes, metric).groupby("seed")["score"].mean())
    if not low <= high:  # with fewer than three seeds nobody can tell
        return 0, 0
    inside = 0
    for bundle in others.values():
        table = results.of(lambda record, bundle=bundle: record is bundle.record).volumes  # type: ignore[misc]
        table = table[(table["role"] == board.role) & (table["contrast"] == board.contrast)]
        inside += bool(low <= table.groupby("patient_id")[metric].mean().mean() <= high)
    return inside, len(others) - inside
