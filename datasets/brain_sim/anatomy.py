"""One subject's head: the template's deep structures, warped, under a cortex, a skull and a scalp of its own.

Coordinates are millimetres, axes ordered (z, y, x): superior, anterior, right. The folding of the cortex is the subject's alone:
sulci are the zero level of a random field that runs into the depth along the normal of the brain's surface, so no two subjects
share one and left differs from right, although the template is the same for all and symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .fields import Bounds, Field, Float, random_field
from .template import GREY, WHITE, Mask, load_template

TISSUE_NAMES = ("white", "grey", "csf", "ventricle", "fat", "muscle", "bone", "lesion")
HEAD: Bounds = ((-32.0, 88.0), (-140.0, 108.0), (-118.0, 118.0))
"""The box, in template space, that contains a subject's folds."""
SCAN: Bounds = ((0.0, 58.0), (-134.0, 98.0), (-116.0, 116.0))
"""The box, in the scanner, that holds every slice."""

_CENTRE = (20.0, -18.0, 0.0)  # the point about which a head is rotated and scaled
_SIZE = 0.92  # the template is larger than the average adult brain
_EDGE = 0.4  # half width in mm of an edge between tissues


def ramp(x: Float, low: float, high: float) -> Float:
    """0 up to ``low``, 1 from ``high`` on, linear between. float32, the shape of ``x``."""
    return np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)


def _above(x: Float) -> Float:
    """1 where a signed distance is positive, with a soft edge."""
    return ramp(x, -_EDGE, _EDGE)


def _between(x: Float, y: Float) -> Float:
    """1 outside of surface ``x`` and inside of surface ``y`` (signed distances); nested layers add up to 1."""
    return np.maximum(_above(x) - _above(y), 0)


@dataclass(frozen=True)
class _Lesion:
    """An ellipsoid in template space, mm."""

    centre: tuple[float, ...]
    radii: tuple[float, ...]


class _OnPlanes:
    """Evaluates fields on the planes of one slice, at those voxels that were selected."""

    def __init__(self, z: NDArray[np.floating], y: NDArray[np.floating], x: NDArray[np.floating]) -> None:
        self.grid = (z, y, x)
        self.shape = (len(z), len(y), len(x))
        self.selected = np.arange(int(np.prod(self.shape)))
        self._box = self.grid
        self._in_box = self.selected

    def select(self, chosen: Mask) -> None:
        """From here on, only these voxels: bool, flat. Fields are evaluated on the rows and columns that hold any of them."""
        self.selected = np.flatnonzero(chosen)
        planes = chosen.reshape(self.shape)
        rows, columns = (_span(np.asarray(planes.any(axis=axes))) for axes in ((0, 2), (0, 1)))
        z, y, x = self.grid
        self._box = (z, y[rows], x[columns])
        self._in_box = np.flatnonzero(planes[:, rows, columns])

    def points(self) -> list[Float]:
        """Coordinates of all voxels, flat, one array per axis."""
        return [np.ascontiguousarray(c, np.float32).ravel() for c in np.meshgrid(*self.grid, indexing="ij")]

    def __call__(self, field: Field) -> Float:
        """The field at the selected voxels, flat."""
        return np.asarray(field.on_grid(*self._box).ravel()[self._in_box])

    def full(self, values: Float) -> Float:
        """Values of the selected voxels put back among zeros, (planes, rows, columns)."""
        out = np.zeros(int(np.prod(self.shape)), np.float32)
        out[self.selected] = values
        return out.reshape(self.shape)


def _span(chosen: Mask) -> slice:
    """From the first to the last that is chosen; nothing where none is."""
    found = np.flatnonzero(chosen)
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0)


