"""The XML header of an ISMRMRD file: the numbers that are needed to turn its readouts into centred k-space.

Source: the ISMRMRD schema (Inati et al., MRM 77:411, 2017). Read by the ``ismrmrd`` package (extra ``raw``).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

from mcsr_bench.errors import UserError

from .header import MAX_BYTES, MAX_SIZE
from .lengths import thickness_of, unit_of

INSTALL = 'ISMRMRD files need the package ismrmrd: pip install "mcsr-bench[raw]"'


@dataclass(frozen=True)
class MrdHeader:
    """What is in the header."""

    encoded: tuple[int, int]
    """(phase encodes, readout samples) of the encoded k-space: rows and columns."""
    encoded_fov: tuple[float, float]
    """Millimetres of the same."""
    recon: tuple[int, int]
    """(rows, columns) of the scanner's image."""
    recon_fov: tuple[float, float]
    thickness: float
    """Of a slice, in millimetres."""
    centre: int
    """The phase-encoding index of the zero frequency."""
    scanner: str
    tesla: float | None
    times: dict[str, float]
    """TR_ms, TE_ms, TI_ms, those that are given."""
    unit: str = "mm"
    """Of the fields of view in the file, which are millimetres here: metres where nothing else can be meant."""

    @property
    def kept(self) -> tuple[int, int]:
        """(H, W) without what is oversampled: voxels of the encoding, field of view of the scanner's image."""
        H, W = (
            min(n, max(1, round(n * min(1.0, small / large))))
            for n, small, large in zip(self.encoded, self.recon_fov, self.encoded_fov, strict=True)
        )
        return H, W


def read_header(text: bytes) -> MrdHeader:
    """The header in the bytes of ``/dataset/xml``.

    Raises ValueError with the reason, as a clause: not the schema's XML, a document type, several encodings, 3-D, not Cartesian,
    a number that is absent or out of range. UserError where the package ismrmrd is missing.
    """
    try:
        from ismrmrd import xsd
    except ImportError:
        raise UserError(INSTALL) from None
    if len(text) > MAX_BYTES:
        raise ValueError(f"its XML header has {len(text)} bytes, more than {MAX_BYTES}")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("its XML header is not UTF-8 text") from None
    if "<!DOCTYPE" in decoded or "<!ENTITY" in decoded:
        raise ValueError("its XML header declares a document type, which headers do not have")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # xsdata lets a value of the wrong type pass with a warning
            # encoded again: a str could still declare another encoding
            found: Any = xsd.CreateFromDocument(decoded.encode("utf-8"))
    except Exception as error:  # the parser's own errors are of many kinds
        reason = " ".join(str(error).split())[:120] or type(error).__name__  # of the parser, over several lines
        raise ValueError(f"its XML header cannot be read: {reason}") from None
    return _header(found)


def _header(found: Any) -> MrdHeader:
    if len(found.encoding) != 1:
        raise ValueError(f"its header has {len(found.encoding)} encodings; files with one can be converted")
    encoding = found.encoding[0]
    if encoding.trajectory is None or encoding.trajectory.value != "cartesian":
        raise ValueError(f"its trajectory is {getattr(encoding.trajectory, 'value', None)}; cartesian is needed")
    spaces = {"encodedSpace": encoding.encodedSpace, "reconSpace": encoding.reconSpace}
    sizes = {name: _matrix(space, name) for name, space in spaces.items()}
    views = {name: _fov(space, name) for name, space in spaces.items()}
    if spaces["encodedSpace"].matrixSize.z not in (0, 1):
        raise ValueError(f"it is a 3-D acquisition of {spaces['encodedSpace'].matrixSize.z} partitions; 2-D is needed")
    limits = getattr(encoding.encodingLimits, "kspace_encoding_step_1", None)
    centre = getattr(limits, "center", None)
    if not isinstance(centre, int) or not 0 <= centre <= MAX_SIZE:
        raise ValueError("its header has no encodingLimits/kspace_encoding_step_1/center, so k-space cannot be centred")
    (unit, factor), (_, shown) = (unit_of(views[name]) for name in ("encodedSpace", "reconSpace"))
    encoded_fov, recon_fov = (
        (f * views[name][0], f * views[name][1]) for name, f in (("encodedSpace", factor), ("reconSpace", shown))
    )
    thickness = spaces["encodedSpace"].fieldOfView_mm.z
    system = found.acquisitionSystemInformation
    names = [str(getattr(system, key, None) or "") for key in ("systemVendor", "systemModel")]
    sequence = found.sequenceParameters
    times = {}
    for key in ("TR", "TE", "TI"):
        values = [v for v in (getattr(sequence, key, None) or []) if isinstance(v, float | int) and 0 < v < 1e6]
        if values:
            times[f"{key}_ms"] = float(values[0])
    return MrdHeader(
        encoded=sizes["encodedSpace"],
        encoded_fov=encoded_fov,
        recon=sizes["reconSpace"],
        recon_fov=recon_fov,
        thickness=thickness_of(float(thickness), factor) if _length(thickness) else 0.0,
        centre=centre,
        scanner=" ".join(n for n in names if n and n.isprintable()),
        tesla=_tesla(getattr(system, "systemFieldStrength_T", None)),
        times=times,
        unit=unit,
    )


def _matrix(space: Any, name: str) -> tuple[int, int]:
    size = getattr(space, "matrixSize", None)
    values = [getattr(size, axis, None) for axis in "yx"]
    if not all(isinstance(v, int) and 1 <= v <= MAX_SIZE for v in values):
        raise ValueError(f"its {name}/matrixSize is {values[1]} x {values[0]}; 1..{MAX_SIZE} is needed")
    return int(values[0] or 0), int(values[1] or 0)


def _fov(space: Any, name: str) -> tuple[float, float]:
    view = getattr(space, "fieldOfView_mm", None)
    values = [getattr(view, axis, None) for axis in "yx"]
    if not all(_length(v) for v in values):
        raise ValueError(f"its {name}/fieldOfView_mm is {values[1]} x {values[0]}; millimetres above zero are needed")
    return float(values[0] or 0), float(values[1] or 0)


def _length(value: object) -> bool:
    return isinstance(value, float | int) and math.isfinite(value) and 0 < value < 1e7


def _tesla(value: object) -> float | None:
    return float(value) if isinstance(value, float | int) and math.isfinite(value) and value > 0 else None
