"""Search the learning rates: ``python tests/budgets/rates.py --preset quick --scales 4 --to FOLDER [--write]``.

Four rates for every trained method, each for a quarter of the preset's budget with seed 0 on brain-sim. The best validation PSNR
decides; no test patient is looked at. ``--write`` puts the scores and the best rate into the cards. A rate with which a training
of the whole budget collapsed, as the note of its trial says, is written into ``[collapsed.PRESET]`` of the card by hand, and is not
chosen any more. A search that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from math import log
from pathlib import Path

import pandas as pd
from cards import inline, trained, write_table, write_values

import mcsr_bench as mb
from mcsr_bench.plugin.registry import methods

RATES = ("5e-4", "1e-3", "2e-3", "4e-3")
Scores = dict[str, dict[int, dict[str, float]]]
"""Validation PSNR (dB) by method, scale and learning rate."""


def search(names: list[str], scales: list[int], preset: str, to: Path, device: str) -> Scores:
    """Train each method with each rate for a quarter of its budget; prints a line for each."""
    out: Scores = {name: {} for name in names}
    for scale in scales:
        chosen = [name for name in names if scale in methods().card(name).scales]
        for rate in RATES:
            settings = {
                name: {"learning_rate": float(rate), "budget": methods().card(name).presets[preset]["budget"] / 4}
                for name in chosen
            }
            folder = to / preset / f"x{scale}" / rate
            mb.run(chosen, "brain-sim", scale, preset=preset, settings=settings, out=folder, device=device)
            for bundle in mb.load_results(folder).bundles:
                log = pd.read_csv(bundle.training_log)
                score = round(float(log["validation_psnr"].max()), 2)
                out[bundle.record.method].setdefault(scale, {})[rate] = score
                print(f"{preset} x{scale} {bundle.record.method} {rate}: {score:.2f} dB", flush=True)
    return out


def nearest(scale: int, searched: Iterable[str]) -> int:
    """Of the searched scales ("x4"), the one whose ratio to this scale is closest to 1."""
    return min((int(at.removeprefix("x")) for at in searched), key=lambda other: abs(log(other / scale)))


def write(scores: Scores, preset: str) -> None:
    """Put the scores and the best rate at each scale into the cards; scales that were not searched take that of the nearest one."""
    for name, by_scale in scores.items():
        card = methods().card(name)
        found = {
            at: {f"{float(rate):g}": v for rate, v in row.items()} for at, row in card.rates.get(preset, {}).items()
        }
        found |= {f"x{scale}": dict(row) for scale, row in by_scale.items()}
        best = {}
        for scale in card.scales:
            at = f"x{nearest(scale, found)}"
            collapsed = [float(rate) for rate in card.collapsed.get(preset, {}).get(at, ())]
            best[f"x{scale}"] = max((r for r in found[at] if float(r) not in collapsed), key=found[at].__getitem__)
        quoted = {at: {f'"{rate}"': score for rate, score in found[at].items()} for at in best if at in found}
        write_table(name, f"rates.{preset}", [f"{at} = {inline(row)}" for at, row in quoted.items()])
        write_values(name, preset, {"learning_rate": inline(best)})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=("quick", "small"), required=True)
    parser.add_argument("--scales", default="2,3,4,8")
    parser.add_argument("--methods", default=",".join(trained()))
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    names = asked.methods.split(",")
    scores = search(names, [int(s) for s in asked.scales.split(",")], asked.preset, asked.to, asked.device)
    if asked.write:
        write(scores, asked.preset)


if __name__ == "__main__":
    main()
