"""The loader of raw k-space, with which drawing batches is compared, gives what a store gives."""

from __future__ import annotations

from pathlib import Path

import fastmri_files
import h5py
import numpy as np
import pytest
import torch
from textbook.loader import RawLoader

from mcsr_bench.plugin.batch import Batch
from mcsr_bench.protocol import MCSR_1


def written(path: Path, images: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file["kspace"] = fastmri_files.to_kspace(images).astype(np.complex64)
    return path


def test_it_gives_what_the_suite_gives(tmp_path: Path) -> None:
    volumes = [
        fastmri_files.knee(contrast, 0, slices=2, shape=(64, 64), recon=(64, 64)) for contrast in ("FS-PD", "PD")
    ]
    pair = written(tmp_path / "t.h5", volumes[0]), written(tmp_path / "a.h5", volumes[1])
    found = RawLoader([pair], slices=2, scale=4, size=64).batch([0, 1])
    target, auxiliary = (torch.from_numpy(volume).to(torch.complex64) for volume in volumes)
    low, auxiliary_low = (MCSR_1.degrade(image, 4) for image in (target, auxiliary))
    # Joint: the auxiliary is normalised by its LR version, too, as in the published loaders.
    batch = Batch.of(low, auxiliary, auxiliary_low, target=target, scale=4, protocol=MCSR_1, joint=True)
    expected = (
        batch.target_lr_magnitude,
        batch.target_magnitude,
        batch.auxiliary_lr_magnitude,
        batch.auxiliary_magnitude,
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one[:, 0], other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("patch", [4, 16])
def test_patches_of_lr_and_hr_show_the_same(tmp_path: Path, patch: int) -> None:
    y, x = np.mgrid[:64, :64] / 64
    images = (1 + 0.2 * np.cos(2 * np.pi * y) + 0.2 * np.cos(2 * np.pi * x))[None].astype(np.complex128)
    pair = written(tmp_path / "t.h5", images), written(tmp_path / "a.h5", images)
    low, high, *_ = RawLoader([pair], slices=1, scale=4, size=64).slice(0, patch)
    assert low.shape == (1, patch, patch)
    torch.testing.assert_close(high[:, ::4, ::4], low, rtol=1e-4, atol=1e-4)  # sample i is sample 4 * i
