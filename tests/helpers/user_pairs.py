"""Pairs of files as a user has them, with a true target behind them, and bundles to predict with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_run
import h5py
import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

from mcsr_bench import kspace
from mcsr_bench.plugin.method import Method
from mcsr_bench.weights.loading import load_method
from mcsr_bench.weights.tensors import BundleInfo, save_weights

SMALL = {
    "sanet": {"width": 4, "groups": 1, "blocks": 1},
    "edsr": {"width": 4, "blocks": 1},
}


def trial(tmp_path: Path, method: str = "zerofill", **changes: Any) -> Path:
    """The bundle of an interpolation."""
    folder: Path = fake_run.write_trial_of(tmp_path / "run", method, [30.0], **changes)
    return folder


def bundle(
    tmp_path: Path, method: str, scale: int = 2, protocol: str = "mcsr-1", **settings: Any
) -> tuple[Path, Method]:
    """Weights with a header, as import-weights leaves them, and the method they are of."""
    built = load_method(method, scale, "quick", **SMALL[method], **settings)
    folder = tmp_path / "bundle"
    folder.mkdir(parents=True)
    values = built.settings.model_dump(mode="json")
    info = BundleInfo(method=method, scale=scale, preset="quick", settings=values, protocol=protocol)
    save_weights(built, folder / "weights.safetensors", info.model_dump(mode="json"))
    return folder, built


def band_limited(slices: int, low: tuple[int, int], scale: int, seed: int = 0) -> NDArray[np.complex64]:
    """HR slices (S, H, W) that are smooth enough for zero-filling to restore them from LR, exactly; positive and real.

    The LR Nyquist row and column are empty: there alone mirroring and zero-filling do not commute.
    """
    rng = np.random.default_rng(seed)
    h, w = low
    inner = (h - 3 + h % 2, w - 3 + w % 2)  # odd sizes below Nyquist
    k = kspace.to_kspace(torch.from_numpy(rng.standard_normal((slices, *inner))))
    image = kspace.to_image(kspace.pad_centre(k, (h * scale, w * scale))).real
    image = image - image.min() + 1.0
    return image.numpy().astype(np.complex64)


def degraded(high: NDArray[np.complex64], scale: int) -> NDArray[np.complex64]:
    """LR slices on the k-space grid, of the amplitudes of HR."""
    shape = (high.shape[1] // scale, high.shape[2] // scale)
    return kspace.truncate(torch.from_numpy(high), shape).numpy()


def rotation(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    out = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        i, j = [a for a in range(3) if a != axis]
        turn[[i, i, j, j], [i, j, i, j]] = [np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)]
        out = out @ turn
    return out


def oblique(zooms: tuple[float, float, float] = (1.0, 1.25, 4.0)) -> NDArray[np.float64]:
    """Off centre, and rotated about every axis."""
    affine = np.eye(4)
    affine[:3, :3] = rotation((10, -20, 15)) @ np.diag(zooms)
    affine[:3, 3] = (-61.0, 32.5, 17.0)
    return affine


def finer(affine: NDArray[np.float64], low: tuple[int, ...], axes: tuple[int, int], scale: int) -> NDArray[np.float64]:
    """By definition: the affine that sends sample H // 2 where the LR one sends h // 2, with steps of 1 / scale."""
    out = affine.copy()
    out[:3, list(axes)] /= scale
    centre_low, centre_high = np.zeros(3), np.zeros(3)
    for a in axes:
        centre_low[a], centre_high[a] = low[a] // 2, (low[a] * scale) // 2
    out[:3, 3] = affine[:3, :3] @ centre_low + affine[:3, 3] - out[:3, :3] @ centre_high
    return out


def save(path: Path, data: NDArray[Any], affine: NDArray[np.float64]) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.abs(data).astype(np.float32), affine), path)
    return path


def nifti_pair(
    tmp_path: Path, low: tuple[int, int] = (12, 10), scale: int = 2, suffix: str = ".nii.gz"
) -> tuple[Path, Path, NDArray[np.complex64]]:
    """Target of LR size and auxiliary of HR size with slices along the last voxel axis, and the true target as voxels."""
    high = band_limited(3, low, scale).transpose(1, 2, 0)
    auxiliary = band_limited(3, low, scale, seed=1).transpose(1, 2, 0)
    lr = degraded(high.transpose(2, 0, 1), scale).transpose(1, 2, 0)
    affine = oblique()
    target = save(tmp_path / f"t2{suffix}", lr, affine)
    return target, save(tmp_path / f"t1{suffix}", auxiliary, finer(affine, lr.shape, (0, 1), scale)), high


def hdf5(path: Path, **datasets: NDArray[Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name] = data
    return path
