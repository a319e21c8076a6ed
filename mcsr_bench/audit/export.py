"""Results in the formats of other programs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from mcsr_bench.errors import UserError, unknown_name
from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.loading import SMOKE
from mcsr_bench.results.bundle import TrialRecord
from mcsr_bench.results.identity import signature
from mcsr_bench.results.load import Results, load_results
from mcsr_bench.system import files, frames


def export(run: str | Path, format: str, to: str | Path) -> list[Path]:
    """Write the results of a run into the folder ``to``, for other programs; docs/export.md describes each format.

    format: "csv" or "parquet" (trials, volumes, slices and the signature of every score, as `load_results` gives them), "benchopt"
    (a CSV in benchopt's columns, a row per trial), "hf-eval" (a folder ``.eval_results`` per method, for a model's repository on
    the Hugging Face Hub). Returns the files. Raises UserError for another format, a folder without results, Parquet without
    pyarrow, and for the last two where nothing but trials of preset smoke, which are not results, is there.
    """
    if format not in FORMATS:
        raise unknown_name("export format", format, FORMATS)
    results, folder = load_results(run), Path(to)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--to {folder}: is a file, not a folder")
    with files.claimed(folder):
        return FORMATS[format](results, folder)


def _benchopt(results: Results, folder: Path) -> list[Path]:
    """``benchopt.csv``: the columns that benchopt 1.10 reads; a repetition is a seed."""
    rows = []
    for record, scores in _finished(results):
        settings = {f"p_solver_{name}": value for name, value in {"preset": record.preset, **record.settings}.items()}
        where = f"scale={record.scale},target={record.data.target}"
        values = {f"objective_{metric}": scores[metric].mean() for metric in scores}
        spread = {f"objective_{metric}_std": scores[metric].std() for metric in scores}
        rows.append(
            {
                "base_seed": record.seed,
                "objective_name": f"mcsr-bench[protocol={record.protocol}]",
                "obj_description": f"protocol {record.protocol}, hash {record.protocol_hash}; means over patients",
                "solver_name": f"{record.method_label}[preset={record.preset}]",
                "solver_description": record.card.get("title", ""),
                "dataset_name": f"{record.dataset_label}[{where}]",
                "idx_rep": record.seed,
                "sampling_strategy": "Run_once",
                **settings,
                "p_dataset_scale": record.scale,
                "p_dataset_target": record.data.target,
                "p_dataset_fingerprint": record.data.fingerprint,
                "p_dataset_split": record.data.split_hash,
                "p_obj_protocol": record.protocol,
                "p_obj_protocol_hash": record.protocol_hash,
                "stop_val": 1,
                "time": record.seconds.get("train", 0.0) + record.seconds.get("predict", 0.0),
                **values,
                **spread,
                "system-processor": record.device,
                **{f"version-{name}": version for name, version in record.versions.items()},
                "benchmark-git-tag": record.git,
                "run_date": record.started,
            }
        )
    path = folder / "benchopt.csv"
    frames.write_csv(path, pd.DataFrame(rows))
    return [path]


def _hub(results: Results, folder: Path) -> list[Path]:
    """``METHOD/.eval_results/DATA.yaml``: an entry per metric, the mean over patients and seeds."""
    rows: dict[tuple[str, str, int], list[tuple[TrialRecord, pd.DataFrame]]] = {}
    for record, scores in _finished(results):
        rows.setdefault((record.method_label, record.dataset_label, record.scale), []).append((record, scores))
    written = []
    for (method, dataset, scale), trials in rows.items():
        first, *_ = records = [record for record, _ in trials]
        seeds = ", ".join(str(record.seed) for record in records)
        patients = first.data.patients.get("test", 0)
        entries = []
        for metric in METRICS:
            value = sum(scores[metric].mean() for _, scores in trials if metric in scores) / len(trials)
            if not math.isfinite(value):
                continue
            notes = f"preset {first.preset}; test patients: {patients}; seeds: {seeds}; {signature(first, metric)}"
            entries.append(_entry(first, metric, value, notes))
        path = folder / _file_name(method) / ".eval_results" / f"{_file_name(dataset)}-x{scale}.yaml"
        files.write_text(path, _HEAD + "".join(entries))
        written.append(path)
    return written


_HEAD = """\
# For the .eval_results folder of a model's repository on the Hugging Face Hub.
# dataset.id must be a data set on the Hub that is registered as a benchmark, and task_id one of the tasks in its eval.yaml:
# put yours in place of these.
"""


def _entry(record: TrialRecord, metric: str, value: float, notes: str) -> str:
    """One result as YAML; texts are quoted as in JSON, which YAML reads."""
    task = f"{record.protocol}-x{record.scale}-{metric.replace('@', '-')}"
    return (
        f"- dataset:\n    id: {json.dumps(f'mcsr-bench/{record.dataset}')}\n    task_id: {json.dumps(task)}\n"
        f"  value: {value:.6g}\n  date: {json.dumps(record.started[:10])}\n  notes: {json.dumps(notes)}\n"
    )


def _file_name(label: str) -> str:
    """A label without what a file should not be called."""
    return re.sub(r"[^A-Za-z0-9._=@-]+", "-", label).lstrip(".") or "-"


def _finished(results: Results) -> Iterator[tuple[TrialRecord, pd.DataFrame]]:
    """Every finished trial that is a result, with the scores of the target: a row per patient, a column per metric."""
    found = False
    for bundle in results.bundles:
        record = bundle.record
        if record.status != "done" or record.preset == SMOKE:
            continue
        found = True
        table = results.of(lambda other, record=record: other is record).volumes  # type: ignore[misc]
        table = table[table["role"] == "target"]
        yield record, table.groupby("patient_id")[[metric for metric in METRICS if metric in table]].mean()
    if not found:
        raise UserError(
            f"{', '.join(map(str, results.folders))}: no finished trial to export (trials of preset smoke are not results)"
        )


FORMATS: dict[str, Callable[[Results, Path], list[Path]]] = {
    "parquet": Results.to_parquet,
    "csv": Results.to_csv,
    "benchopt": _benchopt,
    "hf-eval": _hub,
}
