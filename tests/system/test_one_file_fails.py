"""A disk that does not give one file of one trial takes no other trial down, and the file is left as it is."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mcsr_bench as mb
from mcsr_bench.api import experiment_spec
from mcsr_bench.errors import UnreadFileError
from mcsr_bench.experiment.run import run_experiment
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.results.bundle import BundleFiles
from mcsr_bench.results.run_folder import RunFolder
from mcsr_bench.system import digests
from mcsr_bench.system.progress import Listener

TOYS = Path(__file__).parents[1] / "toys"
SAID = {
    errno.EIO: "cannot write or read: the disk or the network folder failed (input/output error)",
    errno.ESTALE: "cannot write or read: the network folder is gone (stale file handle)",
}
FAULTS = [pytest.param(number, id=errno.errorcode[number]) for number in SAID]


class Told(Listener):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, message: str) -> None:
        self.said.append(message)

    def trial_ended(self, trial: str, status: str, detail: str) -> None:
        self.said.append(f"{trial} {status} {detail}".rstrip())


def run(out: Path, *methods: str) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Status and reason by method of what was asked, status by method of the results, and what was told."""
    told = Told()
    with scoped_plugins([TOYS]):
        spec = experiment_spec(methods, "toy", 2, preset="quick", plugins=TOYS, out=out, jobs=1)
        results, records = run_experiment(spec, told)
    asked = {record.method: f"{record.status} {record.reason}".rstrip() for record in records}
    return asked, results.trials.set_index("method")["status"].to_dict(), told.said


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two methods, and beside it the cache."""
    root = tmp_path_factory.mktemp("one-file")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MCSR_BENCH_CACHE", str(root / "cache"))
        run(root / "r", "zerofill", "bicubic")
    return root / "r"


@pytest.fixture
def out(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same; no test changes a file of it."""
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(made.parent / "cache"))
    before = {path: path.read_bytes() for path in made.glob("toy/x2/**/*") if path.is_file()}
    yield made
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in made.glob("toy/x2/**/*") if path.is_file()} == before


def zerofill(out: Path) -> BundleFiles:
    return RunFolder(out).trial("toy", 2, "zerofill", 0)


def broken(monkeypatch: pytest.MonkeyPatch, path: Path, number: int) -> str:
    """A file that cannot be opened, nor, on a network folder that is gone, be seen; what is said of it."""
    usual = {"open": Path.open, "stat": Path.stat}

    def failing(name: str) -> Callable[..., Any]:
        def call(self: Path, *args: Any, **kwargs: Any) -> Any:
            if self == path:
                raise OSError(number, os.strerror(number), str(path))
            return usual[name](self, *args, **kwargs)

        return call

    monkeypatch.setattr(digests, "_read", {})
    monkeypatch.setattr(Path, "open", failing("open"))
    if number == errno.ESTALE:
        monkeypatch.setattr(Path, "stat", failing("stat"))
    return f"{path}: {SAID[number]}"


@pytest.mark.parametrize("number", FAULTS)
def test_the_record_of_a_trial_that_is_asked_for(out: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    with monkeypatch.context() as patch:
        said = broken(patch, zerofill(out).trial, number)
        asked, found, told = run(out, "zerofill", "bicubic")
    assert asked["bicubic"] == "done"
    assert asked["zerofill"].startswith(f"failed {said}")
    assert len(asked["zerofill"].splitlines()) == 1
    assert found == {"bicubic": "done"}
    assert f"{said}; the trial is left out of the results" in told
    assert run(out, "zerofill", "bicubic")[0] == {"zerofill": "done", "bicubic": "done"}


@pytest.mark.parametrize("number", FAULTS)
def test_the_record_of_another_trial(out: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    said = broken(monkeypatch, zerofill(out).trial, number)
    asked, found, told = run(out, "bicubic")
    assert (asked, found) == ({"bicubic": "done"}, {"bicubic": "done"})
    assert told == [f"{said}; the trial is left out of the results"]


def test_the_scores_of_a_trial_that_is_asked_for(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = broken(monkeypatch, zerofill(out).volumes, errno.EIO)
    asked, found, _ = run(out, "zerofill", "bicubic")
    assert asked == {"zerofill": f"failed {said}", "bicubic": "done"}
    assert found == {"bicubic": "done"}


@pytest.mark.parametrize(("name", "number"), [("trial", errno.EIO), ("volumes", errno.ESTALE)])
def test_a_report(
    out: Path, tmp_path: Path, here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    said = broken(monkeypatch, getattr(zerofill(out), name), number)
    done = here("report", out, "--to", tmp_path / "to", "--formats", "md", "--plugins", TOYS)
    assert done.returncode == 1
    assert f"warning: {said}; the trial is left out of the report\n" in done.stderr
    text = (tmp_path / "to" / "report.md").read_text()
    assert "| bicubic |" in text
    assert "| zerofill |" not in text


@pytest.mark.parametrize("name", ["trial", "volumes"])
@pytest.mark.parametrize("number", FAULTS)
def test_results_name_the_file(out: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    said = broken(monkeypatch, getattr(zerofill(out), name), number)
    with pytest.raises(UnreadFileError, match=f"^{re.escape(said)}$"):
        mb.load_results(out)


@pytest.mark.parametrize(
    ("name", "number"), [("trial", errno.EIO), ("volumes", errno.ESTALE), ("predictions", errno.EIO)]
)
def test_verify(out: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    said = broken(monkeypatch, getattr(zerofill(out), name), number)
    bicubic, one = mb.verify(out, plugins=TOYS, jobs=1)
    assert (bicubic.outcome, one.outcome, one.reasons) == ("verified", "failed", (said,))


@pytest.mark.parametrize("name", ["trial", "slices"])
@pytest.mark.parametrize("number", FAULTS)
def test_merge_makes_nothing_without_it(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    said = broken(monkeypatch, getattr(zerofill(out), name), number)
    with pytest.raises(UnreadFileError, match=f"^{re.escape(said)}$"):
        mb.merge([out], tmp_path / "to")
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []
