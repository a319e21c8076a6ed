"""The tables in the paper's form: what is bold, beside what, and never ranked together; and a page that runs nothing."""

import math
import re
from html.parser import HTMLParser

import fake_run as fake
import pandas as pd
import pytest
from scipy import stats

from mcsr_bench.plugin.registry import reports
from mcsr_bench.results.load import load_results, use_results
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system.provenance import versions

reports().load("paper")
from mcsr_bench.reports.paper.intervals import intervals  # noqa: E402
from mcsr_bench.reports.paper.sheets import compared, sheets, standard_layouts  # noqa: E402

AGAINST = ("zerofill",)


def tables(out, against=AGAINST):
    return reports().load("paper")().tables(load_results(out), against=against)


def write(out, to, against=AGAINST):
    return reports().load("paper")().write(load_results(out), to, against=against)


def column(table, name):
    at = [i for i, c in enumerate(table.columns) if name in c and ", ROI" not in c]
    assert len(at) == 1
    return {row[0].text: row[at[0]] for row in table.rows}


@pytest.fixture
def three(tmp_path):
    knee = fake.data_record("knee", reported_as="fastMRI", patients=9)
    for method, better in (("zerofill", 0.0), ("minet", 1.0), ("sanet", 3.0)):
        fake.write_trial_of(tmp_path / "r", method, fake.draw(method, 9, better=better), data=knee)
    return tmp_path / "r"


def test_the_table_says_what_the_numbers_say(three):
    [table] = tables(three)
    scores = {m: pd.Series(fake.draw(m, 9, better=b)) for m, b in (("zerofill", 0.0), ("minet", 1.0), ("sanet", 3.0))}
    assert [row[0].text for row in table.rows] == ["zerofill", "minet", "sanet"]
    for name, cell in column(table, "PSNR (dB)").items():
        assert cell.text == f"{scores[name].mean():.2f}±{scores[name].std():.2f}"
        assert cell.best == (name == "sanet")
    for name, cell in column(table, "SSIM").items():
        assert cell.text == f"{scores[name].mean() / 50:.4f}±{scores[name].std() / 50:.4f}"
    p = stats.ttest_rel(scores["minet"], scores["zerofill"]).pvalue
    expected = "<0.001" if p < 0.001 else f"{p:.3f}"
    cells = column(table, "p against zerofill")
    assert cells["zerofill"].text == "reference"
    assert cells["minet"].text.startswith(expected)


def test_the_papers_number_stands_beside_ours_only_where_it_has_one(three, tmp_path):
    [table] = tables(three)
    assert table.title == "knee, 2x, T2, preset small (laid out as Table I)"
    printed = column(table, "in the paper")
    assert printed["sanet"].text == "32.0±0.71 / 0.716±0.03"  # Table I, fastMRI, 2x
    assert printed["minet"].text == "31.8±0.83 / 0.709±0.03"
    assert printed["zerofill"].text == "–"
    fake.write_trial_of(tmp_path / "other", "sanet", [30.0] * 8)
    [table] = tables(tmp_path / "other")
    assert not any("paper" in c for c in table.columns)
    assert table.title == "knee, 2x, T2, preset small (laid out as Table I; the paper has no such data)"
    fake.write_trial_of(
        tmp_path / "variant", "sanet", [30.0] * 9, data=fake.data_record(reported_as="fastMRI"), variant="ab"
    )
    [table] = tables(tmp_path / "variant")
    assert not any("in the paper" in c for c in table.columns)  # another setting is not what the paper ran


def test_presets_protocols_tracks_scales_and_contrasts_are_never_ranked_together(tmp_path):
    out = tmp_path / "r"
    for k, changes in enumerate(
        (
            {},
            {"preset": "quick"},
            {"protocol": "sanet-2021"},
            {"scale": 4},
            {"data": fake.data_record("mag", track="magnitude")},
            {"contrast": "T1"},
        )
    ):
        fake.write_trial_of(out / f"{k}", "zerofill", fake.draw("zerofill", 8), **changes)
    results = load_results(*sorted(out.iterdir()))
    found = reports().load("paper")().tables(results, against=AGAINST)
    assert len(found) == 6
    assert len({t.name for t in found}) == 6
    assert all(len(t.rows) == 1 for t in found)


