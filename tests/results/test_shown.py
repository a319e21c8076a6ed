"""What a notebook shows: a handful of lines, one small table, and nothing in it that acts."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fake_run import data_record, draw, write_trial_of

import mcsr_bench as mb
from mcsr_bench.results.table import Cell, Table

METHODS = ("zerofill", "bicubic", "bspline", "edsr", "smore", "zeng", "lyu", "minet", "sanet", "mcmrsr")
TOYS = Path(__file__).parents[1] / "toys"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.text, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    return tags


def default_run(folder: Path) -> Path:
    for method in METHODS:
        write_trial_of(folder, method, draw(method, 12))
    return folder


def test_a_default_run_is_a_few_lines(tmp_path):
    results = mb.load_results(default_run(tmp_path / "r"))
    lines = repr(results).splitlines()
    assert len(lines) <= 15
    assert len(repr(results)) < 1000
    assert lines[0] == f"Results in {tmp_path / 'r'}: 10 trials (10 done)"
    assert lines[1] == "knee, 2x, T2, preset small, mcsr-1"
    means = {method: np.mean(draw(method, 12)) for method in METHODS}
    best = sorted(means, key=lambda method: -means[method])
    assert [line.split() for line in lines[3:6]] == [[m, f"{means[m]:.2f}", f"{means[m] / 50:.3f}"] for m in best[:3]]
    assert lines[-1] == "and 2 methods more"


def test_the_mean_of_several_seeds_is_the_one_of_tables(tmp_path):
    for seed, values in enumerate(([30.0, 32.0], [34.0, 36.0])):
        write_trial_of(tmp_path / "r", "edsr", values, seed=seed)
    assert "edsr     33.00  0.660" in repr(mb.load_results(tmp_path / "r"))
    assert "<td>33.00</td><td>0.660</td><td>2</td><td>2</td>" in mb.load_results(tmp_path / "r")._repr_html_()


def test_many_tables_failures_and_folders_stay_a_few_lines(tmp_path):
    for number in range(12):
        data = data_record(f"knee{number:02d}")
        write_trial_of(tmp_path / "r", "zerofill", [30.0, 31.0], data=data)
        write_trial_of(tmp_path / "r", "edsr", [32.0, 33.0], data=data)
        write_trial_of(tmp_path / "r", "sanet", [0.0], data=data, status="failed", reason="RuntimeError: " + "x" * 900)
    results = mb.load_results(default_run(tmp_path / "other"), tmp_path / "r")
    lines = repr(results).splitlines()
    assert len(lines) <= 15
    assert max(map(len, lines[1:])) < 200
    assert "46 trials (34 done, 12 failed)" in lines[0]
    assert "  knee00, 2x, T2, preset small, mcsr-1: edsr, 32.50 dB, SSIM 0.650 (of 2)" in lines
    assert lines[-1] == "failed: 11 more, see .trials"
    assert len(results._repr_html_()) < 15_000


def test_html_is_escaped_and_whole(tmp_path):
    data = data_record("knee", target="<script>alert(1)")
    write_trial_of(tmp_path / "r&d", "zerofill", [30.0], data=data, contrast="<b>T2")
    write_trial_of(tmp_path / "r&d", "edsr", [30.0], data=data, status="failed", reason="<img src=x>\nx\x1b[31m")
    tags = parsed(mb.load_results(tmp_path / "r&d")._repr_html_())
    assert set(tags.seen) == {"div", "table", "tr", "th", "td"}
    assert "knee, 2x, <b>T2, preset small, mcsr-1" in tags.text
    assert any("<img src=x>\\nx\\x1b[31m" in text for text in tags.text)


def test_colours_are_left_to_the_page(tmp_path):
    html = mb.load_results(default_run(tmp_path / "r"))._repr_html_()
    assert "color" not in html
    assert "background" not in html


def test_nothing_finished_is_shown_too(tmp_path):
    write_trial_of(tmp_path / "r", "edsr", [30.0], status="failed", reason="no luck")
    results = mb.load_results(tmp_path / "r")
    assert repr(results) == f"Results in {tmp_path / 'r'}: 1 trial (1 failed)\nfailed: knee x2 edsr seed 0: no luck"
    assert "no luck" in results._repr_html_()
    assert repr(results.of(lambda _: False)).endswith("0 trials (none)")


def test_a_smoke_run_is_no_result(tmp_path):
    write_trial_of(tmp_path / "r", "edsr", [30.0], preset="smoke")
    assert "preset smoke (not a result)" in repr(mb.load_results(tmp_path / "r"))


def test_a_table_for_a_notebook():
    table = Table("x", "a < b", ("method", "PSNR"), ((Cell("m&m"), Cell("30.1", best=True)),), ("note <1>",))
    tags = parsed(table._repr_html_())
    assert tags.text == ["a < b", "method", "PSNR", "m&m", "30.1", "note <1>"]
    assert tags.seen.count("b") == 2


@pytest.mark.usefixtures("own_cache")
def test_prepared_data_are_a_line():
    [prepared] = mb.prepare("toy", 2, plugins=TOYS)
    assert repr(prepared).startswith("<Prepared toy 2x: patients 4 train, 2 validation, 4 test")
    assert len(repr(prepared)) < 120
    assert "10 volumes" in repr(prepared.store)
