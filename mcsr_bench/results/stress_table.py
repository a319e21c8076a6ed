"""What a wrong auxiliary cost each method, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mcsr_bench.errors import DamagedFileError, damaged
from mcsr_bench.results.bundle import Bundle
from mcsr_bench.results.naming import shown_names
from mcsr_bench.results.statistics import compare_pairs
from mcsr_bench.results.table import Cell, Table, number, p_text
from mcsr_bench.system import frames

CLEAN, FOREIGN = "clean", "another patient"


_VALUES = ["psnr", "loss_db", "below_zerofill_db"]
NOISE = 0.1
"""Standard deviation of the added complex noise, of the 99th percentile of the auxiliary's magnitude in the volume."""


def stress_table(bundles: Sequence[Bundle]) -> Table | None:
    """PSNR lost per method and perturbation, from the ``stress.csv`` of the finished ones; None without any.

    A method that falls below zero-filling with a wrong auxiliary is marked; the last column tests the auxiliary of another patient
    against the right one, paired over patients.
    """
    parts = []
    records = [bundle.record for bundle in bundles]
    called = shown_names((r.method, r.variant, r.changes) for r in records)
    called_data = shown_names((r.dataset, r.dataset_variant, r.dataset_changes) for r in records)
    for bundle in bundles:
        record = bundle.record
        if bundle.stress.is_file() and record.status == "done":
            one = _read(bundle.stress)
            one["method"], one["dataset"] = record.method_label, record.dataset_label
            one["scale"], one["seed"] = record.scale, record.seed
            parts.append(one)
    if not parts:
        return None
    table = pd.concat(parts)
    names = [name for name in dict.fromkeys(table["perturbation"]) if name != CLEAN]
    rows = []
    for (dataset, scale, method), part in table.groupby(["dataset", "scale", "method"], sort=True):
        psnr, loss, below = (
            part.pivot_table(index="patient_id", columns="perturbation", values=column)
            for column in ("psnr", "loss_db", "below_zerofill_db")
        )
        data = Cell(f"{called_data[dataset]} {scale}x", name=f"{dataset} {scale}x")
        cells = [Cell(called[method], name=method), data, Cell(number(psnr[CLEAN].mean(), ".2f"))]
        for name in names:
            mark = " ‡" if below[name].mean() > 0 else ""
            cells.append(Cell(number(loss[name].mean(), "+.2f") + mark))
        found = compare_pairs(psnr[CLEAN].to_numpy(), psnr[FOREIGN].to_numpy(), bootstrap=False)
        ends = f" ({found.ci_low:+.2f} to {found.ci_high:+.2f})"
        cells.append(Cell(found.reason or p_text(found.p_t) + ends))
        rows.append(tuple(cells))
    columns = ("method", "data", "clean PSNR (dB)", *names, f"p (95 % interval of the loss), {FOREIGN}")
    notes = (
        "dB of PSNR (volume maximum) lost when the auxiliary is wrong while predicting, mean over patients; weights unchanged. "
        f"p: paired t-test over patients, clean against {FOREIGN}, about these weights; a positive loss: the right one helped.",
        f"zero: all zero. {FOREIGN}: the next test patient's. rotated: about the centre. noise: complex, {NOISE:.0%} of the 99th "
        "percentile of the auxiliary. ‡ below zero-filling: the method would have done better without this auxiliary.",
    )
    return Table("stress", "A wrong auxiliary", columns, tuple(rows), notes)


def _read(path: Path) -> pd.DataFrame:
    """A ``stress.csv``. It has no hash in the record: what shows is damage that leaves no such table."""
    try:
        table = frames.read_csv(path, ("patient_id", "volume_id", "contrast"))
        table = table.astype(dict.fromkeys(_VALUES, float))
        patients = table.groupby("perturbation")["patient_id"].nunique()
        whole = (
            bool((patients == patients[CLEAN]).all())
            and patients[FOREIGN] > 0
            and table[_VALUES].notna().all(axis=None)
        )
    except (OSError, ValueError, KeyError) as error:
        raise damaged(path, f"cannot be read as a table of stress: {str(error).splitlines()[0]}", error) from None
    if not whole:
        raise DamagedFileError(path, "is not whole: it lacks rows or values")
    return table
