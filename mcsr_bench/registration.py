"""Floor 2: bring an auxiliary volume onto the grid of its target, by rigid (or affine) registration with SimpleITK.

The target is never touched: interpolating it would destroy the high frequencies that are scored. The motion is estimated on
magnitudes, by mutual information (Mattes et al., IEEE TMI 22:120, 2003), starting from the positions that the headers give. The
auxiliary is then interpolated once, real and imaginary part apart, by cubic B-splines: they keep far more of the high frequencies
than linear interpolation, which blurs by an amount that depends on the fraction of the shift, and overshoot less than a windowed
sinc across thick slices, which are undersampled (Thévenaz et al., IEEE TMI 19:739, 2000).

All positions are float64 in a right-angled frame along the target's columns, rows and slices, in millimetres, so that neither
the handedness of a world frame (RAS+, LPS+) nor the order of axes in a file enters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mcsr_bench.dataset import Grid
from mcsr_bench.errors import UserError

Mode = Literal["rigid", "affine"]
Volume = NDArray[np.complex64]
Real = NDArray[np.floating[Any]]

REVISION = 1
"""Raised when `register` gives other values for the same input."""

_LEVELS = ((4, 2.0), (2, 1.0))
"""Coarse to fine: how far apart the metric's samples are, in target pixels, and the smoothing in mm."""
_SHARE, _ENOUGH = 0.2, 20_000
"""This share of a level's samples is looked at, in a regular pattern, but never fewer than so many while there are more."""
_BINS = 48
_FEW = 4
"""With fewer slices than this only motion within the target's slices is estimated; recursive smoothing needs as many."""
_SAME = 0.1
"""A motion of less than this fraction of a pixel is none."""


@dataclass(frozen=True)
class Registration:
    """What was found and done. Motions are those of the auxiliary's content relative to the target's."""

    mode: Mode
    resampled: bool
    """False: the grids agree and the motion is less than a tenth of a pixel; the auxiliary was returned as it came."""
    translation_mm: tuple[float, float, float]
    """To the right, to the front and upward (RAS+), at the centre of the target's foreground."""
    rotation_deg: float
    """Angle about the axis of rotation; of an affine map, of its rotational part."""
    displacement_mm: float
    """Mean length over the target's foreground."""
    shift_px: tuple[float, float]
    """Within the slices, down the rows and along the columns, in target pixels: median over the target's foreground."""
    residual_px: float
    """Length of the shift within the slices that phase correlation of edges still finds afterwards, in target pixels."""
    mutual_information_before: float
    """In nats, by a histogram over the target's grid; before: the auxiliary placed by its header alone."""
    mutual_information_after: float
    warning: str = ""
    """A sentence where the result should be looked at, else empty."""


def simpleitk() -> Any:
    """The SimpleITK module. UserError with the line that installs it where it is missing."""
    try:
        import SimpleITK
    except ImportError:
        raise UserError('registration needs SimpleITK: pip install "mcsr-bench[register]"') from None
    return SimpleITK


