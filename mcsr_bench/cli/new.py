"""``new``: the place to begin a method."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb
from mcsr_bench.errors import unknown_name


def new(
    what: Annotated[str, typer.Argument(help="method.")],
    name: Annotated[str, typer.Argument(help="What users will type.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder that gets the plugin's folder.")],
) -> None:
    """Write a plugin that passes `check` as it is: the place to begin a method of your own."""
    if what != "method":
        raise unknown_name("template for", what, ("method",))
    for path in mb.new_method(name, to):
        print(path)
    print(f"next: mcsr-bench check {name} --plugins {to}", file=sys.stderr)
