"""Small patients in the layout "mcsr-pair": numpy alone, written independently of the reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complexfloating[Any, Any]]
AXES = (-2, -1)


def to_kspace(image: Complex) -> Complex:
    """Centred orthonormal FFT over the last two axes."""
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=AXES), norm="ortho"), axes=AXES)


def to_image(kspace: Complex) -> Complex:
    """Centred orthonormal inverse FFT over the last two axes."""
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=AXES), norm="ortho"), axes=AXES)


def brain(contrast: str, seed: int, slices: int, shape: tuple[int, int]) -> Complex:
    """Complex images (slices, H, W) around 1: ellipses that a seed places alike in every contrast, texture, a curved phase."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 31]))
    y, x = ((np.arange(n) - n // 2) / (n / 2) for n in shape)
    yy, xx = np.meshgrid(y, x, indexing="ij")
    which = 1 if contrast == "T2" else 0
    volume = np.zeros((slices, *shape))
    for _ in range(10):
        (cy, cx), (ry, rx) = rng.uniform(-0.5, 0.5, 2), rng.uniform(0.1, 0.4, 2)
        values, drift = rng.uniform(0.1, 1, 2), rng.uniform(-0.1, 0.1)
        for k in range(slices):
            volume[k] += values[which] * (((yy - cy - drift * k / slices) / ry) ** 2 + ((xx - cx) / rx) ** 2 < 1)
    head = (yy / 0.85) ** 2 + (xx / 0.75) ** 2 < 1
    volume = (volume * 0.4 + 0.4 + 0.05 * rng.standard_normal(volume.shape)) * head
    a, b = np.random.default_rng(np.random.SeedSequence([seed, 32, which])).uniform(0.8, 1.6, 2)
    return volume * np.exp(1j * (a * yy**2 - b * xx**2 + 0.3 * xx * yy + 0.4))


def sensitivities(coils: int, shape: tuple[int, int]) -> Complex:
    """(coils, H, W): broad Gaussians around the field of view, a constant phase for each coil."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    angles = 2 * np.pi * np.arange(coils) / coils
    out = [np.exp(-((y[:, None] - np.sin(t)) ** 2 + (x[None] - np.cos(t)) ** 2) / 3 + 1j * 2.1 * t) for t in angles]
    return np.stack(out)


def affine(voxel: tuple[float, float, float], origin: tuple[float, float, float] = (0, 0, 0)) -> NDArray[np.float64]:
    """An axial slice's: (slice, row, column) to superior, posterior, left, in RAS+ millimetres."""
    dz, dy, dx = voxel
    out = np.zeros((4, 4))
    out[2, 0], out[1, 1], out[0, 2], out[3, 3] = dz, -dy, -dx, 1
    out[:3, 3] = origin
    return out


def turn(degrees: float, shift: tuple[float, float, float] = (0, 0, 0)) -> NDArray[np.float64]:
    """A rotation about the superior axis, then a shift."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, shift[0]], [s, c, 0, shift[1]], [0, 0, 1, shift[2]], [0, 0, 0, 1]])


def write_patient(
    path: Path,
    *,
    patient_id: str = "p0",
    seed: int = 0,
    contrasts: tuple[str, ...] = ("T1", "T2"),
    slices: int = 2,
    shape: tuple[int, int] = (32, 32),
    coils: int = 0,
    fov: tuple[float, float] | None = (220.0, 220.0),
    change: Callable[[h5py.File], Any] | None = None,
) -> dict[str, Complex]:
    """Write a file with h5py alone; returns the object of every contrast, complex (slices, H, W).

    coils: 0 for k-space without a coil axis. change: what to do to the open file at the end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    out = {}
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "mcsr-pair", "version": 1, "patient_id": patient_id, "site": "here"})
        for name in contrasts:
            image = out[name] = brain(name, seed, slices, shape)
            parts = image[:, None] * sensitivities(coils, shape) if coils else image
            file[f"{name}/kspace"] = to_kspace(parts).astype(np.complex64)
            file[name].attrs["contrast"] = name
            if fov is not None:
                file[name].attrs["FOV_mm"] = fov
        if change is not None:
            change(file)
    return out


def write_folder(root: Path, patients: int = 5, **options: Any) -> Path:
    """A data root of as many patients, a file each: P00.h5 and so on."""
    for i in range(patients):
        write_patient(root / f"P{i:02d}.h5", patient_id=f"patient-{i}", seed=i, **options)
    return root


def edit(path: Path, change: Callable[[h5py.File], Any]) -> None:
    """Change a file in place."""
    with h5py.File(path, "r+") as file:
        change(file)


def put(file: h5py.File, key: str, value: Any) -> None:
    """Put another data set in the place of one."""
    if key in file:
        del file[key]
    file[key] = value
