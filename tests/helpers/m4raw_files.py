"""Small files in the layout of M4Raw: repeated multi-coil scans, off-centre k-space, a header without the encoding.

Everything is numpy, written independently of the plugin, so that tests may compare against what these functions return.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ns0:ismrmrdHeader xmlns:ns0="http://www.ismrm.org/ISMRMRD" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <ns0:acquisitionSystemInformation><ns0:systemModel>XGY OPER-0.3</ns0:systemModel></ns0:acquisitionSystemInformation>
 <ns0:sequenceParameters><ns0:TR>500.0</ns0:TR><ns0:TE>18.4</ns0:TE><ns0:echo_spacing>N/A</ns0:echo_spacing>
 </ns0:sequenceParameters>
</ns0:ismrmrdHeader>
"""
SHAPE = (48, 40)
REPETITIONS = {"T1": 3, "T2": 3, "FLAIR": 2}
BRIGHTNESS = {"T1": (1.0, 0.7, 0.3), "T2": (0.5, 0.7, 1.2), "FLAIR": (0.6, 0.8, 0.2)}


def to_kspace(image: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """Centred orthonormal FFT over the last two axes."""
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


def to_image(kspace: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """Centred orthonormal inverse FFT over the last two axes."""
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


def grid(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and columns, -1..1 over the field of view."""
    y, x = (np.arange(n) / (n // 2) - 1 for n in shape)
    return y[:, None], x[None, :]


def head(
    contrast: str, seed: int, slices: int, shape: tuple[int, int] = SHAPE, move: int = 0
) -> NDArray[np.complex128]:
    """Complex images (slices, H, W): head, ellipses that a seed places alike in all contrasts, a mild phase.

    move: how many pixels the head lies lower.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 81]))
    y, x = grid(shape)
    y = y - move / (shape[0] // 2)
    tissue = BRIGHTNESS[contrast]
    volume = np.zeros((slices, *shape))
    volume += tissue[0] * ((y / 0.8) ** 2 + (x / 0.7) ** 2 < 1)
    for _ in range(9):
        cy, cx = rng.uniform(-0.4, 0.4, 2)
        ry, rx = rng.uniform(0.08, 0.25, 2)
        kind = int(rng.integers(1, 3))
        for k in range(slices):
            volume[k][((y - cy - 0.02 * k) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = tissue[kind]
    phase = {"T1": 0.3, "T2": -0.5, "FLAIR": 0.1}[contrast] + 0.9 * y * x + 0.4 * y * y
    return 100 * volume * np.exp(1j * phase)


def sensitivities(coils: int, shape: tuple[int, int]) -> NDArray[np.complex128]:
    """(coils, H, W): broad Gaussians around the head, a constant phase each, root sum of squares 1."""
    y, x = grid(shape)
    angles = 2 * np.pi * np.arange(coils) / coils
    out = np.stack([np.exp(-((y - np.sin(t)) ** 2 + (x - np.cos(t)) ** 2) / 3 + 1.3j * t) for t in angles])
    out /= np.sqrt((np.abs(out) ** 2).sum(0))
    return out if coils > 1 else np.ones((1, *shape), np.complex128)


def write_scan(
    path: Path,
    contrast: str,
    *,
    seed: int = 0,
    slices: int = 3,
    coils: int = 3,
    shape: tuple[int, int] = SHAPE,
    offset: tuple[int, int] = (0, 0),
    phase: NDArray[np.float64] | float = 0.0,
    noise: float = 0.0,
    move: int = 0,
    acquired: tuple[int, int] | None = None,
    patient_id: str | None = "",
    header: str | None = HEADER,
) -> NDArray[np.complex64]:
    """Write one repetition; returns its k-space (slices, coils, H, W).

    offset: samples that k-space is rolled by. phase: added to the image, a number or a map (H, W). noise: standard deviation of
    its real and imaginary part, drawn by the file's name. acquired: first column that is kept and the one after the last.
    patient_id: "" for a hash of the subject, None for no attribute.
    """
    image = head(contrast, seed, slices, shape, move) * np.exp(1j * phase)
    kspace = np.roll(to_kspace(image[:, None] * sensitivities(coils, shape)), offset, axis=(-2, -1))
    rng = np.random.default_rng(np.frombuffer(hashlib.sha256(path.name.encode()).digest(), np.uint32))
    kspace = kspace + noise * (rng.standard_normal(kspace.shape) + 1j * rng.standard_normal(kspace.shape))
    if acquired is not None:
        kspace[..., : acquired[0]] = 0
        kspace[..., acquired[1] :] = 0
    kspace = kspace.astype(np.complex64)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        file["reconstruction_rss"] = np.sqrt((np.abs(to_image(kspace)) ** 2).sum(1)).astype(np.float32)
        if header is not None:
            file["ismrmrd_header"] = header.encode()
        file.attrs["acquisition"] = f"AX{contrast}"
        if patient_id is not None:
            file.attrs["patient_id"] = patient_id or hashlib.md5(path.name.partition("_")[0].encode()).hexdigest()
    return kspace


def write_subject(folder: Path, name: str, contrasts: tuple[str, ...] = ("T1", "T2"), **options: object) -> None:
    """All repetitions of some contrasts of one subject; options as for `write_scan`."""
    for contrast in contrasts:
        for number in range(1, REPETITIONS[contrast] + 1):
            write_scan(folder / f"{name}_{contrast}{number:02d}.h5", contrast, **options)  # type: ignore[arg-type]


def write_tree(root: Path, n: int = 4, **options: object) -> Path:
    """Subjects 2022061000, ... of which every third is in multicoil_val, the others in multicoil_train. Returns ROOT."""
    for i in range(n):
        folder = root / ("multicoil_val" if i % 3 == 2 else "multicoil_train")
        write_subject(folder, f"{2022061000 + i}", seed=i, **options)
    return root
