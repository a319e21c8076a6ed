"""What tables say of their tests: about whom, in which family, over which blocks; against scipy and statsmodels."""

import fake_run as fake
import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mcsr_bench.api import experiment_spec
from mcsr_bench.experiment.layout import layouts
from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.registry import reports
from mcsr_bench.results.load import load_results

reports().load("paper")
from mcsr_bench.reports.paper.intervals import intervals  # noqa: E402
from mcsr_bench.reports.paper.latex import latex  # noqa: E402
from mcsr_bench.reports.paper.ranking import friedman_groups, ranks  # noqa: E402
from mcsr_bench.reports.paper.sheets import compared, sheets  # noqa: E402
from mcsr_bench.reports.paper.table import table as table_of  # noqa: E402

PSNR = "psnr@volume-max"


def run(out, seeds_of, better=0.15):
    """Trials with so many seeds each; the second seed is 0.3 dB better than the first for every patient, and so on."""
    for k, (method, seeds) in enumerate(seeds_of.items()):
        for seed in range(seeds):
            shift = 0.0 if method == "zerofill" else 0.3 * seed
            psnr = [x + shift for x in fake.draw(method, 9, better=better * k)]
            fake.write_trial_of(out, method, psnr, data=fake.data_record("knee", patients=9), seed=seed)
    return load_results(out)


def one(results, against=("zerofill",)):
    [sheet] = sheets(results, against, ())
    table = table_of(sheet, results)
    return sheet, table, {row[0].text: [cell.text for cell in row] for row in table.rows}, " ".join(table.notes)


def test_one_seed_says_that_p_is_about_these_weights(tmp_path):
    _, table, _, notes = one(run(tmp_path / "r", {"zerofill": 1, "minet": 1}))
    assert [c for c in table.columns if "against" in c] == ["p against zerofill"]
    assert "One seed (0): scores and p-values are about these weights, not about the methods." in notes
    assert "paired t-test over patients against zerofill" in notes


def test_several_seeds_print_both_tests_and_say_which_is_which(tmp_path):
    _, table, cells, notes = one(run(tmp_path / "r", {"zerofill": 3, "minet": 3, "sanet": 3}), ("minet",))
    assert [c for c in table.columns if "against" in c] == ["p against minet", "these weights: p against minet"]
    d = np.array(fake.draw("sanet", 9, better=0.3)) - np.array(fake.draw("minet", 9, better=0.15))
    weights = stats.ttest_1samp(d, 0).pvalue
    assert cells["sanet"][-1].startswith("<0.001" if weights < 0.001 else f"{weights:.3f}")
    terms = np.array([d.var(ddof=1) / 9, 0.3**2 / 3, 0.3**2 / 3])  # seeds at 0, 0.3 and 0.6 dB: their sd is 0.3
    t = d.mean() / np.sqrt(terms.sum())
    levels = np.linspace(1e-4, 1, 200_000)
    solved = levels[np.argmin(np.abs(stats.t.isf(levels[:, None] / 2, [8, 2, 2]) @ terms / terms.sum() - t))]
    assert cells["sanet"][-2].startswith(f"{solved:.3f}")
    assert cells["minet"][-2:] == ["reference", "–"]
    assert "p takes patients and seeds as random (Cochran and Cox) and is about the methods" in notes


def test_a_method_with_one_seed_among_several_is_named(tmp_path):
    sheet, _, cells, notes = one(run(tmp_path / "r", {"zerofill": 1, "minet": 1, "sanet": 3}))
    assert "About these weights alone, because a method or its reference has one seed: minet." in notes
    found = {
        method: entry.comparisons["zerofill"] for (_, method, _), entry in sheet.entries.items() if method != "zerofill"
    }
    assert (found["sanet"][PSNR]["about"], found["minet"][PSNR]["about"]) == ("the methods", "these weights")
    assert cells["minet"][-1] == cells["minet"][-2].rstrip("†")


