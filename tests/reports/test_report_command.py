"""``report``: from run folders to files, every number against an independent computation on the same CSV, LaTeX that compiles."""

import re

import fake_run as fake
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mcsr_bench.api import experiment_spec
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.report import build_report
from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.registry import reports
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import files

reports().load("paper")
from mcsr_bench.reports.paper.latex import escape  # noqa: E402

METHODS = ("zerofill", "minet", "sanet")
COMPARISON_COLUMNS = """dataset scale preset protocol contrast metric method variant reference n_patients mean_difference
ci_low ci_high ci_boot_low ci_boot_high p_t p_t_holm p_wilcoxon d_z minimal_detectable"""


def experiment(out, **changes):
    asked = experiment_spec(
        **{"methods": METHODS, "dataset": "knee", "scale": 2, "preset": "small", "out": out, **changes}
    )
    files.write_json(out / "experiment.json", asked.model_dump(mode="json"))


@pytest.fixture
def run_folder(tmp_path):
    out = tmp_path / "r"
    data = fake.data_record("knee", reported_as="fastMRI", patients=9)
    for k, method in enumerate(METHODS):
        for seed in (0, 1):
            fake.write_trial_of(out, method, fake.draw(method, 9, seed=seed, better=0.15 * k), data=data, seed=seed)
    experiment(out)
    return out


def test_comparisons_equal_scipy_and_statsmodels_on_the_same_csv(run_folder, tmp_path):
    build_report([run_folder], tmp_path / "to", against=["zerofill", "minet"])
    found = pd.read_csv(tmp_path / "to" / "tables" / "comparisons.csv")
    assert list(found.columns)[:20] == COMPARISON_COLUMNS.split()
    psnr = found[found["metric"] == "psnr@volume-max"].set_index(["reference", "method"])
    scores, means = {}, {}
    for method in METHODS:
        tables = [pd.read_csv(p) for p in sorted((run_folder / "knee" / "x2" / method).glob("seed*/volumes.csv"))]
        scores[method] = pd.concat(tables).groupby("patient_id")["psnr@volume-max"].mean().to_numpy()
        means[method] = np.array([table["psnr@volume-max"].mean() for table in tables])
    for reference in ("zerofill", "minet"):
        others = [m for m in METHODS if m != reference]
        p_values = []
        for method in others:
            a, b = scores[method], scores[reference]
            row, d = psnr.loc[reference, method], a - b
            p_values.append(row["p_t"])
            terms = [d.var(ddof=1) / 9, *(means[m].var(ddof=1) / 2 for m in (method, reference) if m != "zerofill")]
            each = stats.t.ppf(0.975, [8, *[1] * (len(terms) - 1)])
            half = np.sqrt(np.sum(terms)) * np.average(each, weights=terms)
            low, high = d.mean() - half, d.mean() + half
            expected = {
                "n_patients": 9,
                "mean_difference": d.mean(),
                "p_weights": stats.ttest_rel(a, b).pvalue,
                "p_wilcoxon": stats.wilcoxon(a, b).pvalue,
                "ci_low": low,
                "ci_high": high,
                "ci_weights_low": d.mean() - stats.t.ppf(0.975, 8) * d.std(ddof=1) / 3,
                "ci_weights_high": d.mean() + stats.t.ppf(0.975, 8) * d.std(ddof=1) / 3,
                "d_z": d.mean() / d.std(ddof=1),
            }
            for name, value in expected.items():
                assert row[name] == pytest.approx(value, abs=1e-9), name
            assert np.isnan(row["ci_boot_low"])  # nine patients
            assert row["about"] == "the methods"
            assert row["p_t"] > row["p_weights"]
        holm = multipletests(p_values, method="holm")[1]
        for method, value in zip(others, holm, strict=True):
            assert psnr.loc[reference, method]["p_t_holm"] == pytest.approx(value, abs=1e-9)


def test_all_metrics_are_compared_and_every_format_is_written(run_folder, tmp_path):
    tables, written = build_report([run_folder], tmp_path / "to")
    assert len(tables) == 1
    names = {p.relative_to(tmp_path / "to").as_posix() for p in written}
    assert {"index.html", "report.md", "tables/scores.csv", "tables/comparisons.csv"} <= names
    assert any(n.endswith(".tex") for n in names)
    assert pd.read_csv(tmp_path / "to/tables/comparisons.csv")["metric"].nunique() == len(METRICS)
    for chosen in ("md", "csv", "latex", "html"):
        _, some = build_report([run_folder], tmp_path / chosen, formats=[chosen])
        kinds = {p.suffix for p in some} - {".png", ".pdf"}
        assert {"md": {".md"}, "csv": {".csv"}, "latex": {".tex"}, "html": {".html"}}[chosen] <= kinds


