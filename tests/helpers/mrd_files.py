"""ISMRMRD files, written with the package itself, of the brains of tests/datasets/pair_files.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pair_files as files
from numpy.typing import NDArray

Complex = NDArray[np.complexfloating[Any, Any]]
HEADER = """<?xml version="1.0" encoding="UTF-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
 <subjectInformation><patientName>Somebody</patientName></subjectInformation>
 <acquisitionSystemInformation><systemVendor>SIEMENS</systemVendor><systemModel>Skyra</systemModel>
  <systemFieldStrength_T>2.893620</systemFieldStrength_T></acquisitionSystemInformation>
 <experimentalConditions><H1resonanceFrequency_Hz>123200000</H1resonanceFrequency_Hz></experimentalConditions>
 <encoding>
  <encodedSpace><matrixSize><x>{nx}</x><y>{ny}</y><z>{nz}</z></matrixSize>
   <fieldOfView_mm><x>{fx}</x><y>{fy}</y><z>5</z></fieldOfView_mm></encodedSpace>
  <reconSpace><matrixSize><x>{rx}</x><y>{ry}</y><z>1</z></matrixSize>
   <fieldOfView_mm><x>{vx}</x><y>{vy}</y><z>5</z></fieldOfView_mm></reconSpace>
  <encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
   </kspace_encoding_step_1></encodingLimits>
  <trajectory>{trajectory}</trajectory>
 </encoding>
 <sequenceParameters><TR>4511</TR><TE>112</TE></sequenceParameters>
</ismrmrdHeader>
"""
SLICES, COILS, H, W = 4, 3, 20, 16
DX, DY, DZ = 4.0, 3.0, 5.0


def image(contrast: str = "T1", shape: tuple[int, int] = (H, W), coils: int = COILS, slices: int = 2) -> Complex:
    """Coil images (slices, coils, H, W)."""
    out: Complex = files.brain(contrast, 3, slices, shape)[:, None] * files.sensitivities(coils, shape)
    return out


def oversampled(images: Complex, width: int | None = None) -> Complex:
    """k-space (slices, coils, H, width) of the images in the middle of a field of view that is wider along the readout."""
    n = images.shape[-1]
    width = 2 * n if width is None else width
    wide = np.zeros((*images.shape[:-1], width), complex)
    first = width // 2 - n // 2
    wide[..., first : first + n] = images
    out: Complex = files.to_kspace(wide)
    return out


def write_mrd(
    path: Path,
    kspace: Complex,
    *,
    recon: tuple[int, int] = (H, W),
    averages: int = 1,
    rows: range | None = None,
    place: list[int] | None = None,
    change: Callable[[Any, int], Any] | None = None,
    **header: Any,
) -> None:
    """k-space (slices, coils, Ny, Nx) as an ISMRMRD file; its voxels are DZ x DY x DX.

    averages: of k + d, k - d, in turn; rows: those that are acquired, all of them without it, the first one numbered 0;
    place: where along the normal each slice lies; change: told each acquisition and its number before it is written, False
    leaves it out. Rows are shuffled; the first is a noise scan.
    """
    import ismrmrd

    slices, coils, Ny, Nx = kspace.shape
    rows = range(Ny) if rows is None else rows
    rng = np.random.default_rng(5)
    values = {
        "nx": Nx, "ny": Ny, "nz": 1, "fx": Nx * DX, "fy": Ny * DY, "rx": recon[1], "ry": recon[0],
        "vx": recon[1] * DX, "vy": recon[0] * DY, "last": len(rows) - 1, "centre": Ny // 2 - rows[0], "trajectory": "cartesian",
    }  # fmt: skip
    jobs = [(s, ky, a) for s in range(slices) for ky in rows for a in range(averages)]
    jobs = [jobs[i] for i in rng.permutation(len(jobs))]
    noise = rng.standard_normal((coils, Nx)) + 0j
    difference = 0.1 * (rng.standard_normal(kspace.shape) + 1j * rng.standard_normal(kspace.shape))
    with ismrmrd.Dataset(str(path), mode="w") as file:
        file.write_xml_header(HEADER.format(**values | header).encode())
        scan = ismrmrd.Acquisition.from_array((1e3 * noise).astype(np.complex64))
        scan.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
        file.append_acquisition(scan)
        for number, (s, ky, a) in enumerate(jobs):
            line = kspace[s, :, ky]
            if averages > 1:
                line = line + (-1) ** a * difference[s, :, ky]
            scan = ismrmrd.Acquisition.from_array(np.ascontiguousarray(line, np.complex64), center_sample=Nx // 2)
            scan.idx.slice, scan.idx.kspace_encode_step_1, scan.idx.average = s, ky - rows[0], a
            along = s if place is None else place[s]
            scan.position[:] = (10, -20, 30 - DZ * along)
            scan.read_dir[:], scan.phase_dir[:], scan.slice_dir[:] = (0, 1, 0), (1, 0, 0), (0, 0, -1)
            if change is None or change(scan, number) is not False:
                file.append_acquisition(scan)