def test_a_comparison_that_one_patient_dominates_is_marked(tmp_path):
    base = fake.draw("zerofill", 9)
    fake.write_trial_of(tmp_path / "r", "zerofill", base, data=fake.data_record("knee", patients=9))
    psnr = [x + 0.01 * (i % 3) + (5 if i == 4 else 0) for i, x in enumerate(base)]
    fake.write_trial_of(tmp_path / "r", "minet", psnr, data=fake.data_record("knee", patients=9))
    sheet, _, cells, notes = one(load_results(tmp_path / "r"))
    assert "§" in cells["minet"][-1]
    assert "§ one patient dominates the differences (Grubbs' statistic beyond its two-sided 1 % point)" in notes
    [row] = [row for row in intervals(sheet, load_results(tmp_path / "r")).rows if row[2].text == "PSNR"]
    assert row[-1].text == "p004"
    assert r"$\S$" in latex(table_of(sheet, load_results(tmp_path / "r")))


def test_holm_runs_over_the_rows_of_one_table(tmp_path):
    """Two suites of one folder at one scale: the ablation's rows do not count in the methods' table, nor the other way."""
    shown = layouts(experiment_spec(suite=["table1", "table3"], preset="small", scale=2))
    rows = {(row.method, row.variant) for layout in shown for row in layout.rows}
    for k, (method, variant) in enumerate(sorted(rows)):
        psnr = fake.draw(f"{method}{variant}", 9, better=0.02 * k)
        fake.write_trial_of(tmp_path / "r", method, psnr, variant=variant, scale=2)
    results = load_results(tmp_path / "r")
    found = compared(results, shown, [PSNR], bootstrap=False)
    for layout in shown:
        part = found[found["suite"] == layout.name]
        assert set(part["n_comparisons"]) == {len(layout.rows) - 1}
        assert list(part["p_t_holm"]) == pytest.approx(multipletests(part["p_t"], method="holm")[1])
    sizes = [len(layout.rows) for layout in shown]
    assert len(found) == sum(sizes) - 2 > max(sizes)
    by_suite = {
        sheet.layout.name: {one[PSNR]["p_t_holm"] for e in sheet.entries.values() for one in e.comparisons.values()}
        for sheet in sheets(results, (), shown)
    }
    for name, values in by_suite.items():
        assert values == set(found[found["suite"] == name]["p_t_holm"])


def test_two_scales_of_the_same_patients_are_ranked_without_a_test(tmp_path):
    methods = ("zerofill", "bicubic", "minet")
    scores = {}
    for k, method in enumerate(methods):
        for scale in (2, 4):
            scores[method, scale] = fake.draw(method, 12, seed=scale, better=0.1 * k)
            fake.write_trial_of(
                tmp_path / "r", method, scores[method, scale], scale=scale, data=fake.data_record(patients=12)
            )
    results = load_results(tmp_path / "r")
    found = sheets(results, ("zerofill",), ())
    assert friedman_groups(found) == {}
    [table] = ranks(found, results)
    assert table.columns == ("method", "knee 2x", "knee 4x")
    assert "No test" in table.notes[0]
    assert "chi-squared" not in " ".join(table.notes)
    for row in table.rows:
        for scale, cell in zip((2, 4), row[1:], strict=True):
            ranked = stats.rankdata([-np.array(scores[m, scale]) for m in methods], axis=0)
            assert cell.text == f"{ranked[methods.index(row[0].text)].mean():.2f}"
    assert METRICS[PSNR].higher_is_better


@pytest.mark.parametrize(("data_sets", "tested"), [("abcde", False), ("abcdef", True)])
def test_friedman_needs_six_data_sets_however_many_scales(tmp_path, data_sets, tested):
    for k, method in enumerate(("zerofill", "bicubic", "bspline")):
        for name in data_sets:
            for scale in (2, 4) if name in "ab" else (2,):
                psnr = fake.draw(method + name, 7, seed=scale, better=0.1 * k)
                fake.write_trial_of(tmp_path / "r", method, psnr, scale=scale, data=fake.data_record(name, patients=7))
    results = load_results(tmp_path / "r")
    found = friedman_groups(sheets(results, ("zerofill",), ()))
    assert bool(found) == tested
    if tested:
        [one] = found.values()
        means = results.volumes.groupby(["dataset", "method"])[PSNR].mean().unstack()  # as many patients in each scale
        expected = stats.friedmanchisquare(*(means[m] for m in means))
        assert (one.n_blocks, one.p) == (6, pytest.approx(expected.pvalue))
