"""What is known of the scores of a bundle: computed again here, not computed again, or wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Verdict:
    """What `mcsr_bench.verify` found of a bundle."""

    trial: str
    """Its label; the folder where the record cannot be read."""
    folder: Path
    outcome: Literal["verified", "scores only", "failed"]
    reasons: tuple[str, ...]
    """Of "failed" everything that is wrong, of "scores only" why no score was computed again; of "verified" how close they are."""
