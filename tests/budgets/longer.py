"""Does longer training help, and is a whole slice as good as its tiles? ``python tests/budgets/longer.py --scale 4 --to FOLDER``.

Every trained method at preset quick with half, once, twice and four times the budget, three seeds each, on brain-sim: the mean PSNR
never falls by more than two standard errors from one budget to the next. At the preset's budget, whole slices score at most 0.2 dB
below the same slices predicted in tiles of the training patch: a network that is tested on another task than it was trained on
fails here. Ends with 1 where one of the two does not hold.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cards import trained
from numpy.typing import NDArray

import mcsr_bench as mb
from mcsr_bench.data.store import open_store
from mcsr_bench.metrics import psnr
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.method import Method
from mcsr_bench.plugin.registry import methods
from mcsr_bench.protocol import MCSR_1
from mcsr_bench.results.bundle import Bundle
from mcsr_bench.weights.tensors import load_weights

FACTORS, SEEDS, PSNR = (0.5, 1.0, 2.0, 4.0), (0, 1, 2), "psnr@volume-max"


def budgets(names: list[str], scale: int, to: Path, device: str) -> list[str]:
    """Train at every budget; prints a line for each method, and returns those of the methods that a longer training harms."""
    scores: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for factor in FACTORS:
        settings = {name: {"budget": factor * methods().card(name).presets["quick"]["budget"]} for name in names}
        folder = to / f"x{scale}" / f"{factor:g}"
        mb.run(names, "brain-sim", scale, preset="quick", seeds=SEEDS, settings=settings, out=folder, device=device)
        found = mb.load_results(folder).volumes.groupby(["method", "seed"])[PSNR].mean()
        for name in names:
            scores[name].append(found[name].to_numpy())
    harmed = []
    for name, by_factor in scores.items():
        means, errors = [s.mean() for s in by_factor], [s.std(ddof=1) / len(s) ** 0.5 for s in by_factor]
        falls = [
            before - after > 2 * float(np.hypot(*e))
            for before, after, *e in zip(means, means[1:], errors, errors[1:], strict=False)
        ]
        line = ", ".join(f"{f:g}: {m:.2f}±{e:.2f}" for f, m, e in zip(FACTORS, means, errors, strict=True))
        print(f"{name}: {line} dB{'  FALLS' if any(falls) else ''}", flush=True)
        harmed += [f"{name}: {line}"] if any(falls) else []
    return harmed


def tiled(method: Method, batch: Batch, patch: int) -> NDArray[np.float64]:
    """The magnitude (B, H, W) predicted in tiles of the training patch, each with its own normalisation, edges overlapping."""
    h, w = batch.target_lr.shape[-2:]
    out = np.zeros((len(batch), h * method.scale, w * method.scale))
    for top in sorted({*range(0, h - patch + 1, patch), h - patch}):
        for left in sorted({*range(0, w - patch + 1, patch), w - patch}):
            n = len(batch)
            part = method.predict(batch.crop(torch.full((n,), top), torch.full((n,), left), patch))
            assert isinstance(part, torch.Tensor)
            y, x, side = top * method.scale, left * method.scale, patch * method.scale
            out[:, y : y + side, x : x + side] = part.abs().numpy()
    return out


def tiles(bundle: Bundle) -> tuple[float, float]:
    """Mean PSNR (dB) over the test volumes of a trial: of whole slices, and of the same slices in tiles."""
    record = bundle.record
    method = mb.load_method(record.method, record.scale, record.preset, **record.settings)
    load_weights(method, bundle.weights)
    volumes = open_store(record.data.store).volumes
    scores = []
    for name in pd.read_csv(bundle.volumes)["volume_id"].unique():
        volume = volumes[name]
        low, auxiliary, auxiliary_lr = (
            torch.from_numpy(np.array(x)) for x in (volume.target_lr, volume.auxiliary, volume.auxiliary_lr)
        )
        batch = Batch.of(low, auxiliary, auxiliary_lr, scale=record.scale, protocol=MCSR_1)
        truth = np.abs(np.asarray(volume.target)).astype(np.float64)
        whole = method.predict(batch)
        assert isinstance(whole, torch.Tensor)
        both = (whole.abs().numpy().astype(np.float64), tiled(method, batch, record.settings["patch"]))
        scores.append([psnr(image, truth, peak=float(truth.max())) for image in both])
    whole_psnr, tiled_psnr = np.mean(scores, axis=0)
    return float(whole_psnr), float(tiled_psnr)


def main() -> int:
    """The command line; 0 when both hold for every method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--methods", default=",".join(trained()))
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    names = [name for name in asked.methods.split(",") if asked.scale in methods().card(name).scales]
    wrong = budgets(names, asked.scale, asked.to, asked.device)
    for bundle in mb.load_results(asked.to / f"x{asked.scale}" / "1").bundles:
        whole, in_tiles = tiles(bundle)
        good = whole > in_tiles - 0.2
        print(
            f"{bundle.record.method} seed {bundle.record.seed}: whole {whole:.2f}, tiles {in_tiles:.2f} dB", flush=True
        )
        wrong += [] if good else [f"{bundle.record.method}: worse on whole slices than on tiles"]
    print("\n".join(wrong) or "longer training harms none, and whole slices are as good as tiles")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
