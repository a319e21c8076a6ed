"""Errors of plugins: the author's own line is named, what repeats is folded, logs are named and kept, --debug shows traces."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mcsr_bench.conformance.outcome import run_checks
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.blame import blamed, place, told

TESTS = Path(__file__).parent
FAULTY, TOYS = TESTS / "faulty", TESTS / "toys"
pytestmark = pytest.mark.usefixtures("no_figures")

Command = Callable[..., Any]
SMOKE = ("--dataset", "toy", "--scale", 2, "--preset", "smoke", "--jobs", 1)


def raised(folder: Path, code: str, **names: object) -> BaseException:
    """What code in a file of a folder raises."""
    path = folder / "network.py"
    path.write_text(code, encoding="utf-8")
    with pytest.raises(BaseException) as found:  # noqa: PT011 - whatever it is
        exec(compile(code, str(path), "exec"), dict(names))
    return found.value


def test_the_last_line_of_the_plugins_own_code_is_named(tmp_path: Path) -> None:
    error = raised(tmp_path, "import torch\ndef f():\n    torch.ones(2).reshape(3)\nf()\n")
    assert place(error, tmp_path) == f"{tmp_path / 'network.py'}:3"
    assert told(error, tmp_path) == f"RuntimeError: {error} ({tmp_path / 'network.py'}:3)"
    assert place(error, tmp_path / "other") == ""
    assert told(KeyError(), tmp_path) == "KeyError"


def test_the_line_of_a_cause_is_named_where_the_exception_itself_has_none(tmp_path: Path) -> None:
    error = ValueError("the engine's sentence")
    error.__cause__ = raised(tmp_path, "\n\n\n1 / 0\n")
    assert told(error, tmp_path) == f"ValueError: the engine's sentence ({tmp_path / 'network.py'}:4)"


def test_a_syntax_error_below_the_plugin_is_placed(tmp_path: Path) -> None:
    with pytest.raises(SyntaxError) as found:
        compile("x = (\n", str(tmp_path / "late.py"), "exec")
    assert place(found.value, tmp_path) == f"{tmp_path / 'late.py'}:1"


def test_a_place_below_the_current_folder_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place(raised(tmp_path, "1 / 0\n"), tmp_path) == "network.py:1"


@pytest.mark.parametrize(
    "message",
    [
        "Torch not compiled with CUDA enabled",
        "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU\nand installed a driver",
        "No CUDA GPUs are available",
    ],
)
def test_a_gpu_that_is_not_there_is_explained(tmp_path: Path, message: str) -> None:
    text = told(RuntimeError(message), tmp_path)
    assert "leave out .cuda()" in text
    assert "device=batch.target_lr.device" in text
    assert len(text.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_what_torch_says_here_is_explained(tmp_path: Path) -> None:
    assert "leave out .cuda()" in told(raised(tmp_path, "import torch\ntorch.ones(1).cuda()\n"), tmp_path)


def test_blame_turns_a_plugins_exception_into_a_sentence_and_no_other(tmp_path: Path) -> None:
    error = raised(tmp_path, "1 / 0\n")
    with pytest.raises(UserError, match=r"ZeroDivisionError: division by zero \(.*network\.py:1\)"), blamed(tmp_path):
        raise error
    with pytest.raises(ZeroDivisionError), blamed(tmp_path):
        _ = 1 / 0  # the engine's own
    with pytest.raises(UserError, match=r"^a sentence$"), blamed(tmp_path):
        raise UserError("a sentence")


def test_a_check_that_is_left_out_names_the_one_that_failed() -> None:
    def broken() -> str:
        raise RuntimeError("broken")

    needs = {"two": ("one",), "three": ("two",)}
    first, *others = run_checks({"one": broken, "two": lambda: "", "three": lambda: ""}, needs)
    assert "in broken" in first.trace
    assert {o.detail for o in others} == {"not run, because 'one' did not pass"}


def test_check_folds_what_was_left_out_and_names_the_line(here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TESTS.parent)
    done = here("check", "crashes", "--plugins", FAULTY)
    assert done.returncode == 1
    rows = [line for line in done.stdout.splitlines() if line.startswith("│")]
    assert len(rows) == 2
    assert "RuntimeError: no licence file (tests/faulty/crashes/__init__.py:3)" in rows[0]
    assert "15 others" in rows[1]
    assert "because 'loads' did not pass: shapes, finite, " in rows[1]
    assert "16 checks of 1 plugin, 1 failed" in done.stdout
    assert "Traceback" not in done.stderr
    full = json.loads(here("check", "crashes", "--plugins", FAULTY, "--json").stdout)
    assert len(full["crashes"]) == 16, "for programs nothing is folded"


def test_check_shows_traces_with_debug(here: Command) -> None:
    done = here("check", "--debug", "crashes", "--plugins", FAULTY)
    assert done.returncode == 1
    assert done.stderr.startswith("crashes, loads:\n")
    assert 'raise RuntimeError("no licence file")' in done.stderr


def test_a_class_that_the_card_names_and_nobody_defines(here: Command, tmp_path: Path) -> None:
    shutil.copytree(FAULTY / "crashes", tmp_path / "crashes")
    (tmp_path / "crashes" / "__init__.py").write_text("", encoding="utf-8")
    done = here(
        "run", "--methods", "crashes", *SMOKE, "--plugins", tmp_path, "--plugins", TOYS, "--out", tmp_path / "r"
    )
    assert done.returncode == 2
    assert "crashes/__init__.py: has no class 'Toy', which card.toml names" in done.stderr


@pytest.mark.parametrize(("command", "kind"), [(("run", "--methods"), "method"), (("check",), "method or dataset")])
def test_an_unknown_method_points_at_plugins(
    here: Command, tmp_path: Path, command: tuple[str, ...], kind: str
) -> None:
    done = here(*command, "mynet")
    assert done.returncode == 2
    assert f"no {kind} 'mynet'; did you mean 'minet'?" in done.stderr
    assert "a method of your own needs --plugins PATH" in done.stderr
    done = here(*command, "mynet", "--plugins", TOYS)
    assert f"there is none in --plugins {TOYS} either" in done.stderr


def test_a_failed_trial_names_line_and_log_and_debug_shows_its_trace(here: Command, tmp_path: Path) -> None:
    asked = ("run", "--methods", "toynet", *SMOKE, "--plugins", TOYS, "--set", "toynet.fault=raise", "--out", tmp_path)
    done = here(*asked)
    assert done.returncode == 1
    [log] = tmp_path.glob("toy/x2/toynet@*/seed0/worker.log")
    line = 1 + (TOYS / "toynet" / "__init__.py").read_text(encoding="utf-8").splitlines().index(
        '            raise RuntimeError("the toy fails on purpose")'
    )
    reason = f"RuntimeError: the toy fails on purpose ({place_of(TOYS / 'toynet' / '__init__.py')}:{line}); see {log}"
    assert f"toynet (fault=raise) seed 0  failed: {reason}" in done.stderr
    assert reason in json.loads((log.parent / "trial.json").read_text(encoding="utf-8"))["reason"]
    assert "Traceback" not in done.stderr
    again = here(*asked, "--debug")
    assert again.returncode == 1
    assert f"{log}:\nTraceback (most recent call last):" in again.stderr


def place_of(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if Path.cwd() in path.parents else path


def test_stress_keeps_the_log_of_the_trial_and_names_its_own(here: Command, tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    shutil.copytree(TOYS, plugins)
    run = tmp_path / "r"
    done = here("run", "--methods", "toynet", *SMOKE, "--plugins", plugins, "--out", run)
    assert done.returncode == 0, done.stderr
    [folder] = run.glob("toy/x2/toynet/seed0")
    (folder / "worker.log").write_text("what the trial printed\n", encoding="utf-8")
    code = plugins / "toynet" / "__init__.py"
    good = "        return self.network(batch.auxiliary"
    before, after = code.read_text(encoding="utf-8").split(good)
    code.write_text(f"{before}        _ = 1 / 0\n{good}{after}", encoding="utf-8")
    line = 1 + before.count("\n")
    done = here("stress", run, "--jobs", 1, "--plugins", plugins)
    assert done.returncode == 2
    assert f"ZeroDivisionError: division by zero ({place_of(code)}:{line}); see {folder / 'stress.log'}" in done.stderr
    assert (folder / "worker.log").read_text(encoding="utf-8") == "what the trial printed\n"
    assert "_ = 1 / 0" in (folder / "stress.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("command", ["prepare", "run"])
def test_a_mistake_of_a_dataset_is_told_with_its_line(here: Command, tmp_path: Path, command: str, jobs: int) -> None:
    more = ("--methods", "zerofill", "--out", tmp_path / "r", "--preset", "smoke") if command == "run" else ()
    asked = (command, "--dataset", "toy", "--scale", 2, "--plugins", TOYS, "--set", "toy.fault=bug", "--jobs", jobs)
    done = here(*asked, *more)
    assert done.returncode == 2
    code = TOYS / "toy" / "__init__.py"
    line = 1 + code.read_text(encoding="utf-8").split("raise ZeroDivisionError")[0].count("\n")
    assert f"mcsr-bench: ZeroDivisionError: a mistake of the plugin's ({place_of(code)}:{line})" in done.stderr
