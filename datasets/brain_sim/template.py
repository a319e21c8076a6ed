"""The base anatomy: maps derived once per process from the ICBM152 (2009a, symmetric) T1 template that nilearn ships.

Coordinates are MNI millimetres, axes ordered (z, y, x): superior, anterior, right. Only the slab that axial slices through the
cerebrum can reach is kept. Nothing is downloaded: the template is in the nilearn package.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mcsr_bench.errors import UserError

from .fields import Float

Mask = NDArray[np.bool_]

GREY, WHITE = 86.0, 113.0
"""Pseudo-intensity of the tissues in `Template.intensity`; CSF is below 40."""

_FILE = ("datasets", "data", "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")  # within the nilearn package
_SLAB = (-36, 100)  # mm, lowest and highest z that is kept
_SCALE = 129.2  # template intensity (0..1) to pseudo-intensity: the median of white matter, 0.8745, becomes 113
_CHECKSUM = 0xC861E15F  # of the template as uint8: another template would silently give other data
_VENTRICLES = ((-14, 38), (-62, 42), (-42, 43))  # mm, a block that holds the lateral and third ventricles
_FAR = 10.0  # mm, where the distance to the ventricles is cut
_PAD = 12  # voxels of 2 mm around the brain, for skull and scalp


@dataclass(frozen=True)
class Volume:
    """A map on a regular grid: ``values`` on axes (z, y[, x]), first voxel at ``origin`` mm, ``spacing`` mm apart."""

    values: Float
    origin: tuple[float, ...]
    spacing: float = 1.0

    def at(self, *points: Float) -> Float:
        """Linear interpolation at points in mm, one array per axis; the value at the border outside. float32."""
        shifted = [(p - np.float32(o)) / np.float32(self.spacing) for p, o in zip(points, self.origin, strict=True)]
        return np.asarray(
            ndimage.map_coordinates(self.values, np.stack(shifted), order=1, mode="nearest", output=np.float32)
        )


@dataclass(frozen=True)
class Template:
    """Everything a subject needs of the template."""

    intensity: Volume
    """Pseudo-intensity: 86 grey, 113 white, below 40 CSF; the ventricles are filled with what surrounds them."""
    ventricle: Volume
    """Signed distance to the wall of the ventricles in mm, negative inside, cut at 10 mm."""
    hull: Volume
    """Signed distance to the smooth outer hull of the brain in mm, negative inside."""
    normal: tuple[Volume, ...]
    """Unit outward normal of the hull: z, y and x component."""
    fissure: Volume
    """On the mid-sagittal plane (z, y): distance in mm to the interhemispheric fissure, 0 inside it."""


@cache
def load_template() -> Template:
    """Load the template and derive the maps: about a second, once per process.

    UserError if the installed nilearn ships another template than this recipe was made for.
    """
    image = icbm152()
    data = np.asarray(image.dataobj, dtype=np.float32)
    data = data / data.max()
    checksum = zlib.crc32(np.rint(data * 255).astype(np.uint8).tobytes())
    if checksum != _CHECKSUM:
        raise UserError(
            f"brain-sim: the ICBM152 template of the installed nilearn is not the one this recipe was made for (checksum "
            f"{checksum:08x}, expected {_CHECKSUM:08x}); install the nilearn version that constraints.txt names"
        )
    offset = image.affine[:3, 3]
    first, last = (int(z - offset[2]) for z in _SLAB)
    t = np.ascontiguousarray(data.transpose(2, 1, 0)[first:last])
    origin = (float(_SLAB[0]), float(offset[1]), float(offset[0]))

    fissure = _fissure(t, origin)
    ventricle, filled = _ventricles(t, origin, fissure)
    hull = _hull(t, origin)
    gradient = np.gradient(ndimage.gaussian_filter(hull.values, 1.5))
    length = np.sqrt(gradient[0] ** 2 + gradient[1] ** 2 + gradient[2] ** 2) + np.float32(1e-6)
    return Template(
        intensity=Volume(filled * np.float32(_SCALE), origin),
        ventricle=ventricle,
        hull=hull,
        normal=tuple(Volume((g / length).astype(np.float32), hull.origin, hull.spacing) for g in gradient),
        fissure=Volume(np.maximum(_signed_distance(fissure, 1.0), 0), origin[:2]),
    )


def icbm152() -> Any:
    """The template as a nibabel image, axes (x, y, z), 1 mm: nilearn's file of it, else what nilearn makes of it.

    Importing nilearn takes longer than all that is derived here, and each process that simulates would do it.
    """
    package = find_spec("nilearn")
    for folder in (package and package.submodule_search_locations) or ():
        if (path := Path(folder, *_FILE)).is_file():
            return nibabel.load(path)
    from nilearn import datasets

    return datasets.load_mni152_template(resolution=1)


def _signed_distance(inside: Mask, spacing: float) -> Float:
    """Distance to the border of a mask in mm, negative inside; the border runs between voxels."""
    outside = ndimage.distance_transform_edt(~inside) - 0.5
    within = ndimage.distance_transform_edt(inside) - 0.5
    return (np.where(inside, -within, outside) * spacing).astype(np.float32)


def _fissure(t: Float, origin: tuple[float, ...]) -> Mask:
    """Where the mid-sagittal plane (z, y) is interhemispheric fissure: dark, and outside the arch of the corpus callosum."""
    middle = int(-origin[2])
    dark = t[:, :, middle - 1 : middle + 2].min(axis=2) < 0.62
    z = origin[0] + np.arange(t.shape[0])[:, None]
    y = origin[1] + np.arange(t.shape[1])[None, :]
    beyond_arch = ((y + 6) / 43) ** 2 + (z / 33) ** 2 > 1
    above_tentorium = z > -8 - 0.4 * (y + 45)
    return np.asarray(ndimage.binary_opening(dark & beyond_arch & ((y > -40) | above_tentorium), iterations=2))


def _ventricles(t: Float, origin: tuple[float, ...], fissure: Mask) -> tuple[Volume, Float]:
    """The signed distance to the ventricles, and the template with them filled.

    The average of many brains has a blurred rim around the ventricles that would pass for grey matter: it is filled too.
    """
    block = tuple(slice(int(low - o), int(high - o)) for (low, high), o in zip(_VENTRICLES, origin, strict=True))
    part = t[block]
    middle = int(-origin[2]) - block[2].start
    near_fissure = np.zeros(part.shape, bool)
    near_fissure[:, :, middle - 4 : middle + 5] = ndimage.binary_dilation(fissure, iterations=4)[block[:2]][:, :, None]
    labels, count = ndimage.label((part < 0.47) & ~near_fissure)
    sizes = ndimage.sum_labels(np.ones_like(part), labels, np.arange(1, count + 1))
    inside = labels == 1 + int(np.argmax(sizes))
    distance = np.full(t.shape, _FAR, np.float32)
    distance[block] = np.clip(ndimage.gaussian_filter(_signed_distance(inside, 1.0), 0.7), -_FAR, _FAR)
    nearest = ndimage.distance_transform_edt(distance[block] < 2, return_distances=False, return_indices=True)
    filled = t.copy()
    filled[block] = part[tuple(nearest)]
    return Volume(distance, origin), filled


def _hull(t: Float, origin: tuple[float, ...]) -> Volume:
    """Signed distance to the brain's outer hull (its sulci closed with a ball of 20 mm), on a 2 mm grid."""
    brain = np.pad(t[::2, ::2, ::2] > 0, ((0, _PAD), (_PAD, _PAD), (_PAD, _PAD)))
    dilated = ndimage.distance_transform_edt(~brain) <= 10
    closed = ndimage.distance_transform_edt(dilated) > 10
    z, y, x = origin
    smooth = ndimage.gaussian_filter(_signed_distance(closed, 2.0), 2.0)
    return Volume(smooth, (z, y - 2 * _PAD, x - 2 * _PAD), 2.0)
