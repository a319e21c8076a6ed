"""Small files in the layout of fastMRI knee: raw k-space, the real header's elements, attributes, reconstructions.

Everything is numpy, written independently of the plugin, so that tests may compare against what these functions return.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

import mcsr_bench

LISTS = Path(mcsr_bench.__file__).parent / "datasets" / "fastmri"
ACQUISITION = {"PD": "CORPD_FBK", "FS-PD": "CORPDFS_FBK"}

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://www.ismrm.org/ISMRMRD ismrmrd.xsd">
 <studyInformation><studyTime>00:00:00</studyTime></studyInformation>
 <acquisitionSystemInformation><systemVendor>SIEMENS</systemVendor><receiverChannels>{coils}</receiverChannels>
 </acquisitionSystemInformation>
 <experimentalConditions><H1resonanceFrequency_Hz>63500000</H1resonanceFrequency_Hz></experimentalConditions>
 <encoding>
  <encodedSpace><matrixSize><x>{readout}</x><y>{columns}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>{fov[0]}</x><y>{fov[1]}</y><z>4.5</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>{rows}</x><y>{width}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>140</x><y>140</y><z>4.5</z></fieldOfView_mm></reconSpace>
  <trajectory>cartesian</trajectory>
  <encodingLimits>
   <kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center></kspace_encoding_step_1>
   <kspace_encoding_step_2><minimum>0</minimum><maximum>0</maximum><center>0</center></kspace_encoding_step_2>
   <slice><minimum>0</minimum><maximum>{slices}</maximum><center>0</center></slice>
  </encodingLimits>
 </encoding>
 <sequenceParameters><TR>2800</TR><TE>33</TE></sequenceParameters>
</ismrmrdHeader>
"""


def header(
    shape: tuple[int, int],
    recon: tuple[int, int],
    slices: int = 3,
    coils: int = 1,
    acquired: int | None = None,
    fov: tuple[float, float] = (280, 161),
) -> str:
    """The XML header; ``acquired`` columns, centred, of the shape[1] encoded ones; ``fov``: the encoded one in mm."""
    n = shape[1] if acquired is None else acquired
    readout, columns = shape
    rows, width = recon
    return HEADER.format(
        coils=coils,
        readout=readout,
        columns=columns,
        rows=rows,
        width=width,
        last=n - 1,
        centre=n // 2,
        slices=slices - 1,
        fov=fov,
    )


