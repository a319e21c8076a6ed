"""The command ``fetch``: licence, answers and exit codes. No server: the sources of these tests are addresses nobody listens at."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mcsr_bench.fetching import fetch as fetching
from mcsr_bench.fetching import sources as known
from mcsr_bench.fetching.fetch import FETCHED, Fetched, FetchedFile
from mcsr_bench.fetching.sources import Source
from mcsr_bench.plugin import registry


class Terminal(io.StringIO):
    """Standard input with somebody in front of it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was begun to be downloaded: nothing is, in these tests."""
    begun: list[str] = []

    def listed(source: Source, pause: float) -> tuple[()]:
        begun.append(source.name)
        return ()

    monkeypatch.setattr(fetching, "listed", listed)
    return begun


def test_fastmri_is_not_downloaded_but_explained(here: Callable[..., Any], asked: list[str], tmp_path: Path) -> None:
    done = here("fetch", "fastmri", "--to", tmp_path / "to")
    assert done.returncode == 0
    assert "https://fastmri.med.nyu.edu" in done.stdout
    assert "Nothing was downloaded" in done.stdout
    assert registry.datasets().card("fastmri").licence in done.stdout
    assert asked == []
    assert not (tmp_path / "to").exists()


def test_a_wrong_name_gets_the_nearest_and_a_missing_folder_its_option(here: Callable[..., Any]) -> None:
    done = here("fetch", "m4row", "--to", "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mcsr-bench: no data set 'm4row'; did you mean 'm4raw'?\n"
    done = here("fetch", "m4raw")
    assert done.returncode == 2
    assert done.stderr == "mcsr-bench: --to is missing: the folder that gets the data\n"


def test_without_a_terminal_the_licence_needs_its_option(
    here: Callable[..., Any], asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    done = here("fetch", "ixi", "--to", tmp_path / "to")
    assert done.returncode == 2
    assert "CC BY-SA 3.0, https://creativecommons.org/licenses/by-sa/3.0/" in done.stderr
    assert "EPSRC GR/S21533/02" in done.stderr
    assert done.stderr.endswith("say --accept-licence if you accept it\n")
    assert asked == []
    assert not (tmp_path / "to").exists()
    done = here("fetch", "ixi", "--to", tmp_path / "to", "--accept-licence")
    assert done.returncode == 0
    assert asked == ["ixi"]
    spaced = here("fetch", "open-ms", "--to", tmp_path / "a b", "--accept-licence").stderr.splitlines()[-1]
    words = shlex.split(spaced)
    assert words[words.index("--data-root") + 1] == str(tmp_path / "a b"), "the next command can be pasted"
    assert json.loads((tmp_path / "to" / FETCHED).read_text())["licence"]["name"] == "CC BY-SA 3.0"


@pytest.mark.parametrize(
    ("answer", "code"), [("yes\n", 0), (" YES \n", 0), ("y\n", 2), ("no\n", 2), ("\n", 2), ("", 2)]
)
def test_on_a_terminal_yes_is_asked_for(
    here: Callable[..., Any],
    asked: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    done = here("fetch", "open-ms", "--to", tmp_path / "to")
    assert done.returncode == code
    assert "Licence: CC BY, https://creativecommons.org/licenses/by/4.0/" in done.stderr
    assert "Type yes to accept: " in done.stderr
    assert asked == (["open-ms"] if code == 0 else [])
    if code:
        assert done.stderr.endswith(
            "mcsr-bench: open-ms: its licence, CC BY, was not accepted; nothing was downloaded\n"
        )
        assert not (tmp_path / "to").exists()


def test_a_publisher_out_of_reach_is_a_sentence(
    here: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = known.sources()["m4raw"].model_dump()
    made["listing"]["url"] = "http://127.0.0.1:1/records/1"  # a port where nothing listens
    monkeypatch.setattr(known, "sources", lambda: {"m4raw": Source.model_validate(made)})
    monkeypatch.setattr("mcsr_bench.fetching.download.time.sleep", lambda _: None)
    done = here("fetch", "m4raw", "--to", tmp_path / "to", "--accept-licence")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mcsr-bench: http://127.0.0.1:1/records/1: no connection (")
    assert last.endswith("5 attempts in a row brought nothing new, or hardly anything, the same command goes on later")


def test_what_is_there_is_told_with_its_checks(here: Callable[..., Any], asked: list[str], tmp_path: Path) -> None:
    source = known.sources()["ixi"]
    (tmp_path / "IXI-T1").mkdir()
    (tmp_path / "IXI-T1" / "a").write_bytes(b"12345")
    file = FetchedFile(
        name="IXI-T1.tar", url="u", size=7, sha256="ab", verified="md5 as said", folder="IXI-T1", files=1, bytes=5
    )
    common = source.model_dump(include={"title", "homepage", "licence", "citation"})
    record = Fetched(source="ixi", listing=source.files[:1], files=(file,), **common)
    (tmp_path / FETCHED).write_text(record.model_dump_json(), encoding="utf-8")
    done = here("fetch", "ixi", "--to", tmp_path)
    assert done.returncode == 0
    assert done.stdout == "IXI-T1: 1 files from IXI-T1.tar, 7 bytes, sha256 ab, md5 as said\n"
    assert f"next: mcsr-bench prepare --dataset ixi --data-root {tmp_path}\n" in done.stderr
    assert asked == []
    (tmp_path / FETCHED).write_text("{", encoding="utf-8")
    done = here("fetch", "ixi", "--to", tmp_path)
    assert done.returncode == 2
    assert "not readable as a record of fetch" in done.stderr
