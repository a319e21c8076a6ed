"""What several commands share: options, and reading their values."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from mcsr_bench.errors import UserError

Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugins",
        metavar="PATH",
        help="A folder whose sub-folders are plugins; their code runs as yours; repeatable.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME.KEY=VALUE", help="A setting of a method or dataset; repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
DataRoot = Annotated[
    Path | None, typer.Option("--data-root", metavar="DIR", help="The folder with the dataset's files.")
]
SplitFile = Annotated[
    Path | None,
    typer.Option("--split", metavar="FILE", help="Patients of train, validation and test, as in a split.json."),
]
Register = Annotated[
    str | None,
    typer.Option(
        help="none, rigid or affine registration of the auxiliary onto the target; default: rigid where grids differ."
    ),
]
StoreDtype = Annotated[
    str | None, typer.Option("--store-dtype", help="complex64, or float16-pair: half the disk, less precise.")
]
Jobs = Annotated[int, typer.Option(help="Worker processes; 0: one per core (GPU).")]


def names(option: str, text: str | None) -> list[str] | None:
    """Names separated by commas; None stays None. UserError, naming the option, where there is no name."""
    if text is None:
        return None
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise UserError(f"{option} {text!r}: at least one name is needed, several with commas between")
    return found


def numbers(option: str, text: str | None) -> list[int] | None:
    """Whole numbers separated by commas; UserError, naming the option, for anything else."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text}: whole numbers with commas between are allowed") from None


def settings(items: list[str] | None) -> dict[str, dict[str, Any]]:
    """``NAME.KEY=VALUE`` items as name -> key -> value.

    A value stays text, which the setting's type then turns into a number or truth value; a list or quoted text is TOML.
    """
    out: dict[str, dict[str, Any]] = {}
    for item in items or []:
        left, equals, value = item.partition("=")
        name, dot, key = left.partition(".")
        if not (equals and dot and name and key):
            raise UserError(f"--set {item}: the form is NAME.KEY=VALUE, with the name of a method or dataset")
        out.setdefault(name, {})[key] = value
        if value[:1] in ("[", '"', "'"):
            try:
                out[name][key] = tomllib.loads(f"value = {value}")["value"]
            except tomllib.TOMLDecodeError as error:
                raise UserError(f"--set {item}: not a list or quoted text as in TOML ({error})") from None
    return out


def settings_of(name: str, items: list[str] | None) -> dict[str, Any]:
    """The settings of the one plugin that a command is about. UserError for another's."""
    given = settings(items)
    if other := sorted(set(given) - {name}):
        raise UserError(f"--set {other[0]}...: only settings of {name} count here")
    return given.get(name, {})
