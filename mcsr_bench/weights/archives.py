"""What torch.save writes, looked at before torch reads it: reading must need no more memory than the file has bytes."""

from __future__ import annotations

import pickletools  # nosec B403  # it reads instructions, and runs none
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_GROWING = ("_codecs", "bytearray")
"""What torch.load(weights_only=True) may call that makes much of little: text encoded over and over, a length without bytes."""
_LARGEST_INDEX = 1 << 24
"""Bytes of the part that names the tensors."""
_PICKLES = 4
"""Of the format before torch 1.6: a magic number, a version, the machine, the content; then come the values."""


def check_archive(path: Path) -> None:
    """ValueError, with a reason, for a checkpoint whose reading would need far more memory than it has bytes."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as handle:
            if handle.peek(1)[:1] == b"\x80":
                with suppress(EOFError):
                    for _ in range(_PICKLES):
                        _check_pickle(handle)
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.filename.endswith("/constants.pkl") for member in members):
            raise ValueError("a TorchScript archive")
        if packed := next((m for m in members if m.compress_type != zipfile.ZIP_STORED), None):
            raise ValueError(f"its member {packed.filename} is compressed, which torch.save never does")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("its members are larger than the file")
        for member in members:
            if member.filename.endswith(".pkl"):
                if member.file_size > _LARGEST_INDEX:
                    raise ValueError(f"its member {member.filename} has {member.file_size} bytes")
                with archive.open(member) as handle, suppress(EOFError):
                    _check_pickle(handle)


def _check_pickle(handle: IO[bytes]) -> None:
    """Read one pickle without doing what it says. EOFError where it is none: torch will say so."""
    for code, value, _ in _parsed(handle):
        if isinstance(value, str):
            name = value.replace(" ", ".") if code.name == "GLOBAL" else value
            if any(part in _GROWING for part in name.split(".")):
                raise ValueError(f"weights only, and GLOBAL {name}")


def _parsed(handle: IO[bytes]) -> Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]]:
    try:
        yield from pickletools.genops(handle)
    except ValueError:
        raise EOFError from None
