"""``profile``: what methods cost."""

from __future__ import annotations

import json
from typing import Annotated

import typer

import mcsr_bench as mb

from . import console
from .options import AsJson, Plugins, Set, names, numbers, settings


def profile(
    methods: Annotated[str, typer.Option(help="Names separated by commas, or all.")] = "all",
    scale: Annotated[str, typer.Option(help="2, 3, 4 or 8; several separated by commas.")] = "2,4",
    size: Annotated[int, typer.Option(help="HR pixels per side.")] = 320,
    preset: Annotated[str, typer.Option(help="quick, small, paper, released.")] = "paper",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    timed: Annotated[
        bool | None, typer.Option("--time/--no-time", help="Measure times; by default on a GPU or for small networks.")
    ] = None,
    changes: Set = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Parameters, multiply-accumulates, latency, throughput, memory and training steps of methods side by side."""
    rows = mb.profile(
        names("--methods", methods) or (),
        numbers("--scale", scale) or (),
        size=size,
        preset=preset,
        device=device,
        timed=timed,
        settings=settings(changes),
        plugins=plugins or (),
    )
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    from mcsr_bench.cost.table import profile_table

    console.print_table(profile_table(rows))