def register(
    target: Volume, target_grid: Grid, auxiliary: Volume, auxiliary_grid: Grid, mode: Mode = "rigid"
) -> tuple[Volume, Registration]:
    """The auxiliary on the target's grid, complex64 (S, H, W), and how it got there.

    target: complex64 (S, H, W); auxiliary: complex64 (s, h, w); each of its grid's shape. Outside the auxiliary's field of view
    the result is zero; a magnitude (zero imaginary part) stays real and not negative. affine starts from the rigid result.
    Deterministic: one thread, regular samples. Raises UserError, a clause without a file name, when SimpleITK is missing, a
    volume is zero or not finite, or the volumes cannot be brought to overlap.
    """
    sitk = simpleitk()
    for what, volume, grid in (("target", target, target_grid), ("auxiliary", auxiliary, auxiliary_grid)):
        if volume.shape != grid.shape:
            raise ValueError(f"the {what} has shape {volume.shape}, its grid {grid.shape}")
        if not np.isfinite(volume).all():
            raise UserError(f"the {what} holds NaN or Inf and cannot be registered")
        if not volume.any():
            raise UserError(f"the {what} is zero everywhere and cannot be registered")
    frame = _frame(target_grid)
    fixed, moving = _Placed.of(target_grid, frame), _Placed.of(auxiliary_grid, frame)
    magnitude = np.abs(target)
    points = _foreground(magnitude, fixed)
    same_grid = not target_grid.difference(auxiliary_grid)
    with _one_thread(sitk):
        before = auxiliary if same_grid else _resample(sitk, auxiliary, fixed, moving, np.eye(4))
        motion = _estimate(sitk, fixed, moving, magnitude, np.abs(auxiliary), mode)
        out = _resample(sitk, auxiliary, fixed, moving, motion)
        seen = _inside(fixed, moving, motion)
        if not (seen.any() and out.any()):
            raise UserError("target and auxiliary do not overlap, not even after registration")
        if (both := seen & _inside(fixed, moving, np.eye(4))).any():
            seen = both
            if not _closer(magnitude, np.abs(out), np.abs(before), seen):
                motion, out = np.eye(4), before
    moved = _apply(motion, points) - points
    away = float(np.linalg.norm(moved, axis=1).mean())
    resampled = not (same_grid and away < _SAME * min(target_grid.voxel[1:]))
    if not resampled:
        out = auxiliary
    centre = points.mean(axis=0)
    shift = np.median(moved @ np.linalg.inv(fixed.affine[:3, :3]).T, axis=0)  # along columns, rows, slices
    right, front, up = (float(v) for v in frame[:3, :3] @ (_apply(motion, centre) - centre))
    done = Registration(
        mode=mode,
        resampled=resampled,
        translation_mm=(right, front, up),
        rotation_deg=_angle(motion),
        displacement_mm=away,
        shift_px=(float(shift[1]), float(shift[0])),
        residual_px=float(np.hypot(*edge_shift(magnitude, np.abs(out)))),
        mutual_information_before=mutual_information(magnitude[seen], np.abs(before)[seen]),
        mutual_information_after=mutual_information(magnitude[seen], np.abs(out)[seen]),
        warning=_warning(mode, target_grid, auxiliary_grid),
    )
    return out, done


def _closer(target: Real, moved: Real, placed: Real, seen: NDArray[np.bool_]) -> bool:
    """Whether the motion brings the auxiliary closer to the target than the headers did: on few or small slices it may not.

    By mutual information of images smoothed in plane, in which one interpolation more or less does not count.
    """
    smooth = [gaussian_filter(v.astype(np.float64), (0, 1, 1))[seen] for v in (target, moved, placed)]
    return mutual_information(smooth[0], smooth[1]) > mutual_information(smooth[0], smooth[2])


def mutual_information(a: Real, b: Real, bins: int = 64) -> float:
    """Of two equally many intensities, in nats (Shannon, joint histogram from 0; the brightest thousandth share the last bin)."""
    edges = [np.linspace(0, max(float(np.quantile(v, 0.999)), 1e-30), bins + 1) for v in (a, b)]
    x, y = (np.minimum(v, e[-1]).ravel() for v, e in zip((a, b), edges, strict=True))
    joint = np.histogram2d(x, y, bins=edges)[0]
    p = joint / joint.sum()
    product_of_parts = p.sum(axis=1, keepdims=True) * p.sum(axis=0, keepdims=True)
    there = p > 0
    return float((p[there] * np.log(p[there] / product_of_parts[there])).sum())


