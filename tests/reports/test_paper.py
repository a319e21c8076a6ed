"""The tables in the paper's form: what is bold, beside what, and never ranked together; and a page that runs nothing."""

import re
from html.parser import HTMLParser

import fake_run as fake
import pandas as pd
import pytest
from scipy import stats

from mcsr_bench.plugin.registry import reports
from mcsr_bench.results.load import load_results

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
    assert not [v for v in links if v and not v.startswith(("data:", "#"))]
    assert not re.search(r"@import|url\(", text)
    markdown = (tmp_path / "to" / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert "**" in markdown


def test_cleared_prepared_data_cost_the_picture_not_the_table(three, tmp_path):
    written = write(three, tmp_path / "to")
    names = {p.name for p in written}
    assert {"index.html", "report.md", "scores.csv", "comparisons.csv"} <= names
    assert not any(p.name.startswith("comparison-") for p in written)
