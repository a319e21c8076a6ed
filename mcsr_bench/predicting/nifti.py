"""NIfTI volumes for prediction: read as the dataset of NIfTI files reads them, and written in the place of the target."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from mcsr_bench.data.raw.nifti import Volume, check_sign, inspect, magnitude, samples
from mcsr_bench.data.raw.places import corner_distance, in_one_space, pair_findings, place_findings
from mcsr_bench.errors import UserError
from mcsr_bench.system import files

from .pair import NIFTI, Pair, Space, Turn, check_claim, check_sizes

LONGER = 1.1
"""A voxel edge this many times as long as the others is taken for the distance of slices."""
# World axes (0 left-right, 1 posterior-anterior, 2 inferior-superior) down the rows and along the columns, by that across slices.
_IN_PLANE = {0: (2, 1), 1: (2, 0), 2: (1, 0)}
_AXES = ("first", "second", "third")


def read_pair(target: Path, auxiliary: Path | None, scale: int, ratio: int) -> Pair:
    """Target and auxiliary, ``ratio`` times as large within the slices, upright. UserError as `volumes.read_pair`."""
    volume, data = _read(target)
    if auxiliary is None:
        axis, notes = _slice_axis(volume, None, ratio)
        turn = upright(volume.affine, axis)
        notes += _about(volume)
        return Pair(turn.slices(data).astype(np.complex64), None, False, _space(volume, turn), tuple(_sentences(notes)))
    other, given = _read(auxiliary)
    axis, notes = _slice_axis(volume, given.shape, ratio)

    def grid(a: Volume) -> NDArray[np.float64]:
        return a.affine if ratio == 1 else finer_affine(a.affine, a.shape, upright(a.affine, axis), scale)

    def apart(a: Volume, b: Volume) -> float:
        return corner_distance(b.shape, grid(a), b.affine)

    def near(a: Volume, b: Volume) -> bool:
        return apart(a, b) <= 0.1 * float(np.linalg.norm(grid(a)[:3, :3], axis=0).min())

    volume, other = in_one_space(volume, other, near)
    turn = upright(volume.affine, axis)
    check_sizes(target, turn.slices(data).shape, auxiliary, turn.slices(given).shape, ratio)
    if _turned(volume, other):
        ways = ["".join(map(str, nibabel.aff2axcodes(v.affine))) for v in (other, volume)]
        raise UserError(
            f"{auxiliary}: its voxel axes run to {ways[0]}, those of {target} to {ways[1]}; reorient one of them, and register it"
        )
    if not near(volume, other):
        notes.append(
            f"the headers place the auxiliary up to {apart(volume, other):.2g} mm off the target's grid; nothing was registered or "
            "resampled"
        )
    notes += [*_about(volume), *_about(other)]
    notes += [finding.message for finding in pair_findings(volume, other, same_grid=near(volume, other))]
    low, high = (turn.slices(x).astype(np.complex64) for x in (data, given))
    return Pair(low, high, False, _space(volume, turn), tuple(_sentences(notes)))


def write(to: Path, volume: NDArray[Any], space: Space, scale: int) -> None:
    """Write the magnitude of a super-resolved volume (S, H, W) as `volumes.write_volume` describes it."""
    assert space.turn is not None
    shape, turn = space.image.shape, space.turn
    magnitude = (np.abs(volume) if np.iscomplexobj(volume) else np.maximum(volume, 0)).astype(np.float32)
    data = np.ascontiguousarray(turn.voxels(magnitude))
    image = type(space.image)(data, finer_affine(space.image.affine, shape, turn, scale), space.image.header)
    image.set_data_dtype(np.float32)
    for get, put in ((space.image.get_qform, image.set_qform), (space.image.get_sform, image.set_sform)):
        affine, code = get(coded=True)
        put(None if affine is None else finer_affine(affine, shape, turn, scale), int(code), update_affine=False)
    image.header["cal_min"] = image.header["cal_max"] = 0  # a display range that was the target's
    content = image.to_bytes()
    if to.name.lower().endswith(".gz"):
        content = gzip.compress(content, compresslevel=6, mtime=0)  # no time in it: equal volumes, equal bytes
    with files.replacing(to) as temporary:
        temporary.write_bytes(content)


def finer_affine(affine: NDArray[np.float64], shape: tuple[int, ...], turn: Turn, scale: int) -> NDArray[np.float64]:
    """The affine (4, 4) of the HR grid, of that of an LR ``shape``: smaller steps in plane, centre sample on centre sample."""
    out = np.array(affine, dtype=np.float64)
    for axis in turn.axes[1:]:
        n = shape[axis]
        out[:3, axis] /= scale
        out[:3, 3] += affine[:3, axis] * (n // 2 - (scale * n // 2) / scale)
    return out


def upright(affine: NDArray[np.float64], axis: int) -> Turn:
    """The turn that shows slices across a voxel axis upright, of an invertible affine (voxel index to RAS+ millimetres)."""
    codes = nibabel.io_orientation(
        affine
    )  # per voxel axis: the closest world axis, and whether it ascends (1) or not (-1)
    voxel_axis = {int(world): voxel for voxel, (world, _) in enumerate(codes)}
    rows, columns = (voxel_axis[world] for world in _IN_PLANE[int(codes[axis, 0])])
    return Turn((axis, rows, columns), (bool(codes[rows, 1] > 0), bool(codes[columns, 1] > 0)))


def _read(path: Path) -> tuple[Volume, NDArray[np.float32]]:
    """Header and magnitudes, float32 of the volume's shape. UserError for NaN and Inf, too."""
    volume = inspect(path)
    check_claim(path, volume.shape)
    out = np.empty(volume.shape, np.float32)
    with samples(volume) as stored:
        check_sign(volume, stored)
        for k in range(volume.shape[2]):
            out[..., k] = magnitude(stored[..., k], volume).real
    if not np.isfinite(out).all():
        raise UserError(f"{path}: holds NaN or Inf")
    return volume, out


