"""What a reader of a result should know of a file that can be used."""

from __future__ import annotations

from collections.abc import Mapping

from mcsr_bench.dataset import Finding
from mcsr_bench.raw.pair import PairFile
from mcsr_bench.raw.pair_header import times


def remarks(found: PairFile, names: tuple[str, str], peaks: Mapping[str, tuple[int, int]]) -> list[Finding]:
    """Findings on the two contrasts of a file; peaks: (row, column) of the strongest sample of k-space."""
    out: list[Finding] = []
    path = str(found.path)
    for name in names:
        contrast = found.contrasts[name]
        shape = contrast.shape[1:]
        row, column = peaks[name]
        centre = (shape[0] // 2, shape[1] // 2)
        if max(abs(row - centre[0]), abs(column - centre[1])) > 1:
            message = (
                f"k-space of {name} peaks at ({row}, {column}), not at its centre {centre}: LR images of it would lose what the "
                "contrast is made of"
            )
            out.append(Finding("warning", "off-centre", path, message, marks=True))
        acquired = contrast.acquired
        if acquired and any(a < n for a, n in zip(acquired, shape, strict=True)):
            message = (
                f"{name} was acquired at {times(acquired)} and zero-filled to {times(shape)}: fine detail is missing"
            )
            out.append(Finding("warning", "zero-filled", path, message, marks=True))
    target, auxiliary = (found.contrasts[name] for name in names)
    if target.field_of_view is None or auxiliary.field_of_view is None:
        message = f"neither FOV_mm nor voxel_mm nor affine is given for both {names[0]} and {names[1]}: they are taken to coincide"
        out.append(Finding("warning", "no-geometry", path, message))
    return out
