"""``info``: all about a method or dataset."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

import mcsr_bench as mb
from mcsr_bench.catalogue import described

from . import console
from .options import AsJson, Plugins, Set, settings_of


def info(
    what: Annotated[str, typer.Argument(help="method or dataset.")],
    name: Annotated[str, typer.Argument(help="Its name.")],
    scale: Annotated[int | None, typer.Option(help="For the size and cost.")] = None,
    preset: Annotated[str | None, typer.Option(help="For the size and cost.")] = None,
    changes: Set = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Everything about a method or dataset: sources, assumptions, presets, where paper and released code disagree."""
    given = {"--scale": scale, "--preset": preset, "--set": " ".join(changes) if changes else None}
    if not as_json and (unused := next((f"{key} {value}" for key, value in given.items() if value is not None), "")):
        raise mb.UserError(f"{unused}: chooses what --json counts, and without --json nothing is counted")
    if as_json:
        chosen = settings_of(name, changes)
        found = mb.info(what, name, scale=scale, preset=preset, settings=chosen, plugins=plugins or ())
        print(json.dumps(found, indent=1))
        return
    lines, differences = described(what, name, plugins or ())
    console.print_lines(lines, sys.stdout)
    if differences:
        console.print_lines(("", "Where paper and released code disagree:"), sys.stdout)
        console.print_rows(("topic", "paper", "released code", "here", "setting"), differences, file=sys.stdout)
