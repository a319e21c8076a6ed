"""``check``: what an author's plugin is held to."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

import mcsr_bench as mb

from . import console
from .options import AsJson, DataRoot, Plugins, Set, settings_of


def check(
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
        rows = [(name, o.check, o.status, o.detail) for name, outcomes in found.items() for o in outcomes]
        console.print_rows(("plugin", "check", "", "what was seen"), rows, file=sys.stdout)
        print(f"{len(rows)} checks of {len(found)} plugins, {failed} failed")
    if failed:
        raise typer.Exit(1)
