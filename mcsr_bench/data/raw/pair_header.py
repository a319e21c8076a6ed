"""The attributes of an "mcsr-pair" file: text and numbers read without trusting them, affines and rigid transforms checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from .hdf5 import text_of, value_of

FORMAT = "mcsr-pair"
VERSION = 1
CONTRAST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._+-]{0,30}[A-Za-z0-9._+-])?")
"""Of a group; it is used in tables and settings."""
RESERVED = ("transform", "slice_map")
"""Groups that are not contrasts."""
TOLERANCE = 0.02
"""How far two lengths may be apart and count as equal: headers round."""
T = TypeVar("T")


class Attributes:
    """The attributes of the file or of a contrast; what is wrong with one is passed to ``problem``, and it counts as absent."""

    def __init__(self, attrs: h5py.AttributeManager, where: str, problem: Callable[[str], None]) -> None:
        self._attrs = attrs
        self._where = where
        self._problem = problem

    def text(self, key: str) -> str:
        """A text, "" where it is absent."""
        return self._get(key, text_of) or ""

    def numbers(self, key: str, n: int) -> tuple[float, ...] | None:
        """``n`` numbers above zero."""

        def convert(value: object) -> tuple[float, ...]:
            values = _array(value, (n,))
            if not (np.isfinite(values).all() and (values > 0).all()):
                raise ValueError(f"is {', '.join(f'{v:g}' for v in values)}; above zero is needed")
            return tuple(float(v) for v in values)

        return self._get(key, convert)

    def matrix(self, key: str) -> NDArray[np.float64] | None:
        """An array (4, 4)."""
        return self._get(key, lambda value: _array(value, (4, 4)))

    def flag(self, key: str) -> bool | None:
        """True or false."""
        return self._get(key, _flag)

    def _get(self, key: str, convert: Callable[[object], T]) -> T | None:
        if key not in self._attrs:
            return None
        try:
            return convert(value_of(self._attrs, key))
        except ValueError as error:
            self._problem(f"{self._where}attribute '{key}' {error}")
            return None


def _array(value: object, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or (array.size != 1 if shape == (1,) else array.shape != shape):
        raise ValueError("must be a number" if shape == (1,) else f"must be {' x '.join(map(str, shape))} numbers")
    return array.astype(np.float64).reshape(shape)


def _flag(value: object) -> bool:
    if not isinstance(value, np.bool_ | np.integer) or int(value) not in (0, 1):
        raise ValueError("must be true or false")
    return bool(value)


def close(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether lengths are equal within `TOLERANCE`, each to each."""
    return all(abs(x - y) <= TOLERANCE * max(x, y) for x, y in zip(a, b, strict=True))


def affine_problem(affine: NDArray[np.float64]) -> str:
    """Why an affine (4, 4) is none of an image, as a predicate; "" when it is one."""
    if not (np.abs(affine) < 1e6).all():
        return "holds NaN, or more than a kilometre"
    if not np.array_equal(affine[3], (0, 0, 0, 1)):
        return "must have the last row 0 0 0 1"
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if edges.min() < 1e-3 or edges.max() > 1e3:
        return f"has voxel edges of {', '.join(f'{v:.3g}' for v in edges)} mm"
    # of unit axes the determinant is the volume they span: 1 when they are perpendicular
    if abs(np.linalg.det(affine[:3, :3] / edges)) < 0.5:
        return "has axes that are (nearly) in one plane"
    return ""


def rigid_problem(matrix: NDArray[np.float64]) -> str:
    """Why a matrix (4, 4) is not a rigid transform, as a predicate; "" when it is one."""
    if not (np.abs(matrix) < 1e6).all():
        return "holds NaN, or more than a kilometre"
    if not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
        return "must have the last row 0 0 0 1"
    rotation = matrix[:3, :3]
    if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-3):
        return "is not rigid: it scales or shears"
    return "is not rigid: it mirrors" if np.linalg.det(rotation) < 0 else ""


def times(values: Sequence[float]) -> str:
    """Numbers with "x" between, for messages."""
    return " x ".join(f"{v:.4g}" for v in values)
