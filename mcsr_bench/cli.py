"""Floor 5: the command line. Arguments and printing, nothing else; every default lives in ``suites/default.toml``."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from mcsr_bench.errors import UserError, disk_error

app = typer.Typer(
    name="mcsr-bench",
    help="The benchmark suite for multi-contrast MR image super-resolution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugins", metavar="PATH", help="A folder whose sub-folders are plugins; repeatable."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME.KEY=VALUE", help="A setting of a method or dataset; repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
DataRoot = Annotated[Path | None, typer.Option("--data-root", metavar="DIR", help="Where the dataset's files lie.")]


@app.command(epilog="mcsr-bench run --methods sanet,minet --dataset fastmri --scale 4 --data-root DIR")
def run(
    methods: Annotated[str | None, typer.Option(help="Names with commas between, or all.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Names with commas between.")] = None,
    scale: Annotated[str | None, typer.Option(help="2, 3, 4 or 8; several with commas between.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Whole numbers with commas between.")] = None,
    preset: Annotated[str | None, typer.Option(help="quick, small, paper, released.")] = None,
    suite: Annotated[str | None, typer.Option(help="Experiments of the paper by name, with commas between.")] = None,
    protocol: Annotated[str | None, typer.Option(help="mcsr-1 or sanet-2021.")] = None,
    data_root: DataRoot = None,
    against: Annotated[str | None, typer.Option(help="References of the p-values, with commas between.")] = None,
    settings: Set = None,
    jobs: Annotated[int, typer.Option(help="Worker processes; 0: one per core (GPU).")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    plugins: Plugins = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where results go.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start the named trials over.")] = False,
) -> None:
    """Train, predict and score methods on datasets, and print the table. The same command again resumes."""
    from mcsr_bench import api, console
    from mcsr_bench.experiment import make_report, run_experiment

    spec = api.experiment_spec(
        methods=_names(methods),
        dataset=_names(dataset),
        scale=_numbers("--scale", scale),
        seeds=_numbers("--seeds", seeds),
        preset=preset,
        suite=_names(suite),
        protocol=protocol,
        data_root=data_root,
        against=_names(against),
        settings=_settings(settings),
        jobs=jobs,
        device=device,
        plugins=plugins or (),
        out=out,
        fresh=fresh,
    )
    with console.listener() as listener:
        results, records = run_experiment(spec, listener)
    tables, written = make_report(spec, results)
    for table in tables:
        console.print_table(table)
    failed = [record for record in records if record.status != "done"]
    summary = f"{len(records) - len(failed)} done, {len(failed)} failed; results in {spec.out}"
    print(summary + (f"; open {written[0]}" if written else ""), file=sys.stderr)
    if failed:
        raise typer.Exit(1)


@app.command()
def prepare(
    dataset: Annotated[str | None, typer.Option(help="Names with commas between.")] = None,
    scale: Annotated[str | None, typer.Option(help="2, 3, 4 or 8; several with commas between.")] = None,
    protocol: Annotated[str | None, typer.Option(help="mcsr-1 or sanet-2021.")] = None,
    data_root: DataRoot = None,
    settings: Set = None,
    jobs: Annotated[int, typer.Option(help="Worker processes; 0: one per core.")] = 0,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Validate datasets and build their prepared data, without training anything."""
    from mcsr_bench import api, console
    from mcsr_bench.experiment import prepare_all

    spec = api.experiment_spec(
        dataset=_names(dataset),
        scale=_numbers("--scale", scale),
        protocol=protocol,
        data_root=data_root,
        settings=_settings(settings),
        jobs=jobs,
        plugins=plugins or (),
    )
    with console.listener() as listener:
        records = [prepared.data.model_dump(mode="json") for prepared in prepare_all(spec, listener)]
    if as_json:
        print(json.dumps(records, indent=1))
        return
    for record in records:
        counts = ", ".join(
            f"{part} {n} patients / {record['slices'][part]} slices" for part, n in record["patients"].items()
        )
        print(f"{record['store']}: {counts}; {record['target']} from {record['auxiliary']}; {record['split_rule']}")
        for mark in record["marks"]:
            print(f"  {mark}")


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="methods, datasets, protocols, suites or metrics.")],
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """What there is, and why something that was found cannot be used."""
    from mcsr_bench.listing import listing

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
    except (UserError, OSError) as error:
        known = disk_error(error) if isinstance(error, OSError) else error
        if known is None or debug:
            raise
        print(f"mcsr-bench: {known}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("mcsr-bench: interrupted; the same command goes on where it stopped", file=sys.stderr)
        raise SystemExit(130) from None


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _numbers(option: str, text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} {text}: whole numbers with commas between are allowed") from None


def _settings(items: list[str] | None) -> dict[str, dict[str, Any]]:
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
