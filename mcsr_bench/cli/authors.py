"""``check`` and ``new``: for those who write plugins."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mcsr_bench.errors import UserError, unknown_name

from .options import AsJson, DataRoot, Plugins, Set, add_plugins, settings


def check(
    what: Annotated[str, typer.Argument(help="A method, a dataset, or all: every built-in method.")],
    data_root: DataRoot = None,
    changes: Set = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Does a plugin keep the contract? Exit code 1 when a check fails. `all` needs no data."""
    from mcsr_bench.conformance import check as run_checks

    add_plugins(plugins)
    given = settings(changes)
    if other := sorted(set(given) - {what}):
        raise UserError(f"--set {other[0]}...: only settings of {what} count here")
    found = run_checks(what, data_root=data_root, settings=given.get(what))
    failed = sum(outcome.status == "fail" for outcomes in found.values() for outcome in outcomes)
    if as_json:
        print(json.dumps({name: [asdict(o) for o in outcomes] for name, outcomes in found.items()}, indent=1))
    else:
        from mcsr_bench.cli.console import print_rows

        rows = [(name, o.check, o.status, o.detail) for name, outcomes in found.items() for o in outcomes]
        print_rows(("plugin", "check", "", "what was seen"), rows, file=sys.stdout)
        print(f"{len(rows)} checks of {len(found)} plugins, {failed} failed")
    if failed:
        raise typer.Exit(1)


def new(
    what: Annotated[str, typer.Argument(help="method.")],
    name: Annotated[str, typer.Argument(help="What users will type.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder that gets the plugin's folder.")],
) -> None:
    """Write a plugin that passes `check` as it is: the place to begin a method of your own."""
    from mcsr_bench.plugin.scaffold import new_method

    if what != "method":
        raise unknown_name("template for", what, ("method",))
    for path in new_method(name, to):
        print(path)
    print(f"next: mcsr-bench check {name} --plugins {to}", file=sys.stderr)
