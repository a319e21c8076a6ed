"""``tune``: settings by cross-validation, with the same space and budget for every method."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb

from . import console
from .options import DataRoot, Jobs, Plugins, Register, Set, SplitFile, StoreDtype, settings


def tune(
    method: Annotated[str, typer.Option(help="The method whose settings are searched.")],
    dataset: Annotated[str | None, typer.Option(help="Its development patients are used, never the test's.")] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="The folder of the search; else runs/tune-METHOD.")
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Of the cross-validation by patient; else the card's.")] = None,
    trials: Annotated[int | None, typer.Option(help="Points of the space to try; else the card's.")] = None,
    scale: Annotated[int | None, typer.Option(help="2, 3, 4 or 8.")] = None,
    preset: Annotated[str | None, typer.Option(help="quick, small, paper, released.")] = None,
    protocol: Annotated[str | None, typer.Option(help="mcsr-1 or sanet-2021.")] = None,
    seed: Annotated[int, typer.Option(help="Of the folds, the search and the networks.")] = 0,
    data_root: DataRoot = None,
    split: SplitFile = None,
    register: Register = None,
    store_dtype: StoreDtype = None,
    changes: Set = None,
    jobs: Jobs = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    plugins: Plugins = None,
) -> None:
    """Search a method's settings by cross-validation on the development patients. The same command again resumes."""
    from mcsr_bench import api

    with console.listener() as listener:
        tuned = mb.tune(
            method,
            dataset,
            scale,
            to=to,
            folds=folds,
            trials=trials,
            preset=preset,
            protocol=protocol,
            seed=seed,
            data_root=data_root,
            split=split,
            register=register,
            store_dtype=store_dtype,
            settings=settings(changes),
            plugins=plugins or (),
            device=device,
            jobs=jobs,
            listener=listener,
        )
    names = list(tuned["space"])
    rows = [
        (
            f"{point['number']:03d}",
            *(_text(point["values"][name]) for name in names),
            point["reason"] if point["score"] is None else f"{point['score']:.3f}",
        )
        for point in tuned["points"]
    ]
    smoke = "smoke: not a result. " if tuned["preset"] == "smoke" else ""
    said = (
        f"{smoke}{tuned['method']} on {tuned['dataset']} at {tuned['scale']}x, preset {tuned['preset']}, protocol "
        f"{tuned['protocol']}: {tuned['folds']}-fold cross-validation over {tuned['patients']} development patients, "
        f"{tuned['trials']} points, seed {tuned['seed']}"
    )
    console.print_lines((said,), sys.stdout)
    console.print_rows(("point", *names, "mean over folds, dB"), rows, file=sys.stdout)
    if tuned["marks"]:
        console.print_lines((f"{tuned['dataset']}: {mark}" for mark in tuned["marks"]), sys.stdout)
    print(f"all of it: {api.tuned_file(method, to)}", file=sys.stderr)
    best = tuned["best"]
    if best is None:
        print("no point has a score: in each a trial failed", file=sys.stderr)
        raise typer.Exit(1)
    chosen = " ".join(f"--set {shlex.quote(item)}" for item in tuned["set"])
    console.print_lines((f"best: point {best['number']:03d}, {best['score']:.3f} dB: {chosen}",), sys.stdout)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
