"""The weights that come with the methods: they score what was reported of them, and the published table's seed 0 is theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
from cards import trained

import mcsr_bench as mb
from mcsr_bench.audit.regress_numbers import read_reported
from mcsr_bench.plugin.registry import methods

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "reports" / "reference" / "shipped.json"


def test_no_score_of_shipped_weights_has_moved(tmp_path: Path, workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(tmp_path / "cache"))
    mb.run(trained(), scale=(2, 4), pretrained=True, out=tmp_path / "run")
    found = mb.regress(tmp_path / "run", SHIPPED)
    assert found.outcome == "unmoved", [one.line for one in found.said]
    assert len(found.compared) == len(read_reported(SHIPPED).numbers) == 2 * len(trained())


def test_the_published_scores_of_seed_0_are_those_of_the_shipped_weights() -> None:
    """By their hashes, and by the scores that CI finds again."""
    published = mb.load_results(ROOT / "published")
    reported = {(number.scale, number.method): number.scores[0] for number in read_reported(SHIPPED).numbers}
    means = published.volumes.groupby(["scale", "method", "seed"])["psnr@volume-max"].mean()
    compared = 0
    for bundle in published.bundles:
        record = bundle.record
        if record.seed == 0 and record.method in trained():
            assert record.files["weights.safetensors"] == methods().card(record.method).shipped[f"x{record.scale}"]
            score = means[record.scale, record.method, 0]
            assert score == pytest.approx(reported[record.scale, f"{record.method}@shipped"], abs=0.01)
            compared += 1
    assert compared == len(reported)
