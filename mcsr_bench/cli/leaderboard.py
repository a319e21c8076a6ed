"""``leaderboard``: the results of runs as a site."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb
from mcsr_bench.system.progress import Listener

from . import console
from .options import DataRoot, Jobs, Plugins


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder for the site: new, or an earlier site.")],
    plugins: Plugins = None,
    data_root: DataRoot = None,
    real_images: Annotated[
        bool, typer.Option("--real-images", help="Publish slices of real data, too: their licence must allow it.")
    ] = False,
    jobs: Jobs = 0,
) -> None:
    """Write a site of tables, charts and a slice viewer from one or several runs. Exit code 1 when a trial is left out."""
    with console.listener() as shown:
        told = _Told(shown)
        page = mb.leaderboard(
            runs,
            to,
            plugins=plugins or (),
            data_root=data_root,
            real_images=real_images,
            jobs=jobs,
            listener=told,
        )
    print("open it in a browser, or put the folder on any web server", file=sys.stderr)
    print(page)
    if told.any:
        raise typer.Exit(1)


class _Told(Listener):
    """Hands on what it is told, and remembers whether a warning was among it."""

    def __init__(self, listener: Listener) -> None:
        self._listener, self.any = listener, False

    def preparing(self, message: str, done: int, total: int) -> None:
        self._listener.preparing(message, done, total)

    def warning(self, message: str) -> None:
        self._listener.warning(message)
        self.any = True
