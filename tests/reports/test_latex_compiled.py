"""LaTeX of the tables: strict where it is read, and without an overfull box where it is compiled."""

import re
import shutil
import subprocess

import fake_run as fake
import pytest

from mcsr_bench.plugin.registry import reports
from mcsr_bench.plugin.report import Cell, Table
from mcsr_bench.results.load import load_results

reports().load("paper")
from mcsr_bench.reports.paper.fitting import LINE, blocks, wrapped  # noqa: E402
from mcsr_bench.reports.paper.latex import latex  # noqa: E402

PREAMBLE = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
COMPLAINTS = re.compile(
    r"^.*(?:Overfull|Float too large|Missing character|Undefined|multiply defined).*$", re.MULTILINE
)


def hard() -> Table:
    """Wide, long, with words that cannot be broken between letters and notes of more than a page."""
    columns = ("method", *(f"dataset{k}: PSNR, high intensity (dB)" for k in range(14)), "x" * 90, "note")
    cells = (
        "zerofill@alpha=0.30000000000000004,width=123456789,blocks=12",
        *(["27.31±1.52"] * 14),
        "<0.001†§",
        "too few patients",
    )
    rows = tuple(tuple(Cell(text, best=k % 3 == 1) for k, text in enumerate(cells)) for _ in range(130))
    two = tuple(
        Cell(f"PSNR +0.1234 (+0.0012 to +0.2456)\nSSIM -0.00{k}" if k else "sanet", best=k == 2) for k in range(17)
    )
    notes = tuple(
        f"Failed: /data/{'very_long_folder/' * 9}network.py: 100 % of {'words ' * 40}≥ 5 · ‡" for _ in range(30)
    )
    return Table("hard", f"A title of {'many words and ' * 12}a {'long-name_' * 8}", columns, (*rows, two), notes)


def numbers() -> Table:
    """As wide as the estimate of widths lets a line be."""
    row = (Cell("sanet"), *(Cell("27.31±1.52") for _ in range(39)))
    return Table("numbers", "Numbers", tuple(f"c{k}" for k in range(40)), (row,) * 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tables of a report, of two data sets under two references with seeds, and the hard one."""
    root = tmp_path_factory.mktemp("latex")
    for name in ("brain-sim", "knee"):
        data = fake.data_record(name, patients=25, reported_as="fastMRI")
        for k, method in enumerate(("zerofill", "bicubic", "bspline")):
            for seed in (0, 1):
                psnr = fake.draw(method, 25, seed=seed, better=0.1 * k)
                fake.write_trial_of(root / "r", method, psnr, data=data, seed=seed, slices=1, card={"trains": True})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mcsr_bench.reports.paper.drawings", lambda *_: iter(()))
        patch.setattr("mcsr_bench.results.statistics.BOOTSTRAPS", 50)
        report = reports().load("paper")()
        report.write(load_results(root / "r"), root, against=("zerofill", "bspline"), formats=("latex",))
    for table in (hard(), numbers()):
        (root / "tables" / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")
    return root / "tables"


def test_latex_is_strict(folder):
    found = sorted(folder.glob("*.tex"))
    assert len(found) >= 6
    for path in found:
        check_latex(path.read_text(encoding="utf-8"))


def check_latex(text: str) -> None:
    """Balanced groups and environments, as many cells as columns, nothing unescaped, ASCII, one label, a caption per float."""
    assert text.isascii()
    bare = re.sub(r"\\[\\{}&%$#_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    begun, ended = (sorted(re.findall(rf"\\{word}\{{(\w+)\}}", text)) for word in ("begin", "end"))
    assert begun == ended
    assert text.count(r"\label{") == 1
    assert text.count(r"\caption{") == begun.count("table") == text.count(r"\addtocounter{table}{-1}") + 1
    columns = 0
    for line in text.splitlines():
        if found := re.fullmatch(r"  \\begin\{tabular\}\{(l[r]*)\}", line):
            columns = len(found[1])
        elif line.endswith(r"\\"):
            cells = re.sub(r"\\begin\{tabular\}.*?\\end\{tabular\}", "", line)
            assert len(re.findall(r"(?<!\\)&", cells)) == columns - 1
            assert not re.search(r"(?<!\\)[%#_]", line)


def test_tables_compile_without_an_overfull_box(folder, tmp_path):
    tex = shutil.which("pdflatex")
    if tex is None:
        pytest.skip("no pdflatex here: the strict reading above stands in for it")
    found = sorted(folder.glob("*.tex"))
    body = "".join(rf"\input{{{path}}}\clearpage" + "\n" for path in found)
    (tmp_path / "main.tex").write_text(f"{PREAMBLE}\n{body}\\end{{document}}\n", encoding="utf-8")
    call = [tex, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "main.tex"]
    out = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert out.returncode == 0, out.stdout[-2000:]
    log = (tmp_path / "main.log").read_text(errors="replace")
    assert COMPLAINTS.findall(log) == []
    assert f"({len(found)} page" not in log  # more pages than tables: the long ones go on


def test_every_column_stands_once_and_fits_its_line():
    table = hard()
    parts = blocks(table)
    assert [k for part in parts for k in part.columns[1:]] == list(range(1, len(table.columns)))
    assert all(part.columns[0] == 0 for part in parts)
    assert len(parts) > 3
    assert len(blocks(table, 10 * LINE)) == 1
    cells = tuple(tuple(map(Cell, (method, metric, *["1.234"] * 20))) for method in "ab" for metric in "cd")
    named = Table("named", "", ("method", "metric", *map(str, range(20))), cells)
    assert [part.columns[:2] for part in blocks(named)] == [(0, 1)] * len(blocks(named))  # else rows have no name
    assert wrapped("95 % interval", 20) == ["95 %", "interval"]
    assert "".join(wrapped("x" * 200)) == "x" * 200