def test_reported_against_reproduced_says_the_gap_and_why(run_folder, tmp_path):
    build_report([run_folder], tmp_path / "to")
    markdown = (tmp_path / "to" / "report.md").read_text(encoding="utf-8")
    ours = np.mean([fake.draw("sanet", 9, seed=s, better=0.3) for s in (0, 1)])
    part = markdown[markdown.index(": reported against reproduced") :]
    line = next(row for row in part.splitlines() if row.startswith("| sanet | knee | PSNR"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[3].startswith("32.0±0.71")
    assert float(cells[5]) == pytest.approx(ours - 32.0, abs=0.006)
    assert "Preset small is not the paper's size and budget" in markdown
    assert "clamps the reference" in markdown


def test_spread_over_seeds_stands_beside_patients(run_folder, tmp_path):
    build_report([run_folder], tmp_path / "to")
    markdown = (tmp_path / "to" / "report.md").read_text(encoding="utf-8")
    part = markdown[markdown.index(": patients and seeds") :]
    line = next(row for row in part.splitlines() if row.startswith("| minet"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    seeds = [np.mean(fake.draw("minet", 9, seed=s, better=0.15)) for s in (0, 1)]
    assert float(cells[4]) == pytest.approx(np.std(seeds, ddof=1), abs=6e-4)


def test_two_protocols_are_two_tables(run_folder, tmp_path):
    other = tmp_path / "other"
    for method in METHODS:
        psnr = fake.draw(method, 9, seed=5)
        fake.write_trial_of(other, method, psnr, data=fake.data_record("knee", patients=9), protocol="sanet-2021")
    experiment(other, protocol="sanet-2021")
    tables, _ = build_report([run_folder, other], tmp_path / "to")
    assert len(tables) == 2
    assert len({note for table in tables for note in table.notes if note.startswith("Protocol")}) == 2
    invalid = [cell.text for table in tables for row in table.rows for cell in row if "invalid" in cell.text]
    assert len(invalid) == 2  # of sanet-2021 alone, for both methods but the reference


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"split_hash": "ffff"}, "another split than"), ({"fingerprint": "ffff"}, "another fingerprint of the data than")],
)
def test_results_of_other_data_or_another_split_are_never_in_one_table(run_folder, tmp_path, change, sentence):
    other = tmp_path / "other"
    data = fake.data_record("knee", reported_as="fastMRI", patients=9).model_copy(update=change)
    fake.write_trial_of(other, "bicubic", fake.draw("bicubic", 9, seed=0, better=0), data=data, seed=0)
    experiment(other, methods=("bicubic",))
    with pytest.raises(UserError, match=f"{sentence} .*make one report for each run"):
        build_report([run_folder, other], tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_smoke_results_enter_no_report(run_folder, tmp_path):
    smoke = tmp_path / "smoke"
    fake.write_trial_of(smoke, "zerofill", [30.0] * 8, preset="smoke")
    experiment(smoke, preset="smoke")
    with pytest.raises(UserError, match="no finished trial to report"):
        build_report([smoke], tmp_path / "to")
    assert not (tmp_path / "to").exists()
    tables, _ = build_report([run_folder, smoke], tmp_path / "to")
    assert len(tables) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("none",), "none: no such folder"),
        ((".",), "no experiment.json there"),
        (("r", "--against", "edsr"), "--against edsr: that method is not in these runs"),
        (("r", "--formats", "pdf"), "--formats pdf: allowed are html, md, latex, csv"),
    ],
)
def test_mistakes_get_a_sentence(here, run_folder, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    out = here("report", *arguments, "--to", tmp_path / "to")
    assert out.returncode == 2
    assert sentence in out.stderr
    assert not (tmp_path / "to").exists()


def test_the_command_prints_the_table(here, run_folder, tmp_path):
    out = here("report", run_folder, "--to", tmp_path / "to", "--formats", "md")
    assert out.returncode == 0, out.stderr
    assert "sanet" in out.stdout
    assert "open" in out.stderr


def test_latex_escapes_what_users_write():
    evil = r"\input{/etc/passwd} 100% a_b #1 $x$ {} ~ ^ < > | ± × α ☃"
    check = escape(evil)
    assert r"\input" not in check.replace(r"\textbackslash{}input", "")
    assert check.isascii()
    assert "?" in check
    for sign in "%_#":
        assert not re.search(rf"(?<!\\){sign}", check)


def test_unequal_patients_nan_scores_and_unfinished_trials_are_named(tmp_path):
    out = tmp_path / "r"
    data = fake.data_record("knee", patients=9)
    fake.write_trial_of(out, "zerofill", fake.draw("zerofill", 9), data=data)
    fake.write_trial_of(out, "minet", fake.draw("minet", 7), data=data)
    fake.write_trial_of(out, "edsr", [*fake.draw("edsr", 8), float("nan")], data=data)
    fake.write_trial_of(out, "sanet", fake.draw("sanet", 9), data=data, status="running")
    experiment(out)
    [table], _ = build_report([out], tmp_path / "to", formats=["md", "csv"])
    text = " ".join(table.notes)
    assert "minet on knee and zerofill are compared on their common patients; 2 were dropped." in text
    assert "edsr on knee: PSNR, SSIM is not finite for at least one patient." in text
    assert "Unfinished, left out: sanet on knee seed 0." in text  # its process does not run
    with RunFolder(out).trial("knee", 2, "sanet", 0).claimed():
        [during], _ = build_report([out], tmp_path / "during", formats=["md"])
    assert "Still running, left out: sanet on knee seed 0." in " ".join(during.notes)
    cells = {row[0].text: [cell.text for cell in row] for row in table.rows}
    assert "no test" in cells["edsr"][-1]
    found = pd.read_csv(tmp_path / "to/tables/comparisons.csv")
    row = found[(found["method"] == "minet") & (found["metric"] == "psnr@volume-max")].iloc[0]
    assert (row["n_patients"], row["n_dropped"]) == (7, 2)


def test_every_table_says_what_it_rests_on(run_folder, tmp_path):
    build_report([run_folder], tmp_path / "to", formats=["md"])
    parts = (tmp_path / "to" / "report.md").read_text(encoding="utf-8").split("## ")[1:]
    assert len(parts) >= 5
    for part in parts:
        for piece in ("Protocol mcsr-1", "preset small", "9 ", "mcsr-bench 0.0"):
            assert piece in part, part[:80]
        assert files.digest("knee", 16)[:12] in part, part[:80]
