"""What people see. Progress on standard error, tables on standard output."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text
from typer import Context

from mcsr_bench.errors import one_line
from mcsr_bench.results.table import Cell, Table
from mcsr_bench.system.progress import Listener

from .fitting import Column, fitted, full_width

BEST = "*"
"""Stands before the best value of a column where bold cannot be seen."""
_ENDLESS = 10_000
_LAST = 40
"""Lines of a log without a trace."""


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
                if fresh > 1 and done < total  # the first one takes the time in which workers start
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


def listener() -> TerminalListener | LineListener:
    """The one that suits where standard error goes."""
    return TerminalListener(Console(stderr=True)) if sys.stderr.isatty() else LineListener()


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], file: TextIO) -> None:
    """Rows of text as a table: as wide as a terminal is, and never folded elsewhere."""
    console = _console(file)
    _print(console, [Column(_text(head), tuple(_text(row[i]) for row in rows)) for i, head in enumerate(columns)])


def print_table(table: Table, console: Console | None = None) -> None:
    """A table with its title and notes, on standard output unless another console is given.

    The best values are bold; where that cannot be seen, in a file or a pipe, `BEST` stands before them, and a note says so.
    """
    console = console or _console(sys.stdout)
    marked = console.color_system is None and any(cell.best for row in table.rows for cell in row)
    console.print(_text(table.title, "bold"), highlight=False)

    def shown(cell: Cell) -> Text:
        return _text(f"{BEST} {cell.text}" if marked and cell.best else cell.text, "bold" if cell.best else "")

    columns = enumerate(table.columns)
    _print(console, [Column(_text(head), tuple(shown(row[i]) for row in table.rows), i > 0) for i, head in columns])
    for note in (*((f"{BEST} stands for bold: the best of its column.",) if marked else ()), *table.notes):
        console.print(_text(note, "dim"), highlight=False)
    console.print()


def print_lines(lines: Iterable[str], file: TextIO) -> None:
    """Lines of text: folded at words on a terminal; nothing that was read from data acts on it."""
    if not file.isatty():
        for line in lines:
            print(one_line(line), file=file)
        return
    console = _console(file)
    for line in lines:
        console.print(_text(line), highlight=False)


def print_named(rows: Sequence[tuple[str, str]], file: TextIO) -> None:
    """Names, each with a text beside it, which is folded within its own column on a terminal."""
    widest = max((len(name) for name, _ in rows), default=0)
    if not file.isatty():
        print_lines((f"{name:<{widest}}  {text}" for name, text in rows), file)
        return
    console = _console(file)
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=min(widest, console.width // 2), overflow="fold")
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(_text(name), _text(text))
    console.print(grid)


def debugging(context: Context) -> bool:
    """Whether ``--debug`` is on the line."""
    return bool(context.find_root().params.get("debug"))


def print_trace(name: str, text: str) -> None:
    """The trace of an exception on standard error, under what it is of; of a log, from its first trace on, or its last lines."""
    before, marker, after = text.partition("Traceback (most recent call last):")
    lines = (marker + after).splitlines() if marker else before.splitlines()[-_LAST:]
    for line in (f"{name}:", *lines):
        print(one_line(line), file=sys.stderr)


def _console(file: TextIO) -> Console:
    """For a stream: of the width of a terminal, and of no width that matters elsewhere."""
    return Console(file=file) if file.isatty() else Console(file=file, width=_ENDLESS, force_terminal=False)


def _print(console: Console, columns: Sequence[Column]) -> None:
    if not console.is_terminal:
        console.width = max(console.width, full_width(columns))
    for part in fitted(columns, console.width if console.is_terminal else None):
        console.print(part)


def _text(text: str, style: str = "") -> Text:
    return Text(one_line(text), style)
