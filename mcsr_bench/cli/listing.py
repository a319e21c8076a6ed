"""``list``: what there is."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

import mcsr_bench as mb

from . import console
from .options import AsJson, Plugins


def list_(
    what: Annotated[str, typer.Argument(help="methods, datasets, protocols, suites or metrics.")],
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """List methods, datasets, protocols, suites or metrics; unavailable ones are shown with the reason."""
    rows = mb.listing(what, plugins or ())
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    console.print_named(
        [
            (row["name"], row["title"] + ("" if row["available"] else f"  [not available: {row['reason']}]"))
            for row in rows
        ],
        sys.stdout,
    )
