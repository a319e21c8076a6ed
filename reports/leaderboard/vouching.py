"""Who vouches for a row: its scores were computed again here, others got the same, or only the scores are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mcsr_bench.results.bundle import Bundle
from mcsr_bench.results.load import Results
from mcsr_bench.results.statistics import prediction_interval, seed_scores
from mcsr_bench.results.verdict import Verdict

from .boards import Board, Row
from .scoring import SHOWN


@dataclass(frozen=True)
class Vouched:
    """What is known of a row."""

    verified: int
    """How many of its seeds were computed again from their predictions and agree."""
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
    outcomes = [verdicts.get(bundle.folder) for bundle in row.bundles]
    not_verified = [one for one in outcomes if one is None or one.outcome != "verified"]
    first = next((one for one in not_verified if one is not None), None)
    inside, outside = _repeated(board, row, results)
    return Vouched(
        verified=len(outcomes) - len(not_verified),
        seeds=len(outcomes),
        reproduced=inside,
        apart=outside,
        reason=first.reasons[0] if first and first.reasons else "",
    )


def _repeated(board: Board, row: Row, results: Results) -> tuple[int, int]:
    known = {_weights(bundle) for bundle in row.bundles}
    others: dict[str, Bundle] = {}
    for bundle in row.others:
        if (mark := _weights(bundle)) and mark not in known:
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


def _weights(bundle: Bundle) -> str:
    """The hash of the weights, or "" for a method without any."""
    return bundle.record.files.get(bundle.weights.name, "")
