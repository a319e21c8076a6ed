"""What is not defined is an en-dash, or an empty cell in CSV: no formatter prints "nan" or "inf" as a number."""

import re

import fake_run as fake
import pytest

from mcsr_bench.api import experiment_spec
from mcsr_bench.cli import console
from mcsr_bench.cost.table import profile_table
from mcsr_bench.experiment.kept import merged
from mcsr_bench.experiment.layout import layouts
from mcsr_bench.plugin.registry import reports
from mcsr_bench.results.load import load_results
from mcsr_bench.results.stress_table import stress_table
from mcsr_bench.results.table import Cell, number, p_text, plus_minus
from mcsr_bench.system import frames

NO_NUMBER = re.compile(r"(?<![A-Za-z])[+-]?(nan|inf)(?![A-Za-z])", re.IGNORECASE)
KINDS = (".md", ".tex", ".csv", ".html")


def written(results, to, shown=()):
    """All text that a report writes, by file, and what the terminal prints."""
    report = reports().load("paper")()
    report.write(results, to, against=("zerofill",), layouts=shown)
    texts = {p.name: p.read_text(encoding="utf-8") for p in to.rglob("*") if p.suffix in KINDS}
    for table in report.tables(results, against=("zerofill",), layouts=shown):
        texts[table.name] = " ".join(cell.text for row in table.rows for cell in row)
    assert len(texts) > 8
    return texts


def wrong(texts):
    found = {}
    for name, text in texts.items():
        text = re.sub(r"data:image/png;base64,[^\"]*", "", text)
        hits = [m.group() for m in NO_NUMBER.finditer(text)]
        if hits:
            found[name] = hits
    return found


@pytest.mark.parametrize(
    "scores", [[30.0], [30.0, float("inf")], [float("nan"), 30.0, 31.0], [float("inf")] * 8, [float("nan")] * 8]
)
def test_no_file_of_a_report_prints_nan_or_inf(tmp_path, monkeypatch, scores):
    if len(scores) != 2:  # drawing takes long, and is looked at with one of them
        monkeypatch.setattr("mcsr_bench.reports.paper.drawings", lambda *_: iter(()))
    for seed in (0, 1):
        data = fake.data_record("knee", reported_as="fastMRI", patients=len(scores))
        for k, method in enumerate(("zerofill", "bicubic", "bspline")):
            fake.write_trial_of(
                tmp_path / "r", method, [x + k for x in scores], seed=seed, data=data, card={"reported_as": "MINet"}
            )
    texts = written(load_results(tmp_path / "r"), tmp_path / "to")
    assert not wrong(texts)
    assert not any("–" in text for name, text in texts.items() if name.endswith(".csv"))
    if len(scores) == 1:
        assert "30.00 " in texts["report.md"]
        assert "30.00±" not in texts["report.md"]
        assert "| bicubic | knee | 31.00 | – |" in texts["report.md"]  # its spread over patients


@pytest.mark.parametrize("suite", ["fig8", "table3"])
def test_suites_with_one_patient_are_drawn_and_print_no_nan(tmp_path, suite):
    shown = layouts(merged(experiment_spec(suite=suite, preset="small", out=tmp_path)))
    for row in shown[0].rows[:3]:
        fake.write_trial_of(tmp_path / "s", row.method, [30.0], variant=row.variant, scale=shown[0].scales[0])
    assert not wrong(written(load_results(tmp_path / "s"), tmp_path / "to", shown))


def test_the_formatters_themselves():
    for bad in (None, float("nan"), float("inf"), -float("inf")):
        assert number(bad, "+.2f") == "–"
    assert [number(1234.5, ",.0f"), number(0.0, "+.1f"), number(-0.123)] == ["1,234", "+0.0", "-0.123"]
    texts = ("58,305", "-1,234,567.5", "1,5", "a, b", "–", "3 x 1,000")
    assert [Cell(text).csv for text in texts] == ["58305", "-1234567.5", "1,5", "a, b", "", "3 x 1,000"]
    assert [number(x) for x in (999.4, 999.6, -1028.4, 1_234_567.0)] == ["999", "1,000", "-1,028", "1,234,567"]
    nan = float("nan")
    assert [plus_minus(1.0, 0.5, 2), plus_minus(1.0, nan, 2), plus_minus(nan, nan, 2), plus_minus(nan, 1.0, 2)] == [
        *("1.00±0.50", "1.00", "–", "–")
    ]
    assert [p_text(0.0), p_text(0.0009), p_text(0.25), p_text(nan)] == ["<0.001", "<0.001", "0.250", "–"]


def test_stress_and_profile_print_no_nan(tmp_path, capsys):
    folder = fake.write_trial_of(tmp_path / "r", "zerofill", [30.0])
    results = load_results(tmp_path / "r")
    rows = [
        {"patient_id": "p000", "volume_id": "v", "contrast": "T2", "perturbation": name, "psnr": psnr}
        for name, psnr in (("clean", 30.0), ("zero", float("inf")), ("another patient", float("inf")))
    ]
    import pandas as pd

    table = pd.DataFrame(rows).assign(loss_db=lambda t: 30 - t["psnr"], below_zerofill_db=lambda t: 1 - t["psnr"])
    frames.write_csv(folder / "stress.csv", table)
    console.print_table(stress_table(results.bundles))
    timing = {key: float("nan") for key in ("latency_median", "latency_p95", "throughput", "step_seconds")}
    row = {
        "name": "x",
        "settings": {},
        "scale": 2,
        "parameters": 1,
        "dead_parameters": 0,
        "macs": float("nan"),
        "flops": 0,
    }
    row |= {
        "size": 8,
        "dtype": "f",
        "preset": "p",
        "uncounted": [],
        "timing": {**timing, "throughput_batch": 1, "device": "d"},
    }
    console.print_table(profile_table([row]))
    out = capsys.readouterr().out
    assert "–" in out
    assert not NO_NUMBER.search(out)