def edge_shift(a: Real, b: Real) -> tuple[float, float]:
    """How many (rows, columns) the content of ``b`` lies off that of ``a``, both (S, H, W): one shift for all slices.

    Phase correlation of gradient magnitudes, summed over the slices, read between pixels: independent of mutual information, and
    of contrast as far as edges are where tissues meet. Looks no further than four pixels.
    """
    H, W = a.shape[1:]
    reach = min(4, (min(H, W) - 3) // 2)
    if reach < 1:
        return 0.0, 0.0
    window = np.hanning(H)[:, None] * np.hanning(W)
    # two contrasts agree on edges at low frequencies; the others hold noise
    low = np.exp(-(np.fft.fftfreq(H)[:, None] ** 2 + np.fft.fftfreq(W) ** 2) / (2 * 0.15**2))
    cross = np.zeros((H, W), dtype=np.complex128)
    for one, other in zip(a, b, strict=True):
        p, q = (np.fft.fft2(np.hypot(*np.gradient(v.astype(np.float64))) * window) for v in (one, other))
        cross += q * p.conj()
    size = np.abs(cross)
    if not size.any():
        return 0.0, 0.0
    peak = np.fft.fftshift(np.fft.ifft2(cross / np.maximum(size, 1e-12 * size.max()) * low).real)
    near = peak[H // 2 - reach - 1 : H // 2 + reach + 2, W // 2 - reach - 1 : W // 2 + reach + 2]
    i, j = (int(v) + 1 for v in np.unravel_index(int(near[1:-1, 1:-1].argmax()), (2 * reach + 1,) * 2))
    return i - 1 - reach + _vertex(near[i - 1 : i + 2, j]), j - 1 - reach + _vertex(near[i, j - 1 : j + 2])


@dataclass(frozen=True)
class _Placed:
    """A grid in the frame of registration; axes in SimpleITK's order, the last array axis first."""

    size: tuple[int, int, int]
    affine: NDArray[np.float64]
    """4 x 4, from (column, row, slice) indices to millimetres of the frame."""

    @classmethod
    def of(cls, grid: Grid, frame: NDArray[np.float64]) -> _Placed:
        s, h, w = grid.shape
        return cls((w, h, s), np.linalg.inv(frame) @ grid.matrix[:, [2, 1, 0, 3]])

    @property
    def spacing(self) -> NDArray[np.float64]:
        edges: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return edges

    @property
    def direction(self) -> list[float]:
        return [float(v) for v in (self.affine[:3, :3] / self.spacing).ravel()]

    def position(self, index: Any) -> NDArray[np.float64]:
        """Millimetres of (column, row, slice) indices, (..., 3) float64."""
        return _apply(self.affine, np.asarray(index, dtype=np.float64))

    def image(self, sitk: Any, values: Real, pad: tuple[int, int, int] = (0, 0, 0)) -> Any:
        """As a SimpleITK image, ``pad`` voxels of the edge's values added before and after each (column, row, slice) axis."""
        if any(pad):
            values = np.pad(values, [(n, n) for n in pad[::-1]], mode="edge")
        image = sitk.GetImageFromArray(np.ascontiguousarray(values, dtype=np.float32))
        image.SetSpacing([float(v) for v in self.spacing])
        image.SetDirection(self.direction)
        image.SetOrigin([float(v) for v in self.position([-n for n in pad])])
        return image


def _frame(grid: Grid) -> NDArray[np.float64]:
    """4 x 4, orthonormal, from millimetres along columns, rows and slices to RAS+ millimetres, origin at the first voxel.

    Of a sheared grid, the right-angled frame nearest to it: only in such a one is a rigid motion rigid.
    """
    axes = grid.matrix[:3, [2, 1, 0]]
    u, _, v = np.linalg.svd(axes / np.linalg.norm(axes, axis=0))
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = u @ v, grid.matrix[:3, 3]
    return out


def _apply(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = points @ matrix[:3, :3].T + matrix[:3, 3]
    return out


def _inside(fixed: _Placed, moving: _Placed, motion: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which voxels (S, H, W) of the fixed grid the motion takes into the moving one, half a voxel around its edge included."""
    to = np.linalg.inv(moving.affine) @ motion @ fixed.affine
    w, h, s = (np.arange(n, dtype=np.float64) for n in fixed.size)
    out = np.ones(fixed.size[::-1], dtype=np.bool_)
    for row, n in zip(to[:3], moving.size, strict=True):
        index = row[0] * w + (row[1] * h)[:, None] + (row[2] * s)[:, None, None] + row[3]
        out &= (index >= -0.5) & (index < n - 0.5)
    return out


def _foreground(magnitude: Real, fixed: _Placed) -> NDArray[np.float64]:
    """Positions (n, 3) in mm of some 50,000 voxels, regularly spaced, brighter than a tenth of the brightest ones."""
    step = max(1, round((magnitude.size / 400_000) ** (1 / 3)))
    some = magnitude[(slice(None, None, 1 if magnitude.shape[0] < 64 else step), *2 * (slice(None, None, step),))]
    bright = some > 0.1 * np.quantile(some, 0.99)
    if not bright.any():
        bright = some >= some.max()
    strides = (1 if magnitude.shape[0] < 64 else step, step, step)
    return fixed.position((np.argwhere(bright) * strides)[:, ::-1])


@contextmanager
def _one_thread(sitk: Any) -> Iterator[None]:
    """SimpleITK on one thread: sums over threads round differently with their number."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].rpartition(": ")[2].strip(" .")[:160]
        raise UserError(f"target and auxiliary cannot be registered ({reason})") from error
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _estimate(
    sitk: Any, fixed: _Placed, moving: _Placed, target: Real, auxiliary: Real, mode: Mode
) -> NDArray[np.float64]:
    """4 x 4, from positions in the target to those of the same anatomy in the auxiliary, millimetres of the frame."""
    pads = [_padding(placed) for placed in (fixed, moving)]
    few = any(map(any, pads))
    a, b = (
        placed.image(sitk, np.minimum(v, np.quantile(v, 0.999)), pad)  # a few bright voxels would empty the other bins
        for placed, v, pad in zip((fixed, moving), (target, auxiliary), pads, strict=True)
    )
    start = sitk.Euler3DTransform()
    start.SetCenter([float(v) for v in _foreground(target, fixed).mean(axis=0)])
    if not _inside(fixed, moving, np.eye(4)).any():
        middle, other = (placed.position((np.array(placed.size) - 1) / 2) for placed in (fixed, moving))
        start.SetTranslation([float(v) for v in other - middle])
    mask = None
    if any(pads[1]):  # what was padded is no anatomy
        mask = sitk.Cast(moving.image(sitk, np.ones(moving.size[::-1], np.float32)), sitk.sitkUInt8)
    for shrink, smoothing in _LEVELS:
        start = _optimise(sitk, a, b, fixed, mask, start, shrink, smoothing, [0, 0, 1, 1, 1, 0] if few else [])
    if mode == "affine":
        wider = sitk.AffineTransform(3)
        wider.SetCenter(start.GetCenter())
        wider.SetMatrix(start.GetMatrix())
        wider.SetTranslation(start.GetTranslation())
        within = [1, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 0]
        start = _optimise(sitk, a, b, fixed, mask, wider, *_LEVELS[-1], within if few else [])
    out = np.eye(4)
    out[:3, 3] = start.TransformPoint((0.0, 0.0, 0.0))
    for k in range(3):
        out[:3, k] = np.array(start.TransformPoint([float(i == k) for i in range(3)])) - out[:3, 3]
    return out


def _padding(placed: _Placed) -> tuple[int, int, int]:
    """Voxels to add at both ends of each axis that is too short to be smoothed."""
    columns, rows, slices = (_FEW if n < _FEW else 0 for n in placed.size)
    return columns, rows, slices


def _optimise(
    sitk: Any,
    a: Any,
    b: Any,
    fixed: _Placed,
    mask: Any,
    start: Any,
    shrink: int,
    smoothing: float,
    weights: list[int],
) -> Any:
    """The transform that maximises mutual information at one level; ``weights`` are 0 for what may not change."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    edge = float(fixed.spacing[:2].min())
    # Thick slices are far apart already, and few slices or pixels are all needed.
    steps = [
        max(1, min(shrink, round(shrink * edge / v), n // 8)) for v, n in zip(fixed.spacing, fixed.size, strict=True)
    ]
    sizes = [n // s for n, s in zip(fixed.size, steps, strict=True)]
    method.SetVirtualDomain(
        sizes,
        [float(v) for v in fixed.position([(s - 1) / 2 for s in steps])],
        [float(v) for v in fixed.spacing * steps],
        fixed.direction,
    )
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(min(1.0, max(_SHARE, _ENOUGH / float(np.prod(sizes)))), 1)
    if mask is not None:
        method.SetMetricMovingMask(mask)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 150)
    method.SetOptimizerScalesFromPhysicalShift()
    if weights:
        method.SetOptimizerWeights([float(w) for w in weights])
    method.SetShrinkFactorsPerLevel([1])
    method.SetSmoothingSigmasPerLevel([smoothing])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(a, b)
    return start


def _resample(sitk: Any, auxiliary: Volume, fixed: _Placed, moving: _Placed, motion: NDArray[np.float64]) -> Volume:
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


def _angle(motion: NDArray[np.float64]) -> float:
    """Degrees of the rotation nearest to the linear part; from the skew part too, for the cosine alone is blind to small ones."""
    u, _, v = np.linalg.svd(motion[:3, :3])
    r = u @ v
    sine = np.linalg.norm([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]) / 2
    return float(np.degrees(np.arctan2(sine, (np.trace(r) - 1) / 2)))


def _vertex(values: NDArray[np.float64]) -> float:
    """Where between -0.5 and 0.5 a peak lies of which three samples are given: exact for a Gaussian."""
    if values.min() <= 0:
        return 0.0
    low, middle, high = np.log(values)
    bend = low - 2 * middle + high
    return 0.0 if bend >= 0 else float(np.clip((low - high) / (2 * bend), -0.5, 0.5))


def _warning(mode: Mode, *grids: Grid) -> str:
    thick = max(max(g.voxel) / min(g.voxel) for g in grids)
    if mode == "affine" and thick > 3:
        return (
            f"affine registration is unreliable with voxels {thick:.2g} times as long as wide: stretch across the slices is hardly "
            "determined; rigid is safer"
        )
    return ""
