"""No output dies of an encoding: every command that prints, on terminals that know neither ± nor ·."""

import io
import sys
from pathlib import Path

import pytest

from mcsr_bench.cli import main


@pytest.fixture
def printed(monkeypatch, own_cache):
    """``printed("cp1252", "list", "methods")``: what a command gives on standard output and error in an encoding, as text."""

    def call(encoding, *words):
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            patch.setattr(sys, "argv", ["mcsr-bench", *map(str, words)])
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code or 0
            for stream in streams:
                stream.flush()
        return code, *(stream.buffer.getvalue().decode(encoding) for stream in streams)

    return call


TOYS = Path(__file__).parent / "toys"
RUN = (
    "run",
    "--methods",
    "zerofill",
    "--plugins",
    TOYS,
    "--dataset",
    "toy",
    "--scale",
    2,
    "--preset",
    "quick",
    "--jobs",
    1,
)


def test_what_a_terminal_cannot_show_becomes_a_question_mark(printed, tmp_path):
    for encoding, sign in (("ascii", "?"), ("cp1252", "±"), ("shift_jis", "±")):
        code, out, err = printed(encoding, *RUN, "--out", tmp_path / "größe")
        assert code == 0, err
        assert f"mean{sign}std over patients" in out
    for words in (("report", tmp_path / "größe", "--to", tmp_path / "page"), ("info", "method", "sanet")):
        code, out, err = printed("ascii", *words)
        assert code == 0, err
        assert out


@pytest.mark.parametrize("encoding", ["ascii"])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("list", "datasets"), 0),
        (("info", "dataset", "brain-sim", "--json"), 0),
        (("run", "--help"), 0),
        (("info", "method", "größe·"), 2),
        (("predict", "--größe"), 2),
    ],
)
def test_help_lists_and_mistakes_too(printed, encoding, words, code):
    got, out, err = printed(encoding, *words)
    assert got == code
    assert out or err
    assert "Traceback" not in err
