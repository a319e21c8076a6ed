"""The reported numbers, as far as every change can afford: interpolation, and the two trained methods whose seeds vary least.

With a seed that was not reported. `tox -e regress` compares all methods.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mcsr_bench as mb
from mcsr_bench.audit.regress_numbers import Number, read_reported

REFERENCE = Path(__file__).parents[2] / "reports" / "reference" / "quick.json"


def spread(number: Number) -> float:
    return float(np.std(number.scores, ddof=1))


def test_no_reported_number_has_moved(tmp_path: Path, workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(tmp_path / "cache"))
    numbers = read_reported(REFERENCE).numbers
    steady = sorted((n for n in numbers if n.retrained), key=spread)
    fixed = [n.method for n in numbers if not n.retrained and "@" not in n.method]
    names = [*fixed, *(n.method for n in steady[:2])]
    mb.run(names, seeds=10, out=tmp_path / "run")
    found = mb.regress(tmp_path / "run", REFERENCE)
    assert found.outcome == "unmoved", [one.line for one in found.said]
    assert len(found.compared) == len(names) >= 5
