"""``check``: what an author's plugin is held to."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

import mcsr_bench as mb

if TYPE_CHECKING:
    from mcsr_bench.conformance import Outcome

from . import console
from .options import AsJson, DataRoot, Plugins, Set, settings_of


def _rows(name: str, outcomes: Sequence[Outcome]) -> Iterator[tuple[str, str, str, str]]:
    """The rows of a plugin; checks that were left out for one reason share a row."""
    same = Counter(outcome.detail for outcome in outcomes if outcome.status == "skip")
    for outcome in outcomes:
        count = same[outcome.detail] if outcome.status == "skip" else 1
        if count == 1:
            yield name, outcome.check, outcome.status, outcome.detail
        elif count > 1:
            names = ", ".join(o.check for o in outcomes if (o.status, o.detail) == ("skip", outcome.detail))
            yield name, f"{count} others", "skip", f"{outcome.detail}: {names}"
            same[outcome.detail] = 0


def check(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="A method, a dataset, or all: every built-in method.")],
    data_root: DataRoot = None,
    changes: Set = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Run the checks on a plugin. Exit code 1 when a check fails. `all` needs no data."""
    found = mb.check(what, data_root=data_root, settings=settings_of(what, changes), plugins=plugins or ())
    failed = sum(outcome.status == "fail" for outcomes in found.values() for outcome in outcomes)
    if as_json:
        print(json.dumps({name: [asdict(o) for o in outcomes] for name, outcomes in found.items()}, indent=1))
    else:
        rows = [row for name, outcomes in found.items() for row in _rows(name, outcomes)]
        console.print_rows(("plugin", "check", "", "what was seen"), rows, file=sys.stdout)
        checks = sum(map(len, found.values()))
        print(f"{checks} checks of {len(found)} plugin{'s' if len(found) > 1 else ''}, {failed} failed")
    if console.debugging(context):
        for name, outcome in ((name, o) for name, outcomes in found.items() for o in outcomes if o.trace):
            console.print_trace(f"{name}, {outcome.check}", outcome.trace)
    if failed:
        raise typer.Exit(1)