def to_kspace(image: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """Centred orthonormal FFT over the last two axes."""
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


def to_image(kspace: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """Centred orthonormal inverse FFT over the last two axes."""
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


def crop(image: NDArray[np.complexfloating], shape: tuple[int, int]) -> NDArray[np.complexfloating]:
    """Central (h, w), centre sample N // 2 on centre sample."""
    top, left = (n // 2 - m // 2 for n, m in zip(image.shape[-2:], shape, strict=True))
    return image[..., top : top + shape[0], left : left + shape[1]]


def combine(coil_images: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """(coils, H, W) to (H, W), as the fastmri card says it: least squares with the sensitivities of the central 24 x 24 samples.

    The phase is the virtual reference coil's: the first left singular vector of these samples, its largest entry real. Written
    without the suite's functions, and by another decomposition.
    """
    coils, rows, columns = coil_images.shape
    n = min(24, rows), min(24, columns)
    low = crop(to_kspace(coil_images), n)
    vector = np.linalg.svd(low.reshape(coils, -1), full_matrices=False)[0][:, 0]
    largest = vector[np.abs(vector).argmax()]
    taper = [np.sin(np.pi * np.arange(1, m + 1) / (m + 1)) ** 2 for m in n]
    filled = np.zeros_like(coil_images)
    top, left = rows // 2 - n[0] // 2, columns // 2 - n[1] // 2
    filled[:, top : top + n[0], left : left + n[1]] = low * taper[0][:, None] * taper[1]
    smooth = to_image(filled)
    reference = np.tensordot((vector * abs(largest) / largest).conj(), smooth, 1)
    unit = smooth / np.sqrt((np.abs(smooth) ** 2).sum(0))
    return (unit.conj() * coil_images).sum(0) * np.exp(1j * np.angle(reference))


def knee(
    contrast: str, seed: int, slices: int, shape: tuple[int, int], recon: tuple[int, int]
) -> NDArray[np.complex128]:
    """Complex images (slices, H, W) of some 1e-4: ellipses that a seed places alike in both contrasts, fine texture, phase."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 71]))
    y, x = ((np.arange(n) - n // 2) / (m / 2) for n, m in zip(shape, recon, strict=True))
    yy, xx = np.meshgrid(y, x, indexing="ij")
    fat_suppressed = contrast == "FS-PD"
    volume = np.zeros((slices, *shape))
    for _ in range(14):
        cy, cx = rng.uniform(-0.55, 0.55, 2)
        ry, rx = rng.uniform(0.08, 0.4, 2)
        drift, bright, dark = rng.uniform(-0.1, 0.1), rng.uniform(0.2, 1), rng.uniform(0.2, 1)
        for k in range(slices):
            inside = ((yy - cy - drift * k / slices) / ry) ** 2 + ((xx - cx) / rx) ** 2 < 1
            volume[k] += inside * (dark if fat_suppressed else bright)
    body = (yy / 0.9) ** 2 + (xx / 0.85) ** 2 < 1
    volume = (volume * 0.3 + 0.3 + 0.1 * rng.standard_normal(volume.shape)) * body
    own = np.random.default_rng(np.random.SeedSequence([seed, 72, int(fat_suppressed)]))
    a, b, c = own.uniform(-1, 1, 3)
    return volume * np.exp(1j * (a + 1.2 * b * yy + 1.2 * c * xx * yy)) * 1e-4


def sensitivities(coils: int, shape: tuple[int, int]) -> NDArray[np.complex128]:
    """(coils, H, W): broad Gaussians around the field of view, a constant phase for each coil."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    angles = 2 * np.pi * np.arange(coils) / coils
    out = [np.exp(-((y[:, None] - np.sin(t)) ** 2 + (x[None] - np.cos(t)) ** 2) / 3 + 1j * 2.1 * t) for t in angles]
    return np.stack(out)


def write_volume(
    path: Path,
    *,
    contrast: str = "FS-PD",
    patient_id: str = "patient-a",
    slices: int = 3,
    shape: tuple[int, int] = (128, 64),
    coils: int | None = None,
    seed: int = 0,
    recon: tuple[int, int] = (64, 64),
    acquired: int | None = None,
    reconstruction: bool = True,
    acquisition: str | None = None,
    fov: tuple[float, float] = (280, 161),
) -> NDArray[np.complex128]:
    """Write one volume; returns the object it shows, complex (slices, H, W) at full field of view.

    coils None: kspace (slices, H, W) and ``reconstruction_esc``; else (slices, coils, H, W) and ``reconstruction_rss`` only.
    acquired: that many central columns of k-space are kept, the others are zero, and the header says so. acquisition: the
    attribute, instead of the knee contrast's. fov: the encoded field of view in mm.
    """
    image = knee(contrast, seed, slices, shape, recon)
    parts = image if coils is None else image[:, None] * sensitivities(coils, shape)
    kspace = to_kspace(parts)
    if acquired is not None:
        left = shape[1] // 2 - acquired // 2
        kept = np.zeros_like(kspace)
        kept[..., left : left + acquired] = kspace[..., left : left + acquired]
        kspace = kept
    magnitude = np.abs(to_image(kspace))
    rss = magnitude if coils is None else np.sqrt((magnitude**2).sum(1))
    narrow = (shape[1], shape[1]) if shape[1] < recon[1] else recon
    rss = crop(rss, narrow).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.astype(np.complex64)
        file["ismrmrd_header"] = header(shape, recon, slices, coils or 1, acquired, fov).encode()
        if reconstruction:
            file["reconstruction_rss"] = rss
            if coils is None:
                file["reconstruction_esc"] = rss
        file.attrs["acquisition"] = ACQUISITION[contrast] if acquisition is None else acquisition
        file.attrs["max"] = float(rss.max())
        file.attrs["norm"] = float(np.linalg.norm(rss))
        file.attrs["patient_id"] = patient_id
    return image


def published(part: str) -> list[tuple[str, str]]:
    """The (PD, FS-PD) names of the shipped list "train" or "val"."""
    with (LISTS / f"pairs-{part}.csv").open(newline="") as handle:
        return [(row[0], row[1]) for row in csv.reader(handle)]


def write_pair(folder: Path, names: tuple[str, str], *, patient_id: str, seed: int = 0, **options: object) -> None:
    """The two files of a pair (PD, FS-PD) with the same anatomy; options as for `write_volume`."""
    for name, contrast in zip(names, ("PD", "FS-PD"), strict=True):
        write_volume(folder / f"{name}.h5", contrast=contrast, patient_id=patient_id, seed=seed, **options)  # type: ignore[arg-type]


def write_tree(
    root: Path, n_train: int = 4, n_test: int = 2, *, coils: int | None = None, flat: bool = False, **options: object
) -> Path:
    """The first pairs of the published lists, a patient each, as ROOT/singlecoil_train/file1000685.h5 and so on.

    coils: multi-coil files in multicoil_train and multicoil_val. flat: all files directly in ROOT. options: as for
    `write_volume`. Returns ROOT.
    """
    kind = "singlecoil" if coils is None else "multicoil"
    seed = 0
    for part, n in (("train", n_train), ("val", n_test)):
        for names in published(part)[:n]:
            folder = root if flat else root / f"{kind}_{part}"
            write_pair(folder, names, patient_id=f"patient-{seed:03d}", seed=seed, coils=coils, **options)
            seed += 1
    return root


def write_brain(
    folder: Path,
    number: int,
    acquisition: str,
    patient_id: str,
    *,
    pixel: tuple[float, float] = (1.375, 1.375),
    name: str | None = None,
    shape: tuple[int, int] = (64, 32),
    recon: tuple[int, int] = (32, 32),
    **options: object,
) -> Path:
    """A brain volume as FOLDER/file_brain_AXT2_200_2000019.h5, three coils unless told; returns its path.

    name: what the file's name says, instead of the acquisition. pixel: mm, which the header's field of view follows.
    """
    path = folder / f"file_brain_{acquisition if name is None else name}_200_{2000000 + number}.h5"
    fov = (pixel[0] * shape[0], pixel[1] * shape[1])
    given = {"coils": 3, "slices": 2, "contrast": "FS-PD" if acquisition == "AXT2" else "PD", **options}
    write_volume(path, patient_id=patient_id, acquisition=acquisition, fov=fov, shape=shape, recon=recon, **given)  # type: ignore[arg-type]
    return path


def brain_tree(root: Path, n: int = 4, **options: object) -> Path:
    """Patients p0, p1, ... with an AXT1 and an AXT2 file each, every third in multicoil_val. Returns ROOT."""
    for i in range(n):
        folder = root / ("multicoil_val" if i % 3 == 2 else "multicoil_train")
        for number, acquisition in ((40 + i, "AXT1"), (19 - i, "AXT2")):
            write_brain(folder, number, acquisition, f"p{i}", seed=i, **options)
    return root


def edit(path: Path, change: Callable[[h5py.File], Any]) -> None:
    """Change an HDF5 file in place."""
    with h5py.File(path, "r+") as file:
        change(file)


def set_patient(path: Path, patient_id: str) -> None:
    """Give a file another patient."""
    edit(path, lambda f: f.attrs.__setitem__("patient_id", patient_id))


def replace(path: Path, key: str, value: Any) -> None:
    """Put another value in the place of a data set."""

    def change(file: h5py.File) -> None:
        del file[key]
        file[key] = value

    edit(path, change)


def file_of(root: Path, name: str) -> Path:
    """The one file of that name (without .h5) in a tree."""
    (path,) = root.rglob(f"{name}.h5")
    return path


def spoil(root: Path, name: str, how: str) -> None:
    """Break a file in one of the ways below."""
    path = file_of(root, name)
    if how == "not HDF5":
        path.write_bytes(b"PK\x03\x04 no HDF5 at all" * 100)
    elif how == "empty file":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "no kspace":
        edit(path, lambda f: f.__delitem__("kspace"))
    elif how == "kspace is a group":
        edit(path, lambda f: (f.__delitem__("kspace"), f.create_group("kspace")))
    elif how == "rank 2":
        replace(path, "kspace", np.zeros((128, 64), np.complex64))
    elif how == "rank 5":
        replace(path, "kspace", np.zeros((1, 1, 2, 128, 64), np.complex64))
    elif how == "no slices":
        replace(path, "kspace", np.zeros((0, 128, 64), np.complex64))
    elif how == "empty axis":
        replace(path, "kspace", np.zeros((2, 0, 64), np.complex64))
    elif how == "real":
        replace(path, "kspace", np.zeros((2, 128, 64), np.float32))
    elif how == "huge":
        edit(
            path,
            lambda f: (f.__delitem__("kspace"), f.create_dataset("kspace", (2, 99999, 99999), "c8", chunks=True)),
        )
    elif how == "half written":

        def rewrite(file: h5py.File) -> None:
            shape = file["kspace"].shape
            del file["kspace"]
            file.create_dataset("kspace", shape, "c8", chunks=(1, *shape[1:]))[1] = 1

        edit(path, rewrite)
    elif how == "never written":
        edit(path, lambda f: (f.__delitem__("kspace"), f.create_dataset("kspace", (2, 128, 64), "c8")))
    elif how == "mask":
        edit(path, lambda f: f.__setitem__("mask", np.ones(64, bool)))
    elif how == "no header":
        edit(path, lambda f: f.__delitem__("ismrmrd_header"))
    elif how == "number as header":
        replace(path, "ismrmrd_header", 7)
    elif how == "broken header":
        with h5py.File(path) as file:
            text = file["ismrmrd_header"][()]
        replace(path, "ismrmrd_header", text[: len(text) // 2])
    elif how == "small":
        replace(path, "kspace", np.zeros((2, 60, 64), np.complex64))
    elif how == "no patient":
        edit(path, lambda f: f.attrs.__delitem__("patient_id"))
    elif how == "swapped":
        edit(path, lambda f: f.attrs.__setitem__("acquisition", "CORPDFS_FBK"))
    else:
        raise AssertionError(how)