def test_several_datasets_stand_side_by_side(tmp_path):
    for name in ("a", "b"):
        for method in ("zerofill", "sanet"):
            fake.write_trial_of(tmp_path / "r", method, fake.draw(method, 8), data=fake.data_record(name))
    [table] = tables(tmp_path / "r")
    assert [c for c in table.columns if "PSNR" in c] == [
        f"{name}: PSNR{where} (dB)" for name in ("a", "b") for where in ("", ", ROI")
    ]


def test_notes_say_protocol_preset_seeds_patients_and_what_is_simulated(tmp_path):
    data = fake.data_record("sim", real=False, patients=4, marks=["the marks of the data"])
    fake.write_trial_of(tmp_path / "r", "zerofill", [30.0, 31.0, 32.0, 33.0], data=data)
    fake.write_trial_of(tmp_path / "r", "sanet", [31.0, 30.0, 32.0, 34.0], data=data)
    [table] = tables(tmp_path / "r")
    text = " ".join(table.notes)
    for piece in (
        "mcsr-1",
        "simulated, not real data",
        "4 test patients",
        "8 slices",
        "the marks of the data",
        "One seed",
    ):
        assert piece in text
    assert column(table, "p against")["sanet"].text == "too few patients"
    assert "No p-value with fewer than 6 patients." in table.notes


def test_a_failed_trial_is_a_row_of_its_own_in_the_notes(three):
    folder = fake.write_trial_of(
        three, "edsr", [1.0], data=fake.data_record("knee"), status="failed", reason="out of <memory>"
    )
    assert folder.is_dir()
    [table] = tables(three)
    assert any("Failed: edsr" in note and "out of <memory>" in note for note in table.notes)
    assert "edsr" not in {row[0].text for row in table.rows}


def test_the_csv_holds_the_same_numbers(three, tmp_path):
    write(three, tmp_path / "to")
    scores = pd.read_csv(tmp_path / "to" / "tables" / "scores.csv").set_index("method")
    assert scores.loc["sanet", "psnr_mean"] == pytest.approx(pd.Series(fake.draw("sanet", 9, better=3.0)).mean())
    assert scores.loc["sanet", "psnr_paper"] == 32.0


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs


