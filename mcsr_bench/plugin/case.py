"""What a dataset lists: cases, where their volumes are in the patient, and findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.errors import UserError, one_line

Slice = tuple[NDArray[np.complex64], NDArray[np.complex64]]
"""Target and auxiliary of one slice, complex64 (H, W) each, same grid, physical units; magnitude data have zero phase."""


SHOWN_PROBLEMS = 10


@dataclass(frozen=True)
class Finding:
    """Something about the data that a reader of a result should know."""

    severity: Literal["info", "warning", "error"]
    code: str
    """A short stable word, e.g. ``patient-mismatch``, ``empty-slices``, ``slice-count``."""
    file: str
    message: str
    marks: bool = False
    """True: every table of results on these data repeats the message."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", one_line(self.message))


@dataclass(frozen=True)
class Case:
    """One patient's pair of volumes (a patient may have several: they share ``patient_id``)."""

    patient_id: str
    volume_id: str
    """Unique in the dataset; letters, digits, and ``._-`` only."""
    n_slices: int
    shape: tuple[int, int]
    """(H, W) of every slice that `Dataset.read` will give, target and auxiliary alike."""
    files: tuple[str, ...] = ()
    """The raw files behind it, for messages."""


@dataclass(frozen=True)
class Grid:
    """Where the samples of a volume are in the patient."""

    shape: tuple[int, int, int]
    """(slices, H, W)."""
    affine: tuple[tuple[float, ...], ...]
    """4 x 4, from (slice, row, column) indices to RAS+ millimetres."""

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as an array (4, 4)."""
        return np.array(self.affine, dtype=np.float64)

    @property
    def voxel(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in millimetres: across slices, down the rows, along the columns."""
        a, b, c = (float(v) for v in np.linalg.norm(self.matrix[:3, :3], axis=0))
        return a, b, c

    def difference(self, other: Grid) -> str:
        """How two grids differ, as a clause; "" when they are the same.

        Same: equal matrix, and no corner of it more than a tenth of the smallest voxel edge apart.
        """
        if self.shape != other.shape:
            return " and ".join(
                f"{'matrix ' if g is self else ''}{' x '.join(map(str, g.shape))}" for g in (self, other)
            )
        corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
        corners[:, :3] *= np.array(self.shape) - 1
        apart = float(np.linalg.norm(corners @ (self.matrix - other.matrix).T, axis=1).max())
        return f"positions up to {apart:.2g} mm apart" if apart > 0.1 * min(self.voxel) else ""


@dataclass(frozen=True)
class Stored:
    """How one contrast of a case is stored in its file, by its headers."""

    shape: tuple[int, ...]
    """Of the array in the file: (slices, [coils,] H, W) of k-space, (slices, H, W) of images, before any crop."""
    dtype: str
    """As numpy names it."""
    coils: int = 1
    acquired: tuple[int, int] | None = None
    """How many rows and columns of k-space were acquired by the header; None: not in the header."""


class BadDataError(UserError):
    """All that is wrong with the files of a dataset, in one sentence; ``cases`` are those that could be used without the rest."""

    def __init__(
        self, dataset: str, problems: Sequence[str], cases: Sequence[Case] = (), where: Path | None = None
    ) -> None:
        more = f"; and {len(problems) - SHOWN_PROBLEMS} more problems" if len(problems) > SHOWN_PROBLEMS else ""
        place = f" (data root {where})" if where else ""
        super().__init__(f"{dataset}: {'; '.join(problems[:SHOWN_PROBLEMS])}{more}{place}")
        self.problems = tuple(problems)
        self.cases = tuple(cases)
