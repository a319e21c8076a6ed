"""Tables as LaTeX with booktabs: each file is a float that compiles after ``\\usepackage{booktabs}``."""

from __future__ import annotations

from mcsr_bench.errors import one_line
from mcsr_bench.plugin.report import Table

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
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "·": r"\textperiodcentered{}",
    "α": r"$\alpha$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "’": "'",
}


def latex(table: Table) -> str:
    """One table: best values bold, notes below in small print; plain ASCII."""
    columns = "l" + "r" * (len(table.columns) - 1)
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{escape(table.title)}}}",
        rf"  \label{{tab:{''.join(c if c.isalnum() else '-' for c in table.name if c.isascii())}}}",
        rf"  \begin{{tabular}}{{{columns}}}",
        r"    \toprule",
        "    " + " & ".join(map(escape, table.columns)) + r" \\",
        r"    \midrule",
    ]
    for row in table.rows:
        cells = (rf"\textbf{{{escape(c.text)}}}" if c.best else escape(c.text) for c in row)
        lines.append("    " + " & ".join(cells) + r" \\")
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    lines += [r"  \par\smallskip", r"  \begin{minipage}{\linewidth}\footnotesize"] if table.notes else []
    lines += [rf"    {escape(note)}\par" for note in table.notes]
    lines += [r"  \end{minipage}"] if table.notes else []
    return "\n".join([*lines, r"\end{table}", ""])


def escape(text: str) -> str:
    """Text as LaTeX takes it, on one line; a character that is neither ASCII nor declared to LaTeX becomes "?"."""
    flat = one_line(" ".join(text.split()))
    named = "".join(_SIGNS.get(sign, sign) for sign in flat)
    return named.encode("ascii", "replace").decode()
