"""The command line. Arguments and printing, nothing else; every default lives in ``suites/default.toml``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mcsr_bench.errors import UserError, disk_error

from . import authors, experiments, fetching, looking, pairs, results, tuning, weights

INTERRUPTED = 130

app = typer.Typer(
    name="mcsr-bench",
    help="The benchmark suite for multi-contrast MR image super-resolution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(epilog="mcsr-bench run --methods sanet,minet --dataset fastmri --scale 4 --data-root DIR")(experiments.run)
app.command()(experiments.prepare)
app.command("list")(looking.list_)
app.command()(looking.info)
app.command()(looking.profile)
app.command()(results.report)
app.command()(results.stress)
app.command("import-weights")(weights.import_weights)
app.command()(weights.predict)
app.command()(fetching.fetch)
app.command()(tuning.tune)
app.command()(pairs.convert)
app.command()(authors.check)
app.command()(authors.new)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error (any place on the line).")] = False,
) -> None:
    if version:
        import mcsr_bench

        print(f"mcsr-bench {mcsr_bench.__version__}")
        raise typer.Exit


def main() -> None:
    """The console script: exit code 0 good, 1 a trial failed, 2 a mistake of the user's, said in one sentence."""
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except MemoryError:
        if debug:
            raise
        print("mcsr-bench: out of memory; fewer --jobs need less", file=sys.stderr)
        raise SystemExit(2) from None
    except (UserError, OSError) as error:
        known = disk_error(error) if isinstance(error, OSError) else error
        if known is None or debug:
            raise
        print(f"mcsr-bench: {known}", file=sys.stderr)
        raise SystemExit(2) from None
    except SystemExit as end:
        if end.code == INTERRUPTED:  # how typer ends then, without a word
            print("mcsr-bench: interrupted; the same command goes on where it stopped", file=sys.stderr)
        raise
