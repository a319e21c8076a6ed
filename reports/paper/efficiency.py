"""What the methods of a sheet cost: counted at HR 320, and timed where the trials ran."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from mcsr_bench.cost.counting import SIZE, Cost, cost
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.registry import methods
from mcsr_bench.plugin.report import UNDEFINED, Cell, Table, number
from mcsr_bench.results.bundle import TrialRecord
from mcsr_bench.results.load import Results

from .sheets import Sheet
from .table import title


def efficiency(sheet: Sheet, results: Results) -> Table | None:
    """Size and arithmetic at HR 320, and the wall time that the trials took where they ran."""
    rows = []
    uncounted: set[str] = set()
    for row in sheet.rows:
        trials = [r for r in sheet.records if (r.method, r.variant) == (row.method, row.variant)]
        if not trials or not trials[0].card.get("trains"):
            continue
        found = counted(trials[0])
        uncounted |= set(found.uncounted) if found else set()
        slices = trials[0].data.slices["test"]
        rows.append(
            (
                sheet.cell(row.method, row.variant),
                Cell(f"{found.parameters:,}" if found else _profile(trials, "parameters", ",.0f")),
                Cell(f"{found.dead_parameters:,}" if found else UNDEFINED),
                Cell(number(found.macs / 1e9, ".2f") if found else UNDEFINED),
                Cell(number(found.flops / 1e9, ".2f") if found else UNDEFINED),
                Cell(_profile(trials, "steps", ",.0f")),
                Cell(_profile(trials, "training_pixels", ",.1f", 1e6)),
                Cell(_profile(trials, "training_flop", ",.3g", 1e12)),
                Cell(_profile(trials, "seconds_per_step", ".3f")),
                Cell(_seconds(trials, "train", 1)),
                Cell(_seconds(trials, "predict", slices)),
            )
        )
    if not rows:
        return None
    columns = (
        *("method", "parameters", "of them without gradient", "GMACs", "GFLOPs"),
        *(
            "training steps",
            "HR Mpixels seen",
            "training TFLOP",
            "s per step",
            "training, s",
            "prediction, s per slice",
        ),
    )
    devices = ", ".join(sorted({f"{r.device}, {r.threads} thread(s)" for r in sheet.records if r.card.get("trains")}))
    shapes = sorted({shape for r in sheet.records for shape in r.data.hr_shapes})
    notes = (
        f"GMACs and GFLOPs (2 x MACs) of one slice at HR {SIZE} x {SIZE}, {sheet.scale}x, batch 1: convolutions and matrix "
        f"products; not counted: {', '.join(sorted(uncounted)) or 'nothing'}.",
        "Training FLOP: forward and backward of all steps, counted as above at the size of the patches; validation is not in them.",
        f"Wall times (median over trials) on {devices}, float32, HR {', '.join(f'{h} x {w}' for h, w in shapes)}; training "
        "includes validation; other work on the machine counts too. `mcsr-bench profile` measures properly.",
    )
    return Table(f"efficiency-{sheet.name}", title(sheet, "cost"), columns, tuple(rows), notes)


@cache
def _counted(
    method: str, module: str, scale: int, preset: str, settings: tuple[tuple[str, object], ...]
) -> Cost | None:
    try:
        return cost(method, scale, preset, settings=dict(settings))
    except UserError:  # the method of an earlier or foreign run is not here any more: its record still has the size
        return None


def counted(record: TrialRecord) -> Cost | None:
    """Size and arithmetic of a trial's network at HR 320; None without a network, or when the method is not here any more."""
    settings = tuple(sorted((k, v) for k, v in record.settings.items() if not isinstance(v, (list, dict))))
    plugin = methods().plugins().get(record.method)  # its module: a name may be another plugin's by the next report
    return _counted(record.method, plugin.module if plugin else "", record.scale, record.preset, settings)


def _profile(trials: Sequence[TrialRecord], key: str, form: str, unit: float = 1.0) -> str:
    values = [r.profile[key] / unit for r in trials if key in r.profile]
    return number(float(np.median(values)) if values else None, form)


def _seconds(trials: Sequence[TrialRecord], stage: str, per: int) -> str:
    values = [r.seconds[stage] / max(per, 1) for r in trials if stage in r.seconds]
    return number(float(np.median(values)) if values else None)
