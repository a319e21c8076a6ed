"""``run``: a grid of trials and its report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb
from mcsr_bench.results.bundle import TrialRecord
from mcsr_bench.results.run_folder import RunFolder

from . import console
from .options import DataRoot, Jobs, Plugins, Register, Set, SplitFile, StoreDtype, names, numbers, settings


def run(
    context: typer.Context,
    methods: Annotated[str | None, typer.Option(help="Names separated by commas, or all.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Names separated by commas.")] = None,
    scale: Annotated[str | None, typer.Option(help="2, 3, 4 or 8; several separated by commas.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Integers separated by commas.")] = None,
    preset: Annotated[str | None, typer.Option(help="quick, small, paper, released.")] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="With the weights that come with the methods, of preset small.")
    ] = False,
    suite: Annotated[str | None, typer.Option(help="Experiments of the paper by name, separated by commas.")] = None,
    protocol: Annotated[str | None, typer.Option(help="mcsr-1 or sanet-2021.")] = None,
    data_root: DataRoot = None,
    split: SplitFile = None,
    against: Annotated[
        str | None,
        typer.Option(help="References of the p-values, separated by commas; the first run of a folder fixes them."),
    ] = None,
    register: Register = None,
    store_dtype: StoreDtype = None,
    changes: Set = None,
    jobs: Jobs = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="Of trainings: 32, tf32 or bf16; default: tf32 on a GPU, 32 on a CPU.")
    ] = None,
    resident: Annotated[
        str, typer.Option(help="Hold training slices on the device: yes, no, or auto: on a GPU where they fit.")
    ] = "auto",
    compile: Annotated[bool, typer.Option("--compile", help="Compile networks for training.")] = False,
    devices: Annotated[int, typer.Option(help="GPUs (on a CPU, processes) that share each training batch.")] = 1,
    plugins: Plugins = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder for the results.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start the named trials over.")] = False,
) -> None:
    """Train, predict and score methods on datasets, and print the table. The same command again resumes."""
    with console.listener() as listener:
        results = mb.run(
            methods=names("--methods", methods),
            dataset=names("--dataset", dataset),
            scale=numbers("--scale", scale),
            seeds=numbers("--seeds", seeds),
            preset=preset,
            pretrained=pretrained,
            suite=names("--suite", suite),
            protocol=protocol,
            data_root=data_root,
            split=split,
            against=names("--against", against),
            register=register,
            store_dtype=store_dtype,
            settings=settings(changes),
            jobs=jobs,
            device=device,
            precision=precision,
            resident=resident,
            compile=compile,
            devices=devices,
            plugins=plugins or (),
            out=out,
            fresh=fresh,
            listener=listener,
        )
    for table in results.tables:
        console.print_table(table)
    if console.debugging(context):
        _print_traces(results.folders[0], results.asked)
    failed = sum(record.status != "done" for record in results.asked)
    summary = f"{len(results.asked) - failed} done, {failed} failed; results in {results.folders[0]}"
    print(summary + (f"; open {results.files[0]}" if results.files else ""), file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def _print_traces(folder: Path, asked: Sequence[TrialRecord]) -> None:
    """What the workers of failed trials printed last."""
    for record in asked:
        place = RunFolder(folder).trial(record.dataset_label, record.scale, record.method_label, record.seed)
        if record.status == "failed" and place.log.is_file():
            console.print_trace(str(place.log), place.log.read_text(encoding="utf-8", errors="replace"))
