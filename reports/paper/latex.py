"""Tables as LaTeX: each file compiles after ``\\usepackage{booktabs}``, and fits the lines and pages of the class article.

A table that is too wide is set as several, one below the other, each with the columns that name a row; one that is too long, and
notes that do not fit below it, go on in another float.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcsr_bench.errors import one_line
from mcsr_bench.plugin.report import Table

from .fitting import BASELINE, Block, blocks, lines_of_text, wrapped

_SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "§": r"$\S$",
    "·": r"$\cdot$",
    "α": r"$\alpha$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "’": "'",
}


_FLOAT = 470.0
"""Points: the height of a page of article, less a caption of several lines."""
_GAP = 8.0
"""What rules and the space below take, in points."""
_WAITING = 8
"""LaTeX lets no more than 18 floats wait for a page; after so many of one table, pages are filled at once."""
_LONG = 24
"""A word of more characters may be broken."""


def latex(table: Table) -> str:
    """One table in one or several floats: best values bold, notes below in small print; plain ASCII."""
    floats: list[list[str]] = [[]]
    room = _FLOAT
    for height, piece in _pieces(table):
        if floats[-1] and height > room:
            floats.append([])
            room = _FLOAT
        floats[-1].append(piece)
        room -= height
    return "\n".join(_float(table, pieces, number) for number, pieces in enumerate(floats))


def _float(table: Table, pieces: Sequence[str], number: int) -> str:
    label = "".join(c if c.isalnum() else "-" for c in table.name if c.isascii())
    again = [r"  \addtocounter{table}{-1}"] if number else []
    name = [] if number else [rf"  \label{{tab:{label}}}"]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering\sloppy",
            *again,
            rf"  \caption{{{running(table.title)}{' (continued)' if number else ''}}}",
            *name,
            r"  \par\smallskip\footnotesize\setlength{\tabcolsep}{3pt}",
            *pieces,
            r"\end{table}",
            *([r"\clearpage"] if number % _WAITING == _WAITING - 1 else []),
            "",
        ]
    )


def _pieces(table: Table) -> Iterator[tuple[float, str]]:
    """Heights in points and LaTeX of what must not be divided: parts of the table, then the notes."""
    parts = blocks(table)
    together = sum(part.height(range(len(table.rows))) + _GAP for part in parts) <= _FLOAT
    rows: Sequence[Sequence[int]] = [range(len(table.rows))] if together else _pages(parts, len(table.rows))
    for chosen in rows:
        for part in parts:
            yield part.height(chosen) + _GAP, _tabular(table, part, chosen)
    for note in table.notes:
        text = rf"  \par\smallskip\begin{{minipage}}{{\linewidth}}\raggedright {running(note)}\end{{minipage}}"
        yield lines_of_text(note) * BASELINE + 3, text


def _pages(parts: Sequence[Block], n: int) -> list[list[int]]:
    """The rows in groups of which each part fits a page."""
    pages: list[list[int]] = [[]]
    for row in range(n):
        if pages[-1] and any(part.height([*pages[-1], row]) + _GAP > _FLOAT for part in parts):
            pages.append([])
        pages[-1].append(row)
    return pages


def _tabular(table: Table, block: Block, rows: Sequence[int]) -> str:
    columns = "l" + "r" * (len(block.columns) - 1)
    heads = [_stacked(lines, "b", side) for lines, side in zip(block.heads, columns, strict=True)]
    out = [rf"  \begin{{tabular}}{{{columns}}}", r"    \toprule", f"    {' & '.join(heads)} \\\\", r"    \midrule"]
    for row in rows:
        cells = []
        for k, side in zip(block.columns, columns, strict=True):
            cell = table.rows[row][k]
            cells.append(_stacked(wrapped(cell.text), "t", side, bold=cell.best))
        out.append(f"    {' & '.join(cells)} \\\\")
    return "\n".join([*out, r"    \bottomrule", r"  \end{tabular}\par\medskip"])


def _stacked(lines: Sequence[str], where: str, side: str, *, bold: bool = False) -> str:
    """Lines of a cell, one above the other."""
    texts = [rf"\textbf{{{escape(line)}}}" if bold else escape(line) for line in lines]
    if len(texts) == 1:
        return texts[0]
    return rf"\begin{{tabular}}[{where}]{{@{{}}{side}@{{}}}}" + r"\\ ".join(texts) + r"\end{tabular}"


def running(text: str) -> str:
    """Text for paragraphs, whose long words (paths, names of settings) may be broken."""
    words = (
        r"\allowbreak{}".join(escape(word[i : i + 8]) for i in range(0, len(word), 8))
        if len(word) > _LONG
        else escape(word)
        for word in text.split()
    )
    return " ".join(words)


def escape(text: str) -> str:
    """Text as LaTeX takes it, on one line; a character that is neither ASCII nor declared to LaTeX becomes "?"."""
    flat = one_line(" ".join(text.split()))
    named = "".join(_SIGNS.get(sign, sign) for sign in flat)
    return named.encode("ascii", "replace").decode()
