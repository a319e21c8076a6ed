"""The command line. Arguments and printing, nothing else; every default lives in ``suites/default.toml``."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from itertools import pairwise
from typing import Annotated

import typer

from mcsr_bench.errors import DamagedFileError, UserError, disk_error, machine_error
from mcsr_bench.system.stopping import SignalledError, signals

from .check import check
from .console import replace_what_is_not_encoded
from .convert import convert
from .export import export
from .fetch import fetch
from .import_weights import import_weights
from .info import info
from .leaderboard import leaderboard
from .listing import list_
from .merge import merge
from .new import new
from .predict import predict
from .prepare import prepare
from .profile import profile
from .regress import regress
from .report import report
from .run import run
from .schema import schema
from .stress import stress
from .tune import tune
from .verify import verify

INTERRUPTED = 130
NOTICE = "mcsr-bench: stopping after the present step; once more stops at once"

app = typer.Typer(
    name="mcsr-bench",
    help="The benchmark suite for multi-contrast MR image super-resolution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(epilog="mcsr-bench run --methods sanet,minet --dataset fastmri --scale 4 --data-root DIR")(run)
app.command()(prepare)
app.command("list")(list_)
app.command()(info)
app.command()(profile)
app.command()(report)
app.command()(stress)
app.command()(verify)
app.command()(regress)
app.command()(merge)
app.command()(leaderboard)
app.command()(export)
app.command()(schema)
app.command("import-weights")(import_weights)
app.command()(predict)
app.command()(fetch)
app.command()(tune)
app.command()(convert)
app.command()(check)
app.command()(new)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error (any place on the line).")] = False,
) -> None:
    if version:
        import mcsr_bench

        print(f"mcsr-bench {mcsr_bench.__version__}")
        raise typer.Exit


def main() -> None:
    """The console script: exit code 0 good, 1 a failed trial or a damaged file, 2 a mistake of the user's, in one sentence.

    After a signal it is 128 and the signal's number, as in shells.
    """
    replace_what_is_not_encoded()
    debug = "--debug" in sys.argv
    given = [argument for argument in sys.argv[1:] if argument != "--debug"]
    sys.argv[1:] = ["--debug", *given] if debug and given else given
    with signals(NOTICE) as came:
        try:
            _command(debug)
        except SystemExit as end:
            if end.code != INTERRUPTED:  # how typer ends then, without a word
                raise
            _interrupted(came[0] if came else SignalledError(signal.SIGINT))


def _command(debug: bool) -> None:
    try:
        _check_empty(sys.argv[1:])
        app()
    except MemoryError:
        if debug:
            raise
        print("mcsr-bench: out of memory; fewer --jobs need less", file=sys.stderr)
        raise SystemExit(2) from None
    except Exception as error:
        known = disk_error(error) if isinstance(error, OSError) else machine_error(error)
        if isinstance(error, UserError):
            known = error
        if known is None or debug:
            raise
        print(f"mcsr-bench: {known}", file=sys.stderr)
        raise SystemExit(1 if isinstance(error, DamagedFileError) else 2) from None


def _interrupted(by: SignalledError) -> None:
    again = "the same command without --fresh" if "--fresh" in sys.argv else "the same command"
    with suppress(OSError):
        print(f"mcsr-bench: interrupted by {by}; {again} goes on where it stopped", file=sys.stderr, flush=True)
    raise SystemExit(128 + by.number)


def _check_empty(arguments: list[str]) -> None:
    """UserError for an empty argument: a variable of the shell that is not set must not become the present folder."""
    for before, argument in pairwise(["", *arguments]):
        name, equals, value = argument.partition("=")
        if argument == "" or (name.startswith("--") and equals and not value):
            option = name or before
            raise UserError(f"{option}: its value is empty" if option.startswith("--") else "an argument is empty")
