"""``list``, ``info`` and ``profile``: what there is, and what it costs."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from mcsr_bench.errors import UserError, unknown_name

from .options import AsJson, Plugins, Set, add_plugins, names, numbers, settings


def list_(
    what: Annotated[str, typer.Argument(help="methods, datasets, protocols, suites or metrics.")],
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """What there is, and why something that was found cannot be used."""
    from mcsr_bench.catalogue import listing

    rows = listing(what, plugins or [])
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        print(
            f"{row['name']:<{width}}  {row['title']}"
            + ("" if row["available"] else f"  [not available: {row['reason']}]")
        )


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
    from mcsr_bench import catalogue as about

    add_plugins(plugins)
    if what not in ("method", "dataset"):
        raise unknown_name("info", what, ("method", "dataset"))
    if what == "dataset":
        print(json.dumps(about.dataset_info(name), indent=1) if as_json else "\n".join(about.dataset_text(name)))
        return
    if as_json:
        given = settings(changes)
        if set(given) - {name}:
            raise UserError(f"--set {min(set(given) - {name})}...: only settings of {name} count here")
        found = about.method_info(name, scale=scale, preset=preset, settings=given.get(name))
        print(json.dumps(found, indent=1))
        return
    from mcsr_bench.cli.console import print_rows

    print("\n".join(about.method_text(name)))
    rows = about.difference_rows(name)
    if rows:
        print("\nWhere paper and released code disagree:", flush=True)
        print_rows(("topic", "paper", "released code", "here", "setting"), rows, file=sys.stdout)


def profile(
    methods: Annotated[str, typer.Option(help="Names with commas between, or all.")] = "all",
    scale: Annotated[str, typer.Option(help="2, 3, 4 or 8; several with commas between.")] = "2,4",
    size: Annotated[int, typer.Option(help="HR pixels per side.")] = 320,
    preset: Annotated[str, typer.Option(help="quick, small, paper, released.")] = "paper",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    timed: Annotated[
        bool | None, typer.Option("--time/--no-time", help="Take times; without it: on a GPU, or for small networks.")
    ] = None,
    changes: Set = None,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Parameters, multiply-accumulates, latency, throughput, memory and training steps of methods side by side."""
    from mcsr_bench.cli import console
    from mcsr_bench.cost.table import profile as measure
    from mcsr_bench.cost.table import profile_table
    from mcsr_bench.plugin import registry as found
    from mcsr_bench.system.devices import chosen_device

    add_plugins(plugins)
    chosen = found.methods().names() if methods == "all" else names(methods) or []
    rows = measure(
        chosen,
        numbers("--scale", scale) or [],
        preset=preset,
        size=size,
        device=chosen_device(device),
        timed=timed,
        settings=settings(changes),
    )
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        console.print_table(profile_table(rows))
