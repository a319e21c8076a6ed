"""Drawing training batches against a loader that reads and transforms raw k-space for every slice."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median

import fastmri_files
import h5py
import numpy as np
from floor import spent
from textbook.loader import RawLoader

import mcsr_bench as mb
from mcsr_bench.data.prepare import Prepared, prepare
from mcsr_bench.data.sampler import Sampler
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.protocol import MCSR_1

from .page import judged, section_of, table

TOYS = Path(__file__).parents[2] / "toys"
SCALE, BATCH, GOAL = 4, 4, 10.0


def prepared_toy(cache: Path, *, size: int, patients: int, slices: int) -> tuple[Dataset, Prepared]:
    """Generated patients, ready for training at 4x, in a cache of their own."""
    os.environ["MCSR_BENCH_CACHE"] = str(cache)
    with scoped_plugins(TOYS):
        dataset = mb.load_dataset("toy", size=size, patients=patients, slices=slices)
        [prepared] = prepare(dataset, MCSR_1, [SCALE])
    return dataset, prepared


def write_raw(dataset: Dataset, prepared: Prepared, folder: Path) -> list[tuple[Path, Path]]:
    """K-space of the training volumes, a file per volume and contrast, as (target, auxiliary)."""
    found = []
    chosen = set(prepared.split.train)
    for case in dataset.cases():
        if case.volume_id not in chosen:
            continue
        pair = folder / f"{case.volume_id}-target.h5", folder / f"{case.volume_id}-auxiliary.h5"
        for path, images in zip(pair, zip(*dataset.read(case), strict=True), strict=True):
            with h5py.File(path, "w") as file:
                file["kspace"] = fastmri_files.to_kspace(np.stack(images)).astype(np.complex64)
        found.append(pair)
    return found


def section(quick: bool) -> str:
    """Whole slices and patches."""
    repeats, patients, slices = (2, 5, 2) if quick else (9, 10, 8)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        dataset, prepared = prepared_toy(work / "cache", size=320, patients=patients, slices=slices)
        loader = RawLoader(write_raw(dataset, prepared, work), slices, SCALE)
        order = np.random.default_rng(0).permutation(len(loader.items)).tolist()
        rows = []
        for what, patch, augment in (("whole slices", 0, "none"), ("patches of 16 LR pixels", 16, "dihedral")):
            ours, theirs = [], []
            for number in range(repeats + 1):
                sampler = Sampler(prepared.store, prepared.split, MCSR_1, seed=number)

                def epoch(sampler: Sampler = sampler, patch: int = patch, augment: str = augment) -> None:
                    for step in range(sampler.steps_per_epoch(BATCH)):
                        sampler.batch(step, batch_size=BATCH, patch=patch, augment=augment)

                def raw_epoch(patch: int = patch) -> None:
                    for start in range(0, len(order), BATCH):
                        loader.batch(order[start : start + BATCH], patch)

                times = spent(epoch), spent(raw_epoch)
                if number:  # the first round fills the system's cache of files
                    for kept, one in zip((ours, theirs), times, strict=True):
                        kept.append(one)
            each = 1000 * median(ours) / len(order)
            rows.append((what, f"{each:.2f}", judged(median(theirs) / median(ours), least=GOAL, digits=1)))
    head = ("batches of 4, 4x", "ours (ms per slice)", "raw loader / ours")
    prose = (
        "Training batches from a prepared store against a loader that, for each slice, opens two HDF5 files of single-coil "
        "k-space, 320 x 320, transforms, crops and normalises (`tests/helpers/textbook/loader.py`). Files are in the system's "
        "cache; each epoch is drawn by a new sampler."
    )
    return section_of("Data", prose, table(head, rows))
