"""Progress in a notebook: one output under the cell, renewed in place, in HTML that needs no extension."""

from __future__ import annotations

import sys
import time
import uuid
from dataclasses import dataclass
from html import escape
from typing import Any

from mcsr_bench.errors import one_line
from mcsr_bench.system.progress import Listener, Warnings

_SECONDS = 0.25
"""Between two renewals."""
_ENDED = 12
"""How many of the trials that ended last are shown."""


def standard_listener() -> Listener:
    """What listens where a call names nobody: in a notebook it shows progress, elsewhere it is silent but for warnings."""
    return NotebookListener() if in_notebook() else Warnings()


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook. An interpreter in a terminal, IPython's too, is not."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


@dataclass
class _Bar:
    text: str
    done: int
    total: int | None
    detail: str
    began: float
    there: int
    """What was done when it began."""

    def left(self, now: float) -> str:
        fresh = self.done - self.there
        if self.total is None or fresh <= 0 or self.done >= self.total:
            return ""
        seconds = round((now - self.began) / fresh * (self.total - self.done))
        return f"about {seconds // 60}:{seconds % 60:02d} left"

    def words(self, now: float) -> str:
        count = "" if self.total is None else f"{self.done}/{self.total}"
        return one_line("  ".join(part for part in (self.text, count, self.detail, self.left(now)) if part))


class NotebookListener(Warnings):
    """Bars while something is at work, and a line for each trial that ended. Warnings are Python's."""

    def __init__(self) -> None:
        self._id = uuid.uuid4().hex
        self._shown = False
        self._last = 0.0
        self._bars: dict[str, _Bar] = {}
        self._ended: list[str] = []
        self._total = self._there = 0

    def preparing(self, message: str, done: int, total: int) -> None:
        if done >= total:
            self._bars.pop("prepare", None)
        else:
            self._set("prepare", message, done, total, "")
        self._renew(now=done >= total and self._shown)

    def trials(self, total: int, finished: int) -> None:
        self._total, self._there, self._ended = total, finished, []
        self._renew(now=True)

    def trial_started(self, trial: str) -> None:
        self._set(trial, trial, 0, None, "starting")
        self._renew(now=True)

    def trial_step(self, trial: str, stage: str, done: int, total: int, detail: str) -> None:
        self._set(trial, f"{trial} {stage}", done, total, detail)
        self._renew()

    def trial_ended(self, trial: str, status: str, detail: str) -> None:
        self._bars.pop(trial, None)
        number = self._there + len(self._ended) + 1
        self._ended.append(one_line(f"{number}/{self._total}  {trial}  {status}" + (f": {detail}" if detail else "")))
        self._renew(now=True)

    def _set(self, name: str, text: str, done: int, total: int | None, detail: str) -> None:
        bar = self._bars.get(name)
        if bar is None or bar.text != text:  # a new stage: its own speed and time left
            self._bars[name] = _Bar(text, done, total, detail, time.monotonic(), done)
        else:
            bar.done, bar.total, bar.detail = done, total, detail

    def _renew(self, now: bool = False) -> None:
        moment = time.monotonic()
        if not now and moment - self._last < _SECONDS:
            return
        self._last = moment
        lines = self._lines()
        bars = [(bar.words(moment), bar) for bar in self._bars.values()]
        page = [f"<div>{escape(line)}</div>" for line in lines]
        page += [f"<div><progress {_value(bar)}></progress> {escape(words)}</div>" for words, bar in bars]
        self._show({"text/html": "".join(page), "text/plain": "\n".join([*lines, *(words for words, _ in bars)])})

    def _lines(self) -> list[str]:
        lines = [f"{self._there} of {self._total} trials are there from an earlier run"] if self._there else []
        if (hidden := len(self._ended) - _ENDED) > 0:
            lines.append(f"{hidden} more before")
        return lines + self._ended[-_ENDED:]

    def _show(self, data: dict[str, Any]) -> None:
        from IPython.display import display

        display(data, raw=True, display_id=self._id, update=self._shown)
        self._shown = True


def _value(bar: _Bar) -> str:
    return "" if bar.total is None else f'value="{bar.done}" max="{bar.total}"'