class Subject:
    """The random numbers and fields that make one head, and its tissues on any plane."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.template = load_template()
        self.rotation = _rotation(np.deg2rad(np.clip(rng.normal(0, (3.0, 3.0, 3.5)), -7, 7)))
        self.scale = _SIZE * np.clip(rng.normal(1, 0.04, 3), 0.93, 1.07)
        self.shift = np.clip(rng.normal(0, 2.0, 3), -4, 4)
        self.atrophy = float(rng.uniform(0, 1))
        self.depth = float(rng.uniform(14, 18))  # mm, mean depth of the sulci
        self.shell_thickness = np.array([2.0, 6.5, 4.3]) * rng.uniform(0.75, 1.25, 3)  # mm: CSF, bone, scalp
        self.lesions = self._draw_lesions(rng)

        def fields(spacing: float, count: int) -> list[Field]:
            return [random_field(rng, spacing, SCAN) for _ in range(count)]

        self.warp_head = fields(55.0, 3)
        self.warp_brain = fields(9.0, 3)
        self.warp_cortex = fields(3.5, 3)
        self.folds = random_field(rng, float(rng.uniform(4.8, 6.0)), HEAD, band_pass=True)
        self.fold_depth = random_field(rng, 6.0, HEAD)
        self.texture = fields(2.4, 1) + fields(1.2, 1)
        self.sulcus_width, self.cortex_thickness, self.core_border = fields(5.0, 1) + fields(12.0, 1) + fields(8.0, 1)
        self.shells = fields(10.0, 2) + fields(55.0, 3)

    def tissues(self, z: NDArray[np.floating], y: NDArray[np.floating], x: NDArray[np.floating]) -> Float:
        """Tissue fractions, averaged over the planes ``z``, on rows ``y`` and columns ``x`` (mm).

        Returns float32 (len(TISSUE_NAMES), len(y), len(x)); each in [0, 1], their sum at most 1 (the rest is air).
        """
        planes = _OnPlanes(z, y, x)
        head = self._to_template(planes)
        hull = self.template.hull.at(*head)
        fractions = np.zeros((len(TISSUE_NAMES), *planes.shape), np.float32)
        planes.select(hull < 26)
        intracranial = self._shells(planes, [c[planes.selected] for c in head], hull[planes.selected], fractions)
        planes.select(intracranial > 0)
        brain = self._brain(planes, [c[planes.selected] for c in head], hull[planes.selected])
        inside = intracranial[planes.selected]
        for name, values in brain.items():
            fractions[TISSUE_NAMES.index(name)] += planes.full(values * inside)
        return np.asarray(fractions.mean(axis=1))

    def _to_template(self, planes: _OnPlanes) -> list[Float]:
        """Where in the template each voxel comes from: rotated, scaled and bent as a whole."""
        offset = [c - np.float32(m + s) for c, m, s in zip(planes.points(), _CENTRE, self.shift, strict=True)]
        out = []
        for axis, amplitude in enumerate((2.0, 3.0, 1.6)):
            rotated = sum(np.float32(self.rotation[axis, j]) * offset[j] for j in range(3))
            bend = np.float32(amplitude) * planes(self.warp_head[axis])
            out.append(rotated / np.float32(self.scale[axis]) + np.float32(_CENTRE[axis]) + bend)
        return out

    def _shells(self, planes: _OnPlanes, at: list[Float], hull: Float, fractions: Float) -> Float:
        """Bone, marrow, muscle, fat and skin around the brain; returns the intracranial fraction of every voxel, flat."""
        z, y, x = at
        variation = [planes(f) for f in self.shells]
        csf, bone, scalp = (np.float32(t) for t in self.shell_thickness)
        space = np.maximum(csf * (1 + variation[0]) + np.float32(0.8 * self.atrophy), 0)
        inner_table = hull - np.minimum(space, 3)
        outer_table = hull - csf - np.maximum(bone * (1 + np.float32(0.15) * variation[2]), 4)
        temple = ramp(np.abs(x), 30, 55) * ramp(y, -70, -10) * ramp(-z, -45, 0)
        thickness = np.maximum(scalp * (1 + np.float32(0.15) * variation[3]), 2.5)
        muscle = outer_table - temple * (4 + np.float32(0.7) * variation[4])
        skin = np.minimum(outer_table - thickness - 3 * temple, muscle - np.float32(0.5))
        surface = skin - np.float32(1.6)

        marrow = _between(inner_table - np.float32(1.7), outer_table + np.float32(1.7))
        marrow *= np.clip(np.float32(0.4) + np.float32(0.2) * variation[1], 0, 0.9)
        in_bone = _between(inner_table, outer_table)
        # the superior sagittal sinus: blood that flows gives a spin echo no signal, as bone does
        sinus = _above(np.float32(3.8) - np.abs(x) + np.float32(0.6) * inner_table) * (1 - _above(inner_table))
        sinus *= _above(np.abs(y + 18) - 40)
        in_skin = _between(skin, surface)
        parts = {
            "bone": in_bone * (1 - marrow) + sinus,
            "fat": in_bone * marrow + _between(muscle, skin) + np.float32(0.3) * in_skin,
            "muscle": _between(outer_table, muscle) + np.float32(0.6) * in_skin,
        }
        for name, values in parts.items():
            fractions[TISSUE_NAMES.index(name)] = planes.full(np.clip(values, 0, 1))
        return planes.full(1 - _above(inner_table) - sinus).ravel()

    def _brain(self, planes: _OnPlanes, at: list[Float], hull: Float) -> dict[str, Float]:
        """White, grey, CSF (outer and ventricular) and lesion fractions of the intracranial voxels, flat; they add up to 1."""
        # Fine warps only inside the brain: they would make the skull wobble.
        weight = 1 - ramp(hull, -6, 1)
        bent = [c + np.float32(1.8) * weight * planes(f) for c, f in zip(at, self.warp_brain, strict=True)]
        fine = [c + np.float32(0.8) * weight * planes(f) for c, f in zip(bent, self.warp_cortex, strict=True)]
        texture: Float = np.float32(0.8) * planes(self.texture[0]) + np.float32(0.6) * planes(self.texture[1])

        intensity = self.template.intensity.at(*fine) + np.float32(4.0) * texture
        core_csf, core_white = 1 - ramp(intensity, 40, 68), ramp(intensity, 92, 107)
        cortex_csf, cortex_white = self._cortex(planes, bent, fine, texture)
        # The core (basal ganglia, thalamus, insula) is the template's, the rest around it the subject's.
        core = np.hypot(
            np.hypot(at[2] / np.float32(40), (at[1] + np.float32(4)) / np.float32(38)),
            (at[0] - np.float32(4)) / np.float32(30),
        )
        outer = ramp(core + np.float32(0.06) * planes(self.core_border), 0.85, 1.0)
        csf = np.maximum(outer * cortex_csf + (1 - outer) * core_csf, outer * (1 - ramp(intensity, 40, 58)))
        white = outer * cortex_white + (1 - outer) * core_white
        wall: Float = (
            self.template.ventricle.at(*bent) + np.float32(0.9 - 1.6 * self.atrophy) + np.float32(0.2) * texture
        )
        ventricle = 1 - _above(wall)
        tissue = (1 - csf) * (1 - ventricle)
        white = white * np.clip(np.float32(0.92) - np.float32(0.09) * texture, 0, 1)
        lesion = self._lesions_at(fine) * white * tissue
        return {
            "csf": csf * (1 - ventricle),
            "ventricle": ventricle,
            "white": tissue * white - lesion,
            "grey": tissue * (1 - white),
            "lesion": lesion,
        }

    def _cortex(self, planes: _OnPlanes, bent: list[Float], fine: list[Float], texture: Float) -> tuple[Float, Float]:
        """CSF fraction, and white matter's share of the rest, of a cortex folded by the subject's own field."""
        depth = -self.template.hull.at(*fine)
        # The medial wall is cortex too: the nearer of outer hull and interhemispheric fissure counts as the surface.
        beside_fissure = np.hypot(
            np.float32(0.3) * fine[2] + np.float32(0.7) * bent[2], self.template.fissure.at(fine[0], fine[1])
        )
        medial = beside_fissure < depth
        surface = np.minimum(depth, beside_fissure)
        # Foot of each voxel on the surface (most of the way): a fold keeps its course as it goes down.
        way = np.float32(0.75) * np.maximum(depth, 0)
        below = np.flatnonzero(~medial & (way > 0))
        there = [c[below] for c in fine]
        foot = [c.copy() for c in fine]
        for coordinate, normal in zip(foot, self.template.normal, strict=True):
            coordinate[below] += way[below] * normal.at(*there)
        foot[2] = np.where(medial, np.float32(0.25) * fine[2] + np.copysign(np.float32(8), fine[2]), foot[2])

        level = self.folds.at(*foot)
        dy, dx = np.gradient(planes.full(level), *(float(abs(g[1] - g[0])) for g in planes.grid[1:]), axis=(1, 2))
        slope = np.hypot(dy, dx).ravel()[planes.selected]
        sulcus = np.abs(level) / (slope + np.float32(0.03))  # mm to the nearest sulcus, to first order
        bottom = np.float32(self.depth) + 5 * self.fold_depth.at(*foot)
        sulcus = np.hypot(sulcus, np.maximum(surface - bottom, 0))
        gap = np.float32(0.5 * self.atrophy) + np.float32(0.45) * planes(self.sulcus_width)
        gap = np.maximum(gap, -0.4) + np.float32(0.7) * np.exp(-np.maximum(surface, 0) / 2)  # wider at the surface
        wall = np.minimum(sulcus - gap, surface - np.float32(0.1 + 0.3 * self.atrophy)) + np.float32(0.2) * texture
        thickness = np.float32(2.9) + np.float32(0.3) * planes(self.cortex_thickness)
        return 1 - _above(wall), ramp(wall - thickness, -0.6, 0.6)

    def _draw_lesions(self, rng: np.random.Generator) -> list[_Lesion]:
        """0 to 13 white-matter lesions near the ventricles."""
        wanted = int(rng.integers(0, 14))
        candidates = rng.uniform((-5, -75, -45), (60, 55, 45), (4000, 3))
        radii = rng.uniform(1.2, 4.0, (4000, 3))
        points = [np.ascontiguousarray(c, np.float32) for c in candidates.T]
        near = self.template.ventricle.at(*points)
        white = self.template.intensity.at(*points) > (GREY + 3 * WHITE) / 4
        good = np.flatnonzero(white & (near > 1.5) & (near < 9) & (self.template.hull.at(*points) < -14))
        return [_Lesion(tuple(candidates[i]), tuple(radii[i])) for i in good[:wanted]]

    def _lesions_at(self, at: list[Float]) -> Float:
        """Lesion fraction of each point."""
        out = np.zeros_like(at[0])
        for lesion in self.lesions:
            near = np.flatnonzero(np.abs(at[0] - np.float32(lesion.centre[0])) < lesion.radii[0] + 1)
            if near.size:
                scaled = [
                    (c[near] - np.float32(m)) / np.float32(r)
                    for c, m, r in zip(at, lesion.centre, lesion.radii, strict=True)
                ]
                radius = np.sqrt(sum(s**2 for s in scaled))
                out[near] = np.maximum(out[near], 1 - ramp(radius, 0.7, 1.1))
        return out


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrix (3, 3) on (z, y, x) from angles in radians about x (nodding), y (tilting) and z (turning)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    nod = np.array([[cx, -sx, 0], [sx, cx, 0], [0, 0, 1]])
    tilt = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    turn = np.array([[1, 0, 0], [0, cz, -sz], [0, sz, cz]])
    return nod @ tilt @ turn
