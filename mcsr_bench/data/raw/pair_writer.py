"""Write one patient's paired raw k-space as an "mcsr-pair" file, from which no wrong file comes out. See ``docs/mcsr-pair.md``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import ArrayLike

from mcsr_bench.errors import UserError
from mcsr_bench.system.files import replacing
from mcsr_bench.system.hdf5 import new_file

from .hdf5 import text_of
from .pair_file import validate
from .pair_header import CONTRAST_NAME, FORMAT, RESERVED, VERSION

SUFFIXES = (".h5", ".hdf5")
_NUMBERS = ("TR_ms", "TE_ms", "TI_ms", "FOV_mm", "voxel_mm", "affine")
ATTRIBUTES = ("contrast", *_NUMBERS, "acquired_matrix", "fat_suppressed")
"""Of a contrast."""


class Slices(Protocol):
    """An array, or anything that hands out its slices as one does: written slice by slice, it need not fit into memory."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, index: int, /) -> Any: ...


def write_pair(
    path: str | Path,
    kspace: Mapping[str, Slices],
    *,
    patient_id: str,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    site: str = "",
    scanner: str = "",
    field_T: float | None = None,
    licence: str = "",
    transforms: Mapping[str, ArrayLike] | None = None,
    slice_maps: Mapping[str, ArrayLike] | None = None,
    sens: Mapping[str, Slices] | None = None,
    reference: Mapping[str, Slices] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the raw k-space of two or more contrasts of one patient, and return the path.

    kspace: per contrast complex64 (slices, H, W) or (slices, coils, H, W); the zero frequency is sample (H // 2, W // 2), the
    transform orthonormal, readout oversampling removed. attributes: per contrast TR_ms, TE_ms, TI_ms, FOV_mm (2: down the rows,
    along the columns), voxel_mm (3: slice, row, column), acquired_matrix (2), affine (4 x 4, (slice, row, column) indices to RAS+
    millimetres), fat_suppressed, contrast (text). transforms: {"T1_to_T2": 4 x 4 rigid}, from RAS+ millimetres of T1 to those of
    T2. slice_maps: {"T1_to_T2": for every slice of T2 the one of T1}. sens: complex64 sensitivities of the shape of kspace.
    reference: float32 (slices, h, w), your own reconstruction.

    Raises UserError with all that is wrong; then no file is written, and one that was there stays as it was.
    """
    path = Path(path).expanduser()
    extra = {"sens": sens or {}, "reference": reference or {}}
    problems = _argument_problems(path, kspace, attributes or {}, extra, overwrite)
    texts = {"patient_id": patient_id, "site": site, "scanner": scanner, "licence": licence}
    for key, text in texts.items():
        try:
            if not text_of(text) and key == "patient_id":
                raise ValueError("is empty; without it no split by patient can be made")
        except ValueError as error:
            problems.append(f"{key} {error}")
    if problems:
        raise UserError(f"{path}: {'; '.join(problems)}")
    with replacing(path) as temporary:
        with new_file(temporary) as (file, _):
            file.attrs.update(
                {"format": FORMAT, "version": VERSION, **{key: text for key, text in texts.items() if text}}
            )
            if field_T is not None:
                file.attrs["field_T"] = _array(path, "field_T", field_T, np.float64)
            for name, samples in kspace.items():
                group = file.create_group(name)
                group.attrs["contrast"] = name
                for key, value in (attributes or {}).get(name, {}).items():
                    if value is not None:
                        group.attrs[key] = _value(path, name, key, value)
                _write(group, "kspace", samples, np.complex64)
                for key, dtype in (("sens", np.complex64), ("reference", np.float32)):
                    if name in extra[key]:
                        _write(group, key, extra[key][name], dtype)
            for folder, items, kind in (("transform", transforms, np.float64), ("slice_map", slice_maps, np.int64)):
                for key, values in (items or {}).items():
                    file[f"{folder}/{_member(path, folder, key)}"] = _array(path, f"{folder} {key}", values, kind)
        problems = [p.removeprefix(f"{temporary.name}: ") for p in validate(temporary)]
        if problems:
            raise UserError(f"{path}: {'; '.join(problems)}")
    return path


def _argument_problems(
    path: Path,
    kspace: Mapping[str, Slices],
    attributes: Mapping[str, Mapping[str, Any]],
    extra: Mapping[str, Mapping[str, Slices]],
    overwrite: bool,
) -> list[str]:
    """What can be seen without writing anything."""
    out: list[str] = []
    if path.suffix.lower() not in SUFFIXES:
        out.append(f"the name must end with {' or '.join(SUFFIXES)}, or no data set will find it")
    if path.is_dir() or (path.exists() and not overwrite):
        out.append("is a folder" if path.is_dir() else "is there already; overwrite=True (--overwrite) replaces it")
    for name, samples in kspace.items():
        if not (isinstance(name, str) and CONTRAST_NAME.fullmatch(name)) or name in RESERVED:
            out.append(f"{name!r} cannot be the name of a contrast: letters, digits, blanks and ._+- are allowed")
        out += _array_problems(f"k-space of {name}", samples, np.complex64, (3, 4))
    for key, arrays in extra.items():
        for name, samples in arrays.items():
            dtype, ranks = (np.complex64, (4,)) if key == "sens" else (np.float32, (3,))
            out += _array_problems(f"{key} of {name}", samples, dtype, ranks)
    for what, names in (("attributes", attributes), *extra.items()):
        out += [f"{what} are given for {name}, which has no k-space" for name in names if name not in kspace]
    for name, values in attributes.items():
        for key in values:
            if key not in ATTRIBUTES:
                near = difflib.get_close_matches(str(key), ATTRIBUTES, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(ATTRIBUTES)}"
                out.append(f"{name} has no attribute '{key}'; {hint}")
    return out


def _array_problems(what: str, samples: Slices, dtype: type, ranks: tuple[int, ...]) -> list[str]:
    got, shape = getattr(samples, "dtype", None), getattr(samples, "shape", None)
    if got is None or shape is None:
        return [f"{what} is not an array but {type(samples).__name__}"]
    if not isinstance(got, np.dtype):
        return [f"{what} has {got}, which is not a numpy type; a numpy array of {np.dtype(dtype)} is needed"]
    if got.newbyteorder("=") != dtype:
        return [f"{what} is {got}; {np.dtype(dtype)} is needed"]
    if len(shape) not in ranks:
        return [f"{what} has rank {len(shape)}; {' or '.join(map(str, ranks))} is needed"]
    return [f"{what} is empty: its shape is {tuple(shape)}"] if 0 in shape else []


def _write(group: h5py.Group, key: str, samples: Slices, dtype: type) -> None:
    """Slice by slice, so that an array on the disk stays there."""
    out = group.create_dataset(key, samples.shape, dtype)
    for index in range(samples.shape[0]):
        part = np.asarray(samples[index])
        if not np.isfinite(part).all():
            raise UserError(f"{key} of {group.name[1:]} holds NaN or Inf in slice {index}; nothing was written")
        out[index] = part


def _value(path: Path, name: str, key: str, value: Any) -> Any:
    """An attribute as the layout has it; UserError for a value of another type."""
    if key == "contrast":
        try:
            return text_of(value)
        except ValueError as error:
            raise UserError(f"{path}: contrast of {name} {error}") from None
    if key == "fat_suppressed":
        if not isinstance(value, bool | np.bool_):
            raise UserError(f"{path}: fat_suppressed of {name} is {value!r}; True or False is needed")
        return bool(value)
    return _array(path, f"{key} of {name}", value, np.int64 if key == "acquired_matrix" else np.float64)


def _member(path: Path, folder: str, key: str) -> str:
    if not isinstance(key, str) or "/" in key or key in ("", ".", ".."):
        raise UserError(f"{path}: the {folder} {key!r} is not named after two contrasts, such as T1_to_T2")
    return key


def _array(path: Path, what: str, values: ArrayLike, kind: type) -> Any:
    whole = kind is np.int64
    try:
        out = np.asarray(values)
        if out.dtype.kind not in "iuf" or (whole and not ((out == np.trunc(out)) & (np.abs(out) < 2**53)).all()):
            raise ValueError
        return out.astype(kind)
    except (TypeError, ValueError):
        needed = f"{'whole ' * whole}numbers are needed"
        raise UserError(f"{path}: {what} is {str(values)[:60]}; {needed}") from None
