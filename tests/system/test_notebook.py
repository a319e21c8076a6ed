"""Progress in a notebook, with a fake of what IPython gives: one output, renewed in place, and silence elsewhere."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import mcsr_bench as mb
from mcsr_bench.system import notebook
from mcsr_bench.system.notebook import NotebookListener, standard_listener
from mcsr_bench.system.progress import Listener, Warnings

TOYS = Path(__file__).parents[1] / "toys"


class Shell(SimpleNamespace):
    """What `get_ipython` gives; with ``kernel`` that of a notebook."""


def fake(monkeypatch, shell):
    shown = []
    ipython, displaying = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython, ipython.version_info = lambda: shell, (9, 0)

    def display(data, *, raw, display_id, update):
        assert raw
        shown.append((display_id, update, data))

    displaying.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", displaying)
    return shown


@pytest.fixture
def shown(monkeypatch):
    monkeypatch.setattr(notebook, "_SECONDS", 0.0)
    return fake(monkeypatch, Shell(kernel=object()))


def test_only_a_kernel_is_a_notebook(monkeypatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert type(standard_listener()) is Warnings
    for shell, kind in ((None, Warnings), (Shell(), Warnings), (Shell(kernel=object()), NotebookListener)):
        fake(monkeypatch, shell)
        assert type(standard_listener()) is kind


@pytest.mark.usefixtures("own_cache")
def test_a_run_shows_one_output_and_ends_with_a_line_per_trial(shown, tmp_path, monkeypatch):
    monkeypatch.setattr("mcsr_bench.api.make_report", lambda *_: ([], []))
    mb.run(["zerofill", "toynet"], "toy", 2, plugins=TOYS, preset="smoke", out=tmp_path / "r", jobs=1)
    assert len({name for name, _, _ in shown}) == 1
    assert [update for _, update, _ in shown] == [False] + [True] * (len(shown) - 1)
    pages = [data["text/html"] for _, _, data in shown]
    assert any("toy x2 toynet seed 0 train" in page and "<progress value=" in page for page in pages)
    assert pages[-1].count("<div>") == 2
    assert "<progress" not in pages[-1]
    assert shown[-1][2]["text/plain"].splitlines() == [
        "1/2  toy x2 toynet seed 0  done",
        "2/2  toy x2 zerofill seed 0  done",
    ]
    shown.clear()
    mb.run(["zerofill", "toynet"], "toy", 2, plugins=TOYS, preset="smoke", out=tmp_path / "r", jobs=1)
    assert shown[-1][2]["text/plain"] == "2 of 2 trials are there from an earlier run"


def test_a_listener_of_ones_own_is_the_one_that_is_told(shown, own_cache):
    mb.prepare("toy", 2, plugins=TOYS, listener=Listener())
    assert shown == []
    mb.prepare("toy", 2, plugins=TOYS, settings={"toy": {"patients": 6}})
    assert shown != []


def test_it_is_escaped_and_short(shown):
    seen = set()

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.add(tag)

    listener = NotebookListener()
    listener.trials(40, 10)
    for number in range(30):
        listener.trial_started(f"<b>{number}")
        listener.trial_step(f"<b>{number}", "train", 3, 10, "loss <i>\x1b[31m\n0.1")
        listener.trial_ended(f"<b>{number}", "failed", "<script>alert(1)</script>")
    page = shown[-1][2]["text/html"]
    for _, _, data in shown:
        Tags().feed(data["text/html"])
    assert seen == {"div", "progress"}
    assert page.count("<div>") == 14
    assert "18 more before" in page
    assert shown[-1][2]["text/plain"].splitlines()[-1].startswith("40/40  <b>29  failed: <script>")


def test_it_is_not_renewed_at_every_step(monkeypatch):
    shown = fake(monkeypatch, Shell(kernel=object()))
    listener = NotebookListener()
    listener.trial_started("a")
    for step in range(1000):
        listener.trial_step("a", "train", step, 1000, "")
    assert len(shown) < 20


def test_warnings_stay_pythons(shown):
    with pytest.warns(UserWarning, match="look here"):
        NotebookListener().warning("look here")


def test_the_time_left_is_told(shown, monkeypatch):
    clock = iter(float(n) for n in range(0, 1000, 10))
    monkeypatch.setattr(notebook.time, "monotonic", lambda: next(clock))
    listener = NotebookListener()
    listener.preparing("preparing toy", 2, 10)
    listener.preparing("preparing toy", 6, 10)
    assert shown[-1][2]["text/plain"] == "preparing toy  6/10  about 0:20 left"
