"""Archives from elsewhere, unpacked without trust: plain files within one folder, no more bytes than announced."""

from __future__ import annotations

import errno
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from mcsr_bench.errors import UserError, disk_error
from mcsr_bench.system import files

MOST_EXPANSION = 20
"""A zip whose directory gives more than this times its own size is refused; raw k-space and NIfTI shrink by far less."""
_PIECE = 1 << 20
_BAD = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError)
_CLASH = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
"""A member is a file here and a folder there."""


@dataclass(frozen=True)
class _Member:
    name: PurePosixPath
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(
    archive: Path,
    kind: Literal["tar", "zip"],
    folder: Path,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[int, int]:
    """Unpack a zip or an uncompressed tar into an empty folder; returns the numbers of files and bytes.

    All members are checked before the first is written. Refused with a UserError: absolute names, "..", control characters, names
    twice, links, devices, sparse and encrypted members, no member at all, more bytes than `MOST_EXPANSION` allows or the disk has
    free, and files that are damaged or not archives. Owners, permissions and times are not taken over. ``progress``: called with
    files done and in total.
    """
    try:
        with closing(tarfile.open(archive, "r:") if kind == "tar" else zipfile.ZipFile(archive)) as opened:
            members = list(
                _of_tar(opened, archive) if isinstance(opened, tarfile.TarFile) else _of_zip(opened, archive)
            )
            total = _check(members, archive, folder)
            for done, member in enumerate(members):
                progress(done, len(members))
                _write(member, archive, folder)
            progress(len(members), len(members))
    except (*_BAD, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _CLASH and disk_error(error) is not None:
            raise
        raise UserError(f"{archive.name}: not a readable {kind} ({str(error) or type(error).__name__})") from None
    return len(members), total


def _of_tar(opened: tarfile.TarFile, archive: Path) -> Iterator[_Member]:
    for info in opened:
        if info.isdir():
            _safe(info.name, archive)
        elif not info.isreg() or info.issparse():
            raise UserError(f"{archive.name}: {info.name} is a link, device or sparse file, which are not unpacked")
        else:
            yield _Member(_safe(info.name, archive), info.size, lambda info=info: opened.extractfile(info))  # type: ignore[misc]


def _of_zip(opened: zipfile.ZipFile, archive: Path) -> Iterator[_Member]:
    for info in opened.infolist():
        mode = info.external_attr >> 16
        if info.is_dir():
            _safe(info.filename, archive)
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise UserError(f"{archive.name}: {info.filename} is a link or device, which are not unpacked")
        elif info.flag_bits & 1:
            raise UserError(f"{archive.name}: {info.filename} is encrypted")
        else:
            yield _Member(_safe(info.filename, archive), info.file_size, lambda info=info: opened.open(info))  # type: ignore[misc]


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if not name.isprintable():
        raise UserError(f"{archive.name}: the name {name!r} has control characters; nothing of it is unpacked")
    if path.is_absolute() or ".." in path.parts or not path.parts or set(name) & set("\\:\0"):
        raise UserError(f"{archive.name}: the name {name!r} would leave its folder; nothing of it is unpacked")
    return path


def _check(members: list[_Member], archive: Path, folder: Path) -> int:
    """The total size; UserError where it is too much, or where a name comes twice."""
    if not members:
        raise UserError(f"{archive.name}: holds no file")
    seen: set[str] = set()
    for member in members:
        # Two names that differ in case alone are one file on some systems.
        if (name := str(member.name).casefold()) in seen:
            raise UserError(f"{archive.name}: holds {member.name} twice")
        seen.add(name)
    total, packed = sum(member.size for member in members), archive.stat().st_size
    if total > MOST_EXPANSION * packed:
        raise UserError(f"{archive.name}: {packed} bytes would become {total}; such an archive is not unpacked")
    free = shutil.disk_usage(folder).free
    if total > free:
        raise UserError(
            f"{folder}: the disk has {free} bytes free, and unpacking {archive.name} needs {total}; make room"
        )
    return total


def _write(member: _Member, archive: Path, folder: Path) -> None:
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise UserError(f"{archive.name}: {member.name} cannot be read")
    written = 0
    with source, path.open("xb") as target:
        while piece := source.read(_PIECE):
            written += len(piece)
            if written > member.size:
                break
            target.write(piece)
        files.to_disk(target)
    if written != member.size:
        raise UserError(
            f"{archive.name}: {member.name} does not have the {member.size} bytes that the archive gives for it"
        )
