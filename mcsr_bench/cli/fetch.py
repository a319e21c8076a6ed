"""``fetch``: public data sets, with their licence before the first byte."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import mcsr_bench as mb

from . import console

if TYPE_CHECKING:
    from mcsr_bench.fetching.sources import Source


def fetch(
    name: Annotated[str, typer.Argument(help="m4raw, ixi or open-ms; for any other dataset: how to get it.")],
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="The folder that gets the data.")] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the licence and accept it; for scripts.")
    ] = False,
) -> None:
    """Download a public data set, verified; the same command again goes on where it stopped."""
    listener = console.listener()
    showing = ExitStack()

    def accept(source: Source) -> bool:
        print(source.terms(), file=sys.stderr)
        accepted = accept_licence or ask()
        showing.enter_context(listener)  # not before: its bars would be drawn over the question
        return accepted

    def ask() -> bool:
        if not sys.stdin.isatty():
            raise mb.UserError(
                f"{name}: nobody to ask; read the licence above, and say --accept-licence if you accept it"
            )
        print("Type yes to accept: ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() == "yes"

    try:
        with showing:
            outcome = mb.fetch(name, to, accept_licence=accept, listener=listener)
    except mb.AccessError as error:
        print(error)
        return
    console.print_lines(outcome.lines(), sys.stdout)
    console.print_lines(outcome.notes(), sys.stderr)
