"""``fetch``: public data sets, with their licence before the first byte."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcsr_bench.errors import UserError, unknown_name

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
    from mcsr_bench.cli import console
    from mcsr_bench.fetching import fetch as fetching
    from mcsr_bench.fetching.sources import sources

    known = sources()
    source = known.get(name)
    if source is None:
        print(_access(name, known))
        return
    if to is None:
        raise UserError("--to is missing: the folder that gets the data")

    listener = console.listener()
    showing = ExitStack()

    def accept(source: Source) -> bool:
        print(source.terms(), file=sys.stderr)
        accepted = accept_licence or ask()
        showing.enter_context(listener)  # not before: its bars would be drawn over the question
        return accepted

    def ask() -> bool:
        if not sys.stdin.isatty():
            raise UserError(f"{name}: nobody to ask; read the licence above, and say --accept-licence if you accept it")
        print("Type yes to accept: ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() == "yes"

    with showing:
        fetched = fetching.fetch(source, to, accept, listener)
    for line in fetched.lines():
        print(line)
    print(f"{source.layout}; recorded in {to / fetching.FETCHED}", file=sys.stderr)
    if source.next:
        print(f"next: {source.next.format(to=shlex.quote(str(to)))}", file=sys.stderr)


def _access(name: str, fetchable: dict[str, Source]) -> str:
    """How a user gets a dataset that is not downloaded here, from its card."""
    from mcsr_bench.plugin import registry

    known = registry.datasets()
    if name not in known.names():
        raise unknown_name("data set", name, {*fetchable, *known.names()})
    card = known.card(name)
    return f"{card.title}\nLicence: {card.licence}\nNothing was downloaded. How to get it: {card.access}"
