"""What comes from files never acts on a terminal: in errors, findings, rules of splits, progress and tables."""

from __future__ import annotations

import io
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mcsr_bench.cli.console import LineListener, TerminalListener, print_rows, print_table
from mcsr_bench.data.findings import in_short, located
from mcsr_bench.errors import UserError, one_line
from mcsr_bench.plugin.case import BadDataError, Finding
from mcsr_bench.plugin.report import Cell, Table
from mcsr_bench.plugin.split import Split

EVIL = "a\nb\r\x1b[2J\x1b]0;t\x07\x85\u2028\u202e\udcff"
SHOWN = r"a\nb\r\x1b[2J\x1b]0;t\x07\x85\u2028\u202e\udcff"


@given(st.text(st.characters()) | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_one_line_has_no_character_that_is_not_shown(text: str) -> None:
    line = one_line(text)
    assert line.encode("utf-8").decode("utf-8") == line
    assert len(line.splitlines()) <= 1
    assert not {unicodedata.category(c) for c in line} & {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}
    assert one_line(line) == line
    if text.isascii() and text.isprintable():
        assert line == text


def test_plain_words_stay_as_they_are() -> None:
    for text in ("Müller 脳 ± 3 × ½ – C:\\data", ""):
        assert one_line(text) == text
    assert one_line(EVIL) == SHOWN


def test_errors_findings_and_rules_are_one_line_whoever_makes_them() -> None:
    assert str(UserError(f"--split {EVIL}: no")) == f"--split {SHOWN}: no"
    assert str(UserError("first", EVIL)) == f"first\n{SHOWN}"
    assert str(BadDataError("set", [EVIL, EVIL])) == f"set: {SHOWN}; {SHOWN}"
    found = [Finding("warning", "c", f"/d/{EVIL}", EVIL), Finding("warning", "c", f"/e/{EVIL}", EVIL)]
    assert found[0].message == SHOWN
    assert found[0].file == f"/d/{EVIL}", "the file's name stays the file's name, for programs"
    assert located(found[0]) == f"/d/{SHOWN}: {SHOWN}"
    assert SHOWN in in_short(found)[0].message
    assert Split(("a",), ("b",), ("c",), EVIL).rule == SHOWN


def test_progress_and_tables_print_escapes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    with TerminalListener(Console(file=screen, width=400)) as bars:
        for listener in (bars, LineListener()):
            listener.warning(EVIL)
            listener.preparing(EVIL, 0, 2)
            listener.trial_started(EVIL)
            listener.trial_step(EVIL, "train", 1, 2, EVIL)
            listener.trial_ended(EVIL, "failed", EVIL)
    print_rows(["a", EVIL], [[EVIL, "b"]], file=screen)
    print_table(Table("t", EVIL, ("a", EVIL), ((Cell(EVIL, best=True), Cell(EVIL)),), (EVIL,)))
    out, err = capsys.readouterr()
    for text, times in ((screen.getvalue(), 5), (err, 4), (out, 5)):
        assert text.count(SHOWN) >= times
        assert not {unicodedata.category(c) for c in text.replace("\n", "")} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_a_files_name_does_not_act_on_the_terminal(here: Callable[..., Any], tmp_path: Path) -> None:
    """``prepare`` and ``prepare --check`` on files whose names end lines and hold escape sequences."""
    evil = "P1\n\x1b[2Jmcsr-bench: all is well\r"
    for patient in ("P0", evil):
        for contrast in ("T1", "T2"):
            image = nibabel.Nifti1Image(np.ones((32, 32, 2), np.float32), np.eye(4))
            nibabel.save(image, os.fspath(tmp_path / f"{patient}_{contrast}.nii.gz"))
    done = here("prepare", "--dataset", "nifti", "--data-root", tmp_path, "--scale", 2)
    assert done.returncode == 2
    checked = here("prepare", "--dataset", "nifti", "--data-root", tmp_path, "--scale", 2, "--check")
    assert checked.returncode == 2
    for text in (done.stderr, checked.stdout, checked.stderr):
        assert "\x1b" not in text
        assert "\r" not in text
        assert not any(line.startswith("\x1b") or line.startswith("mcsr-bench: all") for line in text.splitlines())
    assert r"P1\n\x1b[2Jmcsr-bench: all is well\r" in done.stderr + checked.stdout
