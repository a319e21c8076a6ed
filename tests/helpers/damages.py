"""Ways to damage the files of a data root: each makes a function that spoils it in place."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pair_files

Damage = Callable[[Path], Any]
"""Spoils a data root in place."""


def cut(name: str, at: float) -> Damage:
    """Keep ``at`` bytes of a file; below 1 and above 0 that share of it, below 0 all but so many bytes."""

    def damage(root: Path) -> None:
        data = (root / name).read_bytes()
        end = int(len(data) * at) if 0 < at < 1 else int(at)
        (root / name).write_bytes(data[:end])

    return damage


def write(name: str, data: bytes) -> Damage:
    return lambda root: (root / name).write_bytes(data)


def edit(name: str, change: Callable[[h5py.File], Any]) -> Damage:
    return lambda root: pair_files.edit(root / name, change)


def put(name: str, key: str, value: Any) -> Damage:
    return edit(name, lambda f: pair_files.put(f, key, value))


def attribute(name: str, key: str, value: Any, group: str = "/") -> Damage:
    return edit(name, lambda f: f[group].attrs.__setitem__(key, value))


def without(name: str, key: str) -> Damage:
    return edit(name, lambda f: f.attrs.__delitem__(key))


def changed(name: str, key: str, change: Callable[[Any], Any]) -> Damage:
    """Replace an array by a function of it."""
    return edit(name, lambda f: pair_files.put(f, key, change(f[key][()])))


def huge(name: str, key: str, shape: tuple[int, ...]) -> Damage:
    """An array that claims a terabyte and holds nothing."""

    def change(file: h5py.File) -> None:
        del file[key]
        file.create_dataset(key, shape, np.complex64, chunks=True)

    return edit(name, change)


def linked(name: str, key: str, link: Any) -> Damage:
    def change(file: h5py.File) -> None:
        del file[key]
        file[key] = link

    return edit(name, change)


def image(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    """Write a NIfTI volume again, with a function of its values."""

    def damage(root: Path) -> None:
        old = nibabel.load(root / name)
        values = change(np.asarray(old.dataobj))
        nibabel.save(nibabel.Nifti1Image(values, old.affine), root / name)

    return damage


def header(name: str, change: Callable[[bytearray], None]) -> Damage:
    """Change the bytes of a NIfTI file below its compression."""

    def damage(root: Path) -> None:
        data = bytearray(gzip.decompress((root / name).read_bytes()))
        change(data)
        (root / name).write_bytes(gzip.compress(bytes(data)))

    return damage


def kept_elsewhere(name: str, key: str, how: str) -> Damage:
    """Leave an array's values in another file, right as they are, and make the first file point there."""

    def change(file: h5py.File) -> None:
        values = file[key][()]
        outside = Path(file.filename).parent.parent / "outside"
        del file[key]
        if how == "raw":
            outside.write_bytes(values.tobytes())
            file.create_dataset(key, values.shape, values.dtype, external=[(str(outside), 0, values.nbytes)])
            return
        with h5py.File(outside, "w") as other:
            other["x"] = values
        if how == "link":
            file[key] = h5py.ExternalLink(str(outside), "x")
        else:
            layout = h5py.VirtualLayout(values.shape, values.dtype)
            layout[:] = h5py.VirtualSource(str(outside), "x", values.shape)
            file.create_virtual_dataset(key, layout)

    return edit(name, change)


def blocks(name: str, key: str) -> Damage:
    """One compressed block of 2 GiB, a few bytes in the file."""

    def change(file: h5py.File) -> None:
        del file[key]
        shape = (64, 2048, 2048)
        file.create_dataset(key, shape, np.complex64, chunks=shape, compression="gzip")
        file[key].id.write_direct_chunk((0, 0, 0), gzip.compress(b""))

    return edit(name, change)


def patient(name: str, value: Any, dtype: Any = None) -> Damage:
    return edit(name, lambda f: f.attrs.create("patient_id", value, dtype=dtype))


def reference(name: str) -> Damage:
    return edit(name, lambda f: f.attrs.create("patient_id", f.ref, dtype=h5py.ref_dtype))


def pipe(name: str) -> Damage:
    def damage(root: Path) -> None:
        (root / name).unlink()
        os.mkfifo(root / name)

    return damage


def loop(name: str) -> Damage:
    def damage(root: Path) -> None:
        (root / name).unlink()
        (root / name).symlink_to(name.rpartition("/")[2])

    return damage


def folder_instead(name: str) -> Damage:
    def damage(root: Path) -> None:
        (root / name).unlink()
        (root / name).mkdir()

    return damage


def empty(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def only(*names: str) -> Damage:
    """Leave those files alone."""

    def damage(root: Path) -> None:
        for path in list(root.rglob("*")):
            if path.is_file() and path.name not in names:
                path.unlink()

    return damage


def copied(name: str, to: str) -> Damage:
    return lambda root: shutil.copy(root / name, root / to)


def with_nan(values: np.ndarray) -> np.ndarray:
    values = np.array(values)
    values.flat[values.size // 2] = np.nan
    return values


def bomb(data: bytearray) -> None:
    """As many zeros behind the header as compress to nothing: 2 GiB in the header, 300 MB in the file."""
    data[42:48] = np.array([1024, 1024, 512], "<i2").tobytes()
    data[352:] = bytes(300_000_000)


def no_affine(data: bytearray) -> None:
    """An sform of zeros, and nothing else."""
    data[252:256] = np.array([0, 1], "<i2").tobytes()
    data[280:328] = bytes(48)


def far_apart(data: bytearray) -> None:
    """Rows that are 65 metres apart."""
    data[300:304] = np.array(65536, "<f4").tobytes()


def one_bright(values: np.ndarray) -> np.ndarray:
    """So bright that nothing else counts."""
    values[10, 10, 1] = 1e30
    return values


def dims(*sizes: int) -> Callable[[bytearray], None]:
    return lambda data: data.__setitem__(slice(42, 48), np.array(sizes, "<i2").tobytes())
