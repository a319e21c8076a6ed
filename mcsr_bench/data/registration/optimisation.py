"""What SimpleITK does: find the motion, and interpolate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mcsr_bench.errors import UserError

from .measures import Real
from .placement import Placed, foreground, inside

Mode = Literal["rigid", "affine"]
Volume = NDArray[np.complex64]

_LEVELS = ((4, 2.0), (2, 0.5))
"""Coarse to fine: how far apart the metric's samples are, in target pixels, and smoothing in mm; the last looks at `interior`."""
_SHARE, _ENOUGH = 0.2, 20_000
"""This share of a level's samples is looked at, in a regular pattern, but never fewer than so many while there are more."""
_BINS = 48
_FEW = 4
"""With fewer slices than this only motion within the target's slices is estimated; recursive smoothing needs as many."""


def simpleitk() -> Any:
    """The SimpleITK module. UserError with the line that installs it where it is missing."""
    try:
        import SimpleITK
    except ImportError:
        raise UserError('registration needs SimpleITK: pip install "mcsr-bench[register]"') from None
    return SimpleITK


@contextmanager
def one_thread(sitk: Any) -> Iterator[None]:
    """SimpleITK on one thread: sums over threads round differently with their number."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].rpartition(": ")[2].partition(". ")[0].strip(" .")[:160]
        raise UserError(f"target and auxiliary cannot be registered ({reason})") from error
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def estimate(
    sitk: Any, fixed: Placed, moving: Placed, target: Real, auxiliary: Real, deep: NDArray[np.bool_], mode: Mode
) -> dict[Mode, NDArray[np.float64]]:
    """4 x 4, from positions in the target to those of the same anatomy in the auxiliary, millimetres of the frame; by kind of map.

    deep: what the last level looks at, of the target's shape.
    """
    pads = [_padding(placed) for placed in (fixed, moving)]
    few = any(map(any, pads))
    a, b = (
        placed.image(sitk, np.minimum(v, np.quantile(v, 0.999)), pad)  # a few bright voxels would empty the other bins
        for placed, v, pad in zip((fixed, moving), (target, auxiliary), pads, strict=True)
    )
    start = sitk.Euler3DTransform()
    start.SetCenter([float(v) for v in foreground(target, fixed).mean(axis=0)])
    if not inside(fixed, moving, np.eye(4)).any():
        middle, other = (placed.position((np.array(placed.size) - 1) / 2) for placed in (fixed, moving))
        start.SetTranslation([float(v) for v in other - middle])
    mask = None
    if any(pads[1]):  # what was padded is not anatomy
        mask = sitk.Cast(moving.image(sitk, np.ones(moving.size[::-1], np.float32)), sitk.sitkUInt8)
    masks = (None, mask), (sitk.Cast(fixed.image(sitk, deep.astype(np.float32)), sitk.sitkUInt8), mask)
    for level, both in zip(_LEVELS, masks, strict=True):
        start = _optimise(sitk, a, b, fixed, both, start, level, [0, 0, 1, 1, 1, 0] if few else [])
    out: dict[Mode, NDArray[np.float64]] = {"rigid": _matrix(start)}
    if mode == "affine":
        wider = sitk.AffineTransform(3)
        wider.SetCenter(start.GetCenter())
        wider.SetMatrix(start.GetMatrix())
        wider.SetTranslation(start.GetTranslation())
        within = [1, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0]
        out["affine"] = _matrix(_optimise(sitk, a, b, fixed, masks[-1], wider, _LEVELS[-1], within if few else []))
    return out


def _matrix(transform: Any) -> NDArray[np.float64]:
    """4 x 4 of a linear transform."""
    out = np.eye(4)
    out[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for k in range(3):
        out[:3, k] = np.array(transform.TransformPoint([float(i == k) for i in range(3)])) - out[:3, 3]
    return out


def _padding(placed: Placed) -> tuple[int, int, int]:
    """Voxels to add at both ends of each axis that is too short to be smoothed."""
    columns, rows, slices = (_FEW if n < _FEW else 0 for n in placed.size)
    return columns, rows, slices


def _steps(fixed: Placed, shrink: int) -> tuple[list[int], list[int]]:
    """How many voxels apart the samples of a level are along each axis, and how many samples there are along it.

    Thick slices are far apart already, few slices are all needed, and of a small volume everything is looked at.
    """
    edge = float(fixed.spacing[:2].min())
    apart = [
        max(1, min(shrink, round(shrink * edge / float(v)), n // 8))
        for v, n in zip(fixed.spacing, fixed.size, strict=True)
    ]
    sizes = [n // step for n, step in zip(fixed.size, apart, strict=True)]
    if shrink > 1 and np.prod(sizes) < _ENOUGH:
        return _steps(fixed, shrink // 2)
    return apart, sizes


def _optimise(
    sitk: Any,
    a: Any,
    b: Any,
    fixed: Placed,
    masks: tuple[Any, Any],
    start: Any,
    level: tuple[int, float],
    weights: list[int],
) -> Any:
    """The transform that maximises mutual information at one level; ``weights`` are 0 for what may not change.

    masks: of ``a`` and ``b``, None for all of it.
    """
    shrink, smoothing = level
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    steps, sizes = _steps(fixed, shrink)
    method.SetVirtualDomain(
        sizes,
        [float(v) for v in fixed.position([(s - 1) / 2 for s in steps])],
        [float(v) for v in fixed.spacing * steps],
        fixed.direction,
    )
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(min(1.0, max(_SHARE, _ENOUGH / float(np.prod(sizes)))), 1)
    for mask, put in zip(masks, (method.SetMetricFixedMask, method.SetMetricMovingMask), strict=True):
        if mask is not None:
            put(mask)
    # The metric's gradient filter smooths by the longest voxel edge: with slices of 4 mm its zero is half a millimetre off the
    # maximum. Differences of the images themselves have theirs where the maximum is.
    method.MetricUseFixedImageGradientFilterOff()
    method.MetricUseMovingImageGradientFilterOff()
    method.SetInterpolator(sitk.sitkLinear)
    if isinstance(start, sitk.AffineTransform):  # with thick slices, regular steps run away by centimetres
        method.SetOptimizerAsGradientDescentLineSearch(1.0, 60, 1e-5, 10)
    else:
        # steps that halve at every turn end before the rotation is there: 7 % of it were missing
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 300, 0.8, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    if weights:
        method.SetOptimizerWeights([float(w) for w in weights])
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([smoothing])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(a, b)
    return start


def resample(sitk: Any, auxiliary: Volume, fixed: Placed, moving: Placed, motion: NDArray[np.float64]) -> Volume:
    """The moving volume on the fixed grid, complex64 (S, H, W), zero outside its field of view.

    Along an axis where the fixed grid is coarser by half or more, a voxel is the mean of samples spread over its edge: a thick
    slice is a mean over its thickness, not a thin slice in its middle.
    """
    transform = sitk.AffineTransform(3)
    transform.SetMatrix([float(v) for v in motion[:3, :3].ravel()])
    transform.SetTranslation([float(v) for v in motion[:3, 3]])
    per_voxel = np.linalg.norm((np.linalg.inv(moving.affine) @ motion @ fixed.affine)[:3, :3], axis=0)
    parts = [[(k + 0.5) / n - 0.5 for k in range(n)] for n in (max(1, round(float(v))) for v in per_voxel)]
    offsets = list(product(*parts))
    filter_ = sitk.ResampleImageFilter()
    filter_.SetNumberOfThreads(1)
    filter_.SetTransform(transform)
    filter_.SetInterpolator(sitk.sitkBSpline)
    filter_.SetSize(fixed.size)
    filter_.SetOutputSpacing([float(v) for v in fixed.spacing])
    filter_.SetOutputDirection(fixed.direction)
    filter_.SetDefaultPixelValue(0.0)
    real = not auxiliary.imag.any()
    out = np.zeros(fixed.size[::-1], dtype=np.complex64)
    for values, into in ((auxiliary.real, out.real), (auxiliary.imag, out.imag))[: 1 if real else 2]:
        image = moving.image(sitk, values)
        for offset in offsets:
            filter_.SetOutputOrigin([float(v) for v in fixed.position(offset)])
            into += sitk.GetArrayFromImage(filter_.Execute(image)) / np.float32(len(offsets))
    if real and float(auxiliary.real.min()) >= 0:
        np.maximum(out.real, 0, out=out.real)  # splines overshoot at edges
    return out
