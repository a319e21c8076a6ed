"""What people see. Progress on standard error, tables on standard output."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable

from mcsr_bench.errors import one_line
from mcsr_bench.results.table import Table
from mcsr_bench.system.progress import Listener


class TerminalListener(Listener):
    """Bars with step, loss and time left, for a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._stage: dict[str, str] = {}
        self._ended = self._total = 0

    def __enter__(self) -> TerminalListener:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def preparing(self, message: str, done: int, total: int) -> None:
        self._show("prepare", _shown(message), done, total, "")
        if done == total:
            self._remove("prepare")

    def warning(self, message: str) -> None:
        self._progress.console.print(f"[yellow]warning:[/] {_shown(message)}")

    def trials(self, total: int, finished: int) -> None:
        self._total, self._ended = total, finished
        if finished:
            self._progress.console.print(f"{finished} of {total} trials are there from an earlier run")

    def trial_started(self, trial: str) -> None:
        self._show(trial, _shown(trial), 0, None, "starting")

    def trial_step(self, trial: str, stage: str, done: int, total: int, detail: str) -> None:
        if self._stage.get(trial) != stage:  # a new stage: its own speed and time left
            self._remove(trial)
            self._stage[trial] = stage
        self._show(trial, f"{_shown(trial)} {stage}", done, total, _shown(detail))

    def trial_waits(self, trial: str) -> None:
        self._remove(trial)

    def trial_ended(self, trial: str, status: str, detail: str) -> None:
        self._ended += 1
        self._remove(trial)
        colour = "green" if status == "done" else "red"
        text = f"{self._ended}/{self._total}  {_shown(trial)}  [{colour}]{status}[/]"
        self._progress.console.print(text + (f": {_shown(detail)}" if detail else ""))

    def _show(self, name: str, text: str, done: int, total: int | None, detail: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(text, total=total, detail=detail)
        self._progress.update(self._tasks[name], description=text, completed=done, total=total, detail=detail)

    def _remove(self, name: str) -> None:
        if name in self._tasks:
            self._progress.remove_task(self._tasks.pop(name))


class LineListener(Listener):
    """Plain lines, a few per trial, for logs."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._ended = self._total = 0
        self._task = ("", 0.0, 0)
        """What is being prepared, since when, and how much of it was there then."""

    def __enter__(self) -> LineListener:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def preparing(self, message: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self._task[0] != message:
            self._task = message, now, done
        if self._due("prepare", done in (0, total) or self._task[1] == now):
            _, began, there = self._task
            fresh = done - there
            left = (
                f", about {_duration((now - began) / fresh * (total - done))} left"
                if fresh > 0 and done < total
                else ""
            )
            self._say(f"{message}: {done}/{total}{left}")

    def warning(self, message: str) -> None:
        self._say(f"warning: {message}")

    def trials(self, total: int, finished: int) -> None:
        self._total, self._ended = total, finished
        if finished:
            self._say(f"{finished} of {total} trials are there from an earlier run")

    def trial_step(self, trial: str, stage: str, done: int, total: int, detail: str) -> None:
        if stage == "train" and self._due(trial, False):
            self._say(f"  {trial}  {stage} {done}/{total}  {detail}")

    def trial_ended(self, trial: str, status: str, detail: str) -> None:
        self._ended += 1
        self._say(f"{self._ended}/{self._total}  {trial}  {status}" + (f": {detail}" if detail else ""))

    def _due(self, name: str, always: bool) -> bool:
        now = time.monotonic()
        if always or now - self._last.setdefault(name, now) > 15:
            self._last[name] = now
            return True
        return False

    def _say(self, text: str) -> None:
        print(one_line(text), file=sys.stderr, flush=True)


def _shown(text: str) -> str:
    """Text for rich: neither its markup nor what a terminal would act on."""
    return escape(one_line(text))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def replace_what_is_not_encoded() -> None:
    """Print "?" for what an output cannot encode (± in ASCII, · in Shift-JIS), where Python would end with an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(*lines: str, file: TextIO | None = None) -> None:
    """Print lines, on standard output if not told otherwise; what is in them was read from data, and must not act on a terminal."""
    for line in lines:
        print(one_line(line), file=file or sys.stdout)


def listener() -> TerminalListener | LineListener:
    """The one that suits where standard error goes."""
    return TerminalListener(Console(stderr=True)) if sys.stderr.isatty() else LineListener()


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], file: TextIO) -> None:
    """Rows of text as a table, wrapped on a terminal and never cut elsewhere."""
    terminal = file.isatty()
    console = Console(file=file) if terminal else Console(file=file, width=10_000, force_terminal=False)
    out = RichTable(show_lines=terminal)
    for column in columns:
        out.add_column(_shown(column), no_wrap=not terminal, overflow="fold")
    for row in rows:
        out.add_row(*map(_shown, row))
    console.print(out)


def print_table(table: Table) -> None:
    """A table with its title and notes on standard output; on anything but a terminal it is never cut to a width."""
    console = Console() if sys.stdout.isatty() else Console(width=10_000, force_terminal=False)
    console.print(_shown(table.title), style="bold", highlight=False)
    out = RichTable()
    for number, column in enumerate(table.columns):
        out.add_column(_shown(column), no_wrap=True, justify="left" if number == 0 else "right")
    for row in table.rows:
        out.add_row(*(f"[bold]{_shown(cell.text)}[/]" if cell.best else _shown(cell.text) for cell in row))
    console.print(out)
    for note in table.notes:
        console.print(_shown(note), style="dim", highlight=False)
    console.print()
