"""``import-weights`` and ``predict``: weights from elsewhere, and images of one's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mcsr_bench.errors import UserError

from .options import Plugins, Set, add_plugins, settings


def import_weights(
    method: Annotated[str, typer.Argument(help="The method whose authors' checkpoint it is.")],
    file: Annotated[Path, typer.Argument(help="The checkpoint: torch or safetensors.")],
    to: Annotated[Path, typer.Option("--to", metavar="BUNDLE", help="The folder that is written.")],
    scale: Annotated[int | None, typer.Option(help="Found from the shapes unless given.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Take what fits although something does not.")] = False,
    changes: Set = None,
    plugins: Plugins = None,
) -> None:
    """Read a checkpoint written by the authors' own code, without running anything in it, into a bundle for `predict`."""
    from mcsr_bench.weights.importing import MismatchError
    from mcsr_bench.weights.importing import import_weights as read

    add_plugins(plugins)
    given = settings(changes)
    if other := sorted(set(given) - {method}):
        raise UserError(f"--set {other[0]}...: only settings of {method} count here")
    try:
        outcome = read(method, file, to, scale=scale, partial=partial, settings=given.get(method))
    except MismatchError as error:
        print("\n".join(error.lines()))
        raise
    print("\n".join(outcome.lines()))


def predict(
    bundle: Annotated[Path, typer.Option("--from", metavar="BUNDLE", help="A trial's folder, or an imported bundle.")],
    target: Annotated[Path, typer.Option(metavar="FILE", help="The low-resolution target: NIfTI or HDF5.")],
    to: Annotated[Path, typer.Option(metavar="FILE", help="The super-resolved volume, of the target's kind.")],
    auxiliary: Annotated[
        Path | None,
        typer.Option("--auxiliary", "--aux", metavar="FILE", help="The auxiliary at full resolution."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    plugins: Plugins = None,
) -> None:
    """Super-resolve a volume of your own with stored weights."""
    from mcsr_bench.predicting.files import predict_files
    from mcsr_bench.system.devices import chosen_device

    add_plugins(plugins)
    outcome = predict_files(bundle, target, auxiliary, to, device=chosen_device(device))
    print("\n".join(outcome.lines()), file=sys.stderr)
    print(to)