@pytest.mark.usefixtures("pictures")
def test_the_page_escapes_everything_and_asks_nobody(tmp_path):
    evil = "<script>alert(1)</script>"
    data = fake.data_record("knee", marks=[evil], split_rule=evil)
    for method in ("zerofill", "sanet"):
        fake.write_trial_of(tmp_path / "r", method, fake.draw(method, 8), data=data, notes=[evil + "\n|*_`"])
    first, *_ = write(tmp_path / "r", tmp_path / "to")
    text = first.read_text(encoding="utf-8")
    page = Page(text)
    assert first.name == "index.html"
    assert "script" not in page.tags
    assert "&lt;script&gt;" in text
    links = [value for name, value in page.attributes if name in ("src", "href", "srcset", "data")]
    beside = {v for v in links if v and not v.startswith(("data:", "#"))}
    assert beside == {p.relative_to(tmp_path / "to").as_posix() for p in (tmp_path / "to" / "figures").iterdir()}
    assert not re.search(r"@import|url\(", text)
    markdown = (tmp_path / "to" / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert "**" in markdown


@pytest.mark.usefixtures("pictures")
def test_cleared_prepared_data_cost_the_picture_not_the_table(three, tmp_path):
    written = write(three, tmp_path / "to")
    names = {p.name for p in written}
    assert {"index.html", "report.md", "scores.csv", "comparisons.csv"} <= names
    assert not any(p.name.startswith("comparison-") for p in written)
    for name in ("index.html", "report.md"):
        text = (tmp_path / "to" / name).read_text(encoding="utf-8")
        assert "Not drawn: Images: knee, 2x, median, worst and best patient" in text, name
        assert "Attention and features of sanet: knee, 2x" in text, name
        assert re.search(r"the prepared data knee.none.x0 are not in .*: run the experiment again to build them", text)


def test_a_page_begins_with_what_failed_and_ends_with_how_it_was_made(three, tmp_path, monkeypatch):
    broken = (
        ("edsr", "failed", "RuntimeError: out of memory"),
        ("zeng", "interrupted", "SIGTERM"),
        ("lyu", "running", ""),
    )
    for method, state, reason in broken:
        fake.write_trial_of(three, method, [1.0], status=state, reason=reason, started="2026-01-02T03:04:05+00:00")
    damaged = fake.write_trial_of(three, "bicubic", [1.0])
    (damaged / "trial.json").write_text("{")
    monkeypatch.setattr("sys.argv", ["/usr/bin/mcsr-bench", "report", "a run"])
    results, folders = [], RunFolder(three).bundles({damaged})
    use_results([three], results.append, lambda error: False)
    assert len(list(folders)) == 6
    reports().load("paper")().write(results[-1], tmp_path / "to", against=AGAINST, formats=("html", "md", "csv"))
    for name in ("index.html", "report.md"):
        text = (tmp_path / "to" / name).read_text(encoding="utf-8").replace("\\", "")
        said = (
            "6 trials: 3 done, 1 failed, 2 interrupted.",  # no process runs the one whose record says so
            "Failed: knee x2 edsr seed 0: RuntimeError: out of memory",
            "Interrupted: knee x2 lyu seed 0",
            "Interrupted: knee x2 zeng seed 0: SIGTERM",
            f"Left out: {damaged}: a file of this trial is damaged",
        )
        assert [one for one in said if one not in text] == [], name
        assert sorted(text.index(one) for one in said) == [text.index(one) for one in said], name
        assert text.index(said[-1]) < text.index("p against zerofill"), name
        assert "mcsr-bench report &#39;a run&#39;" in text or "mcsr-bench report 'a run'" in text
        assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC", text)
        assert "2026-01-02" in text
        assert f"torch {versions()['torch']}" in text


def test_every_p_value_of_a_page_has_direction_and_interval(three, tmp_path):
    found = compared(load_results(three), standard_layouts(load_results(three), AGAINST, ()), ("psnr@volume-max",))
    one = found[found["method"] == "minet"].iloc[0]
    write(three, tmp_path / "to")
    text = (tmp_path / "to" / "report.md").read_text(encoding="utf-8")
    half = (one["ci_high"] - one["ci_low"]) / 2
    digits = 1 - math.floor(math.log10(half))
    shown = [f"{one[key]:+.{digits}f}" for key in ("mean_difference", "ci_low", "ci_high")]
    [line] = [
        row for row in text.splitlines() if row.startswith("| minet") and "in the paper" not in row and "<br>" in row
    ]
    assert f"PSNR {shown[0]} ({shown[1]} to {shown[2]})<br>SSIM +" in line
    heads = [row for row in text.splitlines() if row.startswith("| ") and "| p against" in row]
    assert heads
    for head in heads:
        assert "| minus zerofill (95 % interval) | p against zerofill |" in head
    scores = pd.read_csv(tmp_path / "to" / "tables" / "scores.csv").set_index("method")
    assert scores.loc["minet", ["psnr_ci_low", "psnr_ci_high"]].tolist() == pytest.approx(
        [one["ci_low"], one["ci_high"]]
    )


def test_a_worse_method_has_a_negative_difference_and_the_rows_keep_their_order(three, tmp_path):
    fake.write_trial_of(
        three, "bicubic", fake.draw("bicubic", 9, better=-2.0), data=fake.data_record("knee", patients=9)
    )
    results = load_results(three)
    [sheet] = sheets(results, AGAINST, ())
    rows = [[cell.text for cell in row] for row in intervals(sheet, results).rows if row[2].text == "PSNR"]
    assert [row[0] for row in rows] == ["bicubic", "minet", "sanet"]
    assert rows[0][4].startswith("-1.9")
    low, high = rows[0][5].split(" to ")
    assert float(low) < float(rows[0][4]) < float(high) < 0
    assert rows[0][6:8] == ["<0.001", "<0.001"]
