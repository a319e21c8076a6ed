"""The slices of a case as they are prepared: both contrasts on the target's grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from mcsr_bench.data.inspection import typical_phase
from mcsr_bench.data.spec import Register
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.case import Case, Grid, Slice
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.roles import ROLES


def read_case(
    dataset: Dataset, case: Case, register: Register | None
) -> tuple[Iterator[Slice], Callable[[], dict[str, Any] | None]]:
    """The slices of a case on the target's grid, and what the registration found, None where there was none.

    Registered where the user asked for it, and where the grids differ. Raises UserError where they differ and ``register`` is
    "none".
    """
    grids = dataset.grids(case)
    difference = grids[0].difference(grids[1]) if grids else ""
    if difference and register == "none":
        places = list(dict.fromkeys(source(case, role) for role in ROLES))
        what = " and ".join(places) if len(places) > 1 else f"{places[0]}: its contrasts"
        raise UserError(
            f"{what} are on different grids ({difference}); --register rigid puts the auxiliary onto the target's grid"
        )
    if register in (None, "none") and not difference:
        return dataset.read(case), lambda: None
    from mcsr_bench.data.registration import check_sizes
    from mcsr_bench.data.registration import register as onto

    def explained(error: UserError) -> UserError:
        return UserError(f"{source(case, 'auxiliary')}: {error}")

    try:
        check_sizes(*(grids or [_unit_grid((case.n_slices, *case.shape))] * 2))
    except UserError as error:
        raise explained(error) from None
    target, auxiliary = (np.stack(list(dataset.read_contrast(case, role))) for role in ROLES)
    if (phase := typical_phase(auxiliary[:: max(1, len(auxiliary) // 4)])) and not phase.own:
        auxiliary = np.abs(auxiliary).astype(np.complex64)  # a magnitude in disguise: a steep slope is not interpolated
    here, there = grids or (_unit_grid(target.shape), _unit_grid(auxiliary.shape))
    try:
        moved, found = onto(target, here, auxiliary, there, "affine" if register == "affine" else "rigid")
    except UserError as error:
        raise explained(error) from None
    record = asdict(found) | {"voxel_known": grids is not None}
    return iter(zip(target, moved, strict=True)), lambda: record


def source(case: Case, role: str = "target") -> str:
    """The raw file behind a contrast (adapters list the target's first), or the volume."""
    if len(case.files) == 2:
        return case.files[0 if role == "target" else 1]
    return case.files[0] if case.files else case.volume_id


def _unit_grid(shape: tuple[int, ...]) -> Grid:
    """Cubic voxels of 1 mm, where nothing is known of a volume's place."""
    s, h, w = shape
    return Grid((s, h, w), tuple(tuple(float(i == j) for j in range(4)) for i in range(4)))
