"""``verify``: do the scores follow from the predictions, and is every file the one that was written?"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import mcsr_bench as mb

from . import console
from .options import AsJson, DataRoot, Jobs, Plugins


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    data_root: DataRoot = None,
    plugins: Plugins = None,
    jobs: Jobs = 0,
    as_json: AsJson = False,
) -> None:
    """Compute every score again from the stored predictions, and check every hash. Exit code 1 when a bundle fails."""
    with console.listener() as listener:
        verdicts = mb.verify(run, data_root=data_root, plugins=plugins or (), jobs=jobs, listener=listener)
    if as_json:
        print(json.dumps([{**asdict(v), "folder": str(v.folder)} for v in verdicts], indent=1))
    else:
        rows = [(v.trial, v.outcome, "; ".join(v.reasons)) for v in verdicts]
        console.print_rows(("trial", "", "why"), rows, file=sys.stdout)
    counts = Counter(v.outcome for v in verdicts)
    print(f"{len(verdicts)} bundles: " + ", ".join(f"{n} {outcome}" for outcome, n in counts.items()), file=sys.stderr)
    if counts["failed"]:
        raise typer.Exit(1)
