"""Fields of view that no patient has: a unit that is not the one that a header promises."""

from __future__ import annotations

from collections.abc import Sequence

SMALLEST, LARGEST = 5.0, 3000.0
"""Millimetres of the longest edge of a field of view that are believed: from the head of a mouse to a whole body."""
_USUAL = 1000.0
"""Up to which another unit is believed instead."""
_THICK = 100.0
"""Millimetres beyond which a slice's thickness is in another unit than its field of view."""
_UNITS = {"metres": 1000.0, "micrometres": 0.001}


def fov_problem(lengths: Sequence[float]) -> str:
    """Why a field of view of these millimetres is not believed, as a predicate; "" where it is."""
    if SMALLEST <= max(lengths) <= LARGEST:
        return ""
    size = "large" if max(lengths) > LARGEST else "small"
    return f"has a field of view of {' x '.join(f'{v:.3g}' for v in lengths)} mm, too {size} for a patient"


def thickness_of(length: float, factor: float) -> float:
    """Millimetres of a slice whose field of view is ``factor`` millimetres per unit, unless it is in millimetres by itself."""
    return factor * length if factor * length <= _THICK else length


def unit_of(lengths: Sequence[float]) -> tuple[str, float]:
    """The unit in which a field of view that should be in millimetres is believable, and its millimetres.

    ("mm", 1.0) where it is as it stands, and where it is in no unit.
    """
    if fov_problem(lengths):
        for name, factor in _UNITS.items():
            if SMALLEST <= factor * max(lengths) <= _USUAL:
                return name, factor
    return "mm", 1.0
