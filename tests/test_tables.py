"""Tables on terminals of several widths and elsewhere: every head and cell is there, and no line is too long."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from mcsr_bench.cli import console
from mcsr_bench.cost.table import profile_table
from mcsr_bench.results.table import Cell, Table

WIDTHS = (60, 80, 120)
NAMES = ("zerofill", "zerofill (magnitude)", "minet (budget=100, patch=0)", "sanet", "mcmrsr", "edsr")
PERTURBATIONS = ("zero", "another patient", "shifted 1 px", "shifted 2 px", "shifted 4 px", "rotated 2 deg", "noise")

Show = Callable[[Table, int | None], str]


def shown(table: Table, width: int | None, colours: Any = None) -> str:
    """What a terminal of a width shows, or a file for None."""
    file = io.StringIO()
    terminal = width is not None
    console.print_table(table, Console(file=file, width=width or 10_000, force_terminal=terminal, color_system=colours))
    return file.getvalue()


def words_of(text: str) -> list[str]:
    """All words within the frames of tables, in order."""
    return sorted(re.sub(r"[\u2500-\u257f]", " ", text).split())


def letters(text: str) -> str:
    return "".join(sorted(re.sub(r"[\u2500-\u257f\s]", "", text)))


def results() -> Table:
    columns = (
        "method",
        "PSNR (dB)",
        "SSIM",
        "PSNR, ROI (dB)",
        "SSIM, ROI",
        "p against zerofill",
        "in the paper (on SMS)",
    )
    rows = [
        (
            Cell(name),
            Cell(f"{20 + i}.18±1.28", best=i == 3),
            *(Cell(text) for text in ("0.6509±0.0430", "18.74±0.55", "0.4389±0.0488", "0.012 / <0.001", "31.7 / 0.91")),
        )
        for i, name in enumerate(NAMES)
    ]
    return Table("x", "brain-sim, 4x", columns, tuple(rows), ("bold: best of its column.",))


def profiled(names: tuple[str, ...]) -> Table:
    timing = {
        **dict.fromkeys(("latency_median", "latency_p95", "step_seconds", "step_seconds_paper"), 0.123),
        **{"throughput": 31.2, "throughput_batch": 8, "peak_memory": 2**30, "energy_joules": 1.5, "device": "cpu"},
    }
    rows = [
        {
            **{
                "name": name,
                "scale": scale,
                "preset": "paper",
                "settings": {},
                "size": 320,
                "dtype": "float32",
                "uncounted": [],
            },
            **{"parameters": 4_637_057, "dead_parameters": 0, "macs": 1e11, "flops": 2e11, "timing": timing},
        }
        for name in names
        for scale in (2, 4)
    ]
    return profile_table(rows)


def stressed() -> Table:
    columns = ("method", "data", "clean PSNR (dB)", *PERTURBATIONS, "p, clean against another patient")
    rows = [[Cell(name), Cell("brain-sim 4x"), *[Cell("+12.34 ‡")] * 8, Cell("<0.001")] for name in NAMES]
    return Table("stress", "A wrong auxiliary", columns, tuple(map(tuple, rows)), ("p: paired t-test.",))


TABLES = {
    "run": results(),
    "stress": stressed(),
    "profile": profiled(NAMES),
    "profile of one": profiled(("sanet",)),
    "profile of two": profiled(("sanet", "minet")),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_longer_than_the_terminal_and_nothing_is_missing(name: str, width: int) -> None:
    table = TABLES[name]
    text = shown(table, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    there = words_of(text)
    for part in (*table.columns, *(cell.text for row in table.rows for cell in row)):
        for word in part.split():
            assert word in there, part


@pytest.mark.parametrize("name", TABLES)
def test_elsewhere_a_table_is_one_whatever_its_width(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    table = TABLES[name]
    text = shown(table, None)
    lines = [line.replace("┃", "│") for line in text.splitlines() if line[:1] in ("│", "┃")]
    found = [[cell.strip().removeprefix("* ") for cell in line.split("│")[1:-1]] for line in lines]
    assert found == [list(table.columns), *([cell.text for cell in row] for row in table.rows)]


def parts(text: str) -> list[list[list[str]]]:
    """The tables of a text, each with its rows, where nothing is folded."""
    out: list[list[list[str]]] = []
    for line in text.splitlines():
        if line.startswith("┏"):
            out.append([])
        elif line.startswith("│"):
            out[-1].append([cell.strip() for cell in line.split("│")[1:-1]])
    return out


def test_parts_of_a_split_table_begin_with_what_tells_the_rows_apart() -> None:
    table = profiled(("sanet", "minet", "edsr"))
    found = parts(shown(table, 80))
    assert len(found) == 2
    for part in found:
        assert [row[:2] for row in part] == [[row[0].text, row[1].text] for row in table.rows]
    joined = [[*a, *b[2:]] for a, b in zip(*found, strict=True)]
    assert joined == [[cell.text for cell in row] for row in table.rows]


def test_a_table_of_few_rows_is_turned() -> None:
    table = profiled(("sanet",))
    [turned] = parts(shown(table, 60))
    assert turned == [
        [head, *(row[i].text for row in table.rows)] for i, head in enumerate(table.columns) if head != "method"
    ]


def test_the_best_value_is_marked_where_bold_cannot_be_seen() -> None:
    file, dumb, terminal = shown(results(), None), shown(results(), 80), shown(results(), 80, "standard")
    for text in (file, dumb):
        assert "* 23.18±1.28" in text
        assert text.count("* 2") == 1
        assert "* stands for bold: the best of its column." in text
    assert "\x1b[1m23.18±1.28" in terminal
    assert "*" not in terminal
    assert "*" not in shown(stressed(), None), "nothing is best here"


texts = st.text(st.sampled_from("abcdefg 0123.±"), max_size=40).map(str.strip)


@settings(max_examples=40)
@given(st.data(), st.integers(1, 9), st.integers(0, 7), st.sampled_from((30, 60, 80, 120)))
def test_whatever_is_in_a_table_it_is_shown(data: st.DataObject, n: int, rows: int, width: int) -> None:
    columns = data.draw(st.lists(texts, min_size=n, max_size=n))
    cells = data.draw(st.lists(st.lists(texts, min_size=n, max_size=n), min_size=rows, max_size=rows))
    table = Table("x", "", tuple(columns), tuple(tuple(map(Cell, row)) for row in cells))
    text = shown(table, width)
    assert max(map(len, text.splitlines())) <= width
    got = letters(text)
    for letter, wanted in (
        (k, len(list(g))) for k, g in itertools.groupby(letters("".join(itertools.chain(columns, *cells))))
    ):
        assert got.count(letter) >= wanted


def test_lines_and_names_are_folded_at_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal, pipe = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    rows = [("zerofill", "word " * 30 + "end"), ("a name", "text")]
    for file in (terminal, pipe):
        console.print_named(rows, file)
        console.print_lines(["other " * 30], file)
    assert max(map(len, terminal.getvalue().splitlines())) <= 60
    assert {line.strip() for line in terminal.getvalue().split("zerofill")[0].splitlines()} == set()
    assert re.search(r"^ {10}word", terminal.getvalue(), re.MULTILINE), "the second column keeps its place"
    assert words_of(terminal.getvalue()) == words_of(pipe.getvalue())
    assert pipe.getvalue().splitlines()[0] == "zerofill  " + rows[0][1]
