"""What a reader of a result should know of an "mcsr-pair" file that can be used."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import numpy as np

from mcsr_bench.plugin.case import Finding

from .lengths import fov_problem
from .pair import Contrast, PairFile
from .pair_file import kspace_slices
from .pair_header import times


def remarks(found: PairFile, names: Iterable[str]) -> list[Finding]:
    """Findings on contrasts of a file from its attributes alone: ``zero-filled``, ``field-of-view``, ``no-geometry``."""
    out: list[Finding] = []
    path = str(found.path)
    without: list[str] = []
    for name in names:
        contrast = found.contrasts[name]
        acquired, shape = contrast.acquired, contrast.shape[1:]
        if acquired and any(a < n for a, n in zip(acquired, shape, strict=True)):
            text = (
                f"{name} was acquired at {times(acquired)} and zero-filled to {times(shape)}, by acquired_matrix; it is "
                "used as it is, and results are marked"
            )
            # marked: where the image was cropped after zero-filling, the spectrum does not show the edge any more
            out.append(Finding("warning", "zero-filled", path, text, marks=True))
        if contrast.field_of_view is None:
            without.append(name)
        elif fault := fov_problem(contrast.field_of_view):
            text = f"{name} {fault} by its attributes, which should be millimetres; they are used as they are"
            out.append(Finding("warning", "field-of-view", path, text))
    if without:
        which = " and ".join(without)
        text = f"{which}: neither FOV_mm nor voxel_mm nor affine is given, so the contrasts are taken to coincide"
        out.append(Finding("warning", "no-geometry", path, text))
    return out


def centre_remarks(found: PairFile, names: Iterable[str]) -> list[Finding]:
    """A finding ``off-centre`` for every contrast whose k-space peaks further than one sample from its centre (H // 2, W // 2).

    Reads the middle slice of each. UserError when that fails.
    """
    out: list[Finding] = []
    for name in names:
        contrast = found.contrasts[name]
        centre = tuple(n // 2 for n in contrast.shape[1:])
        where = peak(found.path, contrast)
        if max(abs(a - b) for a, b in zip(where, centre, strict=True)) > 1:
            text = (
                f"k-space of {name} peaks at sample {where}, its centre is {centre}: images of it have a steep phase; it is used "
                "as it is"
            )
            out.append(Finding("warning", "off-centre", str(found.path), text))
    return out


def peak(path: Path, contrast: Contrast) -> tuple[int, int]:
    """(row, column) of the strongest sample of the middle slice over all coils. UserError as `kspace_slices`."""
    with closing(kspace_slices(path, contrast.name, [contrast.shape[0] // 2])) as slices:
        power = (np.abs(next(slices).astype(np.complex128)) ** 2).sum(0)
    row, column = np.unravel_index(int(np.argmax(power)), power.shape)
    return int(row), int(column)
