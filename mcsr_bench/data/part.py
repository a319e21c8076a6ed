"""A part of a store on disk: the records of volumes that are finished while it is built, and the index of one that is complete.

While a part is built, ``volumes/NNNNN.json`` says of each finished volume what its files' SHA-256 are, so that a build that was
interrupted goes on with volumes that are proven to be the ones it wrote. The index, written last, holds the hashes of all files and
of itself; then the records are removed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from mcsr_bench.system import files
from mcsr_bench.system.digests import digests_once, remember

_SIDECARS = "volumes"
_INDEX = "index.json"
_LARGEST_INDEX = 1 << 28
"""Bytes: what is known of thousands of volumes."""

Told = Callable[[int, int], None]
"""Called with the bytes compared so far, and of all."""


def finish(folder: Path, position: int, known: Mapping[str, Any]) -> None:
    """Note that the files of a volume are written: what is known of them, JSON, and their SHA-256."""
    names = (f"{position:05d}.npy", f"{position:05d}.scale.npy")
    written = sorted(path for name in names for path in folder.glob(f"*/{name}"))
    hashes = {f"{path.parent.name}/{path.name}": files.file_digest(path) for path in written}
    (folder / _SIDECARS).mkdir(exist_ok=True)
    files.write_json(_sidecar(folder, position), {"known": known, "sha256": hashes}, lasting=False)


def begin_again(folder: Path, position: int) -> None:
    """A volume is not finished any more."""
    _sidecar(folder, position).unlink(missing_ok=True)


def finished(folder: Path, total: int, told: Told = lambda *_: None) -> tuple[list[int], list[int]]:
    """The positions below ``total`` whose volumes are finished, and of those that were and are not what was written any more.

    The latter are to be made again.
    """
    noted = {position: found for position in range(total) if (found := _noted(folder, position)) is not None}
    there = {
        position: [folder / name for name in found["sha256"]]
        for position, found in noted.items()
        if all((folder / name).is_file() for name in found["sha256"])
    }
    hashes = iter(digests_once([path for paths in there.values() for path in paths], told))
    sound = [p for p, paths in there.items() if [next(hashes) for _ in paths] == list(noted[p]["sha256"].values())]
    lost = [position for position in range(total) if _sidecar(folder, position).exists() and position not in sound]
    for position in lost:
        begin_again(folder, position)
    return sound, lost


def count(folder: Path) -> int:
    """How many volumes are finished, by their records alone."""
    return sum(1 for _ in (folder / _SIDECARS).glob("*.json"))


def known(folder: Path, total: int) -> list[dict[str, Any]]:
    """What `finish` was told of each volume."""
    return [files.read_json(_sidecar(folder, position))["known"] for position in range(total)]


def _sidecar(folder: Path, position: int) -> Path:
    return folder / _SIDECARS / f"{position:05d}.json"


def _noted(folder: Path, position: int) -> dict[str, Any] | None:
    """The record of a finished volume; None where there is none, or one that was cut or is of an earlier version."""
    try:
        found = files.read_json(_sidecar(folder, position))
        return found if isinstance(found["sha256"], dict) and found["sha256"] and "known" in found else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def complete(folder: Path, total: int, index: Mapping[str, Any]) -> None:
    """Write the index, last of all, with the lengths and hashes of the files, and one of itself; the records go.

    The files are brought to the disk first, all at once: after a power cut there is no index, or all that it names.
    """
    hashes: dict[str, str] = {}
    for position in range(total):
        hashes |= files.read_json(_sidecar(folder, position))["sha256"]
    hashes = dict(sorted(hashes.items()))
    for name, value in hashes.items():
        files.settled(folder / name)
        remember(folder / name, value)
    for part in sorted({(folder / name).parent for name in hashes}):
        files.settled(part)
    whole = {**index, "bytes": {name: (folder / name).stat().st_size for name in hashes}, "sha256": hashes}
    whole = json.loads(json.dumps(whole))
    files.write_json(folder / _INDEX, {**whole, "own": files.digest(whole)})
    shutil.rmtree(folder / _SIDECARS)


def is_complete(folder: Path) -> bool:
    """Whether a part that is still under its temporary name was interrupted at the very end; records that are left go."""
    if read_index(folder) is None or differing(folder):
        (folder / _INDEX).unlink(missing_ok=True)
        return False
    shutil.rmtree(folder / _SIDECARS, ignore_errors=True)
    return True


def read_index(part: Path) -> dict[str, Any] | None:
    """The index of a part that is whole, each file as long as it was written; else None."""
    try:
        index: dict[str, Any] = files.read_json(part / _INDEX, _LARGEST_INDEX)
        own = index.pop("own", None)
        if own is not None and own != files.digest(index):
            return None
        whole = all((part / name).stat().st_size == size for name, size in index["bytes"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return index if whole else None


def differing(part: Path, positions: Collection[str] | None = None, told: Told = lambda *_: None) -> str:
    """The first file of a part, or of these positions in it, that is not what was written, or "".

    A part of an earlier layout has no hashes, and is taken as it is.
    """
    index = files.read_json(part / _INDEX, _LARGEST_INDEX)
    expected = {
        name: value
        for name, value in index.get("sha256", {}).items()
        if positions is None or Path(name).name.partition(".")[0] in positions
    }
    found = digests_once([part / name for name in expected], told)
    return next((name for name, value in zip(expected, found, strict=True) if value != expected[name]), "")
