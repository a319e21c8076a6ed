"""The ISMRMRD header in an HDF5 file of k-space: the few numbers that are used, read without trusting the text.

Source: fastMRI's own loader reads the same elements (encodedSpace, reconSpace, limits of kspace_encoding_step_1).
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree  # nosec B405

MAX_BYTES = 4 << 20
"""Real headers have some 10-100 kB."""
MAX_SIZE = 1 << 16
"""Largest matrix size that is believed."""


@dataclass(frozen=True)
class Header:
    """What the header states about the acquisition."""

    encoded: tuple[int, int]
    """(readout, phase-encode) samples of the encoded k-space."""
    recon: tuple[int, int]
    """(H, W) of the reconstructed image: the readout axis is the rows."""
    acquired_columns: int
    """How many of the encoded phase-encode columns were acquired; the others, at both sides, are zeros."""

    @property
    def acquired_fraction(self) -> float:
        """Acquired share of the phase-encode columns, in (0, 1]."""
        return self.acquired_columns / self.encoded[1]


def parse(text: bytes) -> Header:
    """The header in the bytes of ``ismrmrd_header``.

    Raises ValueError with the reason, as a clause without the file's name: not XML, a document type (entities could expand
    without limit), an element that is absent or no number in range.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"it has {len(text)} bytes, more than {MAX_BYTES}")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    # Entities can be declared nowhere else, and a str is parsed as it stands, whatever encoding it declares.
    if "<!DOCTYPE" in decoded or "<!ENTITY" in decoded:
        raise ValueError("it declares a document type, which headers do not have")
    try:
        root = ElementTree.fromstring(decoded)  # nosec B314
    except ElementTree.ParseError as error:
        raise ValueError(f"it is not well-formed XML: {error}") from None
    encoded = _matrix(root, "encodedSpace")
    recon = _matrix(root, "reconSpace")
    limits = "{*}encoding/{*}encodingLimits/{*}kspace_encoding_step_1/{*}"
    centre = _number(root, limits + "center", 0)
    last = _number(root, limits + "maximum", 0)
    if centre > last:
        raise ValueError(f"its phase encoding is centred on {centre}, beyond its maximum {last}")
    left = encoded[1] // 2 - centre
    acquired = min(encoded[1], left + last + 1) - max(0, left)
    if acquired <= 0:
        raise ValueError(
            f"its phase-encoding limits (centre {centre}, maximum {last}) are outside {encoded[1]} columns"
        )
    return Header(encoded, recon, acquired)


def _matrix(root: ElementTree.Element, space: str) -> tuple[int, int]:
    x, y = (_number(root, f"{{*}}encoding/{{*}}{space}/{{*}}matrixSize/{{*}}{axis}", 1) for axis in "xy")
    return x, y


def _number(root: ElementTree.Element, path: str, least: int) -> int:
    name = path.replace("{*}", "")
    text = (root.findtext(path) or "").strip()
    if not text:
        raise ValueError(f"it has no {name}")
    # isdecimal: int() would also take "1_000", signs and blanks
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not least <= int(text) <= MAX_SIZE:
        raise ValueError(f"its {name} is {text[:20]!r}, not a whole number in {least}..{MAX_SIZE}")
    return int(text)
