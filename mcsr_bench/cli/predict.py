"""``predict``: images of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb

from . import console
from .options import Plugins


def predict(
    target: Annotated[Path, typer.Option(metavar="FILE", help="The low-resolution target: NIfTI or HDF5.")],
    to: Annotated[Path, typer.Option(metavar="FILE", help="The super-resolved volume, of the target's kind.")],
    auxiliary: Annotated[
        Path | None,
        typer.Option("--auxiliary", "--aux", metavar="FILE", help="The auxiliary at full resolution."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--from", metavar="BUNDLE", help="A trial's folder, or an imported bundle.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="In place of --from: the weights that come with this method, trained on brain-sim."),
    ] = None,
    scale: Annotated[int | None, typer.Option(help="Of these weights: 2 or 4.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    plugins: Plugins = None,
) -> None:
    """Super-resolve a volume of your own with stored weights."""
    outcome = mb.predict(
        bundle, target, to, auxiliary, method=method, scale=scale, device=device, plugins=plugins or ()
    )
    console.print_lines(outcome.lines(), sys.stderr)
    print(to)