def _about(volume: Volume) -> Iterator[str]:
    """What a header says that cannot be true, or does not say."""
    if not volume.places:
        yield (
            f"{volume.path.name} has neither sform nor qform: its voxel axes are taken for left, front and up, and its centre for "
            "that of the patient"
        )
    yield from (finding.message for finding in place_findings(volume))


def _space(volume: Volume, turn: Turn) -> Space:
    return Space(NIFTI, nibabel.load(volume.path), turn)


def _slice_axis(volume: Volume, auxiliary_shape: tuple[int, ...] | None, ratio: int) -> tuple[int, list[str]]:
    """The voxel axis across slices, and what there is to know of how it was found."""
    if auxiliary_shape is not None and ratio > 1:
        for axis in range(3):
            wanted = tuple(n if a == axis else ratio * n for a, n in enumerate(volume.shape))
            if tuple(auxiliary_shape) == wanted:
                return axis, []
    edges = np.linalg.norm(volume.affine[:3, :3], axis=0)
    long = int(np.argmax(edges))
    thick = bool(edges[long] > LONGER * np.delete(edges, long).max())
    size = " x ".join(f"{edge:.3g}" for edge in edges)
    named = volume.slice_axis
    if named is not None:
        note = (
            f"the slice axis is the {_AXES[named]} voxel axis, by the header's dim_info, and voxels of {size} mm are longest along "
            f"the {_AXES[long]}"
        )
        return named, [note] if thick and long != named else []
    axis = long if thick else 2
    why = "along which voxels are longest" if thick else "the last"
    return axis, [
        f"the {_AXES[axis]} voxel axis, {why} ({size} mm), was taken for the slice axis; where that is wrong, dim_info in the "
        "header can name it"
    ]


def _turned(target: Volume, other: Volume) -> bool:
    """Whether a voxel axis of one points more than 60 degrees away from that of the other, which no tilt of a slice explains.

    False where a header has neither sform nor qform: then it is unknown.
    """
    if not (target.places and other.places):
        return False
    a, b = target.affine[:3, :3], other.affine[:3, :3]
    return bool(((a * b).sum(0) < 0.5 * np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)).any())


def _sentences(notes: list[str]) -> Iterator[str]:
    """With a capital, unless the first word is a file's name, and a full stop."""
    for note in dict.fromkeys(notes):
        capital = note.split(maxsplit=1)[0].isalpha()
        yield f"{note[0].upper() if capital else note[0]}{note[1:]}."
