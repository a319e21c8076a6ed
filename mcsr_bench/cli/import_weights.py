"""``import-weights``: checkpoints of the authors' own code."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb

from . import console
from .options import Plugins, Set, settings_of


def import_weights(
    method: Annotated[str, typer.Argument(help="The method whose authors' checkpoint it is.")],
    file: Annotated[Path, typer.Argument(help="The checkpoint: torch or safetensors.")],
    to: Annotated[Path, typer.Option("--to", metavar="BUNDLE", help="The folder that is written.")],
    scale: Annotated[int | None, typer.Option(help="By default found from the shapes.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Use the tensors that fit, although others do not.")
    ] = False,
    changes: Set = None,
    plugins: Plugins = None,
) -> None:
    """Read a checkpoint written by the authors' own code, without running anything in it, into a bundle for `predict`."""
    try:
        outcome = mb.import_weights(
            method,
            file,
            to,
            scale=scale,
            partial=partial,
            settings=settings_of(method, changes),
            plugins=plugins or (),
        )
    except mb.MismatchError as error:
        console.print_lines(error.lines(), sys.stdout)
        raise
    console.print_lines(outcome.lines(), sys.stdout)
