"""One patient's paired raw k-space in one HDF5 file, "mcsr-pair" version 1: what is in it, what is wrong with it, its slices.

The layout, every check and what it is for: ``docs/mcsr-pair.md``.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import combinations, permutations
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from mcsr_bench.errors import UserError
from mcsr_bench.kspace import combine_coils, to_image
from mcsr_bench.plugin.case import Grid

from .hdf5 import explained, member, opened, there
from .pair import Contrast, Matrix, PairFile, matrix_of
from .pair_header import (
    CONTRAST_NAME,
    FORMAT,
    RESERVED,
    VERSION,
    Attributes,
    affine_problem,
    close,
    rigid_problem,
    times,
)
from .pair_members import Problem, arrays, samples


def validate(path: Path, pairs: Sequence[tuple[str, str]] | None = None) -> list[str]:
    """Everything that is wrong with a file, each as a clause that begins with its name; [] when it is in order.

    pairs: (target, auxiliary) that must go together; None: any two contrasts of the file. Samples are not read.
    """
    return look(path, pairs)[1]


def look(path: Path, pairs: Sequence[tuple[str, str]] | None = None) -> tuple[PairFile | None, list[str]]:
    """What is known of a file, None where something is wrong with it; and what `validate` returns."""
    problems: list[str] = []
    try:
        with explained(path), opened(path) as file:
            found = _read(file, path, problems.append)
    except UserError as error:
        return None, [str(error)]
    if not problems:
        for a, b in combinations(found.contrasts, 2) if pairs is None else pairs:
            absent = [name for name in (a, b) if name not in found.contrasts]
            if absent:
                problems.append(f"it has no contrast {' and no '.join(absent)}; it has {', '.join(found.contrasts)}")
            elif pairs is None:  # a slice map need not lead both ways
                problems += found.disagreements(b, a) and found.disagreements(a, b)
            else:
                problems += found.disagreements(a, b)
    return (None if problems else found), [f"{path.name}: {problem}" for problem in problems]


def kspace_slices(path: Path, name: str, order: Sequence[int]) -> Generator[NDArray[np.complex64], None, None]:
    """k-space of the slices ``order`` of a contrast, complex64 (coils, H, W), one coil where the file has none.

    UserError, with file, contrast and slice, when one cannot be read or holds NaN or Inf.
    """
    with closing(_slices(path, name, order, ("kspace",))) as slices:
        for (parts,) in slices:
            yield parts


def images(path: Path, contrast: Contrast, order: Sequence[int]) -> Generator[NDArray[np.complex64], None, None]:
    """Complex images (H, W), complex64, of the slices ``order`` of a contrast. UserError as `kspace_slices`.

    Several coils are combined with the file's sensitivities s by least squares, sum conj(s) x / sum |s|^2, zero where no coil
    sees anything; without them by `mcsr_bench.kspace.combine_coils`. Both keep the object's phase.
    """
    keys = ("kspace", "sens") if contrast.sens else ("kspace",)
    with closing(_slices(path, contrast.name, order, keys)) as slices:
        for parts in slices:
            coil_images = to_image(torch.from_numpy(parts[0]))
            if contrast.sens:
                sens = torch.from_numpy(parts[1])
                power = sens.abs().square().sum(0)
                tiny = torch.finfo(power.dtype).tiny  # below it the sum is zero as well: its terms are smaller still
                image = (sens.conj() * coil_images).sum(0) / power.clamp_min(tiny)
            else:
                image = combine_coils(coil_images)
            yield np.ascontiguousarray(image.numpy())


def _slices(
    path: Path, name: str, order: Sequence[int], keys: tuple[str, ...]
) -> Generator[list[NDArray[np.complex64]], None, None]:
    where = f"{path.parent}/"
    with opened(path, where) as file:
        for index in order:
            parts: list[NDArray[np.complex64]] = []
            for key in keys:
                with explained(path, where):
                    part = np.asarray(samples(file[name], key)[index]).astype(np.complex64, copy=False)
                if not np.isfinite(part).all():
                    raise UserError(f"{where}{path.name}: '{name}/{key}' holds NaN or Inf in slice {index}")
                parts.append(part if part.ndim == 3 else part[None])
            yield parts


def _read(file: h5py.File, path: Path, problem: Problem) -> PairFile:
    attrs = Attributes(file.attrs, "", problem)
    form = attrs.text("format")
    if form != FORMAT:
        problem(f"its attribute 'format' is {form[:40]!r}, not {FORMAT!r}" if form else f"it has no format={FORMAT!r}")
        return PairFile(path, "")  # of another kind: what else it lacks does not matter
    version = attrs.numbers("version", 1)
    if version != (VERSION,):
        problem(f"its 'version' is {'absent' if version is None else f'{version[0]:g}'}; this release reads {VERSION}")
        return PairFile(path, "")
    patient_id = attrs.text("patient_id")
    if not patient_id:
        problem("it has no attribute 'patient_id', without which no split by patient can be made")
    tesla = attrs.numbers("field_T", 1)
    contrasts = _contrasts(file, problem)
    pairs = {f"{a}_to_{b}": (a, b) for a, b in permutations(contrasts, 2)}
    return PairFile(
        path=path,
        patient_id=patient_id,
        site=attrs.text("site"),
        scanner=attrs.text("scanner"),
        tesla=tesla[0] if tesla else None,
        licence=attrs.text("licence"),
        contrasts=contrasts,
        transforms=_transforms(file, contrasts, pairs, problem),
        slice_maps=_slice_maps(file, contrasts, pairs, problem),
    )


def _contrasts(file: h5py.File, problem: Problem) -> dict[str, Contrast]:
    out: dict[str, Contrast] = {}
    without: list[str] = []
    for name in sorted(file):
        if name in RESERVED:
            continue
        try:
            group = member(file, name)
            if not isinstance(group, h5py.Group) or not there(group, "kspace"):
                without.append(name)
                continue
            if not CONTRAST_NAME.fullmatch(name):
                raise ValueError(f"the contrast {name!r} needs a name of letters, digits, blanks and ._+-, up to 32")
            out[name] = _contrast(group, name, problem)
        except ValueError as error:
            problem(str(error))
    if len(out) < 2:
        hint = f"; there is no 'kspace' in {', '.join(without[:5])}" if without else ""
        problem(f"it has usable k-space of {len(out)} contrast{'s' * (len(out) != 1)}, two are needed{hint}")
    return out


def _contrast(group: h5py.Group, name: str, problem: Problem) -> Contrast:
    """One contrast. ValueError when its k-space cannot be used; problems with the rest are collected."""
    kspace = samples(group, "kspace")
    n, H, W = (int(kspace.shape[i]) for i in (0, -2, -1))
    coils = int(kspace.shape[1]) if kspace.ndim == 4 else 0
    _check_companions(group, kspace, problem)
    attrs = Attributes(group.attrs, f"{name}: ", problem)
    attrs.text("contrast")
    for key in ("TR_ms", "TE_ms", "TI_ms"):
        attrs.numbers(key, 1)
    attrs.flag("fat_suppressed")
    fov, voxel, acquired = attrs.numbers("FOV_mm", 2), attrs.numbers("voxel_mm", 3), attrs.numbers("acquired_matrix", 2)
    if acquired and any(v != int(v) for v in acquired):
        problem(f"{name}: attribute 'acquired_matrix' is {times(acquired)}; whole numbers are needed")
    affine = attrs.matrix("affine")
    if affine is not None and (fault := affine_problem(affine)):
        problem(f"{name}: attribute 'affine' {fault}")
        affine = None
    edges = None if affine is None else Grid((n, H, W), matrix_of(affine)).voxel
    for what, e in (("voxel_mm", voxel), ("the affine", edges)):
        if fov and e and not close(fov, (H * e[1], W * e[2])):
            problem(
                f"{name}: FOV_mm is {times(fov)}, but {H} x {W} voxels of {what} span {times((H * e[1], W * e[2]))} mm"
            )
    if voxel and edges and not close(voxel, edges):
        problem(
            f"{name}: voxel_mm is {times(voxel)}, but the affine has voxels of {times(edges)} mm (slice, row, column)"
        )
    return Contrast(
        name=name,
        shape=(n, H, W),
        coils=coils,
        sens=there(group, "sens"),
        fov=(fov[0], fov[1]) if fov else None,
        voxel=(voxel[0], voxel[1], voxel[2]) if voxel else None,
        acquired=(int(acquired[0]), int(acquired[1])) if acquired else None,
        affine=None if affine is None else matrix_of(affine),
    )


def _check_companions(group: h5py.Group, kspace: h5py.Dataset, problem: Problem) -> None:
    """``sens`` and ``reference``, where they are there, fit the k-space."""
    try:
        if there(group, "sens"):
            sens = samples(group, "sens")
            if sens.shape != kspace.shape or kspace.ndim != 4:
                raise ValueError(
                    f"'{group.name[1:]}/sens' has shape {sens.shape} and 'kspace' {kspace.shape}; equal ones, "
                    "(slices, coils, H, W), are needed"
                )
    except ValueError as error:
        problem(str(error))
    try:
        if there(group, "reference"):
            item = member(group, "reference")
            if (
                not isinstance(item, h5py.Dataset)
                or item.dtype != np.float32
                or item.ndim != 3
                or item.shape[0] != kspace.shape[0]
            ):
                raise ValueError(f"'{group.name[1:]}/reference' is not float32 ({kspace.shape[0]}, h, w)")
    except ValueError as error:
        problem(str(error))


def _transforms(
    file: h5py.File, contrasts: dict[str, Contrast], pairs: dict[str, tuple[str, str]], problem: Problem
) -> dict[tuple[str, str], Matrix]:
    out: dict[tuple[str, str], Matrix] = {}
    for key, values in arrays(file, "transform", "f", (4, 4), pairs, problem):
        a, b = pairs[key]
        if fault := rigid_problem(values):
            problem(f"'transform/{key}' {fault}")
        elif contrasts[a].affine is None or contrasts[b].affine is None:
            problem(f"'transform/{key}' means nothing without the affine of both contrasts")
        elif (b, a) in out:
            problem(f"'transform/{key}' is there in the other direction too; one of them is needed")
        else:
            out[a, b] = matrix_of(values)
    return out


def _slice_maps(
    file: h5py.File, contrasts: dict[str, Contrast], pairs: dict[str, tuple[str, str]], problem: Problem
) -> dict[tuple[str, str], tuple[int, ...]]:
    out: dict[tuple[str, str], tuple[int, ...]] = {}
    for key, values in arrays(file, "slice_map", "iu", None, pairs, problem):
        a, b = pairs[key]
        n, last = contrasts[b].shape[0], contrasts[a].shape[0] - 1
        if len(values) != n or values.min() < 0 or values.max() > last:
            problem(f"'slice_map/{key}' is not {n} numbers in 0..{last}, for each slice of {b} one of {a}")
        else:
            out[a, b] = tuple(int(v) for v in values)
    return out
