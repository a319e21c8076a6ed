"""An object of Gaussian blobs at known places in the patient, "acquired" by its analytic Fourier transform as scanners acquire.

What the data set hands out after the conversion has to be the object itself: its amplitude, and in every voxel the value that the
object has at the place that the affine gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrd_files as built
import numpy as np
import pytest
from numpy.typing import NDArray

import mcsr_bench as mb
from mcsr_bench.data.raw.mrd import convert

ismrmrd = pytest.importorskip("ismrmrd", reason="ismrmrd is not installed")
pytestmark = pytest.mark.usefixtures("own_cache")

Real = NDArray[np.float64]
LPS = np.array([-1.0, -1.0, 1.0])
DZ, DY, DX = 6.0, 3.0, 1.5
"""Distance of slices, and voxels of the encoding."""
CENTRE = np.array([12.0, -7.0, 33.0])
"""Of the first slice along the normal, LPS."""


@dataclass(frozen=True)
class Protocol:
    """One way of acquiring."""

    matrix: tuple[int, int]
    """Encoded rows and columns: twice the readout's."""
    zero: int
    """Number of the phase encode at the zero frequency; partial Fourier where it is not half the rows."""
    shown: float = 1.0
    """Part of the rows' field of view that the scanner shows: without phase oversampling."""
    echo: int = 0
    """Samples that the readout lacks at its start."""
    averages: int = 1
    mirrored: bool = False
    """Whether read, phase and slice direction are a left-handed frame."""
    slices: int = 4

    @property
    def rows(self) -> range:
        return range(self.zero + self.matrix[0] - self.matrix[0] // 2)


PROTOCOLS = {
    "plain": Protocol((48, 64), 24),
    "partial Fourier, odd": Protocol((49, 70), 17, averages=2, mirrored=True),
    "partial echo, odd readout": Protocol((40, 66), 20, echo=11, mirrored=True),
    "phase oversampling": Protocol((60, 64), 26, shown=0.8, averages=2),
    "odd phase oversampling": Protocol((51, 62), 25, shown=0.7, mirrored=True),
    "one slice": Protocol((40, 60), 20, slices=1),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_voxel_holds_the_object_at_its_place(tmp_path: Path, name: str) -> None:
    protocol = PROTOCOLS[name]
    rng = np.random.default_rng(len(name))
    axes = oblique(rng, protocol.mirrored)
    blobs = [
        (
            1.0 + i,
            CENTRE + axes[2] * DZ * i + axes[0] * rng.uniform(-12, 12) + axes[1] * rng.uniform(-30, 30),
            4 + 0.4 * i,
        )
        for i in range(protocol.slices)
    ]
    acquire(tmp_path / "scan.mrd", protocol, axes, blobs, rng)
    convert(dict.fromkeys(("T1", "T2"), tmp_path / "scan.mrd"), tmp_path / "data" / "P.h5", patient_id="P")
    data = mb.load_dataset("mcsr-pair", tmp_path / "data")
    [case] = data.cases()
    Ny, Nx = protocol.matrix
    assert (case.n_slices, case.shape) == (protocol.slices, (round(protocol.shown * Ny), Nx // 2))
    grids = data.grids(case)
    assert grids is not None
    assert grids[0] == grids[1]
    np.testing.assert_allclose(grids[0].voxel, (DZ, DY, DX), rtol=1e-5)
    images = np.stack([target for target, _ in data.read(case)])
    # an orthonormal FFT of samples 1 / FOV apart gives the object times FOV / sqrt(N) on each axis
    scale = Ny * DY * Nx * DX / np.sqrt(Ny * Nx)
    voxels = np.stack(np.meshgrid(*map(np.arange, images.shape), indexing="ij"), -1)
    expected = value(blobs, (voxels @ grids[0].matrix[:3, :3].T + grids[0].matrix[:3, 3]) * LPS, axes[2])
    assert expected.max() > 0.95 * protocol.slices
    np.testing.assert_allclose(images / scale, expected, atol=2e-3 * protocol.slices)


def oblique(rng: np.random.Generator, mirrored: bool) -> Real:
    """Rows: read, phase and slice direction, LPS."""
    q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    handed = np.linalg.det(q) * (-1 if mirrored else 1)
    return np.asarray(q * [[1], [1], [np.sign(handed)]])


def value(blobs: list[Any], places: Real, normal: Real) -> Real:
    """The object at places (..., 3) in LPS millimetres, a slice's profile included."""
    out = np.zeros(places.shape[:-1])
    for amplitude, centre, sigma in blobs:
        away = places - centre
        through = away @ normal
        within = (away**2).sum(-1) - through**2
        out += amplitude * np.exp(-(through**2) / (2 * (0.4 * DZ) ** 2) - within / (2 * sigma**2))
    return out


def acquire(path: Path, protocol: Protocol, axes: Real, blobs: list[Any], rng: np.random.Generator) -> None:
    """Every other line backwards, slices interleaved, a noise scan first, and navigators between the lines."""
    Ny, Nx = protocol.matrix
    header = {
        "nx": Nx, "ny": Ny, "nz": 1, "fx": Nx * DX, "fy": Ny * DY, "rx": 256, "ry": 256, "vx": Nx * DX / 2,
        "vy": protocol.shown * Ny * DY, "last": protocol.rows[-1], "centre": protocol.zero, "trajectory": "cartesian",
    }  # fmt: skip
    place = rng.permutation(protocol.slices)
    kx = (np.arange(protocol.echo, Nx) - Nx // 2) / (Nx * DX)
    with ismrmrd.Dataset(str(path), mode="w") as file:
        file.write_xml_header(built.HEADER.format(**header).replace("<z>5</z>", f"<z>{DZ}</z>").encode())
        noise = ismrmrd.Acquisition.from_array(np.full((1, 128), 1e4, np.complex64))
        noise.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        file.append_acquisition(noise)
        for line in protocol.rows:
            ky = (line - protocol.zero) / (Ny * DY)
            for s in range(protocol.slices):
                position = CENTRE + axes[2] * DZ * place[s]
                signal = np.zeros(len(kx), complex)
                for amplitude, centre, sigma in blobs:
                    x, y, z = axes @ (centre - position)
                    slab = amplitude * np.exp(-(z**2) / (2 * (0.4 * DZ) ** 2)) * 2 * np.pi * sigma**2
                    turn = np.exp(-2j * np.pi * (kx * x + ky * y))
                    signal += slab * np.exp(-2 * (np.pi * sigma) ** 2 * (kx**2 + ky**2)) * turn
                backwards = bool(line % 2)
                zero = Nx // 2 - protocol.echo
                for average in range(protocol.averages):
                    # of two averages one is stronger: only their mean is the object
                    data = signal * (1 + 0.3 * (-1) ** average * (protocol.averages > 1))
                    data = data[::-1] if backwards else data
                    scan = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data[None], np.complex64))
                    scan.center_sample = len(kx) - 1 - zero if backwards else zero
                    if backwards:
                        scan.set_flag(ismrmrd.ACQ_IS_REVERSE)
                    scan.idx.kspace_encode_step_1, scan.idx.slice, scan.idx.average = line, s, average
                    scan.position[:], scan.read_dir[:], scan.phase_dir[:], scan.slice_dir[:] = position, *axes
                    file.append_acquisition(scan)
            scan.data[:] = 1e4
            scan.set_flag(ismrmrd.ACQ_IS_NAVIGATION_DATA)
            file.append_acquisition(scan)
