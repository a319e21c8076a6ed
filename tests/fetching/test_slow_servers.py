"""Servers that keep a connection open and send next to nothing: a download ends, and a later one goes on."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from local_server import BODY, PAUSE, Page, Server, finals, source, yes

from mcsr_bench.errors import UserError
from mcsr_bench.fetching import download
from mcsr_bench.fetching.download import get_json
from mcsr_bench.fetching.fetch import fetch

LITTLE = BODY[:300]
USUAL = (download.LEAST_RATE, download.WINDOW, download.ANSWER_WITHIN)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "WINDOW", 0.1)
    monkeypatch.setattr(download, "ANSWER_WITHIN", 0.2)


def test_a_byte_now_and_then_is_no_transfer(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(LITTLE, drip=0.02)
    with pytest.raises(UserError, match=r"only \d bytes came in 0 s; 5 attempts in a row .* the same command goes on"):
        fetch(source(server, {"name": "a.bin"}), tmp_path, yes, pause=PAUSE)
    assert len(server.log) == 5
    assert finals(tmp_path) == []
    server.pages["/a.bin"].drip = 0
    fetch(source(server, {"name": "a.bin"}), tmp_path, yes, pause=PAUSE)
    assert (tmp_path / "a.bin").read_bytes() == LITTLE
    assert server.log[-1].range != "bytes=0-"  # what dripped was not asked for again
    assert server.log[-1].sent < len(LITTLE)


def test_a_server_that_drips_and_drops_is_not_asked_for_ever(server: Server, tmp_path: Path) -> None:
    server.pages["/a.bin"] = Page(LITTLE, drip=0.02, drop_after=[3] * 50)
    with pytest.raises(UserError, match="the same command goes on"):
        fetch(source(server, {"name": "a.bin"}), tmp_path, yes, pause=PAUSE)
    assert len(server.log) == 5


def test_a_list_that_drips(server: Server) -> None:
    server.pages["/list"] = Page(b"[" + b" " * 1000 + b"]", drip=0.02)
    with pytest.raises(UserError, match=r"only \d bytes came"):
        get_json(f"{server.url}/list", PAUSE)


def test_a_head_that_never_ends(server: Server) -> None:
    server.pages["/list"] = Page(b"[]", silent=0.02)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"no answer in 0\.2 s"):
        get_json(f"{server.url}/list", PAUSE)
    assert time.monotonic() - began < 20


def test_the_limits_are_below_any_line_in_use() -> None:
    """1 kB/s over a minute, an answer within two."""
    assert USUAL == (1000, 60, 120)
