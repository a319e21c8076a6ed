"""``mcsr-bench profile``: size, arithmetic and time of several methods side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mcsr_bench.cost.counting import cost
from mcsr_bench.cost.timing import PAPER_BATCH, measure
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.registry import methods
from mcsr_bench.plugin.report import UNDEFINED, Cell, Table, number
from mcsr_bench.results.naming import shown

CPU_LIMIT = 20e9
"""Multiply-accumulates per slice above which a CPU is not timed unless asked: a slice would take seconds, a step minutes."""


def profile(
    names: Sequence[str],
    scales: Sequence[int],
    *,
    preset: str = "paper",
    size: int = 320,
    device: str = "cpu",
    timed: bool | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """One row per method and scale it has: name, scale, preset, settings (the changes), parameters, macs ... and the fields of
    `Timing` (or None).

    timed: True or False; None: on a GPU, or where the arithmetic is small. Raises UserError for an unknown name, preset or setting,
    or a size that is not a multiple of 8 * scale.
    """
    for what, given in (("--methods", names), ("--scale", scales)):
        if not given:
            raise UserError(f"{what} is empty")
    if other := sorted({*(settings or {})} - {*names}):
        raise UserError(f"--set {other[0]}...: '{other[0]}' is not one of these methods ({', '.join(names)})")
    known = sorted({scale for name in names for scale in methods().card(name).scales})
    for scale in scales:
        if scale not in known:
            raise UserError(f"--scale {scale}: these methods have the scales {', '.join(map(str, known))}")
        if size < 8 * scale or size % (8 * scale):
            raise UserError(f"--size {size}: a multiple of {8 * scale} is needed at scale {scale}")
    rows = []
    for name in names:
        card = methods().card(name)
        for scale in scales:
            if scale not in card.scales and len(names) > 1:
                continue
            chosen = dict((settings or {}).get(name, {}))
            counted = cost(name, scale, preset, size=size, settings=chosen)
            macs = counted.macs if counted else 0
            due = timed if timed is not None else device.startswith("cuda") or macs <= CPU_LIMIT
            found = measure(name, scale, preset, size=size, device=device, settings=chosen) if due else None
            rows.append(
                {
                    "name": name,
                    "scale": scale,
                    "preset": preset,
                    "settings": chosen,
                    "parameters": counted.parameters if counted else 0,
                    "trainable_parameters": counted.trainable_parameters if counted else 0,
                    "dead_parameters": counted.dead_parameters if counted else 0,
                    "macs": macs,
                    "flops": 2 * macs,
                    "uncounted": list(counted.uncounted) if counted else [],
                    "size": size,
                    "dtype": "float32",
                    "timing": None if found is None else asdict(found),
                }
            )
    return rows


def profile_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The rows of `profile` for people."""
    columns = (
        *("method", "scale", "parameters", "without gradient", "GMACs", "GFLOPs", "latency, ms", "95 %, ms"),
        *("slices/s (batch)", "peak memory, MiB", "s/step", f"s/step, {PAPER_BATCH} slices", "J/slice"),
    )
    out = []
    for row in rows:
        t = row["timing"] or {}
        network = row["parameters"] > 0
        cells = [
            shown(row["name"], "", row["settings"]),
            f"{row['scale']}x",
            number(row["parameters"] if network else None, ","),
            number(row["dead_parameters"] if network else None, ","),
            number(row["macs"] / 1e9 if network else None, ".2f"),
            number(row["flops"] / 1e9 if network else None, ".2f"),
            _scaled(t.get("latency_median"), 1000),
            _scaled(t.get("latency_p95"), 1000),
            f"{number(t['throughput'])} ({t['throughput_batch']})" if t else UNDEFINED,
            _scaled(t.get("peak_memory"), 1 / 2**20),
            number(t.get("step_seconds")),
            number(t.get("step_seconds_paper")),
            number(t.get("energy_joules")),
        ]
        out.append(tuple(Cell(text) for text in cells))
    first = rows[0]
    devices = ", ".join(sorted({row["timing"]["device"] for row in rows if row["timing"]})) or "nothing timed"
    uncounted = sorted({name for row in rows for name in row["uncounted"]})
    notes = [
        f"Input: one slice, HR {first['size']} x {first['size']}, {first['dtype']}, preset {first['preset']}; {devices}.",
        "GMACs and GFLOPs (2 x MACs): convolutions and matrix products (torch.utils.flop_counter); not counted: "
        f"{', '.join(uncounted) or 'nothing'}.",
        f"s/step: a training step as the preset trains, and with {PAPER_BATCH} whole slices (the paper prints 2.20 s per "
        "iteration for its own network, batch and device unsaid).",
    ]
    if any(row["timing"] is None for row in rows):
        notes.append(f"Not timed: above {CPU_LIMIT / 1e9:.0f} GMACs a CPU takes minutes; --time does it all the same.")
    return Table("profile", f"Cost at HR {first['size']}", columns, tuple(out), tuple(notes))


def _scaled(value: float | None, factor: float) -> str:
    return number(None if value is None else value * factor)
