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


def test_the_table_in_the_docs_is_the_published_one() -> None:
    """PSNR and SSIM of docs/results.md, mean and standard deviation over patients, from the published scores by pandas alone."""
    text = (ROOT / "docs" / "results.md").read_text("utf-8")
    section = text[text.index("## The published table") : text.index("| cost at 2x, 4x |")]
    volumes = mb.load_results(ROOT / "published").volumes
    compared = 0
    for scale, part in zip((2, 4), section.split("**2x**")[1].split("**4x**"), strict=True):
        for line in part.splitlines():
            if not line.startswith("| `"):
                continue
            name, *cells = (cell.strip(" `*") for cell in line.strip("|").split("|"))
            method, variant = (name.removesuffix(" (magnitude)"), "magnitude" if "(" in name else "")
            own = volumes[(volumes.scale == scale) & (volumes.method == method) & (volumes.variant == variant)]
            for cell, metric, digits in zip(cells, ("psnr@volume-max", "ssim@volume-max"), (2, 4), strict=False):
                scores = own.groupby("patient_id")[metric].mean()
                assert cell == f"{scores.mean():.{digits}f}±{scores.std():.{digits}f}", (scale, name, metric)
                compared += 1
    assert compared == 2 * 2 * 11
