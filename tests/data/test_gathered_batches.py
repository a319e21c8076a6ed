"""A training batch is cut from where its slices lie, in files or on a device: the same bits as turning and cropping them whole."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import mcsr_bench as mb
from mcsr_bench.data.encoding import open_volume, write_volume
from mcsr_bench.data.gathering import OnDevice
from mcsr_bench.data.sampler import Sampler
from mcsr_bench.data.slice_statistics import read_statistics, slice_statistics
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.split import Split
from mcsr_bench.protocol import MCSR_1, SANET_2021, Protocol

SCALE = 2
FIELDS = ("target", "auxiliary", "target_lr", "auxiliary_lr")
SHAPES = [(32, 32), (32, 32), (48, 32), (18, 26)]


def store(folder: Path, dtype: Any, protocol: Protocol = MCSR_1) -> Any:
    rng = np.random.default_rng(3)
    volumes = {}
    for number, (height, width) in enumerate(SHAPES):
        arrays = {}
        for field in FIELDS:
            by = SCALE if field.endswith("lr") else 1
            shape = (3, height // by, width // by)
            values = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
            path = folder / f"{number}-{field}.npy"
            write_volume(path, values, shape, dtype)
            arrays[field] = open_volume(path)
        name = f"v{number}"
        about = {"patient_id": f"p{number}", "volume_id": name, "shape": (height, width), "slice_index": (4, 5, 7)}
        noted = json.loads(json.dumps(slice_statistics(protocol, arrays)))
        volumes[name] = SimpleNamespace(**arrays, **about, statistics=read_statistics(noted))
    return SimpleNamespace(scale=SCALE, volumes=volumes)


def by_whole_slices(sampler: Sampler, seed: int, step: int, batch_size: int, patch: int, augment: str) -> Batch:
    """As a method's author would write it with what `Batch` offers: each slice whole, turned, cropped, then stacked."""
    epoch, position = divmod(step, sampler.steps_per_epoch(batch_size))
    rng = np.random.default_rng(np.random.SeedSequence([seed, step, 2]))
    parts = []
    for volume, i in sampler._epoch(epoch, batch_size)[position]:
        one = sampler._slices(volume, range(i, i + 1), with_target=True)
        rows, columns, swap = (bool(x) for x in rng.integers(0, 2, size=3))
        if augment != "none":
            height, width = one.hr_shape
            turned = augment == "dihedral" and swap and (bool(patch) or height == width)
            one = one.transform(mirror_rows=rows, mirror_columns=columns, transpose=turned)
        if patch:
            height, width = one.target_lr.shape[-2:]
            size = min(patch, height, width)
            top, left = rng.integers(0, height - size + 1), rng.integers(0, width - size + 1)
            one = one.crop(torch.tensor([top]), torch.tensor([left]), size)
        parts.append(one)
    return Batch.stack(parts)


@pytest.mark.parametrize("resident", [False, True], ids=["files", "resident"])
@pytest.mark.parametrize("dtype", ["complex64", "float16-pair"])
@pytest.mark.parametrize(("protocol", "joint"), [(MCSR_1, False), (MCSR_1, True), (SANET_2021, False)])
def test_the_same_bits(tmp_path: Path, dtype: str, protocol: Protocol, joint: bool, resident: bool) -> None:
    made = store(tmp_path, dtype, protocol)
    split = Split(tuple(made.volumes), (), (), "all train")
    sampler = Sampler(made, split, protocol, 5, joint=joint)
    if resident:
        sampler.keep_on("cpu")
    turned = set()
    for patch in (0, 5, 8, 100):
        for augment in ("none", "mirror", "dihedral"):
            for step in range(14):
                ours = sampler.batch(step, batch_size=2, patch=patch, augment=augment)
                expected = by_whole_slices(sampler, 5, step, 2, patch, augment)
                for field in FIELDS:
                    assert torch.equal(getattr(ours, field), getattr(expected, field)), (field, patch, augment, step)
                for field in ("target_statistics", "auxiliary_statistics"):
                    assert all(map(torch.equal, getattr(ours, field), getattr(expected, field)))
                rest = ("scale", "protocol", "patient_id", "slice_index", "volume_id", "joint")
                assert [getattr(ours, name) for name in rest] == [getattr(expected, name) for name in rest]
                turned.add(tuple(ours.target.shape[1:]))
    assert {(32, 32), (48, 32), (18, 26), (10, 10), (16, 16)} <= turned


def test_what_resident_slices_take(tmp_path: Path) -> None:
    made = store(tmp_path, "float16-pair")
    sampler = Sampler(made, Split(("v0", "v2"), ("v1",), ("v3",), "two train"), MCSR_1, 5)
    pixels = 3 * (32 * 32 + 48 * 32)
    assert sampler.n_train_bytes == 8 * (2 * pixels + 2 * pixels // SCALE**2)
    sampler.keep_on("cpu")
    assert isinstance(sampler._source, OnDevice)
    assert sum(x.nbytes for x in sampler._source._images.values()) == sampler.n_train_bytes


def test_statistics_are_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = store(tmp_path, "complex64")
    sampler = Sampler(made, Split(tuple(made.volumes), (), (), "all train"), MCSR_1, 5)
    monkeypatch.setattr(Protocol, "statistics", None)
    for step in range(3 * sampler.steps_per_epoch(2)):
        sampler.batch(step, batch_size=2, patch=4, augment="dihedral")


@pytest.mark.filterwarnings("ignore:images are stored as float16-pair")
def test_a_store_notes_those_of_the_arrays_that_it_holds(own_cache: Path) -> None:
    """Of numbers rounded to float16, too."""
    for dtype in ("complex64", "float16-pair"):
        [prepared] = mb.prepare("toy", 2, store_dtype=dtype, plugins=Path(__file__).parents[1] / "toys")
        for volume in prepared.store.volumes.values():
            for field in ("target_lr", "auxiliary", "auxiliary_lr"):
                magnitude = np.abs(np.asarray(getattr(volume, field)[:]).astype(np.complex128))
                expected = [magnitude.mean((1, 2)), magnitude.std((1, 2), ddof=1)]
                np.testing.assert_allclose(volume.statistics[field], expected, rtol=1e-5)
